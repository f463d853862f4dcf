"""The client's datagram protocol: from its first Hello to the end."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionAborted, ConnectionDone
from zope.interface.verify import verifyObject

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import (
    BadMessageSize,
    BadName,
    ConnectTimedOut,
    LowOrderKey,
    RefusedByPolicy,
)
from curvecp_tx.interfaces import IMessageProtocol, IMessageTransport
from curvecp_tx.net.extension import REREAD_INTERVAL, ExtensionFile
from curvecp_tx.secure.client import DEFAULT_TIMEOUT
from curvecp_tx.wire.packets import (
    HELLO_MAGIC,
    INITIATE_MAGIC,
    SENDER_EXTENSION,
    SERVER_MESSAGE_MAGIC,
)
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


class ConnectingTests(WorldCase):
    """What a client's protocol sees."""

    def test_connected(self) -> None:
        """The Deferred fires at the Cookie, before the server has said anything."""
        self.network.watch = Catcher(INITIATE_MAGIC)
        self.serve(Recorders())
        client = Recorders(greeting(message(0)))
        with logged() as lines:
            dialer = self.dial(client)
            self.assertNoResult(dialer.connected)
            self.reactor.advance(0)
        self.assertIs(self.successResultOf(dialer.connected), client.built[0])
        self.assertEqual(lines("cookie"), ["cookie from 192.0.2.1:11000"])

    def test_addresses(self) -> None:
        """Factory and protocol learn who is at both ends."""
        factory = Recorders(greeting(message(0)))
        _, client = self.connect(client=factory)
        self.assertTrue(verifyObject(IMessageTransport, client.transport))
        peer = client.transport.getPeer()
        self.assertEqual(factory.addresses, [peer])
        self.assertEqual(peer.key, SERVER_IDENTITY.keys.public)
        self.assertEqual((peer.name, peer.host, peer.port), (NAME, *SERVER))
        host = client.transport.getHost()
        self.assertEqual(host.key, CLIENT_IDENTITY.keys.public)
        self.assertEqual((host.name, host.host, host.port), (None, *CLIENT))
        self.assertEqual(host.extension, bytes(16))

    def test_addresses_after_the_end(self) -> None:
        """A protocol may still ask for them when its connection has ended."""
        self.serve(Recorders(received=echo))
        factory = Recorders(greeting(message(0)))
        self.dial(factory, addresses=[("192.0.2.99", 1), SERVER])
        self.reactor.run(5.0)
        [client] = factory.built
        before = client.transport.getHost(), client.transport.getPeer()
        self.assertEqual((before[1].host, before[1].port), SERVER)
        client.transport.loseConnection()
        after = client.transport.getHost(), client.transport.getPeer()
        self.assertEqual(after, before)

    def test_messages(self) -> None:
        """The protocol gets the server's messages, those of a batch as one list."""
        server, client = self.connect(Recorders(received=echo))
        server.transport.sendMessages([message(1), message(2)])
        self.reactor.advance(0)
        self.assertEqual(client.batches, [[message(0)], [message(1), message(2)]])

    def test_single_datagrams(self) -> None:
        """A port that brings datagrams one by one does as well."""
        catcher = self.network.watch = Catcher(SERVER_MESSAGE_MAGIC)
        _, client = self.connect(Recorders(received=echo))
        self.dialer.datagramReceived(*catcher.caught[0])
        self.assertEqual(client.messages, [message(0)])

    def test_limit(self) -> None:
        """640 bytes are the limit until the server's first message, then 1088."""
        catcher = self.network.watch = Catcher(SERVER_MESSAGE_MAGIC)
        server, client = self.connect(Recorders(received=echo))
        self.assertEqual(client.transport.messageLimit, 640)
        with self.assertRaises(BadMessageSize):
            client.transport.sendMessages([message(1), message(2, 656)])
        client.transport.sendMessages([message(3, 640)])
        self.dialer.datagramsReceived(catcher.caught)
        self.assertEqual(client.transport.messageLimit, 1088)
        with self.assertRaises(BadMessageSize):
            client.transport.sendMessages([bytes(1104)])
        client.transport.sendMessages([message(4, 1088)])
        self.reactor.advance(0)
        self.assertEqual(server.messages[1:], [message(3, 640), message(4, 1088)])

    def test_first_answer(self) -> None:
        """The new limit counts while the first answer is handled."""
        limits: list[int] = []
        client = Recorders(
            greeting(message(0)),
            lambda protocol, messages: limits.append(protocol.transport.messageLimit),
        )
        self.connect(Recorders(received=echo), client)
        self.assertEqual(limits, [1088])

    def test_mute_protocol(self) -> None:
        """A protocol that says nothing at first may speak later."""
        self.serve(Recorders(received=echo))
        factory = Recorders()
        self.dial(factory)
        self.reactor.run(3.0)
        factory.built[0].transport.sendMessages([message(7)])
        self.reactor.advance(0)
        self.assertEqual(factory.built[0].messages, [message(7)])

    def test_extension(self) -> None:
        """A change of the extension's file is taken up, and the server follows."""
        path = self.mktemp()

        def write(extension: bytes) -> None:
            with open(path, "wb") as file:
                file.write(extension)

        write(b"a" * 16)
        server = Recorders(received=echo)
        self.serve(server)
        client = Recorders(greeting(message(0)))
        self.dial(client, extension=ExtensionFile(path))
        self.reactor.advance(0)
        write(b"b" * 16)
        expected = [b"a" * 16, b"b" * 16]
        for extension in expected:
            client.built[0].transport.sendMessages([message(1)])
            self.reactor.advance(0)
            peer = server.built[0].transport.getPeer()
            self.assertEqual(peer.extension, extension)
            self.reactor.advance(REREAD_INTERVAL)
        self.assertEqual(client.built[0].transport.getHost().extension, b"b" * 16)
        self.assertEqual(len(client.built[0].messages), 3)

    def test_extension_while_waiting(self) -> None:
        """A Hello that is repeated has the present extension."""
        path = self.mktemp()
        catcher = self.network.watch = Catcher(HELLO_MAGIC)
        self.dial(Recorders(), extension=ExtensionFile(path))
        with open(path, "wb") as file:
            file.write(b"b" * 16)
        self.reactor.run(DEFAULT_TIMEOUT - 1.0, step=0.5)
        extensions = [datagram[SENDER_EXTENSION] for datagram, _ in catcher.caught]
        self.assertEqual((extensions[0], extensions[-1]), (bytes(16), b"b" * 16))

    def test_parameters(self) -> None:
        """A server name too long and an empty list of addresses are errors."""
        self.assertRaises(BadName, self.dial, Recorders(), serverName="x" * 64)
        self.assertRaises(IndexError, self.dial, Recorders(), addresses=[])


