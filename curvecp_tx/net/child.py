"""Message-handler programs: a process per connection, talking over fds 8 and 9.

The interface is that of the man page: descriptor 8 brings messages in, descriptor
9 takes messages out, both as non-blocking pipes of frames. A program that stops
reading loses messages and disturbs nobody. A connection that ends closes the
program's pipes; if it does not end by itself, SIGTERM and then SIGKILL follow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress, handler_environment
from curvecp_tx.errors import BadMessageSize, HandlerFailed
from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IHandlerFactory,
    ILeavingProtocol,
    IMessageTransport,
)
from curvecp_tx.net.ending import (
    FAULT_PATIENCE,
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
from curvecp_tx.net.pipes import (
    MessageReader,
    MessageWriter,
    close_descriptor,
    open_pipe,
)
from curvecp_tx.net.reasons import PeerSilent
from curvecp_tx.net.report import Report
from curvecp_tx.net.spawning import start_program
from curvecp_tx.secure.counters import Counters

MESSAGES_IN = 8
MESSAGES_OUT = 9


@implementer(IHandlerFactory)
class HandlerProgramFactory:
    """Starts a program for each connection.

    :param command: the program's name, looked up on PATH now, and its arguments.
    :param environment: what the programs inherit; ``None`` for our own. The
        variables that describe the connection are added.
    :param directory: where the programs start; ``None`` for where we are then.
    :param patience: how a program is made to end with its connection.
    :raises ProgramNotFound: if there is no such program.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
        patience: Patience = SERVER_PATIENCE,
        report: Report | None = None,
        counters: Counters | None = None,
    ) -> None:
        self.reactor = reactor
        self.executable = find_program(command[0])
        self.arguments = list(command)
        self.environment = environment
        self.directory = directory
        self.patience = patience
        self.report = report or Report()
        self.counters = counters or Counters()
        self.running: Running[HandlerProgram] = Running()

    def buildProtocol(self, address: CurveCPAddress) -> HandlerProgram:
        """Make the handler of one connection; it starts with ``makeConnection``."""
        return HandlerProgram(self)

    def whenIdle(self) -> Deferred[None]:
        """Wait for the programs to end, and see to it that they do."""
        for program in self.running:
            program.end_within(self.patience.no_more_than(SERVER_STOP_PATIENCE))
        return self.running.when_none()

    def kill(self) -> None:
        """Kill the programs."""
        self.running.kill()


@implementer(ILeavingProtocol)
class HandlerProgram:
    """One program with one connection.

    :ivar ended: fires with a :class:`ProgramEnd` when the process is gone.
    :ivar problem: what the program did wrong, if that ended the connection.
    :ivar lost: why the connection ended, once it has.
    """

    def __init__(self, factory: HandlerProgramFactory) -> None:
        self.ended: Deferred[ProgramEnd] = Deferred()
        self.problem: HandlerFailed | None = None
        self.lost: Failure | None = None
        self._factory = factory
        self.reactor = factory.reactor
        self._patience = factory.patience
        self._escalation: Escalation | None = None
        self._running = False
        self._connected = False
        self._leaving = False

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Start the program.

        :raises OSError: if the system has no room for it.
        """
        self._transport = transport
        self._start()
        self._connected = True
        self._factory.report.info(
            "pid {pid} from {who}", pid=self._pid, who=transport.getPeer().described
        )

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Pass messages to the program, as far as its pipe has room."""
        if self._leaving:
            return
        counters = self._factory.counters
        try:
            counters.lost_handler_full += self._writer.write(messages)
        except OSError:
            # It has closed descriptor 8; what it wrote before still counts.
            self._reader.drain()
            self._transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Close the program's pipes, and see to it that it ends."""
        self._connected = False
        self.lost = reason
        self._reader.close()
        self._writer.close()
        patience = self._patience
        if not reason.check(ConnectionDone, PeerSilent):
            patience = patience.no_more_than(FAULT_PATIENCE)
        self.end_within(patience)

    def leave(self, why: str) -> None:
        """Close the program's way in. What it writes on the way to its end is sent."""
        if not self._leaving:
            self._leaving = True
            self._writer.close()
            self.end_within(self._patience)

    def end_within(self, patience: Patience) -> None:
        """Have the program end within ``patience``, counted from now."""
        if self._running and self._escalation is not None:
            self._escalation.begin(patience)

    def kill(self) -> None:
        """End the process by force."""
        if self._running and self._escalation is not None:
            self._escalation.kill()

    def _start(self) -> None:
        factory = self._factory
        transport = self._transport
        environment = inheritable(factory.environment)
        environment.update(
            handler_environment(transport.getHost(), transport.getPeer())
        )
        process = ProcessWatch()
        # All that may fail comes before the program: then nothing of it remains.
        with ExitStack() as stack, ExitStack() as theirs:
            theirs_in, ours_out = open_pipe()
            theirs.callback(close_descriptor, theirs_in)
            self._writer = MessageWriter(ours_out)
            stack.callback(self._writer.close)
            ours_in, theirs_out = open_pipe()
            theirs.callback(close_descriptor, theirs_out)
            self._reader = MessageReader(
                self.reactor, ours_in, self._messagesWritten, self._outputEnded
            )
            stack.callback(self._reader.close)
            self._reader.start()
            spawned = start_program(
                self.reactor,
                process,
                os.fsencode(factory.executable),
                [os.fsencode(argument) for argument in factory.arguments],
                encoded(environment),
                factory.directory,
                {0: 0, 1: 1, 2: 2, MESSAGES_IN: theirs_in, MESSAGES_OUT: theirs_out},
            )
            stack.pop_all()
        self._pid = process.pid
        self._escalation = Escalation(self.reactor, spawned)
        self._running = True
        factory.running.add(self)
        process.watch(self.reactor, self.exited)

    def _messagesWritten(self, messages: Sequence[bytes]) -> None:
        try:
            self._transport.sendMessages(messages)
        except BadMessageSize as error:
            self._fail(HandlerFailed(str(error)))

    def _outputEnded(self, problem: HandlerFailed | None) -> None:
        if problem is None:
            self._transport.loseConnection()
        else:
            self._fail(problem)

    def _fail(self, problem: HandlerFailed) -> None:
        if self.problem is None:
            self.problem = problem
            self._factory.report.error("pid {pid}: {why}", pid=self._pid, why=problem)
        self._transport.abortConnection()

    def exited(self, end: ProgramEnd) -> None:
        """Take note that the process is gone; what it wrote still counts."""
        self._running = False
        if self._escalation is not None:
            self._escalation.cancel()
        if self._connected:
            self._reader.drain()
            self._transport.loseConnection()
        self._factory.report.info("end {pid} {end}", pid=self._pid, end=end)
        self._factory.running.remove(self)
        self.ended.callback(end)
