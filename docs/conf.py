"""Sphinx: how the documentation is built."""

from curvecp_tx._version import __version__

project = "curvecp-tx"
author = "The curvecp-tx developers"
project_copyright = author
release = __version__
version = ".".join(__version__.split(".")[:2])

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
# Interfaces of zope are no classes, and would be shown as their representation.
autodoc_typehints = "none"

html_theme = "alabaster"
html_theme_options = {"description": "CurveCP for Twisted", "page_width": "1000px"}
html_show_sourcelink = False
