"""Plain programs on a stream: what they write goes to the peer, and the reverse.

A program needs to know nothing of CurveCP. A server's reads descriptor 0 and
writes 1; a client's reads 6 and writes 7, and keeps 0 and 1 for its user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress, handler_environment
from curvecp_tx.errors import CurveCPError
from curvecp_tx.interfaces import ICurveCPReactor, IHandlerFactory
from curvecp_tx.net.descriptors import Descriptors
from curvecp_tx.net.ending import (
    FAILED_STATUS,
    SERVER_PATIENCE,
    SERVER_STOP_PATIENCE,
    Escalation,
    Patience,
    ProcessWatch,
    ProgramEnd,
    Running,
    encoded,
    find_program,
    inheritable,
)
from curvecp_tx.net.report import Report
from curvecp_tx.net.spawning import start_program
from curvecp_tx.net.streams import StreamConnection

EXIT_GRACE = 0.1
"""Seconds between the end of a program's output and our end of the stream, unless
the program ends before: if a signal ends it, the peer must learn of a failure."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program and its stream have ended.

    :ivar end: how the program ended; ``None`` if it never ran.
    :ivar problem: what went wrong with the stream; ``None`` if both directions
        are complete and acknowledged.
    """

    end: ProgramEnd | None
    problem: CurveCPError | None

    @property
    def exit_code(self) -> int:
        """0 only if all went well; else the program's status, or 111."""
        status = FAILED_STATUS if self.end is None else self.end.exit_code
        return FAILED_STATUS if self.problem is not None and not status else status


class ProgramOnStream:
    """Settings for running a program on each of many streams.

    :param command: the program's name, looked up on PATH now, and its arguments.
    :param descriptors: where the program has its stream.
    :param environment: what programs inherit; ``None`` for our own.
    :param directory: where programs start; ``None`` for where we are then.
    :raises ProgramNotFound: if there is no such program.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        descriptors: Descriptors,
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
        patience: Patience = SERVER_PATIENCE,
        report: Report | None = None,
    ) -> None:
        self.reactor = reactor
        self.executable = find_program(command[0])
        self.arguments = list(command)
        self.descriptors = descriptors
        self.environment = environment
        self.directory = directory
        self.patience = patience
        self.report = report or Report()
        self.running: Running[StreamProgram] = Running()

    def start(self) -> StreamProgram:
        """Make the protocol that runs the program on one stream."""
        return StreamProgram(self)


@implementer(IHalfCloseableProtocol)
class StreamProgram(Protocol):
    """One program on one stream.

    :ivar over: fires with the :class:`Outcome` when the program has ended and the
        stream needs no more care.
    """

    transport: StreamConnection

    def __init__(self, settings: ProgramOnStream) -> None:
        self.over: Deferred[Outcome] = Deferred()
        self._settings = settings
        self.reactor = settings.reactor
        self._pipes: dict[int, Any] = {}
        self._escalation: Escalation | None = None
        self._finish: IDelayedCall | None = None
        self._end: ProgramEnd | None = None
        self._stream_is_over = False
        self._problem: CurveCPError | None = None

    def connectionMade(self) -> None:
        """Start the program.

        :raises OSError: if the system has no room for it.
        """
        settings = self._settings
        fds = settings.descriptors
        child_fds: dict[int, int | str] = {0: 0, 1: 1, 2: 2}
        child_fds.update({fds.read: "w", fds.write: "r"})
        environment = inheritable(settings.environment)
        environment.update(
            handler_environment(self.transport.getHost(), self.transport.getPeer())
        )
        self.transport.whenOver.addCallback(self._stream_over)
        process = _Process(self)
        try:
            spawned: Any = start_program(
                self.reactor,
                process,
                os.fsencode(settings.executable),
                [os.fsencode(argument) for argument in settings.arguments],
                encoded(environment),
                settings.directory,
                child_fds,
            )
        except OSError as error:
            settings.report.error_sometimes(
                "program", "unable to start program: {why}", why=str(error)
            )
            self.transport.abortConnection("the program could not be started")
            return
        self._pid = process.pid
        self._pipes = spawned.pipes
        settings.report.info(
            "pid {pid} from {who}",
            pid=self._pid,
            who=self.transport.getPeer().described,
        )
        self._escalation = Escalation(self.reactor, spawned)
        settings.running.add(self)
        process.watch(self.reactor, self.exited)
        # Each side holds back the other: the program's input pauses the stream,
        # and the stream pauses the program's output.
        if fds.read in self._pipes:
            self._pipes[fds.read].registerProducer(_Input(self.transport), True)
        if fds.write in self._pipes:
            self.transport.registerProducer(_Output(self._pipes[fds.write]), True)

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes to the program, if it still reads."""
        pipe = self._pipes.get(self._settings.descriptors.read)
        if pipe is not None:
            pipe.write(data)

    def readConnectionLost(self) -> None:
        """Let the program see the end of its input."""
        pipe = self._pipes.get(self._settings.descriptors.read)
        if pipe is not None:
            pipe.unregisterProducer()
            pipe.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing: the program has ended its output long ago."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close the program's pipes; after a failure, see to it that it ends.

        Who has ended its output well may take its time with its input.
        """
        for pipe in tuple(self._pipes.values()):
            pipe.loseConnection()
        if self._end is None and not reason.check(ConnectionDone):
            self._end_within(self._settings.patience)

    def stop(self, patience: Patience) -> None:
        """End the stream as a failure, and have the program end in time."""
        self.transport.abortConnection()
        self._end_within(patience)

    def _end_within(self, patience: Patience) -> None:
        if self._escalation is not None and self._end is None:
            self._escalation.begin(patience)

    def kill(self) -> None:
        """End the process by force."""
        if self._escalation is not None:
            self._escalation.kill()

    # What the process protocol reports.

    def output(self, data: bytes) -> None:
        """Pass on what the program has written."""
        self.transport.write(data)

    def pipeClosed(self, descriptor: int) -> None:
        """Take note that the program has closed one of its descriptors."""
        if descriptor == self._settings.descriptors.write:
            self.transport.unregisterProducer()
            if self._end is None:
                self._finish = self.reactor.callLater(EXIT_GRACE, self._finished)
            else:
                self._finished()
        elif descriptor == self._settings.descriptors.read:
            # Nobody reads any more: what arrives is acknowledged and forgotten.
            self.transport.resumeProducing()

    def exited(self, end: ProgramEnd) -> None:
        """Take note that the program is gone; its output may still be under way."""
        self._end = end
        settings = self._settings
        settings.report.info("end {pid} {end}", pid=self._pid, end=end)
        if self._escalation is not None:
            self._escalation.cancel()
        if self._finish is not None and self._finish.active():
            self._finish.cancel()
            self._finished()
        settings.running.remove(self)
        self._check_over()

    def _finished(self) -> None:
        """End our stream, for the program has written all it will."""
        self._finish = None
        if self._end is None:
            self.transport.loseWriteConnection()
        elif self._end.status is None:
            self.transport.abortConnection(f"the program ended with {self._end}")
        else:
            self.transport.loseConnection()

    def _stream_over(self, problem: CurveCPError | None) -> None:
        self._stream_is_over = True
        self._problem = problem
        self._check_over()

    def _check_over(self) -> None:
        never_started = self._escalation is None
        if self._stream_is_over and (self._end is not None or never_started):
            self.over.callback(Outcome(self._end, self._problem))


@implementer(IPushProducer)
class _Input:
    """The stream, as the producer that a program's input holds back."""

    def __init__(self, stream: StreamConnection) -> None:
        self._stream = stream

    def pauseProducing(self) -> None:
        """Hold the stream back: the program does not read fast enough."""
        self._stream.pauseProducing()

    def resumeProducing(self) -> None:
        """Let it go on."""
        self._stream.resumeProducing()

    def stopProducing(self) -> None:
        """Let it go on: nobody reads, and bytes are thrown away from now on."""
        self._stream.resumeProducing()


