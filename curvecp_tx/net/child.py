"""Message-handler programs: a process per connection, talking over fds 8 and 9.

The interface is that of the man page: descriptor 8 brings messages in, descriptor
9 takes messages out, both as non-blocking pipes of frames. A program that stops
reading loses messages and disturbs nobody. A connection that ends closes the
program's pipes; if it does not end by itself, SIGTERM and then SIGKILL follow.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectionDone,
    ProcessExitedAlready,
    ProcessTerminated,
)
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress, handler_environment
from curvecp_tx.errors import BadMessageSize, HandlerFailed, ProgramNotFound
from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
)
from curvecp_tx.net.pipes import MessageReader, MessageWriter, open_pipe
from curvecp_tx.net.report import Report
from curvecp_tx.secure.counters import Counters

MESSAGES_IN = 8
MESSAGES_OUT = 9

KILLED_STATUS = 111
"""What a program killed by a signal counts as, where an exit status is needed."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a program may take to end.

    :ivar terminate: seconds from the end of its connection, which closes its
        pipes, to SIGTERM.
    :ivar kill: seconds from there to SIGKILL.
    """

    terminate: float
    kill: float


SERVER_PATIENCE = Patience(terminate=5.0, kill=5.0)
"""Time to notice the end of the pipes and to write something down."""

CLIENT_PATIENCE = Patience(terminate=10.0, kill=1.0)
"""A client has nobody else to serve, and lets its program finish."""

FAULT_PATIENCE = Patience(terminate=0.0, kill=5.0)
"""A program that has broken the framing has nothing more to say."""


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: with an exit status, or by a signal."""

    status: int | None
    signal: int | None

    @property
    def exit_code(self) -> int:
        """The status to pass on: the program's own, or 111 after a signal."""
        return KILLED_STATUS if self.status is None else self.status

    def __str__(self) -> str:
        if self.status is None:
            return f"signal {self.signal}"
        return f"status {self.status}"


def find_program(name: str) -> str:
    """Find an executable on PATH, once, before any connection needs it.

    :raises ProgramNotFound: if there is none.
    """
    found = shutil.which(name)
    if found is None:
        raise ProgramNotFound(name)
    return os.path.abspath(found)


@implementer(IMessageProtocolFactory)
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
        self.running: set[HandlerProgram] = set()
        self._waiting: list[Deferred[None]] = []

    def buildProtocol(self, address: CurveCPAddress) -> HandlerProgram:
        """Make the handler of one connection; it starts with ``makeConnection``."""
        return HandlerProgram(self)

    def whenAllEnded(self) -> Deferred[None]:
        """Give a Deferred that fires when no program is running any more."""
        deferred: Deferred[None] = Deferred()
        if self.running:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred

    def killAll(self) -> None:
        """Kill what is still running."""
        for program in tuple(self.running):
            program.kill()

    def programEnded(self, program: HandlerProgram) -> None:
        """Take note that a program is gone."""
        self.running.discard(program)
        if not self.running:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)


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
        self._reactor = factory.reactor
        self._patience = factory.patience
        self._process: _Process | None = None
        self._escalation: IDelayedCall | None = None
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
            patience = Patience(
                min(patience.terminate, FAULT_PATIENCE.terminate),
                min(patience.kill, FAULT_PATIENCE.kill),
            )
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
        self._signal("KILL")

    def _start(self) -> None:
        factory = self._factory
        transport = self._transport
        environment = _inheritable(
            os.environ if factory.environment is None else factory.environment
        )
        environment.update(
            handler_environment(transport.getHost(), transport.getPeer())
        )
        opened: list[int] = []
        process = _Process(self)
        try:
            theirs_in, ours_out = open_pipe()
            opened += theirs_in, ours_out
            ours_in, theirs_out = open_pipe()
            opened += ours_in, theirs_out
            spawned = self._reactor.spawnProcess(
                process,
                os.fsencode(factory.executable),
                [os.fsencode(argument) for argument in factory.arguments],
                {os.fsencode(k): os.fsencode(v) for k, v in environment.items()},
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
            self._reactor, ours_in, self._messagesWritten, self._outputEnded
        )
        self._reader.start()
        self._pid = spawned.pid
        if process.end is None:
            self._process = process
            factory.running.add(self)
        else:
            # It was so quick that its end was seen before its beginning.
            self._reactor.callLater(0, self._processEnded, process.end)

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

    def _processEnded(self, end: ProgramEnd) -> None:
        self._process = None
        if self._escalation is not None and self._escalation.active():
            self._escalation.cancel()
        if self._connected:
            self._reader.drain()
            self._transport.loseConnection()
        self._factory.report.info("end {pid} {end}", pid=self._pid, end=end)
        self._factory.programEnded(self)
        self.ended.callback(end)

    def _end_within(self, patience: Patience) -> None:
        if self._process is None:
            return
        if patience.terminate:
            self._later(patience.terminate, partial(self._terminate, patience.kill))
        else:
            self._terminate(patience.kill)

    def _terminate(self, kill_after: float) -> None:
        self._signal("TERM")
        self._later(kill_after, self.kill)

    def _later(self, delay: float, step: Callable[[], None]) -> None:
        if self._escalation is not None and self._escalation.active():
            self._escalation.cancel()
        self._escalation = self._reactor.callLater(delay, step)

    def _signal(self, name: str) -> None:
        if self._process is not None and self._process.transport is not None:
            with suppress(ProcessExitedAlready):
                self._process.transport.signalProcess(name)


class _Process(ProcessProtocol):
    """Hears of the end of a process.

    The end may come before ``spawnProcess`` has returned, and thus before the
    handler knows of this object.
    """

    def __init__(self, handler: HandlerProgram) -> None:
        self._handler = handler
        self.end: ProgramEnd | None = None

    def processExited(self, reason: Failure) -> None:
        """Pass on how it ended. Its descendants, if any, do not matter."""
        value = reason.value
        if isinstance(value, ProcessTerminated):
            self.end = ProgramEnd(value.exitCode, value.signal)
        else:
            self.end = ProgramEnd(0, None)
        if self._handler._process is self:
            self._handler._processEnded(self.end)


def _inheritable(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would make a program take our descriptors for its own."""
    return {k: v for k, v in environment.items() if not k.startswith("LISTEN_")}


def _close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
