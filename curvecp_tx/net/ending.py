"""How programs are made to end, and who waits for that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from curvecp_tx.errors import ProgramNotFound

FAILED_STATUS = 111
"""What counts as the exit status where there is none: after a signal, or when the
connection failed rather than the program."""


_NOT_INHERITED = ("LISTEN_", "CURVECPLOCAL", "CURVECPREMOTE")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a program may take to end.

    :ivar terminate: seconds from the end of its connection, which closes its
        pipes, to SIGTERM.
    :ivar kill: seconds from there to SIGKILL.
    """

    terminate: float
    kill: float

    def no_more_than(self, other: Patience) -> Patience:
        """Give the lesser of two."""
        return Patience(
            min(self.terminate, other.terminate), min(self.kill, other.kill)
        )


SERVER_PATIENCE = Patience(terminate=5.0, kill=5.0)
"""Time to notice the end of the pipes and to write something down."""

CLIENT_PATIENCE = Patience(terminate=10.0, kill=1.0)
"""A client has nobody else to serve, and lets its program finish."""

STOP_PATIENCE = Patience(terminate=0.0, kill=1.0)
"""When a signal asks a tool to end, its program is asked at once."""

SERVER_STOP_PATIENCE = Patience(terminate=2.0, kill=3.0)
"""When a server stops, its programs have had the grace that their clients had."""

FAULT_PATIENCE = Patience(terminate=0.0, kill=5.0)
"""A program that has broken the framing has nothing more to say."""


@dataclass(frozen=True, slots=True)
class ProgramEnd:
    """How a program ended: with an exit status, or by a signal."""

    status: int | None
    signal: int | None

    @classmethod
    def of(cls, reason: Failure) -> ProgramEnd:
        """Read what a process protocol is told."""
        value = reason.value
        if isinstance(value, ProcessTerminated):
            return cls(value.exitCode, value.signal)
        return cls(0, None)

    @property
    def exit_code(self) -> int:
        """The status to pass on: the program's own, or 111 after a signal."""
        return FAILED_STATUS if self.status is None else self.status

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


def inheritable(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Give a copy of an environment, our own by default, for a program.

    Left out is what would make it take our descriptors for its own, or the
    connection that we serve for the one that it serves.
    """
    source = os.environ if environment is None else environment
    return {k: v for k, v in source.items() if not k.startswith(_NOT_INHERITED)}


def encoded(environment: Mapping[str, str]) -> dict[bytes, bytes]:
    """Give an environment as the system takes it."""
    return {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}


class Escalation:
    """SIGTERM, and then SIGKILL, for a process that does not end by itself."""

    def __init__(self, reactor: IReactorTime, process: IProcessTransport) -> None:
        self._reactor = reactor
        self._process = process
        self._next: IDelayedCall | None = None
        self._ends = inf

    def begin(self, patience: Patience) -> None:
        """Have the process end within ``patience``, counted from now.

        Who has asked before for an earlier end gets it.
        """
        ends = self._reactor.seconds() + patience.terminate + patience.kill
        if ends >= self._ends:
            return
        self._ends = ends
        if patience.terminate:
            self._later(patience.terminate, partial(self._terminate, patience.kill))
        else:
            self._terminate(patience.kill)

    def kill(self) -> None:
        """End the process by force."""
        self._signal("KILL")

    def cancel(self) -> None:
        """Leave it alone: it has ended."""
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _terminate(self, kill_after: float) -> None:
        self._signal("TERM")
        self._later(kill_after, self.kill)

    def _later(self, delay: float, step: Callable[[], None]) -> None:
        self.cancel()
        self._next = self._reactor.callLater(delay, step)

    def _signal(self, name: str) -> None:
        # A program that has become another user is not ours to signal any more.
        with suppress(ProcessExitedAlready, PermissionError):
            self._process.signalProcess(name)


class ProcessWatch(ProcessProtocol):
    """Hears of a process and of its end.

    The end may come before ``spawnProcess`` has returned, and thus before anybody
    is ready to hear of it: it is kept until :meth:`watch`.

    :ivar pid: the number of the process, which its transport forgets at the end.
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self._end: ProgramEnd | None = None
        self._exited: Callable[[ProgramEnd], None] | None = None

    def watch(
        self, reactor: IReactorTime, exited: Callable[[ProgramEnd], None]
    ) -> None:
        """Have the end told; if it has come already, in the next turn."""
        self._exited = exited
        if self._end is not None:
            reactor.callLater(0, exited, self._end)

    def connectionMade(self) -> None:
        """Keep the number."""
        if self.transport is not None:
            self.pid = self.transport.pid

    def processExited(self, reason: Failure) -> None:
        """Tell how it ended. Its descendants, if any, do not matter."""
        self._end = ProgramEnd.of(reason)
        if self._exited is not None:
            self._exited(self._end)


class _CanBeKilled(Protocol):
    def kill(self) -> None: ...


_Program = TypeVar("_Program", bound=_CanBeKilled)


class Running(Generic[_Program]):
    """The programs that are running, for those who wait for their end."""

    def __init__(self) -> None:
        self._programs: set[_Program] = set()
        self._waiting: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._programs)

    def __iter__(self) -> Iterator[_Program]:
        return iter(tuple(self._programs))

    def add(self, program: _Program) -> None:
        """Take note that a program runs."""
        self._programs.add(program)

    def remove(self, program: _Program) -> None:
        """Take note that a program is gone."""
        self._programs.discard(program)
        if not self._programs:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)

    def kill(self) -> None:
        """Kill them all."""
        for program in self:
            program.kill()

    def when_none(self) -> Deferred[None]:
        """Give a Deferred that fires when no program is running any more."""
        deferred: Deferred[None] = Deferred()
        if self._programs:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred
