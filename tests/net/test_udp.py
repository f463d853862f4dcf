"""The UDP port on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from curvecp_tx.interfaces import IDatagramBatchTransport
from curvecp_tx.net.offload import RECEIVE_BYTES, SWITCH
from curvecp_tx.net.udp import BATCH_LIMIT, DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Datagram
from curvecp_tx.testing import FakeReactor

reactor: Any = installed_reactor
LOOPBACK = "127.0.0.1"
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23


class Batches:
    """A datagram protocol that notes what happens to it."""

    def __init__(self) -> None:
        self.transport: DatagramPort | None = None
        self.batches: list[list[Datagram]] = []
        self.stopped = 0
        self.onBatch: Deferred[None] = Deferred()

    def makeConnection(self, transport: DatagramPort) -> None:
        """Note the port."""
        self.transport = transport

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Note a batch."""
        self.batches.append(list(datagrams))
        if not self.onBatch.called:
            self.onBatch.callback(None)

    def doStop(self) -> None:
        """Note the end."""
        self.stopped += 1


class OpenSocketTests(SynchronousTestCase):
    """Making and binding sockets."""

    def bound(self, interface: str, port: int = 0) -> socket.socket:
        """Open a socket for the length of a test."""
        sock = open_socket(interface, port)
        self.addCleanup(sock.close)
        return sock

    def assertRefused(self, interface: str, port: int) -> CannotListenError:
        """Fail unless that place cannot be bound, and no descriptor leaks."""
        before = len(os.listdir("/proc/self/fd"))
        error: CannotListenError = self.assertRaises(
            CannotListenError, open_socket, interface, port
        )
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
        self.assertEqual((error.interface, error.port), (interface, port))
        self.assertIsInstance(error.socketError, Exception)
        return error

    def test_properties(self) -> None:
        """A socket is non-blocking, closed on exec, and lets packets be fragmented."""
        sock = self.bound(LOOPBACK)
        self.assertFalse(sock.getblocking())
        self.assertFalse(os.get_inheritable(sock.fileno()))
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER), 0)

    def test_properties_ipv6(self) -> None:
        """The same holds for IPv6, whose socket takes IPv4 as well."""
        sock = self.bound("::")
        self.assertFalse(sock.getblocking())
        self.assertFalse(os.get_inheritable(sock.fileno()))
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER), 0)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER), 0)
        self.assertEqual(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY), 0)

    def test_busy(self) -> None:
        """A port that somebody has cannot be had."""
        port = self.bound(LOOPBACK).getsockname()[1]
        self.assertIn("in use", str(self.assertRefused(LOOPBACK, port)))

    def test_bad_addresses(self) -> None:
        """A place must be an IP address of this host."""
        for place in ("", "localhost", "127.0.0.256", "127.0.0.1%lo", "::g", "é" * 70):
            self.assertRefused(place, 0)
        for foreign in ("192.0.2.1", "2001:db8::1"):
            self.assertRefused(foreign, 0)

    def test_bad_ports(self) -> None:
        """A port number out of range is refused, not taken modulo 65536."""
        for port in (-1, 65536, 70000, 1 << 40):
            self.assertRefused(LOOPBACK, port)
            self.assertRefused("::1", port)

    def test_no_option_is_indispensable(self) -> None:
        """A system that refuses every option still has a socket to offer."""

        def refuse(self: socket.socket, *arguments: object) -> None:
            raise OSError(92, "Protocol not available")

        self.patch(socket.socket, "setsockopt", refuse)
        self.assertGreater(self.bound("::1").getsockname()[1], 0)


