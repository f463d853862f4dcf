"""``curvecpclient``: one connection, one program."""

from __future__ import annotations

from collections.abc import Sequence

from curvecp_tx.commands.console import (
    fill_standard_descriptors,
    run_to_end,
    start_logging,
)
from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report
from curvecp_tx.service.client import CurveCPClientService
from curvecp_tx.service.exits import die
from curvecp_tx.service.options import ClientOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process with the program's exit status."""
    fill_standard_descriptors()
    options = ClientOptions()
    options.parseOptions(arguments)
    start_logging(options.command, options["verbosity"])
    raise SystemExit(connect(options))


def connect(options: ClientOptions) -> int:
    """Run the client that a command line asks for, and give its exit code."""
    from twisted.internet import reactor

    make_monotonic(reactor)
    keydir = options["keydir"]
    try:
        service = CurveCPClientService(
            reactor,  # type: ignore[arg-type]
            options["program"],
            serverKey=options["key"],
            serverName=options["name"],
            hosts=options["hosts"],
            port=options["port"],
            serverExtension=options["extension"],
            identity=None if keydir is None else Identity.for_client(keydir),
            timeout=options["timeout"],
            report=Report(options["verbosity"]),
        )
    except CurveCPError as error:
        die(options.command, str(error), silent=options["verbosity"] == 0)
    return run_to_end(service, service.ended)


if __name__ == "__main__":
    main()
