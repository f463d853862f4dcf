"""An application in one process whose port is served by workers."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import closing
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IListeningPort,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from zope.interface import implementer
from zope.interface.verify import verifyObject

from curvecp_tx import CurveCPServerEndpoint
from curvecp_tx.net.hand_over import LOOPBACK, MAX_INTRODUCTION, SECRET_BYTES
from curvecp_tx.net.keydir import Identity, read_public_key
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint
from curvecp_tx.net.udp import DatagramPort
from curvecp_tx.net.worker_endpoint import WorkersEndpoint, WorkersPort
from tests.commands.running import TWISTD, new_key_directory
from tests.net.test_endpoint_strings import Anywhere, Watched

reactor: Any = installed_reactor

NAME = "application"
WORKERS = 2
CLIENTS = 6
SIZE = 300_000
PATIENCE = 60.0


@implementer(IHalfCloseableProtocol)
class Saying(Protocol):
    """A client that says something, ends, and takes what comes."""

    transport: Any

    def __init__(self, text: bytes) -> None:
        self.over: Deferred[tuple[bytes, Failure]] = Deferred()
        self._text = text
        self._came: list[bytes] = []

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(self._text)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self._came.append(data)

    def readConnectionLost(self) -> None:
        """The rest is up to the stream."""

    def writeConnectionLost(self) -> None:
        """The same."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell what has come, and how it ended."""

        def tell(problem: object) -> object:
            self.over.callback((b"".join(self._came), reason))
            return problem

        self.transport.whenOver.addCallback(tell)


@implementer(IHalfCloseableProtocol)
class Answering(Protocol):
    """An application's protocol: sends everything back when the client has ended."""

    transport: Any

    def connectionMade(self) -> None:
        """Wait for the end."""
        self.came: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.came.append(data)

    def readConnectionLost(self) -> None:
        """Answer, and end."""
        self.transport.write(b"".join(self.came))
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing more to do."""


class Failing(Protocol):
    """An application's protocol that gives up at the first byte."""

    def dataReceived(self, data: bytes) -> None:
        """Give up."""
        self.transport.abortConnection()  # type: ignore[union-attr]


class Hesitant(Answering):
    """An application's protocol that takes nothing for a while."""

    def connectionMade(self) -> None:
        """Wait until something must have come."""
        super().connectionMade()
        self.transport.pauseProducing()
        reactor.callLater(0.2, self.go_on)

    def go_on(self) -> None:
        """Take it; there must be none yet."""
        self.early = list(self.came)
        self.transport.resumeProducing()


class WorkersEndpointCase(TestCase):
    """A test with an application that listens, with workers."""

    timeout = 2 * PATIENCE

    async def listen(self, make: Callable[[], Protocol | None]) -> WorkersPort:
        """Serve a protocol."""
        self.identity = Identity.ephemeral()
        self.built: list[Any] = []

        class Building(Factory):
            noisy = False

            def buildProtocol(factory, addr: Any) -> Any:
                self.built.append((make(), addr))
                return self.built[-1][0]

        self.factory = Building()
        endpoint = CurveCPServerEndpoint(
            reactor,
            identity=self.identity,
            name=NAME,
            interface="127.0.0.1",
            workers=WORKERS,
        )
        port: Any = await endpoint.listen(self.factory)
        self.addCleanup(port.stopListening)
        return port  # type: ignore[no-any-return]

    async def say(self, port: WorkersPort, text: bytes) -> tuple[bytes, Failure]:
        """Say something as a client; give the answer, and how it ended."""
        client = CurveCPClientEndpoint(
            reactor,
            serverKey=self.identity.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=port.getHost().port,
        )
        saying = Saying(text)
        await client.connect(Factory.forProtocol(lambda: saying))
        return await saying.over