class FailingTests(WorldCase):
    """Attempts that come to nothing."""

    def assertFailed(self, *errors: type[Exception]) -> None:
        """Fail unless the attempt has failed, and left nothing behind."""
        self.failureResultOf(self.dialers[0].connected, *errors)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.network._ports, {})

    def test_timeout(self) -> None:
        """Without a Cookie in time the attempt fails."""
        factory = Recorders()
        dialer = self.dial(factory)
        self.reactor.run(DEFAULT_TIMEOUT - 1.0, step=0.5)
        self.assertNoResult(dialer.connected)
        self.reactor.run(1.5, step=0.5)
        self.assertFailed(ConnectTimedOut)
        self.assertEqual(factory.built, [])

    def test_timeout_after_cookie(self) -> None:
        """After the Cookie the protocol learns of it."""
        self.network.watch = Catcher(INITIATE_MAGIC)
        self.serve(Recorders())
        factory = Recorders(greeting(message(0)))
        dialer = self.dial(factory, timeout=10.0)
        self.reactor.run(11.0, step=0.5)
        self.assertIs(self.successResultOf(dialer.connected), factory.built[0])
        [reason] = factory.built[0].lost
        self.assertTrue(reason.check(ConnectTimedOut))
        self.assertNotIn(CLIENT, self.network._ports)

    def test_no_timeout(self) -> None:
        """Without a time-out an attempt goes on."""
        dialer = self.dial(Recorders(greeting(message(0))), timeout=None)
        self.reactor.run(900.0, step=1.0)
        self.assertNoResult(dialer.connected)
        self.serve(Recorders(received=echo))
        self.reactor.run(40.0, step=1.0)
        self.successResultOf(dialer.connected)

    def test_cancel(self) -> None:
        """Cancelling ends the attempt and closes the port."""
        factory = Recorders()
        dialer = self.dial(factory)
        dialer.connected.cancel()
        self.assertFailed(CancelledError)
        self.reactor.advance(0)
        self.assertEqual(factory.built, [])

    def test_cancel_in_factory(self) -> None:
        """A protocol that is built while the attempt is cancelled stays unused."""

        class Cancelling(Recorders):
            def buildProtocol(this, address: CurveCPAddress) -> IMessageProtocol | None:
                """Cancel, then make a protocol."""
                self.dialers[0].connected.cancel()
                return super().buildProtocol(address)

        self.serve(Recorders())
        self.dial(Cancelling(raising(AssertionError("connected"))))
        self.reactor.advance(0)
        self.ports.pop(0).stopListening()
        self.assertFailed(CancelledError)

    def test_cancel_when_connected(self) -> None:
        """A protocol that has begun when the attempt is cancelled learns of it."""
        factory = Recorders(lambda protocol: self.dialers[0].connected.cancel())
        self.serve(Recorders())
        self.dial(factory)
        self.reactor.advance(0)
        self.ports.pop(0).stopListening()
        self.assertFailed(CancelledError)
        [reason] = factory.built[0].lost
        self.assertTrue(reason.check(ConnectionAborted))

    def test_cancel_and_fail(self) -> None:
        """A protocol may cancel the attempt and fail: the first of it counts."""

        def cancel_and_fail(protocol: Recorder) -> None:
            self.dialers[0].connected.cancel()
            raise ZeroDivisionError("a bug")

        self.serve(Recorders())
        self.dial(Recorders(cancel_and_fail))
        self.reactor.advance(0)
        self.ports.pop(0).stopListening()
        self.assertFailed(CancelledError)

    def test_no_protocol(self) -> None:
        """A factory that gives no protocol gives up the attempt."""

        class Refusing(Recorders):
            def buildProtocol(self, address: CurveCPAddress) -> None:
                """Make none."""

        self.serve(Recorders())
        self.dial(Refusing())
        self.reactor.advance(0)
        self.ports.pop(0).stopListening()
        self.assertFailed(RefusedByPolicy)

    def test_failing_protocol(self) -> None:
        """What ``makeConnection`` raises fails the attempt."""
        factory = Recorders(raising(ZeroDivisionError("a bug")))
        self.serve(Recorders())
        self.dial(factory)
        self.reactor.advance(0)
        self.ports.pop(0).stopListening()
        self.assertFailed(ZeroDivisionError)
        self.assertEqual(factory.built[0].lost, [])

    def test_too_long_greeting(self) -> None:
        """A first message that is too long fails the attempt."""
        self.serve(Recorders())
        self.dial(Recorders(greeting(message(0, 656))))
        self.reactor.advance(0)
        self.ports.pop(0).stopListening()
        self.assertFailed(BadMessageSize)

    def test_low_order_key(self) -> None:
        """A server key that gives no shared secret fails the attempt at once."""
        self.dial(Recorders(), serverKey=bytes(32))
        self.assertFailed(LowOrderKey)

    def test_port_closed(self) -> None:
        """If the port is closed before the Cookie, the attempt fails."""
        self.dial(Recorders())
        self.ports[0].stopListening()
        self.assertFailed(ConnectionDone)
