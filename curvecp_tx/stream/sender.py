"""The sending half of a stream: bytes become blocks, and blocks arrive in the end.

Each transmission of a block gets a serial number and an ID of its own. The ID
comes back in an acknowledgment and tells which transmission arrived, and when it
had left. The serial numbers tell which ones were overtaken: a block is presumed
lost when three later transmissions have been acknowledged, or when it is overdue.
If the one that was presumed lost arrives after all, packets take different ways: from
then on, more time has to lie between the two as well (after RFC 8985).

While nothing at all comes back, only probes are sent, a few seconds apart at the
most, the lowest bytes first: they are what the peer needs in order to go on.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from itertools import islice
from operator import attrgetter

from curvecp_tx.errors import StreamBroken
from curvecp_tx.stream.blocks import Block, Transmissions, Unsent
from curvecp_tx.stream.congestion import ICongestionControl
from curvecp_tx.stream.ranges import RangeSet
from curvecp_tx.wire.messages import (
    FAILURE,
    MAX_BLOCK_BYTES,
    MAX_STREAM_BYTES,
    SUCCESS,
    Range,
)

REORDERING = 3
"""Later transmissions that must have arrived before a block counts as lost;
TCP's figure."""

MAX_PROBE_INTERVAL = 4.0
"""Seconds between two probes at the most: so soon after the end of an outage does
the connection go on."""

WINDOW_BYTES = 128 * 1024
"""What lies between the first unacknowledged byte and the last one sent: a
reference receiver drops what goes beyond."""

MAX_WINDOW_BYTES = 4 << 20
"""The same with a peer that says how far it receives: as much is kept for repeats."""

LONG_PROBE = 128
"""Bytes beyond which a probe does not fit into the shortest message."""

FIRST_LIMIT_PROBE = 1.0
"""Seconds until a peer without room is asked again, in case its word that it has
some got lost; then twice that, up to the interval of other probes."""

MIN_RUN = 2
"""Full blocks that are worth being sent as a run."""


