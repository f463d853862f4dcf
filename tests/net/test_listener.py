"""The server's datagram protocol: connections from their opening to their end."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from curvecp_tx.errors import BadMessageSize, BadName, NoncesExhausted
from curvecp_tx.interfaces import IClientPolicy, IMessageTransport
from curvecp_tx.net import listener as listener_module
from curvecp_tx.net.listener import AdmitEverybody
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.secure.nonces import NONCE_LIMIT
from curvecp_tx.secure.paths import Address
from curvecp_tx.wire.packets import INITIATE_MAGIC
from tests.net.recording import (
    CLIENT,
    CLIENT_IDENTITY,
    NAME,
    SERVER,
    SERVER_IDENTITY,
    Catcher,
    Recorder,
    Recorders,
    WorldCase,
    echo,
    greeting,
    logged,
    message,
    raising,
)


class OpeningTests(WorldCase):
    """What a protocol sees of a client."""

    def test_interfaces(self) -> None:
        """Transports and the default policy provide what they declare."""
        server, _ = self.connect()
        self.assertTrue(verifyObject(IMessageTransport, server.transport))
        self.assertTrue(verifyObject(IClientPolicy, AdmitEverybody()))

    def test_parameters(self) -> None:
        """A name or extension of the wrong size is refused at once."""
        self.assertRaises(BadName, self.serve, Recorders(), name="x" * 64)
        self.assertRaises(ValueError, self.serve, Recorders(), extension=b"short")

    def test_addresses(self) -> None:
        """Factory and protocol learn who is at both ends."""
        factory = Recorders()
        server, _ = self.connect(factory, extension=bytes(16))
        peer = server.transport.getPeer()
        self.assertEqual(factory.addresses, [peer])
        self.assertEqual(peer.key, CLIENT_IDENTITY.keys.public)
        self.assertEqual((peer.name, peer.host, peer.port), (None, *CLIENT))
        host = server.transport.getHost()
        self.assertEqual(host, self.listener.getHost())
        self.assertEqual(host.key, SERVER_IDENTITY.keys.public)
        self.assertEqual((host.name, host.host, host.port), (NAME, *SERVER))

    def test_mapped_addresses(self) -> None:
        """IPv4 addresses that came through an IPv6 socket are shown plain."""
        factory = Recorders()
        server = self.serve(factory, address=("::ffff:192.0.2.1", 1))
        client = self.dial(
            Recorders(greeting(message(0))),
            address=("::ffff:198.51.100.7", 2),
            addresses=[("::ffff:192.0.2.1", 1, 0, 0)],
        )
        self.reactor.advance(0)
        self.assertEqual(factory.addresses[0].host, "198.51.100.7")
        self.assertEqual(server.getHost().host, "192.0.2.1")
        self.assertEqual(client.getPeer().host, "192.0.2.1")
        self.assertEqual(client.getHost().host, "198.51.100.7")

    def test_batch(self) -> None:
        """Messages that arrive together come as one list."""
        flight = [message(number) for number in range(5)]
        server, client = self.connect(client=Recorders(greeting(*flight)))
        self.assertEqual(server.batches, [flight])
        client.transport.sendMessages([message(5), message(6)])
        client.transport.sendMessages([message(7)])
        self.reactor.advance(0)
        later = [message(number) for number in (5, 6, 7)]
        self.assertEqual(server.batches, [flight, later])

    def test_single_datagrams(self) -> None:
        """A port that brings datagrams one by one does as well."""
        server, client = self.connect()

        def bring(datagram: bytes, source: Address, destination: Address) -> bool:
            self.listener.datagramReceived(datagram, source)
            return False

        self.network.watch = bring
        client.transport.sendMessages([message(1), message(2)])
        self.assertEqual(server.batches[1:], [[message(1)], [message(2)]])

    def test_several_clients(self) -> None:
        """Each connection has a protocol of its own."""
        factory = Recorders(received=echo)
        self.serve(factory)
        for number in range(3):
            self.dial(
                Recorders(greeting(message(number))),
                address=("203.0.113.1", 1 + number),
            )
        self.reactor.advance(0)
        self.assertEqual(
            [protocol.messages for protocol in factory.built],
            [[message(0)], [message(1)], [message(2)]],
        )
        self.assertEqual([peer.port for peer in factory.addresses], [1, 2, 3])

    def test_peer_that_moves(self) -> None:
        """``getPeer`` tells where the client was last heard."""
        server, client = self.connect()
        self.ports[1].rebind("203.0.113.5", 77)
        self.assertEqual(server.transport.getPeer().host, CLIENT[0])
        client.transport.sendMessages([message(1)])
        self.reactor.advance(0)
        peer = server.transport.getPeer()
        self.assertEqual((peer.host, peer.port), ("203.0.113.5", 77))
        self.assertEqual(self.listener.counters.path_changes, 1)


class SendingTests(WorldCase):
    """What a server's protocol sends."""

    def test_send(self) -> None:
        """Messages reach the client, in order."""
        server, client = self.connect()
        sizes = [message(1), message(2, 1088), message(3, 32)]
        server.transport.sendMessages(sizes)
        self.reactor.advance(0)
        self.assertEqual(client.batches, [sizes])
        self.assertEqual(server.transport.messageLimit, 1088)

    def test_sizes(self) -> None:
        """A message of a size that none has is an error, and none is sent."""
        server, client = self.connect()
        for size in (0, 8, 17, 1087, 1089, 1104):
            with self.assertRaises(BadMessageSize):
                server.transport.sendMessages([message(1), bytes(size)])
        self.reactor.advance(0)
        self.assertEqual(client.messages, [])

    def test_after_the_end(self) -> None:
        """After the end nothing is sent, and bad sizes are still errors."""
        server, client = self.connect()
        server.transport.loseConnection()
        server.transport.sendMessages([message(1)])
        self.reactor.advance(0)
        server.transport.sendMessages([message(2)])
        self.reactor.advance(0)
        self.assertEqual(client.messages, [])
        self.assertEqual(self.listener.counters.messages_sent, 0)
        self.assertRaises(BadMessageSize, server.transport.sendMessages, [b"x"])

    def test_nonces_exhausted(self) -> None:
        """A connection ends before it would use a nonce twice."""
        server, client = self.connect()
        [session] = self.listener._connections
        session._counter._next = NONCE_LIMIT - 1
        server.transport.sendMessages([message(1)])
        server.transport.sendMessages([message(2)])
        self.reactor.advance(0)
        self.assertEqual(client.messages, [message(1)])
        [reason] = server.lost
        self.assertTrue(reason.check(NoncesExhausted))
        self.assertEqual(self.listener.connections, 0)


