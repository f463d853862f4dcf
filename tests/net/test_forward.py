"""Streams spliced to TCP and UNIX sockets."""

from __future__ import annotations

import os
import struct
from ipaddress import ip_address
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.net.forward import PROXY_SIGNATURE, ForwardFactory, Side, proxy_header
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint, CurveCPServerEndpoint
from tests.net.recording import CLIENT_IDENTITY, NAME, SERVER_IDENTITY, logged
from tests.net.streaming import HalfTalker
from tests.net.test_programs import Peer

reactor: Any = installed_reactor
BIG = bytes(range(256)) * 3000


class Target(HalfTalker):
    """Where connections are forwarded to: answers when all has come."""

    def __init__(self, answer: bytes, *, first: bool) -> None:
        super().__init__()
        self.answer = answer
        self.first = first
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Answer at once, if it is to speak first."""
        self.events.append("made")
        if self.first:
            self.speak()

    def speak(self) -> None:
        """Answer, and end."""
        transport: Any = self.transport
        transport.write(self.answer)
        transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        """Answer when all has come."""
        super().readConnectionLost()
        if not self.first:
            self.speak()
        # Nobody watches a socket that is closed both ways.
        transport: Any = self.transport
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell."""
        super().connectionLost(reason)
        self.ended.callback(None)


class ForwardTests(TestCase):
    """Both ends of a splice, for real."""

    timeout = 20

    async def forward(self, kind: str = "tcp", **options: Any) -> int:
        """Forward to a target; give the port."""
        self.targets: list[Target] = []
        first = options.pop("first", False)

        def make() -> Target:
            self.targets.append(Target(BIG, first=first))
            return self.targets[-1]

        if kind == "unix":
            path = os.path.relpath(self.mktemp())
            listen, text = f"unix:{path}", f"unix:{path}"
        else:
            listen, text = "tcp:0:interface=127.0.0.1", "tcp:127.0.0.1:{}"
        below: Any = await serverFromString(reactor, listen).listen(
            Factory.forProtocol(make)
        )
        if kind == "tcp":
            text = text.format(below.getHost().port)
        if kind == "nobody":
            text = text.format(below.getHost().port)
            await below.stopListening()
        else:
            self.addCleanup(below.stopListening)
        return await self.splice(text, **options)

    async def splice(self, text: str, **options: Any) -> int:
        """Forward to an endpoint; give the port."""
        factory = ForwardFactory(clientFromString(reactor, text), **options)
        port: Any = await CurveCPServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface="127.0.0.1"
        ).listen(factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def client(self, number: int) -> CurveCPClientEndpoint:
        """Give an endpoint for the server."""
        return CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=number,
            identity=CLIENT_IDENTITY,
        )

    async def speak(self, number: int, data: bytes, *, ends: bool = True) -> Peer:
        """Let a peer speak with the target until both are done."""
        peer: Any = await self.client(number).connect(
            Factory.forProtocol(lambda: Peer(data, ends=ends))
        )
        await peer.ended
        for target in self.targets:
            await target.ended
        result: Peer = peer
        return result

    async def check(self, kind: str, *, first: bool) -> None:
        """Send much both ways, and let one end before the other."""
        number = await self.forward(kind, first=first)
        peer = await self.speak(number, BIG, ends=not first)
        self.assertEqual(peer.over, [None])
        self.assertEqual(peer.received, BIG)
        (target,) = self.targets
        self.assertEqual(target.received, BIG)
        self.assertEqual(target.ending, "ConnectionDone")

    async def test_tcp_client_ends_first(self) -> None:
        """A half-close goes through to TCP; the answer comes back."""
        await self.check("tcp", first=False)

    async def test_tcp_target_ends_first(self) -> None:
        """A half-close comes back from TCP; the rest still goes there."""
        await self.check("tcp", first=True)

    async def test_unix_client_ends_first(self) -> None:
        """The same to a UNIX socket."""
        await self.check("unix", first=False)

    async def test_unix_target_ends_first(self) -> None:
        """The same from a UNIX socket."""
        await self.check("unix", first=True)

    async def test_refused(self) -> None:
        """Nobody at the target is a failure at the peer."""
        number = await self.forward("nobody", report=Report(Verbosity.SILENT))
        peer = await self.speak(number, b"anybody?")
        self.assertEqual(peer.ending, "PeerFailure")
        self.assertEqual(peer.received, b"")

    async def test_target_fails(self) -> None:
        """A target that resets its connection is a failure at the peer."""
        number = await self.forward()
        peer: Any = await self.client(number).connect(
            Factory.forProtocol(lambda: Peer(b"x", ends=False))
        )
        while not (self.targets and self.targets[0].received):
            await deferLater(reactor, 0.01, lambda: None)
        self.targets[0].transport.abortConnection()
        await peer.ended
        self.assertEqual(peer.ending, "PeerFailure")

    async def test_peer_fails(self) -> None:
        """A peer that fails resets the target's connection."""
        number = await self.forward()
        peer: Any = await self.client(number).connect(
            Factory.forProtocol(lambda: Peer(b"x", ends=False))
        )
        while not (self.targets and self.targets[0].received):
            await deferLater(reactor, 0.01, lambda: None)
        peer.transport.abortConnection()
        await self.targets[0].ended
        self.assertEqual(self.targets[0].ending, "ConnectionLost")
        await peer.ended

    async def test_proxy_header(self) -> None:
        """The target is told who the client is, before anything else."""
        number = await self.forward(proxyHeader=True)
        peer = await self.speak(number, b"data")
        header, rest = parse_header(self.targets[0].received)
        self.assertEqual(rest, b"data")
        self.assertEqual(header["source"][0], "127.0.0.1")
        self.assertEqual(header["destination"], ("127.0.0.1", number))
        self.assertEqual(header[0xE0], CLIENT_IDENTITY.keys.public.hex().encode())
        self.assertEqual(header[2], NAME.encode())
        self.assertEqual(peer.over, [None])


