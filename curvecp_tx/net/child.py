"""Message-handler programs: a process per connection, talking over fds 8 and 9.

The interface is that of the man page: descriptor 8 brings messages in, descriptor
9 takes messages out, both as non-blocking pipes of frames. A program that stops
reading loses messages and disturbs nobody. A connection that ends closes the
program's pipes; if it does not end by itself, SIGTERM and then SIGKILL follow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress, handler_environment
from curvecp_tx.errors import BadMessageSize, HandlerFailed
from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IHandlerFactory,
    IMessageProtocol,
    IMessageTransport,
)
from curvecp_tx.net.ending import (
    FAULT_PATIENCE,
    SERVER_PATIENCE,
    Escalation,
    Patience,
    ProcessWatch,
    ProgramEnd,
    Running,
    encoded,
    find_program,
    inheritable,
)
from curvecp_tx.net.pipes import MessageReader, MessageWriter, open_pipe
from curvecp_tx.net.report import Report
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
        """Wait for the programs to end."""
        return self.running.when_none()

    def kill(self) -> None:
        """Kill the programs."""
        self.running.kill()


@implementer(IMessageProtocol)
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

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Start the program.

        :raises OSError: if the system has no room for it.
        """
        self._transport = transport
        self._start()
        self._connected = True
        peer = transport.getPeer()
        self._factory.report.info(
            "pid {pid} from {host}:{port} key {key}",
            pid=self._pid,
            host=peer.host,
            port=peer.port,
            key=peer.key.hex(),
        )

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Pass messages to the program, as far as its pipe has room."""
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
        if not reason.check(ConnectionDone):
            patience = patience.no_more_than(FAULT_PATIENCE)
        self._end_within(patience)

    def disconnect(self, patience: Patience) -> None:
        """End the connection, and have the program end within ``patience``."""
        self._patience = patience
        if self._connected:
            self._transport.loseConnection()
        else:
            self._end_within(patience)

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
        opened: list[int] = []
        process = ProcessWatch()
        try:
            theirs_in, ours_out = open_pipe()
            opened += theirs_in, ours_out
            ours_in, theirs_out = open_pipe()
            opened += ours_in, theirs_out
            spawned = self.reactor.spawnProcess(
                process,
                os.fsencode(factory.executable),
                [os.fsencode(argument) for argument in factory.arguments],
                encoded(environment),
                factory.directory,
                childFDs={
                    0: 0,
                    1: 1,
                    2: 2,
                    MESSAGES_IN: theirs_in,
                    MESSAGES_OUT: theirs_out,
                },
            )
        except BaseException:
            _close_all(opened)
            raise
        _close_all((theirs_in, theirs_out))
        self._writer = MessageWriter(ours_out)
        self._reader = MessageReader(
            self.reactor, ours_in, self._messagesWritten, self._outputEnded
        )
        self._reader.start()
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

    def _end_within(self, patience: Patience) -> None:
        if self._running and self._escalation is not None:
            self._escalation.begin(patience)


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