class EndingTests(WorldCase):
    """How connections end, and what is left of them: nothing."""

    def test_lose(self) -> None:
        """A connection that is lost ends cleanly, once, and in a later turn."""
        server, _ = self.connect()
        server.transport.loseConnection()
        server.transport.loseConnection()
        server.transport.abortConnection()
        self.assertEqual(server.lost, [])
        self.assertEqual(self.listener.connections, 0)
        self.reactor.advance(0)
        [reason] = server.lost
        self.assertTrue(reason.check(ConnectionDone))

    def test_abort(self) -> None:
        """A connection that is aborted ends as a failure."""
        server, _ = self.connect()
        server.transport.abortConnection()
        server.transport.loseConnection()
        self.reactor.advance(0)
        [reason] = server.lost
        self.assertTrue(reason.check(ConnectionAborted))

    def test_silence_after_the_end(self) -> None:
        """A protocol hears nothing after its connection's end."""
        server, client = self.connect()
        client.transport.sendMessages([message(1)])
        server.transport.loseConnection()
        self.reactor.advance(0)
        client.transport.sendMessages([message(2)])
        self.reactor.advance(0)
        self.assertEqual(server.batches, [[message(0)]])
        self.assertEqual(len(server.lost), 1)

    def test_lose_when_connected(self) -> None:
        """``makeConnection`` may end the connection already."""
        ending = Recorders(lambda protocol: protocol.transport.loseConnection())
        server, _ = self.connect(ending)
        self.assertEqual((server.batches, len(server.lost)), ([], 1))
        self.assertEqual(self.listener.connections, 0)

    def test_lose_among_messages(self) -> None:
        """``messagesReceived`` may end the connection; the batch was one call."""

        def end(protocol: Recorder, messages: Sequence[bytes]) -> None:
            protocol.transport.loseConnection()
            self.assertEqual(protocol.lost, [])

        server, _ = self.connect(Recorders(received=end))
        self.assertEqual((len(server.batches), len(server.lost)), (1, 1))

    def test_failing_protocol(self) -> None:
        """A protocol that raises ends its own connection, and no other."""

        def fail_at_one(protocol: Recorder, messages: Sequence[bytes]) -> None:
            if message(1) in messages:
                raise ZeroDivisionError("a bug")
            echo(protocol, messages)

        factory = Recorders(received=fail_at_one)
        self.serve(factory)
        others = Recorders(greeting(message(2)))
        for port, clients in enumerate((others, Recorders(greeting(message(1)))), 1):
            self.dial(clients, address=("203.0.113.1", port))
        self.reactor.advance(0)
        [failure] = self.flushLoggedErrors(ZeroDivisionError)
        good, bad = factory.built
        [reason] = bad.lost
        self.assertIs(reason.value, failure.value)
        others.built[0].transport.sendMessages([message(3)])
        self.reactor.advance(0)
        self.assertEqual(good.messages, [message(2), message(3)])
        self.assertEqual(others.built[0].messages, [message(2), message(3)])

    def test_failing_end(self) -> None:
        """An error in ``connectionLost`` is logged, and that is all."""
        server, _ = self.connect()
        self.patch(server, "connectionLost", raising(ZeroDivisionError("a bug")))
        server.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop(self) -> None:
        """Closing the port ends every connection."""
        factory = Recorders()
        self.serve(factory)
        for number in (1, 2):
            self.dial(Recorders(greeting(message(0))), address=("203.0.113.1", number))
        self.reactor.advance(0)
        self.ports[0].stopListening()
        self.reactor.advance(0)
        for protocol in factory.built:
            [reason] = protocol.lost
            self.assertTrue(reason.check(ConnectionDone))

    def test_stop_among_openings(self) -> None:
        """A protocol that closes the port ends what has just been opened, too."""
        factory = Recorders(lambda protocol: self.ports[0].stopListening())
        catcher = self.network.watch = Catcher(INITIATE_MAGIC)
        listener = self.serve(factory)
        for number in (1, 2):
            self.dial(Recorders(greeting(message(0))), address=("203.0.113.1", number))
        self.reactor.advance(0)
        listener.datagramsReceived(catcher.caught)
        self.reactor.advance(0)
        self.assertEqual([len(protocol.lost) for protocol in factory.built], [1])
        self.assertEqual(listener.connections, 0)
        self.assertEqual(listener.counters.refused_draining, 1)

    def test_stop_and_start(self) -> None:
        """A listener whose port was closed may serve on another."""
        server, _ = self.connect(Recorders(received=echo))
        self.ports.pop(0).stopListening()
        self.ports.append(self.network.attach(self.listener, "192.0.2.2", 11000))
        again = Recorders(greeting(message(1)))
        self.dial(again, address=("203.0.113.1", 1), addresses=[("192.0.2.2", 11000)])
        self.reactor.advance(0)
        self.assertEqual(again.built[0].messages, [message(1)])
        self.assertEqual(len(server.lost), 1)

    def test_log(self) -> None:
        """The curious read how many clients there are."""
        with logged() as lines:
            server, _ = self.connect(limits=Limits(clients=7))
            server.transport.loseConnection()
        self.assertEqual(lines("status"), ["status: 1/7", "status: 0/7"])


