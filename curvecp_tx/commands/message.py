"""``curvecpmessage``: a program on a stream, under a CurveCP server or client."""

from __future__ import annotations

from collections.abc import Sequence

from curvecp_tx.commands.console import (
    fill_standard_descriptors,
    run_to_end,
    start_logging,
)
from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.report import Report
from curvecp_tx.service.exits import die
from curvecp_tx.service.message import CurveCPMessageService
from curvecp_tx.service.options import MessageOptions


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process with the program's exit status."""
    fill_standard_descriptors()
    options = MessageOptions()
    options.parseOptions(arguments)
    start_logging(options.command, options["verbosity"])
    raise SystemExit(handle(options))


def handle(options: MessageOptions) -> int:
    """Run the handler that a command line asks for, and give its exit code."""
    from twisted.internet import reactor

    silent = options["verbosity"] == 0
    make_monotonic(reactor)
    try:
        service = CurveCPMessageService(
            reactor,  # type: ignore[arg-type]
            options["program"],
            mode=options["mode"],
            report=Report(options["verbosity"]),
        )
    except CurveCPError as error:
        die(options.command, str(error), silent=silent)
    except OSError as error:
        reason = f"descriptors 8 and 9 must be open: {error.strerror}".lower()
        die(options.command, reason, silent=silent)
    return run_to_end(service, service.ended)


if __name__ == "__main__":
    main()
