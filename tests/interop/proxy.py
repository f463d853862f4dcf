"""A bad network in front of a real server: a UDP proxy in the test's process."""

from __future__ import annotations

import random

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorUDP
from twisted.internet.protocol import DatagramProtocol

from tests.interop.processes import HOST

Address = tuple[str, int]


def open_port(protocol: DatagramProtocol) -> IListeningPort:
    """Open a UDP port that nobody has."""
    return IReactorUDP(reactor).listenUDP(0, protocol, HOST, 8192)


class Proxy(DatagramProtocol):
    """Where clients send to; what is let through goes on to the server.

    :param server: the port of the server.
    :param loss: share of datagrams that vanish, in either direction.
    :ivar out: whether the network is out, so that all vanish.
    :ivar passed: how many datagrams were let through by now.
    """

    noisy = False

    def __init__(self, server: int, *, seed: int = 0, loss: float = 0.0) -> None:
        self.server = server
        self.loss = loss
        self.out = False
        self.passed = 0
        self._random = random.Random(seed)
        self._behind: dict[Address, _Behind] = {}

    def start(self) -> int:
        """Open the port, and give its number."""
        self._port = open_port(self)
        number: int = self._port.getHost().port  # type: ignore[attr-defined]
        return number

    async def stop(self) -> None:
        """Close all ports."""
        for port in (self._port, *(behind.port for behind in self._behind.values())):
            await maybeDeferred(port.stopListening)

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Pass on what comes from a client."""
        if self.lets_through():
            if addr not in self._behind:
                self._behind[addr] = _Behind(self, addr)
            self._behind[addr].send(datagram)

    def lets_through(self) -> bool:
        """Decide the fate of a datagram."""
        if self.out or self._random.random() < self.loss:
            return False
        self.passed += 1
        return True

    def send(self, datagram: bytes, client: Address) -> None:
        """Pass on what comes from the server."""
        if self.lets_through() and self.transport is not None:
            self.transport.write(datagram, client)


class _Behind(DatagramProtocol):
    """One client, as the server sees it."""

    noisy = False

    def __init__(self, proxy: Proxy, client: Address) -> None:
        self._proxy = proxy
        self._client = client
        self.port = open_port(self)

    def send(self, datagram: bytes) -> None:
        """Send what the client has sent."""
        if self.transport is not None:
            self.transport.write(datagram, (HOST, self._proxy.server))

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Take an answer."""
        self._proxy.send(datagram, self._client)
