"""Message protocols that remember, and a world of one network to put them in."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import (
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
)
from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.extension import ExtensionFile
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.testing import Conditions, FakeReactor, MemoryNetwork, MemoryPort

SERVER = ("192.0.2.1", 11000)
CLIENT = ("198.51.100.7", 4433)
NAME = "server.example"
SERVER_IDENTITY = Identity.from_secret(b"\x11" * 32)
CLIENT_IDENTITY = Identity.from_secret(b"\x33" * 32)
NO_FILE = "/nonexistent/curvecpextension"


def message(number: int, size: int = 16) -> bytes:
    """Make a message that tells its number."""
    return number.to_bytes(4, "big").ljust(size, b".")


def number_of(received: bytes) -> int:
    """Read the number of a message."""
    return int.from_bytes(received[:4], "big")


def open_descriptors() -> int:
    """Count our open descriptors."""
    return len(os.listdir("/proc/self/fd"))


def nothing(protocol: Recorder) -> None:
    """Do nothing when connected."""


def silence(protocol: Recorder, messages: Sequence[bytes]) -> None:
    """Answer nothing."""


def echo(protocol: Recorder, messages: Sequence[bytes]) -> None:
    """Send everything back."""
    protocol.transport.sendMessages(messages)


@implementer(IMessageProtocol)
class Recorder:
    """Notes what it is told; two functions say what it does on top of that."""

    transport: IMessageTransport

    def __init__(
        self,
        connected: Callable[[Recorder], None] = nothing,
        received: Callable[[Recorder, Sequence[bytes]], None] = silence,
    ) -> None:
        self.batches: list[list[bytes]] = []
        self.lost: list[Failure] = []
        self._connected = connected
        self._received = received

    @property
    def messages(self) -> list[bytes]:
        """All messages, whatever batch they came in."""
        return [message for batch in self.batches for message in batch]

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Note the transport."""
        self.transport = transport
        self._connected(self)

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Note messages."""
        self.batches.append(list(messages))
        self._received(self, messages)

    def connectionLost(self, reason: Failure) -> None:
        """Note the end."""
        self.lost.append(reason)


@implementer(IMessageProtocolFactory)
class Recorders:
    """Makes recorders and keeps them."""

    def __init__(
        self,
        connected: Callable[[Recorder], None] = nothing,
        received: Callable[[Recorder, Sequence[bytes]], None] = silence,
    ) -> None:
        self.built: list[Recorder] = []
        self.addresses: list[CurveCPAddress] = []
        self._hooks = connected, received

    def buildProtocol(self, address: CurveCPAddress) -> IMessageProtocol | None:
        """Make one more."""
        self.addresses.append(address)
        self.built.append(Recorder(*self._hooks))
        return self.built[-1]


def greeting(*messages: bytes) -> Callable[[Recorder], None]:
    """Give what sends these messages when connected."""

    def connected(protocol: Recorder) -> None:
        protocol.transport.sendMessages(messages)

    return connected


def raising(error: Exception) -> Callable[..., Any]:
    """Give a function that raises, whatever it is called with."""

    def fail(*arguments: object) -> Any:
        raise error

    return fail


class Catcher:
    """A network's watch that keeps packets of one kind from arriving."""

    def __init__(self, magic: bytes) -> None:
        self.caught: list[Datagram] = []
        self._magic = magic

    def __call__(self, datagram: bytes, source: Address, destination: Address) -> bool:
        """Let others pass."""
        if datagram[:8] != self._magic:
            return True
        self.caught.append((datagram, source))
        return False


@contextmanager
def logged() -> Iterator[Callable[[str], list[str]]]:
    """Give a function that finds the log lines with a word in them."""
    events: Sequence[LogEvent]
    with capturedLogs() as events:
        yield lambda word: [text for text in map(formatEvent, events) if word in text]


class WorldCase(SynchronousTestCase):
    """A test on a network in memory; nothing may be left of it at the end."""

    def setUp(self) -> None:
        """Make the world."""
        self.build_world()

    def build_world(self, seed: int = 1, conditions: Conditions | None = None) -> None:
        """Make a reactor and a network whose chances depend on the seed."""
        self.reactor = FakeReactor()
        self.network = MemoryNetwork(self.reactor, seed=seed, conditions=conditions)
        self.ports: list[MemoryPort] = []
        self.dialers: list[MessageDialer] = []
        self.random = random.Random(seed).randbytes
        self.report = Report(Verbosity.INFORMATION, seconds=self.reactor.seconds)

    def tearDown(self) -> None:
        """End the world, if the test has not."""
        self.close_world()

    def close_world(self) -> None:
        """Close every port; then nothing may be pending any more."""
        for port in self.ports:
            port.stopListening()
        for dialer in self.dialers:
            dialer.connected.addErrback(lambda failure: None)
        self.network.conditions = Conditions(loss=1.0)
        self.reactor.advance(5.0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])

    def serve(
        self,
        factory: IMessageProtocolFactory,
        *,
        address: tuple[str, int] = SERVER,
        reactor: IReactorTime | None = None,
        **options: Any,
    ) -> MessageListener:
        """Open a server's port."""
        settings: dict[str, Any] = {
            "identity": SERVER_IDENTITY,
            "name": NAME,
            "report": self.report,
            "randomBytes": self.random,
        }
        listener = MessageListener(
            reactor or self.reactor, factory, **{**settings, **options}
        )
        self.ports.append(self.network.attach(listener, *address))
        return listener

    def dial(
        self,
        factory: IMessageProtocolFactory,
        *,
        address: tuple[str, int] = CLIENT,
        **options: Any,
    ) -> MessageDialer:
        """Open a client's port."""
        settings: dict[str, Any] = {
            "identity": CLIENT_IDENTITY,
            "serverKey": SERVER_IDENTITY.keys.public,
            "serverName": NAME,
            "addresses": [SERVER],
            "extension": ExtensionFile(NO_FILE),
            "report": self.report,
            "randomBytes": self.random,
        }
        dialer = MessageDialer(self.reactor, factory, **{**settings, **options})
        self.dialers.append(dialer)
        self.ports.append(self.network.attach(dialer, *address))
        return dialer

    def connect(
        self,
        server: Recorders | None = None,
        client: Recorders | None = None,
        **options: Any,
    ) -> tuple[Recorder, Recorder]:
        """Connect a client to a server, and give the protocols of both."""
        server = server or Recorders()
        client = client or Recorders(greeting(message(0)))
        self.listener = self.serve(server, **options)
        self.dialer = self.dial(client)
        self.reactor.advance(0)
        return server.built[0], client.built[0]
