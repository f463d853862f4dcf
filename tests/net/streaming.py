"""What tests of stream connections have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.extension import ExtensionFile
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.secure.counters import Counters
from curvecp_tx.testing import Conditions, MemoryPort
from tests.net.recording import (
    CLIENT,
    CLIENT_IDENTITY,
    NAME,
    NO_FILE,
    SERVER,
    SERVER_IDENTITY,
    WorldCase,
)


class Talker(Protocol):
    """Notes what it is told."""

    transport: StreamConnection

    def __init__(self) -> None:
        self.received = b""
        self.events: list[str] = []
        self.lost: list[Failure] = []
        self.over: list[CurveCPError | None] = []

    @property
    def ending(self) -> str:
        """The kind of the end: there must have been just one."""
        (reason,) = self.lost
        return type(reason.value).__name__

    def connectionMade(self) -> None:
        """Wait for the end, too."""
        self.events.append("made")
        self.transport.whenOver.addCallback(self.over.append)

    def dataReceived(self, data: bytes) -> None:
        """Note bytes."""
        if self.events[-1] != "data":
            self.events.append("data")
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.events.append("lost")
        self.lost.append(reason)


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """A talker that minds half-closes."""

    def readConnectionLost(self) -> None:
        """Note the end of the peer's stream."""
        self.events.append("read ended")

    def writeConnectionLost(self) -> None:
        """Note that the peer has all of ours."""
        self.events.append("write ended")


class Echo(Talker):
    """Sends everything back."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        super().dataReceived(data)
        self.transport.write(data)


class Counted(Factory):
    """A factory that notes how often it was started and stopped."""

    noisy = False

    def __init__(self, make: Callable[[], IProtocol | None]) -> None:
        self.make = make
        self.built: list[Any] = []
        self.starts = self.stops = 0

    def doStart(self) -> None:
        """Count."""
        self.starts += 1

    def doStop(self) -> None:
        """Count."""
        self.stops += 1

    def buildProtocol(self, addr: Any) -> Any:
        """Make a protocol, and keep it."""
        self.built.append(self.make())
        return self.built[-1]


class StreamCase(WorldCase):
    """A test of a stream between two protocols, in virtual time."""

    def build_world(self, seed: int = 1, conditions: Conditions | None = None) -> None:
        """Make a world where packets take their time."""
        super().build_world(seed, conditions or Conditions(delay=0.01))

    def open_port(
        self, protocol: Any, interface: str, port: int, counters: Counters
    ) -> MemoryPort:
        """Make the client's port."""
        self.ports.append(MemoryPort(self.network, protocol, CLIENT))
        return self.ports[-1]

    def endpoint(self, **options: Any) -> CurveCPClientEndpoint:
        """Give an endpoint for the server, on the network in memory."""

        settings: dict[str, Any] = {
            "serverKey": SERVER_IDENTITY.keys.public,
            "serverName": NAME,
            "hosts": [SERVER[0]],
            "port": SERVER[1],
            "identity": CLIENT_IDENTITY,
            "extension": ExtensionFile(NO_FILE),
            "report": self.report,
            "randomBytes": self.random,
            "openPort": self.open_port,
        }
        return CurveCPClientEndpoint(self.reactor, **{**settings, **options})

    def call(
        self, make: Callable[[], IProtocol | None], **options: Any
    ) -> Deferred[IProtocol]:
        """Let a client connect."""
        self.near_factory = Counted(make)
        return self.endpoint(**options).connect(self.near_factory)

    def meet(
        self,
        near: Callable[[], Talker] = Talker,
        far: Callable[[], Talker] = Talker,
        seconds: float = 1.0,
    ) -> tuple[Any, Any]:
        """Connect two talkers: the client's, and the server's."""
        self.far_factory = Counted(far)
        self.listener = self.serve(
            StreamFactory(self.reactor, self.far_factory, report=self.report)
        )
        connected: list[Any] = []
        self.call(near).addCallback(connected.append)
        self.reactor.run(seconds)
        (client,) = connected
        (server,) = self.far_factory.built
        return client, server

    def assert_clean(self, *talkers: Talker) -> None:
        """Check that each has ended once, and all right."""
        for talker in talkers:
            self.assertEqual(talker.ending, "ConnectionDone")
            self.assertEqual(talker.over, [None])
            self.assertEqual(talker.events[-1], "lost")
