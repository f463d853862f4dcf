"""Flows of others for the emulated links: TCP with CUBIC, and the reference.

Both are models: no bytes travel, only numbers of segments and blocks. They have what
decides on the speed, and nothing else.

The reference's pace is our Chicago with the reference's rules around it: one block for
each turn of its loop, timers in whole milliseconds, repeats only of what is overdue,
acknowledgments of what is contiguous. Its least spacing of 33 to 66 µs does not matter
on links as slow as these.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from benchmarks.links import OVERHEAD, World
from curvecp_tx.stream.chicago import WINDOW, Chicago
from curvecp_tx.wire.messages import MAX_BLOCK_BYTES
from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES

SEGMENT = 1448
SEGMENT_ON_WIRE = 1500
"""Bytes: IPv4, TCP with time stamps."""

CUBIC_C = 0.4
CUBIC_BETA = 0.7
"""RFC 9438."""

RENO_GROWTH = 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA)
"""Segments per round trip with which Reno would be as fast on average."""

INITIAL_WINDOW = 10.0
OVERTAKEN = 3
MIN_TIMEOUT = 0.2
FIRST_TIMEOUT = 1.0
MAX_TIMEOUT = 60.0
"""Seconds; the least one is that of Linux."""

ACK_DELAY = 0.04

BLOCK_ON_WIRE = MAX_MESSAGE_BYTES + OVERHEAD


class Cubic:
    """The window of RFC 9438, in segments, without HyStart.

    :ivar window: segments that may be in flight.
    """

    def __init__(self) -> None:
        self.window = INITIAL_WINDOW
        self.threshold = inf
        self._most = 0.0
        self._began: float | None = None
        self._origin = 0.0
        self._reno = 0.0

    def acknowledged(self, segments: int, now: float, rtt: float) -> None:
        """Grow; not to be called while a loss is being repaired."""
        if self.window < self.threshold:
            self.window += segments
            return
        if self._began is None:
            self._began = now
            self._most = max(self._most, self.window)
            self._origin = ((self._most - self.window) / CUBIC_C) ** (1 / 3)
            self._reno = self.window
        self._reno += RENO_GROWTH * segments / self.window
        elapsed = now - self._began + rtt
        target = CUBIC_C * (elapsed - self._origin) ** 3 + self._most
        target = min(max(target, self.window), 1.5 * self.window)
        self.window += segments * (target - self.window) / self.window
        self.window = max(self.window, self._reno)

    def congested(self) -> None:
        """Shrink, once for each window in which something got lost."""
        converging = self.window < self._most
        self._most = self.window * ((1 + CUBIC_BETA) / 2 if converging else 1.0)
        self.threshold = max(2.0, self.window * CUBIC_BETA)
        self.window = self.threshold
        self._began = None

    def timed_out(self) -> None:
        """Begin again."""
        self.congested()
        self.window = 1.0


class Segment(NamedTuple):
    """A TCP segment: its number in the stream, and that of the transmission."""

    number: int
    serial: int


class Answer(NamedTuple):
    """What a TCP receiver says; ``beyond`` is what it has above the first gap."""

    expected: int
    beyond: frozenset[int]
    echoed: Segment


@dataclass
class Flying:
    """A segment on its way."""

    number: int
    sent: float
    repeated: bool


class CubicFlow:
    """A bulk transfer over TCP.

    Losses are told as Linux tells them today: by three later transmissions that have
    arrived, so that lost repeats are found as well.
    """

    efficiency = SEGMENT / SEGMENT_ON_WIRE

    def __init__(
        self,
        *,
        size: int | None = None,
        start: float = 0.0,
        stop: float = inf,
    ) -> None:
        self.start = start
        self.stop = stop
        self.delivered: list[tuple[float, int]] = []
        self.done_at: float | None = None
        self.cubic = Cubic()
        self._segments = inf if size is None else -(-size // SEGMENT)
        self._next = 0
        self._serial = 0
        self._oldest = 0
        self._flying: dict[int, Flying] = {}
        self._lost: list[int] = []
        self._expected_back = 0
        self._arrived_there: set[int] = set()
        self._recovery_ends: int | None = None
        self._highest = 0
        self._rtt = self._variance = 0.0
        self._backoff = 1
        self._timer = inf
        self._sent = self._repeats = 0
        self._expected = 0
        self._beyond: set[int] = set()
        self._owed: Segment | None = None
        self._ack_by = inf

    @property
    def repeated(self) -> float:
        """The share of packets that were sent again, of all sent."""
        return self._repeats / max(1, self._sent)

    def begin(self, world: World, index: int, now: float) -> None:
        """Start to send."""
        self._world, self._index = world, index

    def arrived(self, packet: Segment, now: float) -> None:
        """Take a segment; every second one is acknowledged, and all beyond a gap."""
        number = packet.number
        in_order = number == self._expected and not self._beyond
        if number >= self._expected:
            self._beyond.add(number)
        before = self._expected
        while self._expected in self._beyond:
            self._beyond.discard(self._expected)
            self._expected += 1
        if self._expected > before:
            self.delivered.append((now, self._expected * SEGMENT))
        if self._expected >= self._segments and self.done_at is None:
            self.done_at = now
        if in_order and self._owed is None:
            self._owed = packet
            self._ack_by = now + ACK_DELAY
            return
        self._answer(packet, now)

    def answered(self, packet: Answer, now: float) -> None:
        """Take an acknowledgment."""
        flying = self._flying
        echoed = flying.get(packet.echoed.serial)
        if echoed is not None:
            self._measure(now - echoed.sent)
        there = self._arrived_there
        acknowledged = {
            serial: entry
            for serial, entry in flying.items()
            if entry.number < packet.expected or entry.number in packet.beyond
        }
        news = len(acknowledged)
        for serial in acknowledged:
            self._highest = max(self._highest, serial)
            del flying[serial]
        there.update(packet.beyond)
        if packet.expected > self._expected_back:
            there.difference_update(range(self._expected_back, packet.expected))
            self._expected_back = packet.expected
        self._lost = [
            number
            for number in self._lost
            if number >= packet.expected and number not in there
        ]
        if news:
            self._backoff = 1
            self._restart_timer(now)
        self._find_lost(packet.expected)
        if news and self._recovery_ends is None:
            self.cubic.acknowledged(news, now, self._rtt)

    def deadline(self, now: float) -> float:
        """When to be woken up."""
        return min(self._timer, self._ack_by)

    def wake(self, now: float) -> None:
        """Do what is due, and send."""
        if now >= self._ack_by and self._owed is not None:
            self._answer(self._owed, now)
        if now >= self._timer:
            self._timed_out(now)
        while len(self._flying) < int(self.cubic.window):
            if self._lost:
                self._send(self._lost.pop(0), now, repeated=True)
            elif self._next < self._segments and now < self.stop:
                self._send(self._next, now, repeated=False)
                self._next += 1
            else:
                break

    def _answer(self, packet: Segment, now: float) -> None:
        answer = Answer(self._expected, frozenset(self._beyond), packet)
        self._owed, self._ack_by = None, inf
        self._world.back(self._index, answer, now)

    def _send(self, number: int, now: float, *, repeated: bool) -> None:
        if not self._flying:
            self._restart_timer(now, sending=True)
        self._serial += 1
        self._sent += 1
        self._repeats += repeated
        self._flying[self._serial] = Flying(number, now, repeated)
        packet = Segment(number, self._serial)
        self._world.forward(self._index, packet, SEGMENT_ON_WIRE, now)

    def _measure(self, sample: float) -> None:
        if not self._rtt:
            self._rtt, self._variance = sample, sample / 2
        self._variance += (abs(sample - self._rtt) - self._variance) / 4
        self._rtt += (sample - self._rtt) / 8

    def _find_lost(self, expected: int) -> None:
        if self._recovery_ends is not None and expected >= self._recovery_ends:
            self._recovery_ends = None
        flying = self._flying
        lost = []
        for serial in flying:
            if serial > self._highest - OVERTAKEN:
                break
            lost.append(serial)
        for serial in lost:
            self._lost.append(flying.pop(serial).number)
        if lost:
            self._lost.sort()
            if self._recovery_ends is None:
                self._recovery_ends = self._next
                self.cubic.congested()

    def _timed_out(self, now: float) -> None:
        if self._recovery_ends is None or self._backoff == 1:
            self.cubic.timed_out()
        self._recovery_ends = None
        self._lost = sorted(
            {*self._lost, *(entry.number for entry in self._flying.values())}
        )
        self._flying.clear()
        self._backoff *= 2
        self._timer = inf

    def _restart_timer(self, now: float, *, sending: bool = False) -> None:
        if not self._flying and not sending:
            self._timer = inf
            return
        timeout = FIRST_TIMEOUT
        if self._rtt:
            timeout = max(MIN_TIMEOUT, self._rtt + 4 * self._variance)
        self._timer = now + min(timeout * self._backoff, MAX_TIMEOUT)


class Receipt(NamedTuple):
    """What a reference receiver says: an ID, and how far all has arrived."""

    message_id: int
    expected: int


@dataclass
class Tracked:
    """A block of the reference's sender: only its last ID counts."""

    sent: float
    message_id: int


