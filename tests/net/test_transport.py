"""What the transports of both ends have in common."""

from __future__ import annotations

from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.interfaces import IMessageProtocol
from curvecp_tx.net.report import Report
from curvecp_tx.net.transport import WAITING_LIMIT, MessageTransport
from curvecp_tx.secure.counters import Counters
from curvecp_tx.testing import FakeReactor
from tests.net.playing import Wire
from tests.net.recording import Recorder, message, raising


class TransportTests(SynchronousTestCase):
    """A transport without a network."""

    def setUp(self) -> None:
        """Make one."""
        self.reactor = FakeReactor()
        self.wire = Wire(self.reactor)

    def test_after_the_end(self) -> None:
        """Messages that arrive after the end are thrown away."""
        protocol = Recorder()
        self.wire.attach(protocol)
        self.wire.loseConnection()
        self.wire.deliver([message(1)])
        self.reactor.advance(0)
        self.assertEqual((protocol.batches, len(protocol.lost)), ([], 1))

    def test_end_before_the_protocol(self) -> None:
        """A connection may end before it has a protocol; nobody is told."""
        self.wire.deliver([message(1)])
        self.wire.loseConnection()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.wire.released, 1)

    def test_waiting(self) -> None:
        """Messages wait for their protocol, so many and no more."""
        for number in range(WAITING_LIMIT + 5):
            self.wire.deliver([message(number)])
        protocol = Recorder()
        self.wire.attach(protocol)
        self.assertEqual(protocol.batches, [[message(n) for n in range(WAITING_LIMIT)]])
        self.assertEqual(self.wire._counters.lost_waiting_full, 5)

    def test_failing_start(self) -> None:
        """What ``makeConnection`` raises comes out; another protocol may follow."""
        error = OSError("no room")
        self.wire.deliver([message(1)])
        failing = Recorder(raising(error))
        self.assertIs(self.assertRaises(OSError, self.wire.attach, failing), error)
        self.assertEqual((failing.batches, self.wire.released), ([], 0))
        protocol = Recorder()
        self.wire.attach(protocol)
        self.assertEqual(protocol.batches, [[message(1)]])

    def test_to_be_filled_in(self) -> None:
        """A subclass has to say how messages leave, and who is at the ends."""
        bare = MessageTransport(self.reactor, Report(), Counters())
        self.assertRaises(NotImplementedError, bare.getPeer)
        self.assertRaises(NotImplementedError, bare.getHost)
        self.assertRaises(NotImplementedError, bare.sendMessages, [message(1)])
        self.assertRaises(NotImplementedError, bare.loseConnection)

    def test_failing_receiver(self) -> None:
        """A protocol that fails is told, and its end may fail as well."""
        protocol = Recorder(received=raising(KeyError("a bug")))
        self.patch(protocol, "connectionLost", raising(ValueError("another")))
        self.wire.attach(cast(IMessageProtocol, protocol))
        self.wire.deliver([message(1)])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.reactor.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
