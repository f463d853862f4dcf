"""Staying awake for an answer."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import partial
from itertools import count

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from curvecp_tx.net import busy_poll
from curvecp_tx.net.busy_poll import MAX_PATIENCE, SWITCH, TURN, patience, stay_awake
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Datagram


class PatienceTests(SynchronousTestCase):
    """What the environment says."""

    def look(self, value: str | None) -> float:
        """Give what comes of a value."""
        self.patch(os, "environ", {} if value is None else {SWITCH: value})
        return patience()

    def test_off(self) -> None:
        """Nobody stays awake who was not told to."""
        self.assertEqual(self.look(None), 0.0)
        self.assertEqual(self.look("0"), 0.0)

    def test_on(self) -> None:
        """It is a number of microseconds."""
        self.assertEqual(self.look("100"), 0.0001)
        self.assertEqual(self.look(str(MAX_PATIENCE)), MAX_PATIENCE / 1e6)

    def test_nonsense(self) -> None:
        """What is no such number is ignored, and the log says so."""
        logged: list[dict[str, object]] = []
        self.patch(busy_poll._log, "observer", logged.append)
        for value in (
            "",
            "-1",
            "1.5",
            "soon",
            "9" * 5000,
            str(MAX_PATIENCE + 1),
            "\u0663",
        ):
            logged.clear()
            self.assertEqual(self.look(value), 0.0)
            self.assertEqual([event["name"] for event in logged], [SWITCH])


class LoopTests(SynchronousTestCase):
    """How long it goes on."""

    def play(self, arrivals: list[float], seconds: float) -> tuple[float, int]:
        """Read with these arrivals, 10 microseconds a time; give end and how many."""
        self.now = 0.0
        taken = 0

        def read() -> bool:
            nonlocal taken
            self.now += 1e-5
            if arrivals and arrivals[0] <= self.now:
                arrivals.pop(0)
                taken += 1
                return True
            return False

        stay_awake(read, seconds, lambda: self.now)
        return self.now, taken

    def test_silence(self) -> None:
        """Without an answer it ends after the time that was given."""
        end, taken = self.play([], 1e-4)
        self.assertEqual(taken, 0)
        self.assertAlmostEqual(end, 1e-4, delta=2e-5)

    def test_answers(self) -> None:
        """Each answer begins the time anew."""
        end, taken = self.play([9e-5, 18e-5, 27e-5, 1.0], 1e-4)
        self.assertEqual(taken, 3)
        self.assertAlmostEqual(end, 37e-5, delta=3e-5)

    def test_turn(self) -> None:
        """However many come, the event loop gets its turn."""
        end, taken = self.play([5e-5 * n for n in range(1000)], 1e-4)
        self.assertAlmostEqual(end, TURN, delta=2e-5)
        self.assertGreater(taken, 30)


class _Server:
    """Answers each datagram itself, and counts how often it was called."""

    def __init__(self) -> None:
        self.batches = 0
        self.sent = 0
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.stop_after: int | None = None

    def makeConnection(self, transport: DatagramPort) -> None:
        """Keep the port."""
        self.port = transport

    def doStop(self) -> None:
        """End."""

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Have the next datagram arrive while this one is handled."""
        self.batches += 1
        if self.batches == self.stop_after:
            self.port.stopListening()
        elif self.sent < 3:
            self.send()

    def send(self) -> None:
        """Send one to the port."""
        self.sent += 1
        host = self.port.getHost()
        self.peer.sendto(b"x" * 64, (host.host, host.port))


class PortTests(TestCase):
    """A port that was told to stay awake."""

    def open(self) -> _Server:
        """Open one."""
        self.patch(os, "environ", {**os.environ, SWITCH: "100"})
        steps = count(step=1e-5)
        awake = partial(stay_awake, clock=lambda: next(steps))
        self.patch(busy_poll, "stay_awake", awake)
        server = _Server()
        self.addCleanup(server.peer.close)
        port = DatagramPort(
            reactor,
            server,
            open_socket("127.0.0.1", 0),
            Counters(),
        )
        port.startListening()
        self.addCleanup(port.stopListening)
        return server

    def test_one_event(self) -> None:
        """What comes while an earlier one is handled needs no event of its own."""
        server = self.open()
        server.send()
        server.port.doRead()
        self.assertEqual(server.batches, 3)

    def test_closed_meanwhile(self) -> None:
        """A port that is closed by what it brings is read no more."""
        server = self.open()
        server.stop_after = 2
        server.send()
        server.port.doRead()
        self.assertEqual(server.batches, 2)
