"""Hosts: each has a clock and an event loop of its own, which may be held up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall

from curvecp_tx.net.streams import LATE
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.stream.sender import MAX_PROBE_INTERVAL
from curvecp_tx.testing import FakeReactor, MemoryPort
from curvecp_tx.wire.packets import EXTENSION_BYTES, RECEIVER_EXTENSION
from tests.model.amplification import Accounts
from tests.model.boxes import sealed_part

if TYPE_CHECKING:
    from tests.model.network import HostileNetwork

EXTENSION = bytes(EXTENSION_BYTES)
"""Everybody's. A damaged packet may teach a peer another one: what is sent to that
is lost, until the next packet."""

NOTICED = LATE + MAX_PROBE_INTERVAL + 1.0
"""Seconds of sleep that cannot go unnoticed: whoever waits for an answer has a timer
that goes off, and it goes off late."""

TURNS_AT_ONCE = 20_000
"""Calls that may be made for one instant. Who makes more goes round in circles."""


class HostReactor(FakeReactor):
    """A reactor whose time is set from outside."""

    def __init__(self, now: float) -> None:
        super().__init__()
        self.rightNow = now
        self._instant = now
        self._made = 0

    @property
    def due(self) -> float | None:
        """When there is something to do next."""
        return self.calls[0].getTime() if self.calls else None

    def reach(self, now: float) -> None:
        """Let it be ``now``, to the last digit, and do what is due."""
        self.rightNow = now
        self.advance(0)

    def callLater(
        self, delay: float, callable: Any, *arguments: object, **named: object
    ) -> IDelayedCall:
        """Schedule a call, unless that goes on and on while time stands still."""
        if self.rightNow != self._instant:
            self._instant, self._made = self.rightNow, 0
        self._made += 1
        if self._made > TURNS_AT_ONCE:
            raise AssertionError("the event loop goes round in circles")
        return super().callLater(delay, callable, *arguments, **named)


class HostPort(MemoryPort):
    """A host's UDP port.

    :ivar accounts: what came and went, by host.
    """

    def __init__(
        self,
        host: Host,
        protocol: Any,
        address: tuple[str, int],
        accounts: Accounts,
    ) -> None:
        super().__init__(host.network, protocol, address)
        self.host = host
        self.accounts = accounts

    @property
    def listening(self) -> bool:
        """Whether it is open."""
        return self._open

    def sendDatagrams(self, datagrams: Sequence[Datagram]) -> None:
        """Send datagrams, in disguise maybe."""
        if self._open:
            for datagram, address in datagrams:
                source = self.host.disguise or self.address
                self.host.network.emit(self, datagram, source, address)

    def arrived(self, datagram: bytes, source: Address) -> None:
        """Put a datagram where the host's event loop finds it."""
        self.accounts.received(source[0], len(datagram))
        self.host.enqueue(self, datagram, source)

    def hand_on(self, batch: Sequence[Datagram]) -> None:
        """Give datagrams to the protocol, as the event loop does."""
        if self._open:
            self._protocol.datagramsReceived(batch)


class Host:
    """One machine.

    :param sought: hosts that it wants to talk to of its own accord.
    :ivar disguise: the source address that its packets bear instead of its own.
    :ivar held: whether its event loop stands still, its clock with it.
    :ivar held_for: for how many seconds that has been so by now, in all.
    :ivar released: when it ended last, if it was for long enough to be noticed.
    :ivar heard: when each connection's latest news was handed on.
    :ivar news: how many packets were news, or might be, for each connection.
    """

    def __init__(
        self,
        network: HostileNetwork,
        name: str,
        address: tuple[str, int],
        sought: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.name = name
        self.address = address
        self.reactor = HostReactor(network.clock.seconds())
        self.disguise: tuple[str, int] | None = None
        self.held = False
        self.ports: list[HostPort] = []
        self.held_for = 0.0
        self.released = -inf
        self.heard: dict[bytes, float] = {}
        self.news: Counter[bytes] = Counter()
        self._sought = sought
        self._seen: set[bytes] = set()
        self._inbox: list[tuple[HostPort, Datagram]] = []
        network.hosts.append(self)

    def open_port(
        self, protocol: Any, interface: str, port: int, counters: Counters
    ) -> HostPort:
        """Make a port, as an endpoint's ``openPort``."""
        accounts = Accounts(self.network.judge, self._sought)
        self.ports = [port for port in self.ports if port.listening]
        self.ports.append(HostPort(self, protocol, self.address, accounts))
        return self.ports[-1]

    def move(self, address: tuple[str, int]) -> None:
        """Change the address, under all that goes on."""
        self.address = address
        for port in self.ports:
            if port.listening:
                port.rebind(*address)

    def enqueue(self, port: HostPort, datagram: bytes, source: Address) -> None:
        """Keep a datagram for the next turn of the event loop."""
        if not self._inbox and not self.held:
            self.reactor.callLater(0, self._read)
        self._inbox.append((port, (datagram, source)))

    def hold(self) -> None:
        """Stop the event loop."""
        self._read()
        self.held = True

    def release(self, *, timers_first: bool = False) -> None:
        """Let the event loop go on: it finds that time has passed."""
        self.held = False
        now = self.network.clock.seconds()
        asleep = now - self.reactor.seconds()
        self.held_for += asleep
        if asleep > NOTICED:
            self.released = now
        if timers_first:
            self.reactor.reach(now)
        self.reactor.rightNow = now
        self._read()
        self.reactor.reach(now)

    def vanish(self) -> None:
        """Lose power: everything is gone, and nobody is told."""
        for port in self.ports:
            if port.listening:
                self.network.unbind(port)
        self.ports = []
        self._inbox = []
        self.reactor.calls = []
        self.network.hosts.remove(self)

    def _read(self) -> None:
        inbox, self._inbox = self._inbox, []
        batches: dict[HostPort, list[Datagram]] = {}
        for port, datagram in inbox:
            batches.setdefault(port, []).append(datagram)
            self._note(*datagram)
        for port, batch in batches.items():
            port.hand_on(batch)

    def _note(self, datagram: bytes, source: Address) -> None:
        """Note whose news this is, if it is news.

        A damaged header may keep it from being taken for that.
        """
        network, part = self.network, sealed_part(datagram)
        connection = network.ledger.connection_of(datagram)
        if connection is None or part in self._seen:
            return
        self._seen.add(part)
        self.news[connection] += 1
        intact = network.has_carried(datagram)
        if intact and source[1] and datagram[RECEIVER_EXTENSION] == EXTENSION:
            self.heard[connection] = self.reactor.seconds()