class ServingTests(WorkersEndpointCase):
    """Clients of such an application."""

    async def test_streams(self) -> None:
        """Bytes, half-closes and ends pass; the application knows who it speaks to."""
        port = await self.listen(Answering)
        self.assertTrue(verifyObject(IListeningPort, port))
        texts = [os.urandom(SIZE) for _ in range(CLIENTS)]
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.say(port, text)) for text in texts]
        )
        self.assertEqual([answer for answer, _ in answers], texts)
        for _, reason in answers:
            self.assertIsInstance(reason.value, ConnectionDone)
        self.assertEqual(len(self.built), CLIENTS)
        for protocol, address in self.built:
            self.assertEqual(protocol.transport.getPeer(), address)
            self.assertEqual(protocol.transport.getHost(), port.getHost())
            self.assertTrue(verifyObject(ITCPTransport, protocol.transport))
            self.assertEqual((len(address.key), address.host), (32, "127.0.0.1"))
            self.assertNotEqual(address.key, self.identity.keys.public)
        self.assertEqual(self.factory.numPorts, 1)
        await port.stopListening()
        self.assertEqual(self.factory.numPorts, 0)
        self.assertEqual(port.workers.counters["connections"], CLIENTS)
        self.assertEqual(port.workers.restarts, 0)

    async def test_pause(self) -> None:
        """A protocol that pauses gets nothing, not even what came at once."""
        port = await self.listen(Hesitant)
        answer, _ = await self.say(port, b"hello")
        self.assertEqual(answer, b"hello")
        self.assertEqual(self.built[0][0].early, [])

    async def test_failures(self) -> None:
        """A failure of the application's is one of the stream, as is a refusal."""
        made: list[Protocol | None] = [Failing(), None]
        port = await self.listen(made.pop)
        for _ in range(2):
            _, reason = await self.say(port, b"hello")
            self.assertEqual(type(reason.value).__name__, "PeerFailure")
        self.assertEqual(made, [])

    async def test_a_worker_dies(self) -> None:
        """Its successor serves in its place."""
        port = await self.listen(Answering)
        while None in port.workers.pids:
            await deferLater(reactor, 0.01)
        for pid in port.workers.pids:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        answer, _ = await self.say(port, b"hello")
        self.assertEqual(answer, b"hello")
        self.assertEqual(port.workers.restarts, WORKERS)

    async def test_strangers(self) -> None:
        """Who connects inside the host and has no secret gets nothing."""
        port = await self.listen(Answering)
        inside = port._reception.getHost().port
        secret = port._reception.factory.secret
        too_long = struct.pack("<H", MAX_INTRODUCTION + 1)
        for text in (bytes(SECRET_BYTES + 2), secret + too_long):
            with closing(socket.create_connection((LOOPBACK, inside))) as stranger:
                stranger.setblocking(False)
                stranger.send(text)
                with self.assertRaises(ConnectionResetError):
                    await self.receive(stranger)
        self.assertEqual(self.built, [])

    async def receive(self, sock: socket.socket) -> bytes:
        """Wait for something to come."""
        while True:
            try:
                return sock.recv(100)
            except BlockingIOError:
                await deferLater(reactor, 0.01)


class OptionTests(TestCase):
    """What there can be with workers, and what not."""

    def test_bad_options(self) -> None:
        """What does not go with workers is refused, and so are odd numbers."""
        for error, options in (
            (ValueError, {"workers": 0}),
            (ValueError, {"workers": 65}),
            (ValueError, {"workers": 2, "extension": b"short"}),
            (ValueError, {"workers": 2, "name": "x" * 64}),
            (TypeError, {"workers": 2, "policy": object()}),
            (TypeError, {"workers": 2, "openPort": object()}),
        ):
            everything: dict[str, Any] = {"name": NAME, **options}
            with self.assertRaises(error, msg=options):
                CurveCPServerEndpoint(
                    reactor, identity=Identity.ephemeral(), **everything
                )

    async def test_port_taken(self) -> None:
        """A port that is taken fails the attempt, and nothing is left of it."""
        before = len(os.listdir("/proc/self/fd"))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind(("127.0.0.1", 0))
            endpoint = WorkersEndpoint(
                reactor,
                workers=2,
                identity=Identity.ephemeral(),
                name=NAME,
                interface="127.0.0.1",
                port=taken.getsockname()[1],
            )
            with self.assertRaises(CannotListenError):
                await endpoint.listen(Factory())
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)


class WebTests(TestCase):
    """An application that knows nothing of workers."""

    timeout = 2 * PATIENCE

    async def test_web_server(self) -> None:
        """``twistd web`` serves with workers by an endpoint string alone."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        content = b"some text\n" * 20_000
        with open(os.path.join(directory, "page.txt"), "wb") as page:
            page.write(content)
        keydir = new_key_directory(self)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
            free.bind(("127.0.0.1", 0))
            number = free.getsockname()[1]
        listen = f"curvecp:{number}:keydir={keydir}:name=web:interface=127.0.0.1"
        listen += ":workers=2"
        arguments = [sys.executable, *TWISTD, "-n", "--pidfile=", "web"]
        arguments += ["--path", directory, "--listen", listen]
        process = Watched()
        twistd = reactor.spawnProcess(
            process, sys.executable, arguments, dict(os.environ), directory
        )
        text = f"curvecp:127.0.0.1:{number}:name=web:timeout=30"
        text += f":key={read_public_key(keydir).hex()}"
        try:
            self.assertIsInstance(
                clientFromString(reactor, text), CurveCPClientEndpoint
            )
            agent = Agent.usingEndpointFactory(reactor, Anywhere(text))
            for _ in range(3):
                response = await agent.request(b"GET", b"http://web/page.txt")
                self.assertEqual(response.code, 200, process.output)
                self.assertEqual(await readBody(response), content)
            while any(isinstance(r, DatagramPort) for r in reactor.getReaders()):
                await deferLater(reactor, 0.05)
        finally:
            twistd.signalProcess("TERM")
            await process.ended
        self.assertNotIn(b"Traceback", process.output)
