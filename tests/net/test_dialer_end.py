"""The client's datagram protocol: how its connection ends."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone

from curvecp_tx.errors import (
    NoncesExhausted,
)
from curvecp_tx.secure.client import FRESH_START_AFTER
from curvecp_tx.secure.nonces import NONCE_LIMIT
from curvecp_tx.wire.packets import (
    COOKIE_MAGIC,
)
from tests.net.recording import (
    CLIENT,
    SERVER,
    Catcher,
    Recorder,
    Recorders,
    WorldCase,
    echo,
    greeting,
    message,
    raising,
)


class EndingTests(WorldCase):
    """How connections end, and what is left of them: nothing."""

    def assertEnded(self, client: Recorder, kind: type[Exception]) -> None:
        """Fail unless the client's connection has ended for that reason."""
        self.assertEqual(client.lost, [])
        self.assertNotIn(CLIENT, self.network._ports)
        self.reactor.advance(0)
        [reason] = client.lost
        self.assertTrue(reason.check(kind))
        self.ports[0].stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_lose(self) -> None:
        """A connection that is lost ends cleanly and closes the port."""
        _, client = self.connect()
        client.transport.loseConnection()
        client.transport.abortConnection()
        self.assertEnded(client, ConnectionDone)

    def test_abort(self) -> None:
        """A connection that is aborted ends as a failure."""
        _, client = self.connect()
        client.transport.abortConnection()
        self.assertEnded(client, ConnectionAborted)

    def test_port_closed(self) -> None:
        """Closing the port ends the connection."""
        _, client = self.connect()
        self.ports[1].stopListening()
        self.assertEnded(client, ConnectionDone)

    def test_lose_when_connected(self) -> None:
        """``makeConnection`` may end the connection already."""
        factory = Recorders(lambda protocol: protocol.transport.loseConnection())
        self.connect_alone(factory)
        self.assertIs(self.successResultOf(self.dialers[0].connected), factory.built[0])
        self.assertEqual(len(factory.built[0].lost), 1)

    def connect_alone(self, factory: Recorders) -> None:
        """Connect a client to a server about which nobody asks."""
        self.serve(Recorders(received=echo))
        self.dial(factory)
        self.reactor.advance(0)

    def test_failing_protocol(self) -> None:
        """A protocol that raises ends its connection."""
        error = ZeroDivisionError("a bug")
        factory = Recorders(greeting(message(0)), raising(error))
        self.connect_alone(factory)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        [reason] = factory.built[0].lost
        self.assertIs(reason.value, error)
        self.assertNotIn(CLIENT, self.network._ports)

    def test_silence_after_the_end(self) -> None:
        """After the end nothing is sent, and nothing is heard."""
        _, client = self.connect(Recorders(received=echo))
        client.transport.loseConnection()
        sent = self.network.traffic.sent
        client.transport.sendMessages([message(1)])
        self.dialer.transmit([message(2)])
        self.dialer.datagramsReceived([(bytes(80), SERVER)])
        self.reactor.advance(0)
        self.assertEqual(self.network.traffic.sent, sent)
        self.assertEqual(client.messages, [message(0)])
        self.assertEqual(self.dialer.counters.dropped_bad_size, 0)

    def test_late_timer(self) -> None:
        """A timer that is too late to be stopped does nothing."""
        dialer = self.dial(Recorders())
        dialer.connected.cancel()
        dialer._timer_fired()
        self.failureResultOf(dialer.connected, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_timer(self) -> None:
        """A dialer has one timer while it waits, and none once connected."""
        held = self.network.watch = Catcher(COOKIE_MAGIC)
        self.serve(Recorders(received=echo))
        self.dial(Recorders(greeting(message(0))))
        for _ in range(20):
            self.reactor.advance(0.7)
            # One is the server's, which turns minute keys.
            self.assertEqual(len(self.reactor.getDelayedCalls()), 2)
        self.network.watch = None
        self.dialers[0].datagramsReceived(held.caught)
        useless = len(held.caught) - 1
        self.assertEqual(self.dialers[0].counters.dropped_unexpected, useless)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)


class ExhaustionTests(WorldCase):
    """A short-term key whose nonces are used up."""

    def exhaust(self) -> None:
        """Leave no nonce to the client."""
        client = self.dialer._client
        assert client is not None
        client._counter._next = NONCE_LIMIT

    def test_sending(self) -> None:
        """Sending ends the connection."""
        _, client = self.connect(Recorders(received=echo))
        self.exhaust()
        client.transport.sendMessages([message(1)])
        self.reactor.advance(0)
        [reason] = client.lost
        self.assertTrue(reason.check(NoncesExhausted))

    def test_timer(self) -> None:
        """A Hello that cannot be repeated fails the attempt."""
        self.dialer = self.dial(Recorders())
        self.exhaust()
        self.reactor.run(3.0)
        self.failureResultOf(self.dialer.connected, NoncesExhausted)

    def test_long_term_nonces(self) -> None:
        """So does a Cookie that cannot be answered."""
        self.serve(Recorders())
        self.dialer = self.dial(Recorders(greeting(message(0))))
        client = self.dialer._client
        assert client is not None
        client._vouch_nonces = raising(NoncesExhausted())
        self.reactor.advance(0)
        self.failureResultOf(self.dialer.connected, NoncesExhausted)
        self.assertGreater(FRESH_START_AFTER, self.reactor.seconds())
