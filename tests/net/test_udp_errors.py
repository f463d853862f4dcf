"""Errors of the system, which a UDP port survives one and all."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import cast

from twisted.internet.error import MessageLengthError
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.udp import BATCH_LIMIT, DatagramPort, batch_sender
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.testing import FakeReactor, MemoryNetwork, MemoryPort
from tests.net.fake_socket import PEER, FakeSocket, error

COUNTED_RECEIVE_ERRORS = (
    errno.ENOMEM,
    errno.EHOSTUNREACH,
    errno.ECONNRESET,
    errno.ECONNREFUSED,
    errno.ENETDOWN,
    errno.ENOBUFS,
)
NOTHING_THERE = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
SEND_ERRORS = (
    errno.EAGAIN,
    errno.ENOBUFS,
    errno.EPERM,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EMSGSIZE,
    errno.ECONNREFUSED,
    errno.EINVAL,
)


class Batches:
    """A datagram protocol that notes what it gets."""

    def __init__(self) -> None:
        self.batches: list[list[Datagram]] = []
        self.error: Exception | None = None

    def makeConnection(self, transport: object) -> None:
        """Begin."""

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Note a batch."""
        self.batches.append(list(datagrams))
        if self.error is not None:
            raise self.error

    def doStop(self) -> None:
        """End."""
        raise AssertionError("the port was closed")


class ErrnoTests(SynchronousTestCase):
    """Each error costs a datagram at the most."""

    runs = False

    def setUp(self) -> None:
        """Open a port on a fake socket."""
        self.patch(os, "environ", {})
        self.reactor = FakeReactor()
        self.counters = Counters()
        self.protocol = Batches()
        self.socket = FakeSocket(runs=self.runs)
        self.port = DatagramPort(
            self.reactor,
            self.protocol,
            cast(socket.socket, self.socket),
            self.counters,
        )
        self.port.startListening()

    def assertServing(self) -> None:
        """Fail unless the next datagram is handled."""
        self.protocol.batches.clear()
        self.socket.arriving.append((b"next", PEER))
        self.reactor.poll()
        self.assertEqual(self.protocol.batches, [[(b"next", PEER)]])
        self.assertFalse(self.socket.closed)

    def test_receive_errors(self) -> None:
        """An error of receiving is counted, and the port stays open."""
        for count, number in enumerate(COUNTED_RECEIVE_ERRORS, 1):
            self.socket.arriving.append(error(number))
            self.reactor.poll()
            self.assertEqual(self.counters.lost_receive_error, count)
            self.assertServing()

    def test_nothing_there(self) -> None:
        """To find nothing, or to be interrupted, is no error."""
        for number in NOTHING_THERE:
            self.socket.arriving.append(error(number))
            self.reactor.poll()
            self.assertServing()
        self.assertEqual(self.counters.lost_receive_error, 0)

    def test_receive_error_inside_batch(self) -> None:
        """What was read before an error is handled."""
        for number in (*COUNTED_RECEIVE_ERRORS, *NOTHING_THERE):
            self.protocol.batches.clear()
            self.socket.arriving.extend([(b"a", PEER), (b"b", PEER), error(number)])
            self.reactor.poll()
            self.assertEqual(self.protocol.batches, [[(b"a", PEER), (b"b", PEER)]])
            self.assertServing()

    def test_batch_limit(self) -> None:
        """One readiness event reads a limited number of datagrams."""
        self.socket.arriving.extend([(b"x", PEER)] * (2 * BATCH_LIMIT + 1))
        for size in (BATCH_LIMIT, BATCH_LIMIT, 1):
            self.reactor.poll()
            self.assertEqual(len(self.protocol.batches[-1]), size)

    def test_nothing_is_no_batch(self) -> None:
        """Without a datagram the protocol is not called."""
        self.reactor.poll()
        self.assertEqual(self.protocol.batches, [])

    def test_protocol_errors(self) -> None:
        """Whatever the protocol raises is logged, and the port stays open."""
        for raised in (RuntimeError("a bug"), OSError("a bug"), KeyError("a bug")):
            self.protocol.error = raised
            self.socket.arriving.append((b"bad", PEER))
            self.reactor.poll()
            self.assertEqual(len(self.flushLoggedErrors(type(raised))), 1)
            self.protocol.error = None
            self.assertServing()

    def test_send_errors(self) -> None:
        """An error of sending costs its own datagram, not the rest of the batch."""
        # No two in a row have one size, so none are sent with one call.
        batch = [(bytes(1 + n), PEER) for n in range(len(SEND_ERRORS) + 2)]
        self.socket.fates.extend([None, *map(error, SEND_ERRORS)])
        self.port.sendDatagrams(batch)
        self.assertEqual(self.socket.sent, [batch[0], batch[-1]])
        self.assertEqual(self.counters.lost_send_error, len(SEND_ERRORS))
        self.assertEqual(self.counters.datagrams_sent, 2)
        self.assertServing()

    def test_single_send_errors(self) -> None:
        """The same holds for datagrams sent one by one."""
        for count, number in enumerate(SEND_ERRORS, 1):
            self.socket.fates.append(error(number))
            self.port.write(b"lost", PEER)
            self.port.write(b"sent", PEER)
            self.assertEqual(self.counters.lost_send_error, count)
            self.assertEqual(len(self.socket.sent), count)


class RunErrnoTests(ErrnoTests):
    """The same where the system knows of runs."""

    runs = True


class BatchSenderTests(SynchronousTestCase):
    """Sending batches over ports of any kind."""

    def test_batch_port(self) -> None:
        """A port that takes batches is given them."""
        port = MemoryPort(MemoryNetwork(FakeReactor()), Batches(), PEER)
        self.assertEqual(batch_sender(port, Counters()), port.sendDatagrams)

    def test_plain_port(self) -> None:
        """A port that does not gets one after the other; its errors are counted."""

        class PlainPort:
            def __init__(self) -> None:
                self.sent: list[Datagram] = []
                self.fates: deque[Exception | None] = deque(
                    [None, MessageLengthError(), *map(error, SEND_ERRORS), None]
                )

            def write(self, datagram: bytes, address: Address) -> None:
                """Send, or fail."""
                fate = self.fates.popleft()
                if fate is not None:
                    raise fate
                self.sent.append((datagram, address))

        port, counters = PlainPort(), Counters()
        batch = [(b"%d" % number, PEER) for number in range(len(port.fates))]
        batch_sender(port, counters)(batch)
        self.assertEqual(port.sent, [batch[0], batch[-1]])
        self.assertEqual(counters.datagrams_sent, 2)
        self.assertEqual(counters.lost_send_error, len(SEND_ERRORS) + 1)
