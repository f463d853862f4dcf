"""A network that does whatever it is told, and remembers all that it has seen."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from curvecp_tx.secure.paths import Address
from curvecp_tx.testing import Conditions, MemoryNetwork
from tests.model.boxes import Ledger
from tests.model.hosts import Host, HostPort, HostReactor
from tests.model.judge import Judge

REMEMBERED = 1000
"""Packets that an attacker has on tape."""

DAMAGED_BITS = 8

GOOD = Conditions(delay=0.01)
"""A network with nothing wrong about it."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A datagram as it was seen on the wire."""

    datagram: bytes
    source: Address
    destination: Address


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one packet.

    :ivar copies: how many arrive: 0 for a loss, 2 for a duplicate.
    :ivar delay: seconds more than usual until they do.
    :ivar cut: bytes that are missing at the end.
    :ivar more: bytes that are too many at the end.
    :ivar flip: which bit is turned over, modulo the size; ``None`` for none.
    """

    copies: int = 1
    delay: float = 0.0
    cut: int = 0
    more: int = 0
    flip: int | None = None

    def change(self, datagram: bytes) -> bytes:
        """Give what becomes of the content."""
        changed = bytearray(datagram[: max(0, len(datagram) - self.cut)])
        changed += bytes(self.more)
        if self.flip is not None and changed:
            bit = self.flip % (8 * len(changed))
            changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)


class HostileNetwork(MemoryNetwork):
    """Carries datagrams between hosts, or does not.

    :ivar hosts: the hosts that run.
    :ivar fates: of the next packets, in order; those after them get what the
        conditions say.
    :ivar dark: names of hosts from which nothing comes through.
    :ivar tape: the latest packets, as an attacker may have recorded them.
    """

    def __init__(self, judge: Judge, ledger: Ledger, *, seed: int, now: float) -> None:
        self.time = HostReactor(now)
        super().__init__(self.time, seed=seed, conditions=GOOD)
        self.judge = judge
        self.hosts: list[Host] = []
        self.fates: deque[Fate] = deque()
        self.dark: set[str] = set()
        self.tape: deque[Packet] = deque(maxlen=REMEMBERED)
        self.ledger = ledger
        self._sent: set[bytes] = set()

    def heal(self) -> None:
        """Be good from now on."""
        self.conditions = GOOD
        self.fates.clear()
        self.dark.clear()
        for host in self.hosts:
            host.disguise = None

    def has_carried(self, datagram: bytes) -> bool:
        """Tell whether somebody has sent exactly this."""
        return datagram in self._sent

    def emit(
        self, port: HostPort, datagram: bytes, source: Address, destination: Address
    ) -> None:
        """Take a datagram from a host's port."""
        self.traffic.sent += 1
        port.accounts.sent(destination[0], len(datagram))
        self._sent.add(datagram)
        packet = Packet(datagram, source, destination)
        self.tape.append(packet)
        fate = self.fates.popleft() if self.fates else self._chance_fate()
        if port.host.name in self.dark:
            self.traffic.lost += 1
            return

        def reached() -> None:
            port.accounts.reached(destination[0])

        for _ in range(fate.copies):
            self._carry(fate, packet, reached)

    def inject(self, packet: Packet, delay: float = 0.0) -> None:
        """Carry a packet that an attacker sends."""
        self._carry(Fate(delay=delay), packet, lambda: None)

    def _carry(self, fate: Fate, packet: Packet, reached: Callable[[], None]) -> None:
        conditions = self.conditions
        delay = conditions.delay + self._random.random() * conditions.jitter
        changed = fate.change(packet.datagram)
        self.time.callLater(
            delay + fate.delay,
            self._land,
            Packet(changed, packet.source, packet.destination),
            reached,
        )

    def _land(self, packet: Packet, reached: Callable[[], None]) -> None:
        if (packet.destination[0], packet.destination[1]) in self._ports:
            reached()
        self._arrive(packet.datagram, packet.source, packet.destination)

    def _chance_fate(self) -> Fate:
        conditions, chance = self.conditions, self._random.random
        if conditions.loss and chance() < conditions.loss:
            return Fate(copies=0)
        copies = 2 if conditions.duplicate and chance() < conditions.duplicate else 1
        if conditions.corrupt and chance() < conditions.corrupt:
            return Fate(copies, flip=self._random.randrange(1 << 16))
        return Fate(copies)
