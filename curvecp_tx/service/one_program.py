"""What the services have in common that run one program on one stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList

from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.net.descriptors import Descriptors
from curvecp_tx.net.ending import CLIENT_PATIENCE, STOP_PATIENCE
from curvecp_tx.net.programs import (
    Outcome,
    ProgramOnStream,
    StreamProgram,
)
from curvecp_tx.net.report import Report
from curvecp_tx.service.stopping import FAREWELL, Waiting


class StreamProgramService(Service):
    """Runs a program on a stream; subclasses say where the stream comes from.

    :ivar ended: fires with an exit code: 0 only if both directions are complete
        and the program ended well; else the program's status, or 111.
    :raises ProgramNotFound: if there is no such program.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        descriptors: Descriptors,
        report: Report,
    ) -> None:
        self.ended: Deferred[int] = Deferred()
        self._report = report
        self._settings = ProgramOnStream(
            reactor,
            command,
            descriptors=descriptors,
            patience=CLIENT_PATIENCE,
            report=report,
        )
        self._waiting = Waiting(reactor)

    def startService(self) -> None:
        """Make the program's protocol; it starts with its stream."""
        super().startService()
        self._program: StreamProgram = self._settings.start()
        self._program.over.addCallback(self._over)

    def stopService(self) -> Deferred[Any]:
        """End the program if it runs, and tell the peer that it is a failure."""
        super().stopService()
        program_ended = self._settings.running.when_none()
        if self._program.transport is None:
            return program_ended
        farewell = self._waiting.wait(self.ended, FAREWELL)
        self._program.stop(STOP_PATIENCE)
        return DeferredList([program_ended, farewell])

    def kill(self) -> None:
        """Kill the program, and wait for nothing."""
        self._waiting.hurry()
        self._settings.running.kill()

    def _over(self, outcome: Outcome) -> None:
        if outcome.problem is not None:
            self._report.error("fatal: {why}", why=outcome.problem)
        self.ended.callback(outcome.exit_code)