class ReferenceFlow:
    """A bulk transfer between two reference ends."""

    efficiency = MAX_BLOCK_BYTES / BLOCK_ON_WIRE

    def __init__(
        self,
        *,
        size: int | None = None,
        start: float = 0.0,
        stop: float = inf,
    ) -> None:
        self.start = start
        self.stop = stop
        self.delivered: list[tuple[float, int]] = []
        self.done_at: float | None = None
        self._all = inf if size is None else -(-size // MAX_BLOCK_BYTES)
        self._blocks: dict[int, Tracked] = {}
        self._numbers: dict[int, int] = {}
        self._next = 0
        self._ids = 0
        self._sent_at = -inf
        self._wake_at = 0.0
        self._repeats = 0
        self._expected = 0
        self._beyond: set[int] = set()

    @property
    def repeated(self) -> float:
        """The share of packets that were sent again, of all sent."""
        return self._repeats / max(1, self._ids)

    def begin(self, world: World, index: int, now: float) -> None:
        """Start to send."""
        self._world, self._index = world, index
        rng = random.Random(world.seed * 1000 + index)
        self.chicago = Chicago(random_bytes=rng.randbytes, now=now)
        self._wake_at = now

    def arrived(self, packet: tuple[int, int], now: float) -> None:
        """Take a block; each is acknowledged at once."""
        number, message_id = packet
        # What lies beyond the ring is dropped, and gets no answer.
        if number >= self._expected + WINDOW:
            return
        if number >= self._expected:
            self._beyond.add(number)
        before = self._expected
        while self._expected in self._beyond:
            self._beyond.discard(self._expected)
            self._expected += 1
        if self._expected > before:
            self.delivered.append((now, self._expected * MAX_BLOCK_BYTES))
        if self._expected >= self._all and self.done_at is None:
            self.done_at = now
        self._world.back(self._index, Receipt(message_id, self._expected), now)

    def answered(self, packet: Receipt, now: float) -> None:
        """Take an acknowledgment; the loop then has another turn."""
        number = self._numbers.get(packet.message_id)
        if number is not None:
            self.chicago.acknowledged(now - self._blocks[number].sent, now)
        for done in [number for number in self._blocks if number < packet.expected]:
            del self._numbers[self._blocks.pop(done).message_id]
        self._wake_at = now

    def deadline(self, now: float) -> float:
        """When the loop's poll ends."""
        return self._wake_at

    def wake(self, now: float) -> None:
        """Have one turn of the loop: repeat the oldest block, or send a new one."""
        if now < self._wake_at:
            return
        oldest = min(self._blocks, key=self._when, default=None)
        ready = now >= self._sent_at + self.chicago.spacing
        overdue = self._due(oldest)
        if ready and oldest is not None and now >= overdue:
            self.chicago.timed_out(now)
            self._repeats += 1
            self._send(oldest, now)
        elif ready and self._may_send(now):
            self._send(self._next, now)
            self._next += 1
        oldest = min(self._blocks, key=self._when, default=None)
        due = now if self._may_send(now) else self._due(oldest)
        due = max(due, self._sent_at + self.chicago.spacing)
        # Its poll sleeps for whole milliseconds, and one more.
        self._wake_at = (
            inf if due == inf else now + int(max(0.0, due - now) * 1e3 + 1) / 1e3
        )

    def _may_send(self, now: float) -> bool:
        room = len(self._blocks) < WINDOW
        return room and self._next < self._all and now < self.stop

    def _when(self, number: int) -> float:
        return self._blocks[number].sent

    def _due(self, number: int | None) -> float:
        return inf if number is None else self._when(number) + self.chicago.timeout

    def _send(self, number: int, now: float) -> None:
        before = self._blocks.get(number)
        if before is not None:
            del self._numbers[before.message_id]
        self._ids += 1
        self._blocks[number] = Tracked(now, self._ids)
        self._numbers[self._ids] = number
        self._sent_at = now
        self._world.forward(self._index, (number, self._ids), BLOCK_ON_WIRE, now)
