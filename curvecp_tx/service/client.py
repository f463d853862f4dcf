"""A client as a Twisted service: one connection, one program."""

from __future__ import annotations

import random
from collections.abc import Sequence

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from curvecp_tx.errors import ConnectTimedOut, CurveCPError
from curvecp_tx.interfaces import ICurveCPReactor, IMessageProtocol
from curvecp_tx.net.child import HandlerProgram, HandlerProgramFactory
from curvecp_tx.net.client_endpoint import MessageClientEndpoint
from curvecp_tx.net.ending import CLIENT_PATIENCE, STOP_PATIENCE, ProgramEnd
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report
from curvecp_tx.secure.client import DEFAULT_TIMEOUT
from curvecp_tx.service.exits import FAILURE


class CurveCPClientService(Service):
    """Connects to a server and runs a message-handler program on the connection.

    :param command: the program and its arguments; started when the server has
        answered.
    :ivar ended: fires with an exit code: the program's, or 111 if a signal killed
        it or there was no connection.
    :raises ProgramNotFound: if there is no such program.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        serverKey: bytes,
        serverName: str,
        hosts: Sequence[str],
        port: int,
        serverExtension: bytes,
        identity: Identity | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        report: Report | None = None,
    ) -> None:
        self._report = report or Report()
        self.ended: Deferred[int] = Deferred()
        self.programs = HandlerProgramFactory(
            reactor, command, patience=CLIENT_PATIENCE, report=self._report
        )
        shuffled = list(hosts)
        random.SystemRandom().shuffle(shuffled)
        self._endpoint = MessageClientEndpoint(
            reactor,
            serverKey=serverKey,
            serverName=serverName,
            hosts=shuffled,
            port=port,
            identity=identity,
            serverExtension=serverExtension,
            timeout=timeout,
            report=self._report,
            counters=self.programs.counters,
        )
        self._connecting: Deferred[IMessageProtocol] | None = None
        self._program: HandlerProgram | None = None

    def startService(self) -> None:
        """Dial."""
        super().startService()
        self._connecting = self._endpoint.connect(self.programs)
        self._connecting.addCallbacks(self._connected, self._failed)

    def stopService(self) -> Deferred[None]:
        """Give up, and end the program if it runs."""
        done = super().stopService()
        assert done is None  # noqa: S101 - a plain service stops at once
        if self._connecting is not None and self._program is None:
            self._connecting.cancel()
        for program in self.programs.running:
            program.leave("the client stops")
            program.end_within(STOP_PATIENCE)
        return self.programs.running.when_none()

    def kill(self) -> None:
        """Kill the program, for it is not to be waited for."""
        self.programs.kill()

    def _connected(self, program: IMessageProtocol) -> None:
        assert isinstance(program, HandlerProgram)  # noqa: S101 - from our factory
        self._program = program
        program.ended.addCallback(self._program_ended, program)

    def _program_ended(self, end: ProgramEnd, program: HandlerProgram) -> None:
        failed = program.problem is not None
        if program.lost is not None and program.lost.check(CurveCPError):
            self._report.error("fatal: {why}", why=program.lost.value)
            failed = True
        self.ended.callback(FAILURE if failed else end.exit_code)

    def _failed(self, reason: Failure) -> None:
        if reason.check(ConnectTimedOut, CurveCPError, OSError):
            self._report.error("fatal: {why}", why=reason.value)
        elif self.running:
            self._report.error("fatal: {why}", why=reason.getErrorMessage())
        self.ended.callback(FAILURE)
