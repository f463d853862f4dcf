"""Two streams, a bad network between them, and virtual time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from curvecp_tx.stream.sender import WINDOW_BYTES
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import SIZE_CLASSES, decode_message

Outage = tuple[float, float]


@dataclass(frozen=True)
class Network:
    """How bad the network is.

    Packets do not overtake each other unless there is jitter. Copies are off by
    default: the box drops them before a stream can see them.
    """

    seed: int = 1
    delay: float = 0.015
    jitter: float = 0.0
    loss: float = 0.0
    burst: int = 1
    copies: float = 0.0
    outages: Sequence[Outage] = ()
    one_way: bool = False
    """Whether outages concern the client's packets only."""
    limits: bool = True
    """Whether the ends tell each other up to where they receive."""


class Side:
    """One end, with the application above it.

    A stream that is over gets nothing any more, as its owner would have it.
    """

    def __init__(
        self, *, client: bool, data: bytes, seed: int, **options: float
    ) -> None:
        self.client = client
        self.data = data
        self.stream = Stream(
            random_bytes=random.Random(seed).randbytes,
            now=0.0,
            client=client,
            **options,  # type: ignore[arg-type]
        )
        self.received = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        self.reading = True
        self.over_at: float | None = None
        self.ids: dict[int, tuple[int, int]] = {}
        self.named: set[int] = set()
        self.scattered: list[tuple[int, int]] = []
        self.heard = False
        self.contiguous = 0
        self.limit = 0

    @property
    def gone(self) -> bool:
        """Whether the owner has let the stream go."""
        return self.over_at is not None


class Broken(AssertionError):
    """An invariant does not hold."""


class Wire:
    """Plays two streams against each other.

    Checked all the time: what is delivered is what was sent, in order; IDs are
    fresh; nobody sends beyond a window; no ID is named that the reference would
    choke on; no deadline stays in the past.
    """

    def __init__(
        self,
        network: Network,
        client_data: bytes = b"",
        server_data: bytes = b"",
        *,
        finish: bool = True,
        **options: float,
    ) -> None:
        self.network = network
        self.now = 0.0
        self.idle_wakes: dict[int, int] = {}
        self._random = random.Random(network.seed)
        self._losing = 0
        self._count = 0
        self._queue: list[tuple[float, int, int, bytes]] = []
        self.client = Side(client=True, data=client_data, seed=network.seed, **options)
        self.server = Side(
            client=False, data=server_data, seed=network.seed + 1, **options
        )
        self.sides = (self.client, self.server)
        for side in self.sides:
            side.stream.write(side.data)
            if finish:
                side.stream.finish()

    def run(self, until: float) -> None:
        """Let time go by, until both ends are done or nothing can happen."""
        self._send()
        while not all(side.gone for side in self.sides):
            times = [time for time, *_ in self._queue[:1]]
            for side in self.sides:
                deadline = None if side.gone else side.stream.next_deadline(self.now)
                if deadline is not None:
                    times.append(deadline)
            if not times or min(times) > until:
                break
            self.now = max(self.now, min(times))
            self._step()
        else:
            return
        self.now = max(self.now, until)

    def _step(self) -> None:
        delivered = False
        while self._queue and self._queue[0][0] <= self.now:
            _, _, target, message = heappop(self._queue)
            self._deliver(target, message)
            delivered = True
        for side in self.sides:
            if not side.gone:
                side.stream.handle_timer(self.now)
        if not self._send() and not delivered:
            second = int(self.now)
            self.idle_wakes[second] = self.idle_wakes.get(second, 0) + 1

    def _deliver(self, target: int, message: bytes) -> None:
        side = self.sides[target]
        if side.gone:
            return
        side.heard = True
        decoded = decode_message(message)
        if decoded is not None and decoded.limit is not None:
            side.limit = max(side.limit, decoded.limit)
        if decoded is not None and decoded.ranges and decoded.ranges[0][0] == 0:
            side.contiguous = max(side.contiguous, decoded.ranges[0][1])
        side.stream.receive([message], self.now)

    def _send(self) -> int:
        sent = 0
        for index, side in enumerate(self.sides):
            if side.gone:
                continue
            for message in side.stream.messages_to_send(self.now):
                sent += 1
                self._check(side, self.sides[1 - index], message)
                self._put(index, message)
            if side.reading and side.stream.readable:
                self.read(side)
            deadline = side.stream.next_deadline(self.now)
            if deadline is not None and deadline <= self.now:
                raise Broken("a deadline stays in the past")
            if side.stream.over:
                side.over_at = self.now
        return sent

    def read(self, side: Side) -> None:
        """Have the application read."""
        peer = self.sides[side is self.client]
        start = len(side.received)
        side.received += side.stream.read()
        side.arrivals.append((self.now, len(side.received)))
        if side.received[start:] != peer.data[start : len(side.received)]:
            raise Broken("other bytes were delivered than sent")

    def _put(self, index: int, message: bytes) -> None:
        network = self.network
        if self._losing:
            self._losing -= 1
            return
        if not network.limits:
            message = message[:48] + bytes(16) + message[64:]
        if self._random.random() < network.loss:
            self._losing = self._random.randrange(network.burst)
            return
        if not (network.one_way and index) and any(
            start <= self.now < end for start, end in network.outages
        ):
            return
        for _ in range(2 if self._random.random() < network.copies else 1):
            self._count += 1
            arrival = self.now + network.delay + self._random.random() * network.jitter
            heappush(self._queue, (arrival, self._count, 1 - index, message))

    def _check(self, side: Side, peer: Side, encoded: bytes) -> None:
        """Check a message as a hostile reviewer, or the reference, would."""
        if len(encoded) not in SIZE_CLASSES:
            raise Broken("a size that tells something")
        if side.client and not side.heard and len(encoded) > 576:
            raise Broken("too long for an Initiate")
        message = decode_message(encoded)
        if message is None or message.block is None:
            raise Broken("not a usable message")
        end = message.position + len(message.block)
        if message.message_id:
            if message.message_id in side.ids:
                raise Broken("an ID was used twice")
            # The reference pings at position 0 only, where no such range begins.
            ping = not message.block and not message.ending
            side.ids[message.message_id] = (-1, -1) if ping else (message.position, end)
            if not side.limit and end > side.contiguous + WINDOW_BYTES + 2:
                raise Broken("sent beyond the window")
            if message.block and side.limit and end > side.limit:
                raise Broken("sent beyond what the peer receives")
        if not self.network.copies:
            self._check_named(side, peer, message.acknowledged_id)
        for start, stop in message.ranges:
            if start:
                side.scattered.append((start, stop))
        if len(side.scattered) > 200:
            del side.scattered[:100]

    def _check_named(self, side: Side, peer: Side, named: int) -> None:
        if not named:
            return
        if named in side.named:
            raise Broken("an ID was named twice")
        position, limit = peer.ids[named]
        if any(start <= position and limit <= end for start, end in side.scattered):
            raise Broken("an ID was named that a later range had covered")
        side.named.add(named)


def data_of(size: int, seed: int = 0) -> bytes:
    """Give bytes that show it if a block lands in the wrong place."""
    return random.Random(seed).randbytes(size)


def ending_of(side: Side) -> str:
    """Tell in a word how a side ended."""
    if not side.gone:
        return "going on"
    if side.stream.complete:
        return "complete"
    return type(side.stream.failure).__name__
