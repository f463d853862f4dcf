"""The message handler as a Twisted service: descriptors 8 and 9, one program."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.net.child import MESSAGES_IN, MESSAGES_OUT
from curvecp_tx.net.ending import CLIENT_PATIENCE, STOP_PATIENCE
from curvecp_tx.net.own_pipes import PipeTransport
from curvecp_tx.net.programs import (
    Outcome,
    ProgramOnStream,
    StreamMode,
    StreamProgram,
)
from curvecp_tx.net.report import Report
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.secure.counters import Counters


class CurveCPMessageService(Service):
    """Runs a program on the stream that descriptors 8 and 9 carry.

    :ivar ended: fires with an exit code: 0 only if both streams are complete and
        the program ended well; else the program's status, or 111.
    :raises ProgramNotFound: if there is no such program.
    :raises OSError: if descriptor 8 or 9 is not open.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        mode: StreamMode,
        report: Report | None = None,
    ) -> None:
        self._reactor = reactor
        self._report = report or Report()
        self._mode = mode
        self.ended: Deferred[int] = Deferred()
        self._settings = ProgramOnStream(
            reactor,
            command,
            descriptors=mode.descriptors,
            patience=CLIENT_PATIENCE,
            report=self._report,
        )
        self._transport = PipeTransport(
            reactor,
            readFrom=MESSAGES_IN,
            writeTo=MESSAGES_OUT,
            client=mode is not StreamMode.SERVER,
            report=self._report,
            counters=Counters(),
        )
        self._program: StreamProgram | None = None

    def startService(self) -> None:
        """Start the program, and the stream."""
        super().startService()
        self._program = self._settings.start()
        self._program.over.addCallback(self._over)
        program = self._program
        stream = StreamConnection(
            self._reactor,
            client=self._mode is not StreamMode.SERVER,
            ping=self._mode.value,
            accept=lambda connection: program,
            report=self._report,
        )
        self._transport.attach(stream)
        self._transport.start()

    def stopService(self) -> Deferred[None]:
        """Give up the stream, and end the program if it runs."""
        super().stopService()
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
