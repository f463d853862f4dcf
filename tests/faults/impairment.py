"""The fate of packets: pure and seeded, without a socket or a clock.

One :class:`Impairment` is one direction of a network. It is shown each datagram
with the time, and says what arrives when. It counts all that it does.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from enum import Enum

from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    COOKIE_MAGIC,
    HELLO_MAGIC,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
)

HEADERS = 28
"""Bytes of the IPv4 and UDP headers, which take their time on a link as well."""

Arrival = tuple[float, bytes]
"""When something arrives, and what."""


class Kind(Enum):
    """What a datagram is, by its first eight bytes."""

    HELLO = HELLO_MAGIC
    COOKIE = COOKIE_MAGIC
    INITIATE = INITIATE_MAGIC
    CLIENT_MESSAGE = CLIENT_MESSAGE_MAGIC
    SERVER_MESSAGE = SERVER_MESSAGE_MAGIC
    OTHER = b""


_KINDS = {kind.value: kind for kind in Kind if kind is not Kind.OTHER}


def kind_of(datagram: bytes) -> Kind:
    """Tell what a datagram is."""
    return _KINDS.get(datagram[:8], Kind.OTHER)


class Deed(Enum):
    """What can happen to a datagram."""

    SEEN = "seen"
    PASSED = "passed on, copies included"
    LOST = "lost by chance"
    DROPPED = "dropped by its number"
    OUT = "lost in an outage"
    OVERFLOWED = "lost at a full queue"
    DUPLICATED = "sent twice"
    CORRUPTED = "one bit flipped"
    TRUNCATED = "cut short"
    HURRIED = "sent ahead of others"
    HELD = "held back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One direction of a network.

    Shares are from 0 to 1. Times are in seconds.

    :ivar loss: share that vanishes.
    :ivar burst: how many may be lost by chance in a row; 0 for any number.
    :ivar duplicate: share that is sent twice.
    :ivar corrupt: share of which one bit is flipped.
    :ivar truncate: share that is cut at a random byte.
    :ivar delay: how long each is under way.
    :ivar jitter: greatest random addition to that; so packets overtake others.
    :ivar reorder: share that is not delayed at all, and so comes early.
    :ivar rate: bits in a second; 0 for any number.
    :ivar queue: packets that may wait for their turn at that rate; 0 for any.
    :ivar drop: packets that vanish, by kind and number among their kind, from 1.
    :ivar hold: how much longer packets of a kind are under way.
    :ivar outages: begin and end of times in which everything vanishes.
    :ivar period: after how long the outages come again; 0 for never.
    """

    loss: float = 0.0
    burst: int = 0
    duplicate: float = 0.0
    corrupt: float = 0.0
    truncate: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    rate: float = 0.0
    queue: int = 0
    drop: frozenset[tuple[Kind, int]] = frozenset()
    hold: tuple[tuple[Kind, float], ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    period: float = 0.0


CLEAR = Link()
Q = Link(delay=0.015, rate=10e6, queue=25)
"""The link on which implementations of QUIC are compared with each other."""


@dataclass(slots=True)
class Counts:
    """What was done to how many datagrams, by kind; and how many bytes came."""

    deeds: Counter[tuple[Deed, Kind]] = field(default_factory=Counter)
    bytes_seen: Counter[Kind] = field(default_factory=Counter)

    def of(self, deed: Deed, kind: Kind | None = None) -> int:
        """Give one number; that of all kinds together if none is named."""
        if kind is not None:
            return self.deeds[deed, kind]
        return sum(self.deeds[deed, each] for each in Kind)

    def summary(self) -> str:
        """Give all that is not zero, in words."""
        totals = ((deed, self.of(deed)) for deed in Deed)
        return ", ".join(f"{deed.name.lower()} {n}" for deed, n in totals if n)


class Impairment:
    """One direction of a network, with its memory.

    :param seed: decides all that is random.
    :ivar link: what it does; may be replaced at any time.
    :ivar out: while it is true, everything vanishes.
    :ivar began: the time from which outages count; the first datagram's if unset.
    :ivar flips: each datagram that was corrupted, with the byte where it was.
    """

    def __init__(self, link: Link = CLEAR, *, seed: int | str = 0) -> None:
        self.link = link
        self.out = False
        self.began: float | None = None
        self.counts = Counts()
        self.flips: dict[bytes, int] = {}
        self._random = random.Random(seed)
        self._in_a_row = 0
        self._free_at = 0.0
        self._departures: deque[float] = deque()

    def pass_on(self, datagram: bytes, now: float) -> list[Arrival]:
        """Decide what becomes of a datagram.

        :return: what arrives when; nothing if it is lost.
        """
        link, kind = self.link, kind_of(datagram)
        self._count(Deed.SEEN, kind)
        self.counts.bytes_seen[kind] += len(datagram)
        if self.began is None:
            self.began = now
        loss = self._loss(link, kind, now - self.began)
        if loss is not None:
            self._count(loss, kind)
            return []
        datagram = self._damage(link, kind, datagram)
        arrivals = [self._under_way(link, kind, datagram, now)]
        if self._happens(link.duplicate):
            self._count(Deed.DUPLICATED, kind)
            arrivals.append(self._under_way(link, kind, datagram, now))
        return [arrival for arrival in arrivals if arrival is not None]

    def _happens(self, share: float) -> bool:
        return share > 0.0 and self._random.random() < share

    def _count(self, deed: Deed, kind: Kind) -> None:
        self.counts.deeds[deed, kind] += 1

    def _loss(self, link: Link, kind: Kind, age: float) -> Deed | None:
        """Decide whether a datagram is lost, and by what."""
        if link.period:
            age %= link.period
        if self.out or any(begin <= age < end for begin, end in link.outages):
            return Deed.OUT
        if (kind, self.counts.of(Deed.SEEN, kind)) in link.drop:
            return Deed.DROPPED
        lost = self._happens(link.loss)
        if lost and not 0 < link.burst <= self._in_a_row:
            self._in_a_row += 1
            return Deed.LOST
        self._in_a_row = 0
        return None

    def _damage(self, link: Link, kind: Kind, datagram: bytes) -> bytes:
        if datagram and self._happens(link.truncate):
            self._count(Deed.TRUNCATED, kind)
            datagram = datagram[: self._random.randrange(len(datagram))]
        if datagram and self._happens(link.corrupt):
            self._count(Deed.CORRUPTED, kind)
            damaged = bytearray(datagram)
            bit = self._random.randrange(8 * len(damaged))
            damaged[bit // 8] ^= 1 << bit % 8
            datagram = bytes(damaged)
            self.flips[datagram] = bit // 8
        return datagram

    def _under_way(
        self, link: Link, kind: Kind, datagram: bytes, now: float
    ) -> Arrival | None:
        """Send one copy; it may still find the queue full."""
        at = now
        if link.rate:
            departures = self._departures
            while departures and departures[0] <= now:
                departures.popleft()
            # The first of them is not in the queue: it is being sent.
            if link.queue and len(departures) > link.queue:
                self._count(Deed.OVERFLOWED, kind)
                return None
            seconds = 8 * (len(datagram) + HEADERS) / link.rate
            at = self._free_at = max(now, self._free_at) + seconds
            departures.append(at)
        if self._happens(link.reorder):
            self._count(Deed.HURRIED, kind)
        else:
            at += link.delay
            if link.jitter:
                at += self._random.random() * link.jitter
        for held, seconds in link.hold:
            if held is kind:
                self._count(Deed.HELD, kind)
                at += seconds
        self._count(Deed.PASSED, kind)
        return at, datagram
