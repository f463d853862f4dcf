"""Which module may import which: the direction of the layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import curvecp_tx

ROOT = Path(curvecp_tx.__file__).parent
OURS = "curvecp_tx"

MAY_IMPORT = {
    "wire": {"wire", "errors"},
    "secure": {"wire", "errors", "secure"},
    "stream": {"wire", "errors", "stream"},
    "interfaces": {"errors", "address"},
    "errors": {"interfaces", "address"},
    "address": {"interfaces", "errors"},
}
"""Of our own; a layer that is not here is free but for what stands below."""

MUST_NOT_IMPORT = {
    "net": {"service", "commands"},
    "service": {"commands"},
}

SANS_IO = ("wire", "secure", "stream")
IMPURE = {
    "asyncio",
    "io",
    "logging",
    "os",
    "pathlib",
    "random",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
    "twisted",
    "zope",
}
NACL_USER = "secure/boxes.py"


def imported(source: str, package: str) -> Iterator[str]:
    """Give the full name of each module, or name in one, that is imported.

    :param package: what the source's relative imports start from.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                above = parents[: len(parents) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                yield f"{base}.{alias.name}"


def breaches(path: str, source: str) -> set[str]:
    """Give the imports of a file that are not allowed.

    :param path: its name, from the package's root.
    """
    parts = path.removesuffix(".py").split("/")
    layer = parts[0]
    package = ".".join([OURS, *parts[:-1]])
    found = set()
    for name in imported(source, package):
        top, *rest = name.split(".")
        if top == OURS:
            # The package itself has every public name, and so imports all layers.
            target = rest[0] if rest else OURS
            allowed = MAY_IMPORT.get(layer)
            if allowed is not None and target not in allowed:
                found.add(name)
            if target in MUST_NOT_IMPORT.get(layer, ()):
                found.add(name)
        elif (layer in SANS_IO and top in IMPURE) or (
            top == "nacl" and path != NACL_USER
        ):
            found.add(name)
    return found


class LayerTests(SynchronousTestCase):
    """The package, file by file."""

    def test_imports(self) -> None:
        """No file imports what is above it; the core does no I/O."""
        files = {
            path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
            for path in ROOT.rglob("*.py")
        }
        self.assertIn(NACL_USER, files)
        found = {path: breaches(path, source) for path, source in files.items()}
        self.assertEqual({path: names for path, names in found.items() if names}, {})

    def test_layers_exist(self) -> None:
        """Each rule is about something that is there."""
        there = {path.stem for path in ROOT.iterdir()}
        rules = {*MAY_IMPORT, *MUST_NOT_IMPORT, *SANS_IO}
        for targets in (*MAY_IMPORT.values(), *MUST_NOT_IMPORT.values()):
            rules |= targets
        self.assertLessEqual(rules, there)


class BreachTests(SynchronousTestCase):
    """The check itself: it sees what it is there to see."""

    def test_breaches(self) -> None:
        """Every form of import counts, anywhere in a file."""
        for path, source, expected in (
            ("wire/a.py", "import curvecp_tx.secure.boxes", "curvecp_tx.secure.boxes"),
            ("wire/a.py", "from curvecp_tx import net", "curvecp_tx.net"),
            ("wire/a.py", "import curvecp_tx", "curvecp_tx"),
            ("wire/a.py", "from ..secure import boxes", "curvecp_tx.secure.boxes"),
            ("wire/a.py", "from .. import secure", "curvecp_tx.secure"),
            ("wire/a.py", "def f():\n import time", "time"),
            ("secure/a.py", "from os import urandom", "os.urandom"),
            ("secure/a.py", "import twisted.internet", "twisted.internet"),
            ("secure/a.py", "from zope import interface", "zope.interface"),
            ("secure/a.py", "from curvecp_tx.net.udp import x", "curvecp_tx.net.udp.x"),
            ("secure/a.py", "import nacl.utils", "nacl.utils"),
            ("secure/a.py", "from ..stream import sender", "curvecp_tx.stream.sender"),
            ("stream/a.py", "from ..secure import boxes", "curvecp_tx.secure.boxes"),
            ("stream/a.py", "import random", "random"),
            ("net/a.py", "from nacl import utils", "nacl.utils"),
            ("net/a.py", "from curvecp_tx import service", "curvecp_tx.service"),
            ("net/a.py", "from ..commands import c", "curvecp_tx.commands.c"),
            ("service/a.py", "import curvecp_tx.commands", "curvecp_tx.commands"),
            ("errors.py", "from curvecp_tx.wire import names", "curvecp_tx.wire.names"),
            ("address.py", "from .net import udp", "curvecp_tx.net.udp"),
        ):
            self.assertEqual(breaches(path, source), {expected}, (path, source))

    def test_allowed(self) -> None:
        """What a layer may import passes."""
        for path, source in (
            ("wire/a.py", "from curvecp_tx.wire.packets import x"),
            ("wire/a.py", "from curvecp_tx.errors import BadName"),
            ("wire/a.py", "import re, dataclasses, functools"),
            ("secure/a.py", "from . import boxes\nfrom ..wire import packets"),
            ("secure/boxes.py", "import nacl.bindings"),
            ("net/a.py", "import os, twisted\nfrom curvecp_tx.secure import server"),
            ("service/a.py", "from curvecp_tx.net import udp"),
            ("interfaces.py", "from curvecp_tx.address import CurveCPAddress"),
        ):
            self.assertEqual(breaches(path, source), set(), (path, source))
