"""A bad network between real sockets: a UDP proxy in the test's own reactor.

Clients send to the proxy. Each of them has a socket of its own towards the server,
which therefore sees as many clients as there are; and which can be exchanged for
another one, as by a router that forgets, or by a client that moves.
"""

from __future__ import annotations

import heapq
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, cycle

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.interfaces import ICurveCPReactor
from tests.faults.impairment import CLEAR, Impairment, Link

HOST = "127.0.0.1"
BATCH = 64
BUFFER = 4 << 20
LONGEST = 65536

Address = tuple[str, int]
Watch = Callable[[bool, bytes], bool]
"""Sees each datagram first, with whether it goes to the server; ``False`` makes it
vanish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebinding:
    """When the server comes to see clients elsewhere.

    :ivar first: seconds until the first time.
    :ivar every: seconds between the others; 0 for no others.
    :ivar hosts: addresses to come from, in turn; else only the port changes.
    """

    first: float
    every: float = 0.0
    hosts: tuple[str, ...] = ()


@implementer(IReadDescriptor)
class _Socket:
    """A UDP socket under the reactor, read in batches."""

    def __init__(
        self,
        reactor: ICurveCPReactor,
        host: str,
        take: Callable[[bytes, Address], None],
        port: int = 0,
    ) -> None:
        self._reactor = reactor
        self._take = take
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        self._socket.bind((host, port))
        self.address: Address = self._socket.getsockname()
        reactor.addReader(self)

    def send(self, datagram: bytes, address: Address) -> bool:
        """Send a datagram; tell whether the system took it."""
        try:
            self._socket.sendto(datagram, address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close it."""
        if self._socket.fileno() >= 0:
            self._reactor.removeReader(self)
            self._socket.close()

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Read what is there, up to a limit."""
        for _ in range(BATCH):
            try:
                datagram, address = self._socket.recvfrom(LONGEST)
            except OSError:
                return
            self._take(datagram, address)

    def logPrefix(self) -> str:
        """Name it in log lines."""
        return "proxy"

    def connectionLost(self, reason: Failure) -> None:
        """Close, because the reactor shuts down."""
        self.close()


class _Client:
    """One client: where it is, and where the server sees it."""

    def __init__(self, proxy: Proxy, address: Address) -> None:
        self.address = address
        self._proxy = proxy
        self._behind = proxy.open(HOST, self._answered)

    @property
    def seen_at(self) -> Address:
        """The address that the server sees."""
        return self._behind.address

    def move(self, host: str) -> None:
        """Be seen elsewhere; what is under way to the old place is lost."""
        self._behind.close()
        self._behind = self._proxy.open(host, self._answered)

    def send(self, datagram: bytes) -> bool:
        """Send to the server."""
        return self._behind.send(datagram, self._proxy.server)

    def close(self) -> None:
        """Send no more."""
        self._behind.close()

    def _answered(self, datagram: bytes, address: Address) -> None:
        if address == self._proxy.server:
            self._proxy.take(False, datagram, self)


class Proxy:
    """Where clients send to; what is let through goes on to the server.

    :param server: where the server is; a number is a port of this host.
    :param there: the way from clients to the server.
    :param back: the way from the server to clients; the same without.
    :param seed: decides all that is random.
    :param rebinding: when clients come to be seen elsewhere.
    :ivar there: what happens on the way to the server.
    :ivar back: what happens on the way to clients.
    :ivar watch: sees each datagram first, and may make it vanish.
    :ivar unsent: how many datagrams the system would not take.
    :ivar moves: how often clients have come to be seen elsewhere.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        server: Address | int,
        *,
        there: Link = CLEAR,
        back: Link | None = None,
        seed: int = 0,
        rebinding: Rebinding | None = None,
    ) -> None:
        self.server = (HOST, server) if isinstance(server, int) else server
        self.there = Impairment(there, seed=f"there {seed}")
        self.back = Impairment(there if back is None else back, seed=f"back {seed}")
        self.watch: Watch | None = None
        self.unsent = 0
        self.moves = 0
        self._reactor = reactor
        self._rebinding = rebinding
        self._hosts = cycle((rebinding.hosts if rebinding else ()) or (HOST,))
        self._clients: dict[Address, _Client] = {}
        self._under_way: list[tuple[float, int, bool, bytes, _Client]] = []
        self._number = count()
        self._timer: IDelayedCall | None = None
        self._move: IDelayedCall | None = None

    @property
    def out(self) -> bool:
        """Whether the network is out, so that everything vanishes."""
        return self.there.out and self.back.out

    @out.setter
    def out(self, out: bool) -> None:
        self.there.out = self.back.out = out

    @property
    def clients(self) -> list[Address]:
        """Where the server sees clients now."""
        return [client.seen_at for client in self._clients.values()]

    def start(self, host: str = HOST, port: int = 0) -> int:
        """Open the port, and give its number."""
        self._front = self.open(host, self._came, port)
        self.there.began = self.back.began = self._reactor.seconds()
        if self._rebinding is not None:
            self._move = self._reactor.callLater(self._rebinding.first, self._moved)
        return self._front.address[1]

    def stop(self) -> None:
        """Close everything; what is under way is lost."""
        for call in (self._timer, self._move):
            if call is not None and call.active():
                call.cancel()
        self._under_way.clear()
        self._front.close()
        for client in self._clients.values():
            client.close()

    def move(self, hosts: Sequence[str] = ()) -> None:
        """Have each client be seen at another port, and at another address."""
        for n, client in enumerate(self._clients.values()):
            client.move(hosts[n % len(hosts)] if hosts else client.seen_at[0])
        self.moves += 1

    def inject(self, datagram: bytes) -> int:
        """Send each client a datagram as if the server had; nothing befalls it.

        :return: how many clients there are.
        """
        for client in self._clients.values():
            self._arrive(False, datagram, client)
        return len(self._clients)

    def open(
        self, host: str, take: Callable[[bytes, Address], None], port: int = 0
    ) -> _Socket:
        """Open a socket."""
        return _Socket(self._reactor, host, take, port)

    def take(self, forward: bool, datagram: bytes, client: _Client) -> None:
        """Let a datagram meet its fate."""
        if self.watch is not None and not self.watch(forward, datagram):
            return
        now = self._reactor.seconds()
        way = self.there if forward else self.back
        for due, arriving in way.pass_on(datagram, now):
            if due <= now:
                self._arrive(forward, arriving, client)
            else:
                entry = (due, next(self._number), forward, arriving, client)
                heapq.heappush(self._under_way, entry)
        if self._under_way:
            self._arm(self._under_way[0][0] - now)

    def _came(self, datagram: bytes, address: Address) -> None:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(self, address)
        self.take(True, datagram, client)

    def _arrive(self, forward: bool, datagram: bytes, client: _Client) -> None:
        if forward:
            taken = client.send(datagram)
        else:
            taken = self._front.send(datagram, client.address)
        if not taken:
            self.unsent += 1

    def _arm(self, seconds: float) -> None:
        timer = self._timer
        if timer is None or not timer.active():
            self._timer = self._reactor.callLater(max(0.0, seconds), self._due)
        elif timer.getTime() > self._reactor.seconds() + seconds:
            timer.reset(max(0.0, seconds))

    def _due(self) -> None:
        now = self._reactor.seconds()
        under_way = self._under_way
        while under_way and under_way[0][0] <= now:
            _, _, forward, datagram, client = heapq.heappop(under_way)
            self._arrive(forward, datagram, client)
        if under_way:
            self._arm(under_way[0][0] - now)

    def _moved(self) -> None:
        assert self._rebinding is not None
        self.move([next(self._hosts)] if self._rebinding.hosts else [])
        if self._rebinding.every:
            self._move = self._reactor.callLater(self._rebinding.every, self._moved)
