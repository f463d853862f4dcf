"""Emulated links in virtual time: streams of ours share a bottleneck.

Nothing here takes real time or needs a network: a run of minutes takes seconds, and
is the same each time. Each flow goes one way through a queue that drops its tail;
acknowledgments come back without a queue, but may get lost as well.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Any, Protocol

from curvecp_tx.stream.congestion import ICongestionControl
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import MAX_BLOCK_BYTES
from curvecp_tx.wire.packets import CLIENT_MESSAGE_OVERHEAD, MAX_MESSAGE_BYTES

OVERHEAD = CLIENT_MESSAGE_OVERHEAD + 28
"""Bytes around a message: packet, UDP, IP."""

REFILL = 1 << 18

_ANSWERED, _ARRIVED, _BEGIN = range(3)


@dataclass(frozen=True)
class Link:
    """A bottleneck.

    :ivar rate: bits per second.
    :ivar delay: seconds each way, without the queue.
    :ivar queue: packets that wait at the most.
    :ivar loss: share of packets lost at random, each way.
    :ivar outages: when nothing comes through, in seconds.
    """

    rate: float
    delay: float
    queue: int
    loss: float = 0.0
    outages: Sequence[tuple[float, float]] = ()


class Flow(Protocol):
    """Whoever sends through the bottleneck.

    :ivar efficiency: what is new in a full packet, over all of its bytes.
    :ivar delivered: times, and bytes that had arrived in order by then.
    :ivar done_at: when all had arrived, if there was an end.
    """

    start: float
    stop: float
    efficiency: float
    delivered: list[tuple[float, int]]
    done_at: float | None

    @property
    def repeated(self) -> float:
        """The share of packets that were sent again, of all sent."""

    def begin(self, world: World, index: int, now: float) -> None:
        """Start to send."""

    def arrived(self, packet: Any, now: float) -> None:
        """The far end gets a packet."""

    def answered(self, packet: Any, now: float) -> None:
        """The near end gets an answer."""

    def deadline(self, now: float) -> float:
        """When to be woken up; never is infinity."""

    def wake(self, now: float) -> None:
        """Do what is due, and send."""


Make = Callable[[random.Random], ICongestionControl]


class OurFlow:
    """A bulk transfer between two streams of ours, or one of a given size."""

    efficiency = MAX_BLOCK_BYTES / (MAX_MESSAGE_BYTES + OVERHEAD)

    def __init__(
        self,
        make: Make,
        *,
        size: int | None = None,
        start: float = 0.0,
        stop: float = float("inf"),
    ) -> None:
        self.make = make
        self.size = size
        self.start = start
        self.stop = stop
        self.delivered: list[tuple[float, int]] = []
        self.done_at: float | None = None
        self._count = 0
        self._sent = 0

    @property
    def repeated(self) -> float:
        """The share of packets that were sent again, of all sent."""
        return self.near.retransmissions / max(1, self._sent)

    def begin(self, world: World, index: int, now: float) -> None:
        """Start to send."""
        self._world, self._index = world, index
        self._near_due = self._far_due = now
        rng = random.Random(world.seed * 1000 + index)
        self.near = Stream(
            random_bytes=rng.randbytes,
            now=now,
            client=True,
            congestion=self.make(rng),
        )
        self.far = Stream(
            random_bytes=rng.randbytes,
            now=now,
            client=False,
            congestion=self.make(rng),
        )
        if self.size is not None:
            self.near.write(bytes(self.size))
            self.near.finish()

    def arrived(self, packet: Any, now: float) -> None:
        """The far end gets a packet, and its application reads at once."""
        self.far.receive([packet], now)
        self._far_due = now
        if self.far.readable:
            self._count += len(self.far.read())
            self.delivered.append((now, self._count))
        if self.done_at is None and self.far.peer_ended:
            self.done_at = now
            self.far.finish()

    def answered(self, packet: Any, now: float) -> None:
        """The near end gets an answer."""
        self.near.receive([packet], now)
        self._near_due = now

    def deadline(self, now: float) -> float:
        """When either end has something to do."""
        return min(self._near_due, self._far_due)

    def wake(self, now: float) -> None:
        """Send what may be sent, at the end that has heard or waited for something."""
        if now >= self._near_due:
            near = self.near
            near.handle_timer(now)
            if self.size is None and now < self.stop and near.unsent < REFILL:
                near.write(bytes(REFILL))
            for message in near.messages_to_send(now):
                self._sent += 1
                self._world.forward(self._index, message, len(message) + OVERHEAD, now)
            self._near_due = _time(near.next_deadline(now))
        if now >= self._far_due:
            self.far.handle_timer(now)
            for message in self.far.messages_to_send(now):
                self._world.back(self._index, message, now)
            self._far_due = _time(self.far.next_deadline(now))


def _time(time: float | None) -> float:
    return inf if time is None else time


@dataclass
class World:
    """The link with all its flows.

    :ivar waits: when a packet came to the queue, and how long it stayed there.
    """

    link: Link
    flows: Sequence[Flow]
    seed: int = 1
    waits: list[tuple[float, float]] = field(default_factory=list)
    dropped: int = 0
    passed: int = 0

    def __post_init__(self) -> None:
        self.now = 0.0
        self._random = random.Random(self.seed)
        self._queue: deque[float] = deque()
        self._free_at = 0.0
        self._count = 0
        self._events: list[tuple[float, int, int, int, Any]] = []
        self._due = [inf] * len(self.flows)
        for index, flow in enumerate(self.flows):
            self._event(flow.start, index, _BEGIN, None)

    def forward(self, flow: int, packet: Any, size: int, now: float) -> None:
        """A packet comes to the bottleneck; ``size`` is what it takes on the wire."""
        queue = self._queue
        while queue and queue[0] <= now:
            queue.popleft()
        # The first one is on its way out, and waits no more.
        if len(queue) > self.link.queue:
            self.dropped += 1
            return
        begins = max(now, self._free_at)
        self._free_at = begins + 8 * size / self.link.rate
        queue.append(self._free_at)
        self.waits.append((now, begins - now))
        self.passed += 1
        if not self._lost(self._free_at):
            self._event(self._free_at + self.link.delay, flow, _ARRIVED, packet)

    def back(self, flow: int, packet: Any, now: float) -> None:
        """An answer sets out."""
        if not self._lost(now):
            self._event(now + self.link.delay, flow, _ANSWERED, packet)

    def run(self, until: float) -> None:
        """Let time go by, until then or until nothing can happen any more."""
        events, due = self._events, self._due
        while True:
            next_time = min(due)
            if events and events[0][0] < next_time:
                next_time = events[0][0]
            if next_time > until:
                break
            self.now = max(self.now, next_time)
            touched = {index for index, time in enumerate(due) if time <= self.now}
            while events and events[0][0] <= self.now:
                _, _, index, kind, packet = heappop(events)
                flow = self.flows[index]
                if kind == _ARRIVED:
                    flow.arrived(packet, self.now)
                elif kind == _ANSWERED:
                    flow.answered(packet, self.now)
                else:
                    flow.begin(self, index, self.now)
                touched.add(index)
            for index in sorted(touched):
                self.flows[index].wake(self.now)
                due[index] = self.flows[index].deadline(self.now)
        self.now = until

    def _lost(self, now: float) -> bool:
        if any(start <= now < end for start, end in self.link.outages):
            return True
        return self._random.random() < self.link.loss

    def _event(self, time: float, flow: int, kind: int, packet: Any) -> None:
        self._count += 1
        heappush(self._events, (time, self._count, flow, kind, packet))


def delivered_between(flow: Flow, start: float, end: float) -> int:
    """Give how many bytes arrived in a time, from ``start`` on and before ``end``."""
    return _delivered_before(flow, end) - _delivered_before(flow, start)


def _delivered_before(flow: Flow, time: float) -> int:
    index = bisect_left(flow.delivered, (time, 0))
    return flow.delivered[index - 1][1] if index else 0


def first_after(flow: Flow, time: float) -> float | None:
    """Tell when the first byte arrived at or after a time; ``None`` if none did."""
    index = bisect_left(flow.delivered, (time, 0))
    return flow.delivered[index][0] if index < len(flow.delivered) else None


def share(world: World, flow: Flow, start: float, end: float) -> float:
    """Give the part of the link that carried what was new, headers included."""
    bits = 8 * delivered_between(flow, start, end) / flow.efficiency
    return bits / (world.link.rate * (end - start))


def mean_wait(world: World, start: float, end: float) -> float:
    """Give the mean time in the queue, in seconds."""
    waits = [wait for time, wait in world.waits if start <= time < end]
    return sum(waits) / len(waits) if waits else 0.0


def high_wait(world: World, start: float, end: float, part: float = 0.95) -> float:
    """Give the time in the queue that so many packets did not exceed, in seconds."""
    waits = sorted(wait for time, wait in world.waits if start <= time < end)
    return waits[int(part * (len(waits) - 1))] if waits else 0.0