class Sender:
    """Sends one stream.

    :param congestion: decides on the speed, and on what is overdue.
    :ivar block_limit: size of the next blocks to be cut, in bytes.
    :ivar probe_interval: seconds between two probes at the most.
    :ivar finished: whether the stream and its end have been acknowledged.
    :ivar pinging: whether a ping is wanted, and has not been sent.
    :ivar word_due: whether something short should leave beside a long probe. A path
        that will not carry the probe may carry that: one on which we may not send
        much yet, or one that drops long packets. The answer tells that we were heard.
    """

    def __init__(self, congestion: ICongestionControl, *, block_limit: int) -> None:
        self.congestion = congestion
        self.block_limit = block_limit
        self.probe_interval = MAX_PROBE_INTERVAL
        self._unsent = Unsent()
        self._position = 0
        self._ending = 0
        self._ended = False
        self.finished = False
        self.pinging = False
        self._blocks: list[Block] = []
        self._lost: list[tuple[int, int, Block]] = []
        self._flight: dict[int, Block] = {}
        self._sent = Transmissions()
        self._covered = RangeSet()
        self._serial = 0
        self._oldest = 1
        self._progress_at = 0.0
        self._highest_acknowledged = 0
        self._marked = 0
        self._latest_sent = 0.0
        self._reordering = 0.0
        self._probes = 0
        self._probe_due = False
        self.word_due = False
        self._probed = 0.0
        self._limit: int | None = None
        self._limit_asked = 0.0
        self._limit_patience = FIRST_LIMIT_PROBE
        self._new_turn = False
        self.retransmissions = 0

    @property
    def buffered(self) -> int:
        """Bytes from the first unacknowledged one to the last one written."""
        sent = self._position - self._blocks[0].position if self._blocks else 0
        return self._unsent.size + max(0, sent)

    @property
    def unsent(self) -> int:
        """Bytes written, and not sent yet."""
        return self._unsent.size

    @property
    def owes(self) -> bool:
        """Whether an acknowledgment is due for something."""
        return bool(self._blocks)

    @property
    def wants_to_send(self) -> bool:
        """Whether there is something for :meth:`next`, as soon as it may go."""
        if self._probe_due or self._has_new:
            return True
        return bool(self._lost) and not self._probes

    @property
    def has_sent(self) -> bool:
        """Whether anything was sent by now."""
        return self._serial > 0

    @property
    def in_flight(self) -> int:
        """Blocks sent, and neither acknowledged nor presumed lost."""
        return len(self._flight)

    @property
    def limited(self) -> bool:
        """Whether all that is missing is room at the peer's."""
        return (
            self._limit is not None
            and self._position >= self._limit
            and self._unsent.size > 0
        )

    def allow(self, limit: int, now: float) -> None:
        """Learn up to which position the peer has room; it never takes it back."""
        if self._limit is None or limit > self._limit:
            self._limit = limit
            self._limit_patience = FIRST_LIMIT_PROBE
        self._limit_asked = now

    def write(self, data: bytes) -> None:
        """Append bytes to the stream; after its end, they are ignored.

        :raises OverflowError: if the stream would get longer than 2^60 - 1.
        """
        if self._ending:
            return
        if self._position + self._unsent.size + len(data) > MAX_STREAM_BYTES:
            raise OverflowError("a stream has at most 2^60 - 1 bytes")
        self._unsent.append(data)

    def finish(self) -> None:
        """End the stream after what has been written."""
        if not self._ending:
            self._ending = SUCCESS

    def fail(self) -> bool:
        """End the stream as a failure, after what has been sent by now.

        :return: whether the peer will learn of it: not if the end has been sent.
        """
        if self._ended and self._ending == SUCCESS:
            return False
        self._ending = FAILURE
        self._unsent.clear()
        return True

    def ping(self) -> None:
        """Have the peer show that it is there."""
        self.pinging = True

    def acknowledge(
        self, acknowledged_id: int, ranges: Iterable[Range], now: float
    ) -> bool:
        """Take an acknowledgment; tell whether anything came of it.

        One that names an ID which was never sent counts for nothing. One that
        names none can only answer a duplicate, and so counts for nothing but
        blocks that were sent more than once, and for the whole stream at once:
        after that, nothing is left that a lie could make us send.

        :raises StreamBroken: if it acknowledges what was never sent.
        """
        progress = False
        rtt = state = None
        marked = self._marked
        if acknowledged_id:
            transmission = self._sent.find(acknowledged_id)
            if transmission is None:
                return False
            block, serial, sent, state = transmission
            self._confirm(block, serial, sent)
            rtt = now - sent
            progress = True
        end_of_sent = self._position + self._ended
        for start, end in ranges:
            if end > end_of_sent:
                raise StreamBroken("the peer acknowledges what was never sent")
            whole = self._ended and start == 0 and end == end_of_sent
            trusted = bool(acknowledged_id) or whole
            progress |= self._acknowledge_range(start, end, trusted)
        if progress:
            self._probes = 0
            self._probe_due = False
            self._progress_at = now
            self._drop_acknowledged()
            self._find_lost(now)
            self.congestion.acknowledged(
                rtt, now, self._marked - marked, state, len(self._flight)
            )
        return progress

    def handle_timer(self, now: float) -> None:
        """Notice that nothing has come back in time, and let a probe go."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return
        if not self._blocks:
            self.pinging = True
            self._limit_asked = now
            self._limit_patience *= 2
        else:
            self.congestion.timed_out(now)
            self._probes += 1
            self._probe_due = True

    def peer_heard(self, now: float) -> None:
        """Learn that the peer can be reached again, or somewhere else than before.

        The next probe of a long silence goes at once then, instead of when its time
        has come: by then, the peer may have moved again.
        """
        if self._probes and now >= self._probed + self.congestion.timeout:
            self._probe_due = True

    def deadline(self) -> float | None:
        """When an answer is overdue, or the next probe is due.

        While answers come, they tell what is lost.
        """
        if not self._blocks and self.limited and not self.pinging:
            return self._limit_asked + min(self._limit_patience, self.probe_interval)
        if not self._blocks or self._probe_due:
            return None
        patience = self.congestion.timeout
        if self._probes:
            patience *= 1 << min(self._probes, 16)
            return self._probed + min(patience, self.probe_interval)
        block = self._first_in_flight()
        if block is None:
            return None
        since = max(block.sent, self._progress_at)
        return since + min(patience, self.probe_interval)

    def next(self, now: float) -> Block | None:
        """Choose what to send now: something lost, or something new, by turns."""
        if self._probe_due:
            return self._blocks[0]
        has_new = self._has_new
        if not has_new and not self._lost:
            self.congestion.idle(len(self._flight))
            return None
        if not self.congestion.allowance(now, len(self._flight)):
            return None
        if has_new and (self._new_turn or self._probes or not self._lost):
            return self._cut()
        if self._probes:
            # Nothing has come back since the last probe: no use in sending more
            # of the same, but what is new is news.
            return None
        block = self._next_lost()
        if block is None:
            if has_new:
                return self._cut()
            self.congestion.idle(len(self._flight))
        return block

    def next_run(
        self, now: float, new_ids: Callable[[int], list[int]]
    ) -> tuple[list[int], list[Block]] | None:
        """Send a run of full new blocks, where nothing else has to be sent first.

        The same as :meth:`next` and :meth:`transmitted` for each, for less.

        :param new_ids: gives so many IDs.
        :return: IDs and blocks; ``None`` if there is no such run.
        """
        if self._unsent.size <= MIN_RUN * MAX_BLOCK_BYTES:
            return None
        if self._lost or self._probes or self._probe_due or self.pinging:
            return None
        room = self._room_ends - self._position
        count = min(self._unsent.size - 1, room) // MAX_BLOCK_BYTES
        if count < MIN_RUN or self.block_limit != MAX_BLOCK_BYTES:
            return None
        in_flight = len(self._flight)
        count = min(count, self.congestion.allowance(now, in_flight))
        if count < MIN_RUN:
            return None
        message_ids = new_ids(count)
        if self._sent.any_of(message_ids):
            return None
        state = self.congestion.sent(now, in_flight, count)
        serial, position, flight = self._serial, self._position, self._flight
        blocks = []
        for data in self._unsent.cut_many(MAX_BLOCK_BYTES, count):
            serial += 1
            block = Block(position, data, 0, 1, serial, now)
            position += MAX_BLOCK_BYTES
            flight[serial] = block
            blocks.append(block)
        self._sent.add_many(
            message_ids,
            [(block, block.serial, now, state) for block in blocks],
            len(flight),
        )
        self._blocks += blocks
        self._serial, self._position = serial, position
        self._new_turn = False
        return message_ids, blocks

    def transmitted(self, block: Block, message_id: int, now: float) -> None:
        """Note that a block left under an ID of its own."""
        self._flight.pop(block.serial, None)
        self._remember(block, message_id, now)
        block.serial = self._serial
        block.sent = now
        block.transmissions += 1
        self._flight[block.serial] = block
        self._new_turn = block.transmissions > 1
        self.retransmissions += block.transmissions > 1
        if self._probe_due:
            self._probe_due = False
            self._probed = now
            self.word_due = self._probes > 1 and len(block.data) > LONG_PROBE

    def word_sent(self, message_id: int, now: float) -> None:
        """Note that an empty message left under an ID of its own."""
        self.word_due = False
        self._remember(Block(0, b"", 0), message_id, now)

    def _remember(self, block: Block, message_id: int, now: float) -> None:
        self._serial += 1
        in_flight = len(self._flight)
        state = self.congestion.sent(now, in_flight)
        self._sent.add(message_id, (block, self._serial, now, state), in_flight)

    def knows(self, message_id: int) -> bool:
        """Tell whether an ID is taken."""
        return message_id in self._sent

    @property
    def _has_new(self) -> bool:
        if self.pinging and self._may_ping:
            return True
        if self._ended:
            return False
        if not self._unsent.size:
            return bool(self._ending)
        return self._position < self._room_ends

    @property
    def _room_ends(self) -> int:
        """Up to which position we may send: what the peer says, and our own bound."""
        first = self._blocks[0].position if self._blocks else self._position
        if self._limit is None:
            return first + WINDOW_BYTES
        return min(first + MAX_WINDOW_BYTES, self._limit)

    @property
    def _may_ping(self) -> bool:
        """Whether a ping that is wanted may go: not where something else will do."""
        if self._blocks:
            return False
        idle = not self._unsent.size and (self._ended or not self._ending)
        return idle or self.limited

    def _cut(self) -> Block:
        """Cut the next block off what has not been sent: there is something new."""
        if self.pinging and self._may_ping:
            self.pinging = False
            return self._track(Block(self._position + self._ended, b"", 0))
        # A peer's limit may lie before what has been sent.
        room = max(0, self._room_ends - self._position)
        size = min(self.block_limit, MAX_BLOCK_BYTES, self._unsent.size, room)
        data = self._unsent.cut(size)
        ending = self._ending if not self._unsent.size else 0
        block = Block(self._position, data, ending)
        self._position += size
        self._ended = bool(ending)
        self.pinging = False
        return self._track(block)

    def _track(self, block: Block) -> Block:
        self._blocks.append(block)
        return block

    def _confirm(self, block: Block, serial: int, sent: float) -> None:
        """Take the echo of an ID: a message has arrived."""
        if serial == block.given_up and not block.acknowledged:
            # It was sent again too soon.
            rtt = self.congestion.rtt
            self._reordering = min(self._reordering + rtt / 4, rtt)
        if serial > self._highest_acknowledged:
            self._highest_acknowledged, self._latest_sent = serial, sent
        # A ping asks whether the peer is there: an answer to what was sent later
        # will do, an answer to what was sent before says nothing.
        oldest = self._blocks[0] if self._blocks else block
        if oldest.is_ping and (block is oldest or serial > oldest.serial):
            self._mark(oldest)

    def _acknowledge_range(self, start: int, end: int, trusted: bool) -> bool:
        blocks, mark, marked = self._blocks, self._mark, self._marked
        if start == 0 or not trusted:
            news = [(start, end)]
        else:
            # Beyond a gap the same ranges come again and again.
            news = self._covered.missing(start, end)
            self._covered.add(start, end)
        for first, last in news:
            index = bisect_right(blocks, first, key=_position) - 1 if first else 0
            for block in islice(blocks, max(0, index), None):
                position, limit = block.position, block.limit
                if position >= last or limit > end:
                    break
                # An empty one is a ping.
                if block.acknowledged or limit == position or position < start:
                    continue
                if trusted or block.transmissions > 1:
                    mark(block)
        progress = self._marked > marked
        if progress and blocks[0].is_ping:
            self._mark(blocks[0])
        return progress

    def _mark(self, block: Block) -> None:
        block.acknowledged = True
        self._marked += 1
        # Its ID is remembered for a while, its bytes need not be.
        block.data = b""
        serial = block.serial
        self._flight.pop(serial, None)
        if block.transmissions == 1 and serial > self._highest_acknowledged:
            self._highest_acknowledged, self._latest_sent = serial, block.sent

    def _drop_acknowledged(self) -> None:
        blocks = self._blocks
        count = 0
        for block in blocks:
            if not block.acknowledged:
                break
            count += 1
            self.finished |= bool(block.ending)
        if count:
            del blocks[:count]
            self._covered.remove_below(blocks[0].position if blocks else self._position)

    def _find_lost(self, now: float) -> None:
        """Presume lost what three later transmissions have overtaken."""
        overtaken = self._highest_acknowledged - REORDERING
        latest = self._latest_sent - self._reordering
        while (block := self._first_in_flight()) is not None:
            if block.serial > overtaken or block.sent > latest:
                return
            del self._flight[block.serial]
            block.given_up = block.serial
            heappush(self._lost, (block.position, block.serial, block))
            self.congestion.lost(now)

    def _first_in_flight(self) -> Block | None:
        """Give the block in flight that was sent first."""
        flight = self._flight
        if not flight:
            return None
        while self._oldest not in flight:
            self._oldest += 1
        return flight[self._oldest]

    def _next_lost(self) -> Block | None:
        while self._lost:
            _, serial, block = heappop(self._lost)
            if not block.acknowledged and block.serial == serial:
                return block
        return None


_position = attrgetter("position")
