"""The one that keeps workers running; the workers are played by the tests."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessProtocol
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.net.control import CONTROL_IN, CONTROL_OUT, Decoder, Saying, encode
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.workers import (
    FIRST_WAIT,
    LONG_LIFE,
    MAX_WAIT,
    STOP_PATIENCE,
    Workers,
    WorkerSettings,
)
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.ledger import Quota
from curvecp_tx.secure.nonces import LongTermNonces
from curvecp_tx.testing import FakeProcess, FakeReactor
from tests.net.recording import logged, open_descriptors

COUNT = 2
GRACE = 10.0
SECRET = bytes(range(32))
KEYS = AuthorizedKeys(
    AuthorizedClient(b"a" * 32, "ada", 4), AuthorizedClient(bytes(32))
)
PACKED = [["61" * 32, "ada", 4], ["00" * 32, None, None]]


class PlayedWorker(FakeProcess):
    """A worker as a process that does what a test says.

    :ivar told: what it was told.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.told: list[Saying] = []
        self._decoder = Decoder()

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Hear something."""
        assert childFD == CONTROL_IN
        if self.pid is None:
            raise ProcessExitedAlready
        self.told += self._decoder.feed(data)

    @property
    def heard(self) -> list[str]:
        """Give the names of what it was told."""
        return [saying["say"] for saying in self.told]

    def say(self, **saying: Any) -> None:
        """Say something."""
        self.protocol.childDataReceived(CONTROL_OUT, encode(saying))


class WorkerReactor(FakeReactor):
    """A reactor whose processes are workers."""

    workers: list[PlayedWorker]

    def __init__(self) -> None:
        super().__init__()
        self.workers = []
        self.maps: list[Mapping[int, int | str]] = []

    def spawnProcess(  # type: ignore[override]
        self,
        protocol: IProcessProtocol,
        executable: bytes,
        arguments: list[bytes],
        environment: dict[bytes, bytes],
        childFDs: Mapping[int, int | str],
    ) -> PlayedWorker:
        """Start one."""
        if self.spawnError is not None:
            raise self.spawnError
        pid = 2000 + len(self.workers)
        worker = PlayedWorker(
            protocol, executable, arguments, environment, None, {}, pid
        )
        self.workers.append(worker)
        self.maps.append(childFDs)
        protocol.makeConnection(worker)  # type: ignore[arg-type]
        return worker


class WorkersCase(SynchronousTestCase):
    """A group of two."""

    def setUp(self) -> None:
        self.before = open_descriptors()
        self.reactor = WorkerReactor()
        self.nonces = LongTermNonces(
            nonce_key=b"n" * 32, first=7, count=100, random_bytes=os.urandom
        )
        self.group = self.make()

    def make(self) -> Workers:
        """Make a group; its sockets need not be of one port."""
        settings = WorkerSettings(
            identity=Identity(KeyPair.from_secret(SECRET), self.nonces),
            name="a.example",
            extension=b"e" * 16,
            limits=Limits(clients=5),
            authorized=KEYS,
            idle_timeout=60.0,
            grace=GRACE,
            verbosity=Verbosity.INFORMATION,
            serve={"program": ["cat", "\udcff"]},
        )
        sockets = [
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(COUNT)
        ]
        group = Workers(
            self.reactor,
            sockets,
            settings,
            report=Report(Verbosity.INFORMATION, seconds=self.reactor.seconds),
        )
        self.addCleanup(self.close, group)
        return group

    def close(self, group: Workers) -> None:
        """Leave nothing behind."""
        if not group.stopping:
            group.stop()
        for worker in self.reactor.workers:
            if worker.pid is not None:
                worker.exit()
        self.assertEqual({sock.fileno() for sock in group.sockets}, {-1})
        self.assertEqual(open_descriptors(), self.before)

    def start(self) -> list[PlayedWorker]:
        """Start the workers."""
        self.group.start()
        return self.reactor.workers


class StartTests(WorkersCase):
    """What workers are told."""

    def test_orders(self) -> None:
        """Each is told all it needs, over its pipe; nothing secret goes elsewhere."""
        workers = self.start()
        for number, worker in enumerate(workers):
            (orders,) = worker.told
            self.assertEqual((orders["say"], orders["number"]), ("start", number))
            self.assertEqual((orders["workers"], orders["name"]), (2, "a.example"))
            self.assertEqual(orders["secret"], SECRET.hex())
            self.assertEqual(orders["nonce_key"], (b"n" * 32).hex())
            self.assertEqual(Limits(**orders["limits"]), Limits(clients=5))
            self.assertEqual(orders["authorized"], PACKED)
            self.assertEqual(orders["serve"], {"program": ["cat", "\udcff"]})
            self.assertEqual(worker.executable, os.fsencode(sys.executable))
            seen = b" ".join([*worker.arguments, *worker.environment.values()])
            self.assertNotIn(SECRET.hex().encode(), seen)
        sockets = [map[3] for map in self.reactor.maps]
        self.assertEqual(sockets, [sock.fileno() for sock in self.group.sockets])
        self.assertEqual(
            {map[4] for map in self.reactor.maps}, {self.group.table.descriptor}
        )

    def test_nonces(self) -> None:
        """The nonces are in the table, and nobody else has them any more."""
        self.assertEqual(self.group.table.take_nonces(1000), range(7, 107))
        self.assertRaises(NoncesExhausted, self.nonces)

    def test_authorized_keys(self) -> None:
        """New keys are told to all, and to those who start later."""
        first, second = self.start()
        self.group.allow(AuthorizedKeys())
        for worker in (first, second):
            self.assertEqual(worker.told[1], {"say": "authorized", "keys": []})
        first.exit(1)
        self.reactor.advance(FIRST_WAIT)
        self.assertEqual(self.reactor.workers[2].told[0]["authorized"], [])


class DeathTests(WorkersCase):
    """Workers that die."""

    def test_successor(self) -> None:
        """It has the same socket and number, and the others are left alone."""
        first, second = self.start()
        with logged() as lines:
            second.exit(signal=9)
        self.assertEqual(
            lines("worker"),
            ["worker 2001 has died: signal 9; its successor starts in 0.1 s"],
        )
        self.assertEqual(self.group.pids, [2000, None])
        self.reactor.advance(FIRST_WAIT)
        successor = self.reactor.workers[2]
        self.assertEqual(successor.told[0]["number"], 1)
        self.assertEqual(self.reactor.maps[2][3], self.group.sockets[1].fileno())
        self.assertEqual((first.heard, self.group.restarts), (["start"], 1))

    def test_places(self) -> None:
        """Its places are free again, and no others."""
        _, second = self.start()
        for owner in (0, 1, 1):
            quota = Quota(5, None, None)
            self.group.table.take(owner, "host", bytes(32), quota)
        second.exit(1)
        self.assertEqual(len(self.group.table), 1)

    def test_back_off(self) -> None:
        """Who dies again and again starts ever later; a long life makes good for it."""
        self.start()
        waits = []
        for _ in range(8):
            self.reactor.workers[-1].exit(1)
            waits.append(self.wait_for_successor())
        expected = [min(FIRST_WAIT * 2**n, MAX_WAIT) for n in range(8)]
        self.assertEqual(waits, expected)
        self.reactor.advance(LONG_LIFE + 0.1)
        self.reactor.workers[-1].exit(1)
        self.assertEqual(self.wait_for_successor(), FIRST_WAIT)

    def wait_for_successor(self) -> float:
        """Wait for a worker to be started; give how long that took."""
        (call,) = self.reactor.getDelayedCalls()
        seconds = call.getTime() - self.reactor.seconds()
        count = len(self.reactor.workers)
        self.reactor.advance(seconds - 0.01)
        self.assertEqual(len(self.reactor.workers), count)
        self.reactor.advance(0.02)
        self.assertEqual(len(self.reactor.workers), count + 1)
        return round(seconds, 6)

    def test_no_process(self) -> None:
        """A process that cannot be had is tried for again."""
        self.reactor.spawnError = OSError(11, "no more processes")
        with logged() as lines:
            self.start()
        self.assertEqual(len(lines("cannot be started: [Errno 11]")), COUNT)
        self.assertEqual(self.group.pids, [None, None])
        self.reactor.spawnError = None
        self.reactor.advance(FIRST_WAIT)
        self.assertEqual(len(self.reactor.workers), COUNT)


class StopTests(WorkersCase):
    """The end of the group."""

    def test_stop(self) -> None:
        """All are told; when the last is gone, so is the port, and counts are added."""
        first, second = self.start()
        ended = self.group.stop()
        self.assertEqual([first.heard, second.heard], [["start", "stop"]] * 2)
        first.say(say="counters", counters={"hellos": 2, "cookies": 1})
        first.exit()
        self.assertNoResult(ended)
        second.say(say="counters", counters={"hellos": 3})
        second.exit()
        self.successResultOf(ended)
        self.assertEqual(
            self.group.counters, {"hellos": 5, "cookies": 1, "worker_restarts": 0}
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_successor(self) -> None:
        """Nobody is started any more, not even who was about to be."""
        first, _ = self.start()
        first.exit(1)
        self.group.stop()
        self.reactor.advance(GRACE)
        self.assertEqual(len(self.reactor.workers), COUNT)

    def test_before_the_start(self) -> None:
        """A group that was never started ends at once."""
        self.successResultOf(self.group.stop())
        self.group.start()
        self.assertEqual(self.reactor.workers, [])

    def test_patience(self) -> None:
        """Who does not end in time is made to."""
        first, _ = self.start()
        self.group.stop()
        self.reactor.advance(GRACE + STOP_PATIENCE - 0.1)
        self.assertEqual(first.signals, [])
        self.reactor.pump([0.2, 3.0])
        self.assertEqual(first.signals, ["TERM", "KILL"])

    def test_kill(self) -> None:
        """A worker has little time to kill its programs."""
        first, _ = self.start()
        self.group.stop()
        self.group.kill()
        self.assertEqual(first.heard, ["start", "stop", "kill"])
        self.reactor.pump([2.0, 1.0])
        self.assertEqual(first.signals, ["TERM", "KILL"])


class LogTests(WorkersCase):
    """What workers say."""

    def test_lines(self) -> None:
        """Their lines are in our log, as they are; complaints but once a minute."""
        first, second = self.start()
        text = {"say": "log", "complaint": None, "text": "pid {1} from"}
        with logged() as lines:
            first.say(level="info", **text)
            for worker in (first, second):
                worker.say(
                    say="log", level="error", complaint="full", text="it is full"
                )
        self.assertEqual(lines("pid"), ["pid {1} from"])
        self.assertEqual(lines("full"), ["it is full"])

    def test_pieces(self) -> None:
        """What is said may come in pieces, and more than one thing at once."""
        first, _ = self.start()
        data = b"".join(
            encode({"say": "counters", "counters": {"hellos": n}}) for n in (1, 2, 3)
        )
        for size in (1, 5, len(data)):
            self.group.counters.clear()
            for start in range(0, len(data), size):
                piece = data[start : start + size]
                first.protocol.childDataReceived(CONTROL_OUT, piece)
            self.assertEqual(self.group.counters, {"hellos": 6})
