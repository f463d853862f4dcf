"""Emulated links in virtual time: streams of ours share a bottleneck.

Nothing here takes real time or needs a network: a run of minutes takes seconds, and
is the same each time. Each flow goes one way through a queue that drops its tail;
acknowledgments come back without a queue, but may get lost as well.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from curvecp_tx.stream.congestion import ICongestionControl
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.packets import CLIENT_MESSAGE_OVERHEAD

OVERHEAD = CLIENT_MESSAGE_OVERHEAD + 28
"""Bytes around a message: packet, UDP, IP."""

REFILL = 1 << 18


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
    """Whoever sends through the bottleneck."""

    start: float
    stop: float
    delivered: list[tuple[float, int]]

    def begin(self, world: World, index: int, now: float) -> None:
        """Start to send."""

    def arrived(self, packet: bytes, now: float) -> None:
        """The far end gets a packet."""

    def answered(self, packet: bytes, now: float) -> None:
        """The near end gets an answer."""

    def deadline(self, now: float) -> float | None:
        """When to be woken up."""

    def wake(self, now: float) -> None:
        """Do what is due, and send."""


Make = Callable[[random.Random], ICongestionControl]


class OurFlow:
    """A bulk transfer between two streams of ours, or one of a given size.

    :ivar delivered: times, and bytes received until then.
    """

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

    def begin(self, world: World, index: int, now: float) -> None:
        """Start to send."""
        self._world, self._index = world, index
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
        self.wake(now)

    def arrived(self, packet: bytes, now: float) -> None:
        """The far end gets a packet, and its application reads at once."""
        self.far.receive([packet], now)
        if self.far.readable:
            self._count += len(self.far.read())
            self.delivered.append((now, self._count))
        if self.done_at is None and self.far.peer_ended:
            self.done_at = now
            self.far.finish()

    def answered(self, packet: bytes, now: float) -> None:
        """The near end gets an answer."""
        self.near.receive([packet], now)

    def deadline(self, now: float) -> float | None:
        """When either end has something to do."""
        times = [self.near.next_deadline(now), self.far.next_deadline(now)]
        return min((time for time in times if time is not None), default=None)

    def wake(self, now: float) -> None:
        """Send what may be sent."""
        for stream in (self.near, self.far):
            stream.handle_timer(now)
        if self.size is None and now < self.stop and self.near.unsent < REFILL:
            self.near.write(bytes(REFILL))
        for message in self.near.messages_to_send(now):
            self._world.forward(self._index, message, now)
        for message in self.far.messages_to_send(now):
            self._world.back(self._index, message, now)


@dataclass
class World:
    """The link with all its flows."""

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
        self._events: list[tuple[float, int, int, int, bytes]] = []
        self._begun: set[int] = set()
        for index, flow in enumerate(self.flows):
            self._event(flow.start, index, 2, b"")

    def forward(self, flow: int, packet: bytes, now: float) -> None:
        """A packet comes to the bottleneck."""
        queue = self._queue
        while queue and queue[0] <= now:
            queue.popleft()
        if len(queue) > self.link.queue:
            self.dropped += 1
            return
        begins = max(now, self._free_at)
        self._free_at = begins + 8 * (len(packet) + OVERHEAD) / self.link.rate
        queue.append(self._free_at)
        self.waits.append((now, begins - now))
        self.passed += 1
        if not self._lost(now):
            self._event(self._free_at + self.link.delay, flow, 1, packet)

    def back(self, flow: int, packet: bytes, now: float) -> None:
        """An answer sets out."""
        if not self._lost(now):
            self._event(now + self.link.delay, flow, 0, packet)

    def run(self, until: float) -> None:
        """Let time go by; ends early when all flows of a given size are done."""
        while True:
            times = [self._events[0][0]] if self._events else []
            for index in self._begun:
                due = self.flows[index].deadline(self.now)
                if due is not None:
                    times.append(due)
            if not times or min(times) > until:
                break
            self.now = max(self.now, min(times))
            touched = set()
            while self._events and self._events[0][0] <= self.now:
                _, _, index, kind, packet = heappop(self._events)
                flow = self.flows[index]
                if kind == 1:
                    flow.arrived(packet, self.now)
                elif kind == 0:
                    flow.answered(packet, self.now)
                else:
                    flow.begin(self, index, self.now)
                    self._begun.add(index)
                touched.add(index)
            for index in self._begun:
                due = self.flows[index].deadline(self.now)
                if index in touched or (due is not None and due <= self.now):
                    self.flows[index].wake(self.now)
        self.now = until

    def _lost(self, now: float) -> bool:
        if any(start <= now < end for start, end in self.link.outages):
            return True
        return self._random.random() < self.link.loss

    def _event(self, time: float, flow: int, kind: int, packet: bytes) -> None:
        self._count += 1
        heappush(self._events, (time, self._count, flow, kind, packet))


def delivered_between(flow: Flow, start: float, end: float) -> int:
    """Give how many bytes arrived in a time."""
    before = after = 0
    for time, count in flow.delivered:
        if time < start:
            before = count
        if time < end:
            after = count
    return after - before


def mean_wait(world: World, start: float, end: float) -> float:
    """Give the mean time in the queue, in seconds."""
    waits = [wait for time, wait in world.waits if start <= time < end]
    return sum(waits) / len(waits) if waits else 0.0
