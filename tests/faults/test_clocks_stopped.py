"""Processes for which time stands still, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.stream.chicago import BURST
from curvecp_tx.testing import STEP, FakeReactor
from curvecp_tx.wire.packets import SERVER_MESSAGE_MAGIC
from tests.faults.figures import OURS, note
from tests.net.recording import NAME, SERVER, SERVER_IDENTITY
from tests.net.streaming import Counted, Echo, StreamCase, Talker

SIZE = 1 << 20
FULL = 1152
"""Bytes of a server's packet with a whole block."""

STOPPED = 30.0
BLOCKED = 2.0
RECOVERY = 5.0
"""Seconds of virtual time."""


class Waiting:
    """A process's socket: while the process is stopped, datagrams wait in it."""

    def __init__(self, listener: MessageListener) -> None:
        self._listener = listener
        self._held: list[Datagram] = []
        self.stopped = False

    def makeConnection(self, transport: Any) -> None:
        """Begin."""
        self._listener.makeConnection(transport)

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Hand on, or keep."""
        if self.stopped:
            self._held += datagrams
        else:
            self._listener.datagramsReceived(datagrams)

    def go_on(self) -> None:
        """Hand on what has waited."""
        self.stopped = False
        held, self._held = self._held, []
        self._listener.datagramsReceived(held)

    def doStop(self) -> None:
        """End."""
        self._listener.doStop()


class StoppedServerTests(StreamCase):
    """A server that echoes a mebibyte, and is stopped in the middle of it."""

    def start(self) -> None:
        """Start the server, with a time of its own, and a client."""
        self.own_time = FakeReactor()
        self.far = Counted(Echo)
        self.listener = MessageListener(
            self.own_time,
            StreamFactory(self.own_time, self.far, report=self.report),
            identity=SERVER_IDENTITY,
            name=NAME,
            report=self.report,
            randomBytes=self.random,
        )
        self.process = Waiting(self.listener)
        self.ports.append(self.network.attach(self.process, *SERVER))
        self.at_once: Counter[float] = Counter()
        self.network.watch = self.watch
        self.clients: list[Any] = []
        self.call(Talker).addCallback(self.clients.append)

    def watch(self, datagram: bytes, source: Address, target: Address) -> bool:
        """Count the full packets that the server sends in one instant."""
        if datagram[:8] == SERVER_MESSAGE_MAGIC and len(datagram) == FULL:
            self.at_once[self.reactor.seconds()] += 1
        return True

    def live(self, seconds: float) -> None:
        """Let time pass for everybody, or for everybody but the server."""
        for _ in range(round(seconds / STEP)):
            self.reactor.advance(STEP)
            if not self.process.stopped:
                self.own_time.advance(STEP)

    def stop(self, seconds: float) -> None:
        """Stop the server; when it goes on, its timers come before its socket."""
        self.process.stopped = True
        self.live(seconds)
        self.at_once.clear()
        self.own_time.advance(seconds)
        self.process.go_on()

    def tearDown(self) -> None:
        """Let the server's calls come to an end as well."""
        for port in self.ports:
            port.stopListening()
        self.own_time.advance(5.0)
        self.assertEqual(self.own_time.getDelayedCalls(), [])
        super().tearDown()

    def recover(self, seconds: float) -> None:
        """Stop the server for a while in the middle of a transfer."""
        self.start()
        self.live(1.0)
        [client] = self.clients
        data = self.random(SIZE)
        client.transport.write(data)
        self.live(0.3)
        before = len(client.received)
        self.assertGreater(before, 0)
        self.assertLess(before, SIZE)
        self.stop(seconds)
        burst = self.at_once[self.reactor.seconds()]
        self.assertLessEqual(burst, BURST + 1)
        self.live(RECOVERY)
        self.assertGreater(len(client.received), before)
        self.live(60.0)
        self.assertEqual(client.received == data, True, len(client.received))
        self.assertEqual(client.lost, [])
        self.assertLessEqual(max(self.at_once.values()), 2 * BURST)
        note("E10", OURS, f"{seconds:g} s: goes on with {burst} packets, all arrives")

    def test_stopped(self) -> None:
        """After 30 s it goes on: no burst, nothing lost, nobody given up."""
        self.recover(STOPPED)

    def test_blocked(self) -> None:
        """The same holds for a reactor that was blocked for 2 s."""
        self.recover(BLOCKED)

    def test_stopped_at_the_start(self) -> None:
        """A client whose server is stopped when it calls gets in."""
        self.start()
        self.process.stopped = True
        self.stop(STOPPED)
        self.live(RECOVERY)
        [client] = self.clients
        client.transport.write(b"hello")
        self.live(RECOVERY)
        self.assertEqual(client.received, b"hello")
        self.assertEqual(len(self.far.built), 1)
