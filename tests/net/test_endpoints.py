"""Endpoints, on the loopback interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectionDone, DNSLookupError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from curvecp_tx.errors import BadName, ConnectTimedOut, LowOrderKey
from curvecp_tx.net.client_endpoint import MessageClientEndpoint, resolve
from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.endpoints import MessagePort, MessageServerEndpoint
from curvecp_tx.net.extension import ExtensionFile
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.udp import open_socket
from tests.net.recording import (
    CLIENT_IDENTITY,
    NAME,
    NO_FILE,
    SERVER_IDENTITY,
    Recorder,
    Recorders,
    echo,
    greeting,
    message,
    open_descriptors,
)

reactor: Any = installed_reactor


class Waiting(Recorders):
    """Recorders that greet, and tell when the first answer has come."""

    def __init__(self) -> None:
        super().__init__(greeting(message(1)), self.answered)
        self.answer: Deferred[list[bytes]] = Deferred()

    def answered(self, protocol: Recorder, messages: Sequence[bytes]) -> None:
        """Take an answer."""
        if not self.answer.called:
            self.answer.callback(list(messages))


class EndpointCase(TestCase):
    """A test with servers and clients that are gone at its end."""

    def server(self, **options: Any) -> MessageServerEndpoint:
        """Make a server's endpoint."""
        settings: dict[str, Any] = {"identity": SERVER_IDENTITY, "name": NAME}
        return MessageServerEndpoint(
            reactor, **{**settings, "interface": "127.0.0.1", **options}
        )

    async def listen(self, **options: Any) -> MessagePort:
        """Serve echoes."""
        self.served = Recorders(received=echo)
        port = await self.server(**options).listen(self.served)
        self.addCleanup(port.stopListening)
        return port

    def client(self, port: int, **options: Any) -> MessageClientEndpoint:
        """Make a client's endpoint."""
        settings: dict[str, Any] = {
            "serverKey": SERVER_IDENTITY.keys.public,
            "serverName": NAME,
            "hosts": ["127.0.0.1"],
            "extension": ExtensionFile(NO_FILE),
        }
        return MessageClientEndpoint(reactor, port=port, **{**settings, **options})

    async def talk(self, port: int, **options: Any) -> Recorder:
        """Connect, and fail unless there is an answer."""
        factory = Waiting()
        protocol = await self.client(port, **options).connect(factory)
        self.assertIs(protocol, factory.built[0])
        self.addCleanup(factory.built[0].transport.loseConnection)
        self.assertEqual(await factory.answer, [message(1)])
        return factory.built[0]


