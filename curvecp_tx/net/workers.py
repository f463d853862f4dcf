"""Several processes that serve one port, and the one that keeps them running.

The server's process opens the sockets, and serves nobody. Each worker has one of the
sockets and is a server of its own; what the workers have in common is in a
:class:`~curvecp_tx.net.shared_table.SharedTable`. A worker that dies has a successor
with the same socket, where packets wait meanwhile, and the others notice nothing.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.net.control import (
    CONTROL_IN,
    CONTROL_OUT,
    SOCKET,
    TABLE,
    Decoder,
    Saying,
    encode,
    pack_keys,
)
from curvecp_tx.net.ending import (
    Escalation,
    Patience,
    ProcessWatch,
    ProgramEnd,
    encoded,
    inheritable,
)
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report
from curvecp_tx.net.shared_table import SharedTable
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedKeys
from curvecp_tx.secure.nonces import LongTermNonces

FIRST_WAIT = 0.1
"""Seconds until a worker that has died is started again: its clients are waiting."""

MAX_WAIT = 5.0
"""The longest such wait. Each time it is twice as long, since what cannot live will
not live because it is tried more often."""

LONG_LIFE = 30.0
"""Seconds after which a worker has lived: its death is an accident again."""

STOP_PATIENCE = 12.0
"""Seconds beyond the grace until a worker that should stop is killed. Its programs
have had theirs by then."""

KILL_PATIENCE = Patience(terminate=2.0, kill=1.0)
"""When a worker is told to stop at once, which it does by itself."""

_PROGRAM = "curvecp_tx.service.worker"
"""What a worker runs. It stands above this layer, and is not imported here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers of a server must know.

    :ivar serve: what is served; the worker's business.
    :ivar authorized: the only keys that may come in; ``None`` for any.
    """

    identity: Identity
    name: str
    extension: bytes
    limits: Limits
    authorized: AuthorizedKeys | None
    idle_timeout: float | None
    bind_address: bool = True
    grace: float
    verbosity: int
    serve: Mapping[str, Any]


class Workers:
    """The workers of one server.

    :param sockets: of one port, see :func:`~curvecp_tx.net.steering.open_group`;
        one worker has one. They are ours from now on.
    :ivar restarts: how often a worker has died and was started again.
    :ivar counters: what the workers have counted, all together, when they have ended.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        sockets: Sequence[socket.socket],
        settings: WorkerSettings,
        *,
        report: Report | None = None,
    ) -> None:
        self.reactor = reactor
        self.report = report or Report()
        self.sockets = sockets
        self.restarts = 0
        self.counters: dict[str, int] = {}
        self.stopping = False
        nonces = settings.identity.nonces
        self._nonce_key: bytes | None = None
        values = range(0)
        if isinstance(nonces, LongTermNonces):
            self._nonce_key, values = nonces.hand_over()
        self.table = SharedTable.create(settings.limits.clients, values)
        self._settings = settings
        self._authorized = settings.authorized
        self._workers = [Worker(self, number) for number in range(len(sockets))]
        self._ended: Deferred[None] | None = None

    @property
    def pids(self) -> list[int | None]:
        """The workers' process IDs; ``None`` for one that is to be started again."""
        return [worker.pid for worker in self._workers]

    def start(self) -> None:
        """Start the workers."""
        if not self.stopping:
            for worker in self._workers:
                worker.start()

    def allow(self, authorized: AuthorizedKeys) -> None:
        """Have them all let in these keys only, those still to come included."""
        self._authorized = authorized
        self._tell_all({"say": "authorized", "keys": pack_keys(authorized)})

    def stop(self) -> Deferred[None]:
        """Have them let nobody new in, and end when clients have finished.

        :return: fires when all are gone, and the port is closed.
        """
        self.stopping = True
        ended = self._ended = Deferred()
        for worker in self._workers:
            worker.stop(self._settings.grace)
        self.check_ended()
        return ended

    def kill(self) -> None:
        """Have them wait for nothing."""
        self._tell_all({"say": "kill"})
        for worker in self._workers:
            worker.end_within(KILL_PATIENCE)

    def check_ended(self) -> None:
        """Close the port if that was the last worker."""
        if self._ended is None or any(worker.pid for worker in self._workers):
            return
        ended, self._ended = self._ended, None
        for sock in self.sockets:
            sock.close()
        self.table.close()
        self.counters["worker_restarts"] = self.restarts
        ended.callback(None)

    def count(self, counted: Mapping[str, int]) -> None:
        """Add what one of them has counted."""
        for name, number in counted.items():
            self.counters[name] = self.counters.get(name, 0) + number

    def orders(self, number: int) -> Saying:
        """Give what the worker of that number is told first."""
        settings = self._settings
        authorized = self._authorized
        return {
            "say": "start",
            "number": number,
            "workers": len(self._workers),
            "secret": settings.identity.keys.secret.hex(),
            "nonce_key": self._nonce_key.hex() if self._nonce_key else None,
            "name": settings.name,
            "extension": settings.extension.hex(),
            "limits": asdict(settings.limits),
            "authorized": None if authorized is None else pack_keys(authorized),
            "idle_timeout": settings.idle_timeout,
            "bind_address": settings.bind_address,
            "grace": settings.grace,
            "verbosity": int(settings.verbosity),
            "serve": dict(settings.serve),
        }

    def _tell_all(self, saying: Saying) -> None:
        for worker in self._workers:
            worker.tell(saying)