class TimeTests(WorldCase):
    """Minute keys and clocks."""

    def test_rotation(self) -> None:
        """Minute keys retire on time even when no packet comes."""
        listener = self.serve(Recorders())
        jar = listener._server._jar
        keys = [jar._current.secret]
        for _ in range(3):
            self.reactor.advance(MINUTE)
            self.assertEqual(jar._previous.secret, keys[-1])
            keys.append(jar._current.secret)
        self.assertEqual(len(set(keys)), 4)

    def returned_after(self, seconds: float) -> int:
        """Give back a cookie after that time; tell how many protocols that built."""
        catcher = self.network.watch = Catcher(INITIATE_MAGIC)
        factory = Recorders()
        self.listener = self.serve(factory)
        self.dial(Recorders(greeting(message(0))), timeout=None)
        self.reactor.advance(0)
        self.reactor.advance(seconds)
        self.listener.datagramsReceived(catcher.caught[:1])
        return len(factory.built)

    def test_cookie_of_a_minute(self) -> None:
        """A cookie is good for a minute."""
        self.assertEqual(self.returned_after(MINUTE), 1)

    def test_old_cookie(self) -> None:
        """After two minutes no cookie is good any more."""
        self.assertEqual(self.returned_after(2 * MINUTE), 0)
        self.assertEqual(self.listener.counters.dropped_bad_cookie, 1)

    def test_wall_clock(self) -> None:
        """A real reactor's wall clock does not matter to minute keys."""
        wall = Clock()
        self.patch(
            listener_module, "monotonic_seconds", lambda clock: self.reactor.seconds
        )
        listener = self.serve(Recorders(), reactor=wall)
        jar = listener._server._jar
        before = jar._current.secret
        wall.rightNow = 1e9
        listener.datagramsReceived([])
        self.assertEqual(jar._current.secret, before)
        self.reactor.advance(MINUTE)
        listener.datagramsReceived([])
        self.assertEqual(jar._previous.secret, before)