class LoopbackTests(TestCase):
    """A port under the real reactor."""

    switch = "1"

    def setUp(self) -> None:
        """Open a port, and a plain socket to talk to it."""
        self.patch(os, "environ", {**os.environ, SWITCH: self.switch})
        self.counters = Counters()
        self.protocol = Batches()
        self.port = DatagramPort(
            reactor, self.protocol, open_socket(LOOPBACK, 0), self.counters
        )
        self.port.startListening()
        self.addCleanup(self.port.stopListening)
        self.address = (LOOPBACK, self.port.getHost().port)
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind((LOOPBACK, 0))
        self.peer.settimeout(10.0)
        self.addCleanup(self.peer.close)

    def test_interfaces(self) -> None:
        """A port is what the reactor and the layers above take it for."""
        for interface in (IListeningPort, IReadDescriptor, IDatagramBatchTransport):
            self.assertTrue(verifyObject(interface, self.port))
        self.assertEqual(self.port.logPrefix(), "CurveCP")
        self.assertIs(self.protocol.transport, self.port)

    async def test_batch(self) -> None:
        """What waits comes as one batch, in order, with its sender."""
        for number in range(5):
            self.peer.sendto(b"%d" % number, self.address)
        await self.protocol.onBatch
        sender = self.peer.getsockname()
        expected = [(b"%d" % number, sender) for number in range(5)]
        self.assertEqual(self.protocol.batches, [expected])

    async def test_batch_limit(self) -> None:
        """No batch is greater than the limit, and nothing is left behind."""
        for number in range(BATCH_LIMIT + 3):
            self.peer.sendto(b"%d" % number, self.address)
        while sum(map(len, self.protocol.batches)) < BATCH_LIMIT + 3:
            await deferLater(reactor, 0.001)
        self.assertEqual(len(self.protocol.batches[0]), BATCH_LIMIT)
        everything = [data for batch in self.protocol.batches for data, _ in batch]
        self.assertEqual(everything, [b"%d" % n for n in range(BATCH_LIMIT + 3)])

    async def test_too_long(self) -> None:
        """Of a longer datagram enough is read to see that it is too long."""
        self.peer.sendto(bytes(5000), self.address)
        await self.protocol.onBatch
        [[(data, _)]] = self.protocol.batches
        self.assertEqual(len(data), RECEIVE_BYTES)

    def test_send(self) -> None:
        """Datagrams go out in order and are counted."""
        name = self.peer.getsockname()
        self.port.sendDatagrams([(b"one", name), (b"two", name)])
        self.port.write(b"three", name)
        received = [self.peer.recv(100) for _ in range(3)]
        self.assertEqual(received, [b"one", b"two", b"three"])
        self.assertEqual(self.counters.datagrams_sent, 3)

    async def test_ipv4_over_ipv6(self) -> None:
        """A port on the unspecified IPv6 address serves IPv4 clients."""
        protocol = Batches()
        port = DatagramPort(reactor, protocol, open_socket("::", 0), self.counters)
        port.startListening()
        self.addCleanup(port.stopListening)
        self.peer.sendto(b"hello", (LOOPBACK, port.getHost().port))
        await protocol.onBatch
        [[(data, address)]] = protocol.batches
        self.assertEqual((data, address[0]), (b"hello", "::ffff:127.0.0.1"))
        port.sendDatagrams([(b"welcome", address)])
        self.assertEqual(self.peer.recv(100), b"welcome")

    def test_stop_twice(self) -> None:
        """Stopping again, or at the reactor's end, is harmless."""
        self.port.stopListening()
        self.port.stopListening()
        self.port.connectionLost(Failure(Exception("the reactor stops")))
        self.assertEqual(self.protocol.stopped, 1)
        self.assertEqual(self.port.fileno(), -1)
        self.assertNotIn(self.port, reactor.getReaders())

    def test_lost_with_the_reactor(self) -> None:
        """The reactor's end ends the protocol, too."""
        self.port.connectionLost(Failure(Exception("the reactor stops")))
        self.assertEqual(self.protocol.stopped, 1)

    def test_send_when_closed(self) -> None:
        """What is sent over a closed port is lost and counted."""
        self.port.stopListening()
        self.port.write(b"late", self.peer.getsockname())
        self.assertEqual(self.counters.lost_send_error, 1)

    async def test_stop_within_batch(self) -> None:
        """A protocol may close its port while it takes a batch."""
        self.protocol.onBatch.addCallback(lambda _: self.port.stopListening())
        self.peer.sendto(b"first", self.address)
        await self.protocol.onBatch
        self.peer.sendto(b"second", self.address)
        await deferLater(reactor, 0.01)
        self.assertEqual(len(self.protocol.batches), 1)
        self.assertEqual(self.protocol.stopped, 1)

    async def test_failing_protocol(self) -> None:
        """An error of the protocol is logged, and the port stays open."""

        def receive(datagrams: Sequence[Datagram]) -> None:
            self.patch(self.protocol, "datagramsReceived", original)
            failed.callback(None)
            raise RuntimeError("a bug")

        original = self.protocol.datagramsReceived
        failed: Deferred[None] = Deferred()
        self.patch(self.protocol, "datagramsReceived", receive)
        self.peer.sendto(b"first", self.address)
        await failed
        self.peer.sendto(b"second", self.address)
        await self.protocol.onBatch
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.protocol.batches[0][0][0], b"second")


class SinglyLoopbackTests(LoopbackTests):
    """The same with a system call for each datagram."""

    switch = "0"


class StopAtStartTests(SynchronousTestCase):
    """A protocol that has had enough at once."""

    def test_stop_from_start(self) -> None:
        """A port that is stopped while it starts is never watched."""

        class Stopping(Batches):
            def makeConnection(self, transport: DatagramPort) -> None:
                """Close the port."""
                transport.stopListening()

        fake = FakeReactor()
        protocol = Stopping()
        port = DatagramPort(fake, protocol, open_socket(LOOPBACK, 0), Counters())
        port.startListening()
        self.assertEqual(fake.getReaders(), [])
        self.assertEqual((port.fileno(), protocol.stopped), (-1, 1))

    def test_stop_before_start(self) -> None:
        """A port that never started closes its socket, and tells nobody."""
        protocol = Batches()
        port = DatagramPort(FakeReactor(), protocol, open_socket("::1", 0), Counters())
        self.assertEqual(port.getHost().host, "::1")
        port.stopListening()
        self.assertEqual((port.fileno(), protocol.stopped), (-1, 0))
