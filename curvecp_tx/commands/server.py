"""``curvecpserver``: the superserver in the foreground."""

from __future__ import annotations

from collections.abc import Sequence

from curvecp_tx.commands.console import fill_standard_descriptors, run, start_logging
from curvecp_tx.service.server import make_server
from curvecp_tx.service.server_options import ServerOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; returns when a signal has ended it."""
    fill_standard_descriptors()
    options = ServerOptions()
    options.parseOptions(arguments)
    start_logging(options.command, options["verbosity"])
    run(make_server(options))


if __name__ == "__main__":
    main()
