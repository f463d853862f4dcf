"""``curvecpclient``: one connection, one program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from curvecp_tx.commands.console import (
    fill_standard_descriptors,
    run,
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

if TYPE_CHECKING:
    from curvecp_tx.service.streams import StreamClientService
    from curvecp_tx.service.tunnel import StdioService


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
    if options["listen"] is not None:
        from curvecp_tx.service.tunnel import make_tunnel

        run(make_tunnel(options))
        return 0
    try:
        service = _make_service(reactor, options)
    except CurveCPError as error:
        die(options.command, str(error), silent=options["verbosity"] == 0)
    return run_to_end(service, service.ended)


def _make_service(
    reactor: Any, options: ClientOptions
) -> CurveCPClientService | StdioService | StreamClientService:
    # What only some options need is imported with them: the plain client has to
    # start fast.
    report = Report(options["verbosity"])
    if options["stdio"]:
        from curvecp_tx.service.tunnel import StdioService, make_endpoint

        return StdioService(reactor, make_endpoint(reactor, options), report=report)
    if options["stream"]:
        from curvecp_tx.net.descriptors import CLIENT_DESCRIPTORS, SERVER_DESCRIPTORS
        from curvecp_tx.service.streams import StreamClientService
        from curvecp_tx.service.tunnel import make_endpoint

        on_stdio = options["program-on-stdio"]
        return StreamClientService(
            reactor,
            options["program"],
            make_endpoint(reactor, options),
            descriptors=SERVER_DESCRIPTORS if on_stdio else CLIENT_DESCRIPTORS,
            report=report,
        )
    keydir = options["keydir"]
    return CurveCPClientService(
        reactor,
        options["program"],
        serverKey=options["key"],
        serverName=options["name"],
        hosts=options["hosts"],
        port=options["port"],
        serverExtension=options["extension"],
        identity=None if keydir is None else Identity.for_client(keydir),
        timeout=options["timeout"],
        report=report,
    )


if __name__ == "__main__":
    main()