@implementer(IPushProducer)
class _Output:
    """A program's output, as the producer that the stream holds back."""

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def pauseProducing(self) -> None:
        """Read no more: the peer does not take it fast enough."""
        self._pipe.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self._pipe.resumeProducing()

    def stopProducing(self) -> None:
        """Close it: there is no stream any more."""
        self._pipe.loseConnection()


class _Process(ProcessWatch):
    """Passes on what happens to the process."""

    def __init__(self, program: StreamProgram) -> None:
        super().__init__()
        self._program = program

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass on output."""
        self._program.output(data)

    def childConnectionLost(self, childFD: int) -> None:
        """Pass on that a descriptor was closed."""
        self._program.pipeClosed(childFD)


@implementer(IHandlerFactory)
class StreamProgramFactory:
    """Runs a program on a stream for each client of a server."""

    def __init__(self, settings: ProgramOnStream) -> None:
        self._settings = settings

    def buildProtocol(self, address: CurveCPAddress) -> StreamConnection:
        """Make a stream with a program on it."""
        return StreamConnection(
            self._settings.reactor,
            client=False,
            accept=lambda connection: self._settings.start(),
            report=self._settings.report,
        )

    def whenIdle(self) -> Deferred[None]:
        """Wait for the programs to end, and see to it that they do."""
        running = self._settings.running
        for program in running:
            program.stop(self._settings.patience.no_more_than(SERVER_STOP_PATIENCE))
        return running.when_none()

    def kill(self) -> None:
        """Kill the programs."""
        self._settings.running.kill()