class ServingTests(EndpointCase):
    """Servers and clients that find each other."""

    async def test_ipv4(self) -> None:
        """They do over IPv4, and the port tells all about itself."""
        port = await self.listen(extension=b"x" * 16)
        self.assertTrue(verifyObject(IListeningPort, port))
        host = port.getHost()
        self.assertEqual((host.name, host.host), (NAME, "127.0.0.1"))
        self.assertEqual(host.key, SERVER_IDENTITY.keys.public)
        self.assertEqual(host.extension, b"x" * 16)
        client = await self.talk(
            host.port, serverExtension=b"x" * 16, identity=CLIENT_IDENTITY
        )
        [peer] = self.served.addresses
        self.assertEqual(peer.key, CLIENT_IDENTITY.keys.public)
        self.assertEqual(peer.host, "127.0.0.1")
        self.assertEqual(client.transport.getHost().port, peer.port)
        self.assertEqual(port.counters.connections, 1)
        self.assertEqual(port.listener.connections, 1)

    async def test_ipv6(self) -> None:
        """They do over IPv6."""
        port = await self.listen(interface="::1")
        await self.talk(port.getHost().port, hosts=["::1"])
        self.assertEqual(self.served.addresses[0].host, "::1")

    async def test_both(self) -> None:
        """A server on the unspecified IPv6 address serves both."""
        port = await self.listen(interface="::")
        for host in ("127.0.0.1", "::1"):
            client = await self.talk(port.getHost().port, hosts=[host])
            self.assertEqual(self.served.addresses[-1].host, host)
            self.assertEqual(client.transport.getPeer().host, host)

    async def test_mixed_hosts(self) -> None:
        """One client may look for its server under addresses of both kinds."""
        port = await self.listen()
        client = await self.talk(port.getHost().port, hosts=["::1", "127.0.0.1"])
        self.assertEqual(client.transport.getPeer().host, "127.0.0.1")

    async def test_own_keys(self) -> None:
        """A client without an identity makes one for each connection."""
        port = await self.listen()
        for _ in range(2):
            await self.talk(port.getHost().port)
        first, second = self.served.addresses
        self.assertNotEqual(first.key, second.key)

    async def test_stop(self) -> None:
        """Stopping ends every connection and frees the port, at once."""
        port = await self.listen()
        host = port.getHost()
        await self.talk(host.port)
        self.assertNoResult(port.whenStopped)
        self.successResultOf(port.stopListening())
        self.successResultOf(port.stopListening())
        self.successResultOf(port.whenStopped)
        again = await self.listen(port=host.port)
        self.assertEqual(again.getHost(), host)

    async def test_twisted_port(self) -> None:
        """Listener and dialer work on Twisted's own UDP ports as well."""
        served, client = Recorders(received=echo), Waiting()
        listener = MessageListener(reactor, served, identity=SERVER_IDENTITY, name=NAME)
        port = reactor.listenUDP(0, listener, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        dialer = MessageDialer(
            reactor,
            client,
            identity=CLIENT_IDENTITY,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            addresses=[("127.0.0.1", port.getHost().port)],
        )
        reactor.listenUDP(0, dialer, interface="127.0.0.1")
        self.assertIs(await dialer.connected, client.built[0])
        self.assertEqual(await client.answer, [message(1)])
        self.assertEqual(listener.counters.lost_send_error, 0)
        client.built[0].transport.loseConnection()
        # Twisted's ports close in the next turn.
        await deferLater(reactor, 0)
        self.assertEqual(len(client.built[0].lost), 1)


class FailingTests(EndpointCase):
    """What goes wrong comes as a failed Deferred."""

    async def test_busy(self) -> None:
        """A port that somebody has."""
        port = await self.listen()
        busy = self.server(port=port.getHost().port).listen(Recorders())
        self.failureResultOf(busy, CannotListenError)

    def test_bad_servers(self) -> None:
        """A server at no address of ours, with a bad name or extension."""
        before = open_descriptors()
        for error, options in (
            (CannotListenError, {"interface": "192.0.2.1"}),
            (CannotListenError, {"interface": "nonsense"}),
            (CannotListenError, {"port": 70000}),
            (BadName, {"name": "x" * 64}),
            (ValueError, {"extension": b"x"}),
        ):
            self.failureResultOf(self.server(**options).listen(Recorders()), error)
        self.assertEqual(open_descriptors(), before)

    async def test_unknown_host(self) -> None:
        """A name that nobody knows fails as it does with Twisted's endpoints."""
        for hosts in (["no such host"], ["127.0.0.1", "::x"]):
            client = self.client(4433, hosts=hosts)
            with self.assertRaises(DNSLookupError):
                await client.connect(Recorders())

    async def test_known_host(self) -> None:
        """A name is looked up."""
        port = await self.server().listen(Recorders())
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        protocols = Recorders()
        await self.client(number, hosts=["localhost"]).connect(protocols)
        (protocol,) = protocols.built
        self.assertEqual(protocol.transport.getPeer().port, number)
        protocol.transport.loseConnection()

    def test_bad_clients(self) -> None:
        """A client of no address or no port, of a bad name or key."""
        before = open_descriptors()
        for error, options in (
            (ValueError, {"hosts": []}),
            (BadName, {"serverName": "x" * 64}),
            (LowOrderKey, {"serverKey": bytes(32)}),
        ):
            client = self.client(4433, **options)
            self.failureResultOf(client.connect(Recorders()), error)
        for port in (-1, 0, 65536, 70000):
            failed = self.client(port).connect(Recorders())
            self.failureResultOf(failed, ValueError)
        self.assertEqual(open_descriptors(), before)

    def silent_port(self) -> int:
        """Give a port from which no answer comes."""
        sock = open_socket("127.0.0.1", 0)
        self.addCleanup(sock.close)
        return int(sock.getsockname()[1])

    async def test_timeout(self) -> None:
        """No answer in time."""
        client = self.client(self.silent_port(), timeout=0.05)
        await self.assertFailure(client.connect(Recorders()), ConnectTimedOut)

    def test_cancel(self) -> None:
        """An attempt that is given up."""
        attempt = self.client(self.silent_port()).connect(Recorders())
        attempt.cancel()
        self.failureResultOf(attempt, CancelledError)

    async def test_reactor_stops(self) -> None:
        """A port that is closed under an attempt, as the reactor does at its end."""
        attempt = self.client(self.silent_port()).connect(Recorders())
        [port] = [r for r in reactor.getReaders() if r.logPrefix() == "CurveCP"]
        port.stopListening()
        self.failureResultOf(attempt, ConnectionDone)


class ResolveTests(SynchronousTestCase):
    """From IP addresses to socket addresses."""

    def test_ipv4(self) -> None:
        """IPv4 alone takes an IPv4 socket."""
        interface, addresses = resolve(["192.0.2.1", "192.0.2.2"], 80)
        self.assertEqual(interface, "0.0.0.0")
        self.assertEqual(addresses, [("192.0.2.1", 80), ("192.0.2.2", 80)])

    def test_ipv6(self) -> None:
        """IPv6 alone takes an IPv6 socket."""
        interface, addresses = resolve(["2001:db8::1"], 65535)
        self.assertEqual(interface, "::")
        self.assertEqual(addresses, [("2001:db8::1", 65535, 0, 0)])

    def test_mixed(self) -> None:
        """Among IPv6 addresses IPv4 ones are mapped; the order stays."""
        interface, addresses = resolve(iter(["192.0.2.1", "2001:db8::1"]), 1)
        self.assertEqual(interface, "::")
        self.assertEqual(
            addresses, [("::ffff:192.0.2.1", 1, 0, 0), ("2001:db8::1", 1, 0, 0)]
        )

    def test_no_names(self) -> None:
        """Names are not looked up."""
        self.assertRaises(OSError, resolve, ["localhost"], 80)
        self.assertRaises(OSError, resolve, ["::1", "localhost"], 80)