class Worker:
    """One place of the group, and the process that fills it.

    :ivar pid: of the process; ``None`` when there is none.
    """

    def __init__(self, group: Workers, number: int) -> None:
        self.pid: int | None = None
        self._group = group
        self._number = number
        self._wait = FIRST_WAIT
        self._restart: IDelayedCall | None = None
        self._process: _Process | None = None

    def start(self) -> None:
        """Start a process."""
        group, number = self._group, self._number
        self._restart = None
        self._started = group.reactor.seconds()
        process = self._process = _Process(self)
        try:
            spawned = group.reactor.spawnProcess(
                process,
                os.fsencode(sys.executable),
                [os.fsencode(argument) for argument in _command(number)],
                encoded(inheritable(None)),
                childFDs={
                    **{descriptor: descriptor for descriptor in range(3)},
                    SOCKET: group.sockets[number].fileno(),
                    TABLE: group.table.descriptor,
                    CONTROL_IN: "w",
                    CONTROL_OUT: "r",
                },
            )
        except OSError as error:
            self._process = None
            self._start_later(f"cannot be started: {error}")
            return
        self.pid = process.pid
        self._escalation = Escalation(group.reactor, spawned)
        self.tell(group.orders(number))
        process.watch(group.reactor, self._exited)

    def tell(self, saying: Saying) -> None:
        """Say something to the process, if there is one."""
        if self._process is not None:
            self._process.say(saying)

    def stop(self, grace: float) -> None:
        """Have the process end after so many seconds, and start no other."""
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        self.tell({"say": "stop"})
        self.end_within(Patience(grace + STOP_PATIENCE, KILL_PATIENCE.kill))

    def end_within(self, patience: Patience) -> None:
        """Have the process end within ``patience``, by force if need be."""
        if self.pid is not None:
            self._escalation.begin(patience)

    def heard(self, saying: Saying) -> None:
        """Take note of what the process says."""
        group = self._group
        if saying["say"] == "log":
            _log(group.report, saying)
        elif saying["say"] == "counters":
            group.count(saying["counters"])

    def _exited(self, end: ProgramEnd) -> None:
        group = self._group
        pid, self.pid, self._process = self.pid, None, None
        self._escalation.cancel()
        group.table.clear(self._number)
        if group.stopping:
            group.report.info("worker {pid} has ended: {end}", pid=pid, end=end)
            group.check_ended()
            return
        if group.reactor.seconds() - self._started >= LONG_LIFE:
            self._wait = FIRST_WAIT
        self._start_later(f"has died: {end}", pid)

    def _start_later(self, what: str, pid: int | None = None) -> None:
        group = self._group
        group.restarts += 1
        group.report.error(
            "worker {who} {what}; its successor starts in {wait:g} s",
            who=self._number + 1 if pid is None else pid,
            what=what,
            wait=self._wait,
        )
        self._restart = group.reactor.callLater(self._wait, self.start)
        self._wait = min(2 * self._wait, MAX_WAIT)


class _Process(ProcessWatch):
    """A worker's process, and the pipes to and from it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._decoder = Decoder()

    def say(self, saying: Saying) -> None:
        """Say something to it."""
        transport: Any = self.transport
        # Nobody reads any more what is said to one that is about to die.
        with suppress(ProcessExitedAlready, KeyError, AttributeError):
            transport.writeToChild(CONTROL_IN, encode(saying))

    def processExited(self, reason: Failure) -> None:
        """Wait for its last words."""

    def processEnded(self, reason: Failure) -> None:
        """Take note that it is gone. None of its programs has our pipes."""
        super().processExited(reason)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Pass on what it says."""
        for saying in self._decoder.feed(data):
            self._worker.heard(saying)


def _command(number: int) -> list[str]:
    """Give the command of a worker: Python as it is here, with the same path.

    Python would look for modules in the current directory first, where anybody may
    have put some.
    """
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from {_PROGRAM} import main; main()"
    )
    return [sys.executable, "-c", code, f"curvecp worker {number + 1}"]


def _log(report: Report, saying: Saying) -> None:
    """Write a line that comes from a worker, as if it were our own."""
    complaint, text = saying["complaint"], saying["text"]
    if complaint is not None:
        report.error_sometimes(complaint, "{line}", line=text)
    else:
        level = LogLevel.levelWithName(saying["level"])
        Logger(namespace="curvecp_tx").emit(level, "{line}", line=text)