def parse_header(data: bytes) -> tuple[dict[Any, Any], bytes]:
    """Read a PROXY header, version 2, as its specification has it."""
    assert data[:12] == b"\x0d\x0a\x0d\x0a\x00\x0d\x0aQUIT\x0a"
    kind, family, length = struct.unpack(">BBH", data[12:16])
    assert kind == 0x21
    body, rest = data[16 : 16 + length], data[16 + length :]
    size = {0x11: 4, 0x21: 16}[family]
    source, destination = body[:size], body[size : 2 * size]
    ports = struct.unpack(">HH", body[2 * size : 2 * size + 4])
    header: dict[Any, Any] = {
        "source": (str(ip_address(source)), ports[0]),
        "destination": (str(ip_address(destination)), ports[1]),
    }
    fields = body[2 * size + 4 :]
    while fields:
        field, size = struct.unpack(">BH", fields[:3])
        header[field] = fields[3 : 3 + size]
        fields = fields[3 + size :]
    return header, rest


class HeaderTests(SynchronousTestCase):
    """The bytes of a PROXY header."""

    def check(self, client: str, server: str, seen: str) -> None:
        """Build one, and read it."""
        header, rest = parse_header(
            proxy_header(
                CurveCPAddress(b"C" * 32, None, bytes(16), client, 1234),
                CurveCPAddress(b"S" * 32, None, bytes(16), server, 4321),
            )
        )
        self.assertEqual(rest, b"")
        self.assertEqual(header["source"], (client, 1234))
        self.assertEqual(header["destination"], (seen, 4321))
        self.assertEqual(header[0xE0], b"43" * 32)
        self.assertNotIn(2, header)

    def test_families(self) -> None:
        """Either family, and a client of the one at a server of the other."""
        self.check("192.0.2.1", "198.51.100.2", "198.51.100.2")
        self.check("2001:db8::1", "2001:db8::2", "2001:db8::2")
        self.check("192.0.2.1", "::", "0.0.0.0")
        self.assertEqual(len(PROXY_SIGNATURE), 12)


class DialTests(SynchronousTestCase):
    """The dialling of the far side."""

    def setUp(self) -> None:
        """Have a connection come in, and dial for it."""
        self.cancelled: list[object] = []
        self.dialled: Deferred[Any] = Deferred(self.cancelled.append)
        self.factory = ForwardFactory(self, report=Report())  # type: ignore[arg-type]
        self.near = self.factory.buildProtocol(None)
        self.below = FakeTransport()
        self.near.makeConnection(self.below)

    def connect(self, factory: Factory) -> Deferred[Any]:
        """Be the endpoint."""
        self.far: Any = factory.buildProtocol(None)
        return self.dialled

    def test_cancelled(self) -> None:
        """When the near side ends first, nobody needs the far one any more."""
        with logged() as lines:
            self.near.connectionLost()
        self.assertEqual(self.cancelled, [self.dialled])
        self.assertEqual(lines("forward"), [])
        self.assertEqual(self.factory.end(), [])

    def test_not_cancelled(self) -> None:
        """A far side that stands is ended by other means."""
        self.far.makeConnection(FakeTransport())
        self.dialled.callback(self.far)
        self.near.connectionLost(Failure(OSError()))
        self.assertEqual(self.cancelled, [])
        self.assertIn("loseConnection", self.far.transport.calls)

    def test_end(self) -> None:
        """A factory can end all that it has connected, and all that it dials."""
        other = self.factory.buildProtocol(None)
        standing, far = self.far, FakeTransport()
        self.far.makeConnection(far)
        self.dialled.callback(self.far)
        self.dialled = Deferred(self.cancelled.append)
        other.makeConnection(FakeTransport())
        self.assertEqual(self.factory.end(), [standing])
        for side in (self.near, other):
            self.assertIn("loseConnection", side.transport.calls)
            side.connectionLost()
        self.assertEqual(self.cancelled, [self.dialled])


class FakeTransport:
    """Notes what is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("abortConnection", "loseWriteConnection"):
            raise AttributeError(name)
        return lambda *arguments: self.calls.append(name)


class SideTests(SynchronousTestCase):
    """Transports that cannot do everything, and events at odd times."""

    def make(self) -> tuple[Side, FakeTransport]:
        """Make a side."""
        side, transport = Side(), FakeTransport()
        side.makeConnection(transport)
        self.assertEqual(transport.calls.pop(), "pauseProducing")
        return side, transport

    def test_early_events(self) -> None:
        """What has happened before the splice counts afterwards."""
        near, _ = self.make()
        far, below = self.make()
        near.dataReceived(b"early")
        near.readConnectionLost()
        near.splice(far)
        self.assertIn("write", below.calls)
        self.assertEqual(below.calls[-2:], ["loseConnection", "resumeProducing"])

    def test_already_ended(self) -> None:
        """A side that has ended before the splice ends the other."""
        near, _ = self.make()
        far, below = self.make()
        near.connectionLost(Failure(OSError()))
        near.splice(far)
        self.assertIn("loseConnection", below.calls)
        self.assertNotIn("registerProducer", below.calls)
        far.connectionLost(Failure(OSError()))
        self.assertIsNotNone(near.ended)

    def test_reader_gone(self) -> None:
        """When nobody reads on one side any more, the other side ends."""
        near, _ = self.make()
        far, below = self.make()
        near.writeConnectionLost()
        near.splice(far)
        near.writeConnectionLost()
        self.assertIn("loseConnection", below.calls)
