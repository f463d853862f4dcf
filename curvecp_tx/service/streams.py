"""A plain program on a stream to a server, as a Twisted service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from curvecp_tx.net.ending import CLIENT_PATIENCE, FAILED_STATUS, STOP_PATIENCE
from curvecp_tx.net.programs import (
    Descriptors,
    Outcome,
    ProgramOnStream,
    StreamProgram,
)
from curvecp_tx.net.report import Report
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint


class StreamClientService(Service):
    """Connects to a server, and runs a program on the stream.

    :ivar ended: fires with an exit code: 0 only if both directions are complete
        and the program ended well; else the program's status, or 111.
    :raises ProgramNotFound: if there is no such program.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        endpoint: CurveCPClientEndpoint,
        *,
        descriptors: Descriptors,
        report: Report,
    ) -> None:
        self._endpoint = endpoint
        self._report = report
        self.ended: Deferred[int] = Deferred()
        self._settings = ProgramOnStream(
            reactor,
            command,
            descriptors=descriptors,
            patience=CLIENT_PATIENCE,
            report=report,
        )

    def startService(self) -> None:
        """Dial; the program starts when the server has answered."""
        super().startService()
        self._program: StreamProgram = self._settings.start()
        self._program.over.addCallback(self._over)
        factory = Factory.forProtocol(lambda: self._program)
        self._connecting = self._endpoint.connect(factory)
        self._connecting.addErrback(self._failed)

    def stopService(self) -> Deferred[None]:
        """Give up the stream, and end the program if it runs."""
        super().stopService()
        self._connecting.cancel()
        for program in self._settings.running:
            program.stop(STOP_PATIENCE)
        return self._settings.running.when_none()

    def kill(self) -> None:
        """Kill the program, for it is not to be waited for."""
        self._settings.running.kill()

    def _over(self, outcome: Outcome) -> None:
        if outcome.problem is not None:
            self._report.error("fatal: {why}", why=outcome.problem)
        self.ended.callback(outcome.exit_code)

    def _failed(self, reason: Failure) -> None:
        if self.running:
            self._report.error("fatal: {why}", why=reason.value)
        self.ended.callback(FAILED_STATUS)
