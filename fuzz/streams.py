"""Target: a stream, whose peer says anything whatsoever."""

from __future__ import annotations

from random import Random

from curvecp_tx.stream.ranges import RangeSet
from curvecp_tx.stream.receiver import MAX_RECEIVE_WINDOW
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import (
    FAILURE,
    HEADER_BYTES,
    MAX_BLOCK_BYTES,
    MAX_STREAM_BYTES,
    SIZE_CLASSES,
    SUCCESS,
    Range,
    decode_message,
    encode_message,
)
from curvecp_tx.wire.packets import MAX_INITIATE_MESSAGE_BYTES, MESSAGE_UNIT
from fuzz.script import Play, Script

PATTERN = Random(7).randbytes(8191) * 18
"""What streams are made of: it shows where in a stream a byte belongs. Its size is
a prime, and it goes further than a window."""

PERIOD = 8191
MOST_BUFFERED = 1 << 18
MOST_AT_ONCE = 200
MOST_TURNS = 4
"""How often a timer may be due at once, since each does one thing at a time."""

REMEMBERED = 256
ENDINGS = (0, SUCCESS, FAILURE, SUCCESS | FAILURE)
MILLISECOND = 1 / 1000


def pattern(start: int, size: int) -> bytes:
    """Give the bytes that belong there."""
    begin = start % PERIOD
    return PATTERN[begin : begin + size]


class StreamPlay(Play):
    """A peer that may lie, time that passes, and an owner that reads and writes."""

    STEPS = (
        "hear",
        "hear_raw",
        "answer",
        "next_block",
        "write",
        "read",
        "wait",
        "pass_time",
        "end",
        "hear_blocks",
        "gather",
    )

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        flags = script.byte()
        self.now = 100.0
        self.client = bool(flags & 1)
        self.stream = Stream(
            random_bytes=Random(5).randbytes,
            now=self.now,
            client=self.client,
            keepalive=None if flags & 2 else 25.0,
        )
        self.heard = False
        self.written = 0
        self.delivered = 0
        self.ids: list[int] = []
        self.sent_to = 0
        self.sent_end = False
        self.offered = RangeSet()
        self.offered_to = 0
        self.honest = True
        self.batch: list[bytes] = []
        self.gathering = 0

    def hear(self) -> None:
        """A message arrives, every field of it as the script says."""
        script = self.script
        flags = script.byte()
        position = self.place(flags & 3)
        size = script.number(2) % (MAX_BLOCK_BYTES + 1)
        self.offer(position, size)
        self.take(
            encode_message(
                message_id=script.byte(),
                acknowledged_id=self.an_id(),
                ranges=self.some_ranges(flags >> 2 & 3),
                position=position,
                block=pattern(position, size),
                ending=ENDINGS[flags >> 4 & 3],
                limit=script.number(8) if flags & 64 else None,
            )
        )

    def hear_raw(self) -> None:
        """A message arrives whose header is nothing but bytes."""
        units = self.script.byte() % 70
        header = self.script.take(HEADER_BYTES)
        # What is delivered from now on may be anything.
        self.honest = False
        self.take(header.ljust(MESSAGE_UNIT * units, b"?")[: MESSAGE_UNIT * units])

    def next_block(self) -> None:
        """The peer sends what comes next, as it should."""
        size = self.script.number(2) % (MAX_BLOCK_BYTES + 1)
        position = self.offered_to
        self.offer(position, size)
        self.take(
            encode_message(
                message_id=1 + self.script.byte(),
                position=position,
                block=pattern(position, size),
            )
        )

    def hear_blocks(self) -> None:
        """The peer sends many full blocks at once, as it should."""
        count, flags = self.script.byte() % 64, self.script.byte()
        limit = self.script.number(3) if flags & 1 else None
        messages = []
        for _ in range(count):
            position = self.offered_to
            self.offer(position, MAX_BLOCK_BYTES)
            messages.append(
                encode_message(
                    message_id=1 + position // MAX_BLOCK_BYTES,
                    position=position,
                    block=pattern(position, MAX_BLOCK_BYTES),
                    limit=limit,
                )
            )
        self.take(*messages)

    def gather(self) -> None:
        """The next messages arrive together."""
        self.gathering = self.script.byte() % 16

    def answer(self) -> None:
        """The peer acknowledges all that was sent, or all but the end."""
        end = self.sent_to + (self.sent_end and self.script.byte() & 1)
        named = self.ids[-1] if self.ids else 0
        self.take(encode_message(acknowledged_id=named, ranges=[(0, end)]))

    def write(self) -> None:
        """The owner writes."""
        size = self.script.number(2)
        if self.stream.buffered + size <= MOST_BUFFERED:
            self.stream.write(PATTERN[self.written % PERIOD :][:size])
            self.written += size
        self.look()

    def read(self) -> None:
        """The owner reads."""
        waiting = self.stream.readable
        most = self.script.number(2)
        data = self.stream.read(most or None)
        assert waiting == bool(data)
        assert len(data) <= MAX_RECEIVE_WINDOW, "more is held than the window"
        assert not most or len(data) <= max(most, MAX_BLOCK_BYTES)
        if self.honest:
            assert data == PATTERN[self.delivered % PERIOD :][: len(data)]
        self.delivered += len(data)
        self.look()

    def wait(self) -> None:
        """The stream's deadline comes."""
        deadline = self.stream.next_deadline(self.now)
        if deadline is not None:
            self.now = max(self.now, deadline)
        self.stream.handle_timer(self.now)
        self.look()

    def pass_time(self) -> None:
        """Time passes."""
        self.now += self.script.number(2) * MILLISECOND
        self.stream.handle_timer(self.now)
        self.look()

    def end(self) -> None:
        """The owner has said or heard enough, or wants to know something."""
        what = self.script.byte() % 6
        if what == 0:
            self.stream.finish()
        elif what == 1:
            self.stream.abort(self.now)
        elif what == 2:
            self.stream.discard()
            self.stream.stop_peer()
        elif what == 4:
            self.stream.discard()
        elif what == 5:
            self.stream.overslept(self.now)
        else:
            self.stream.ping()
        self.look()

    def place(self, choice: int) -> int:
        """Choose a position: near the next byte, anywhere near, or out of reach."""
        if choice == 0:
            return max(0, self.offered_to - self.script.byte())
        if choice == 1:
            return self.delivered + self.script.number(3)
        if choice == 2:
            return MAX_STREAM_BYTES - self.script.byte()
        return self.script.number(8)

    def an_id(self) -> int:
        """Choose an ID: none, one of those that were sent, or any."""
        choice = self.script.byte()
        if choice == 0 or not self.ids:
            return choice
        return self.ids[-(choice % len(self.ids))] if choice < 250 else choice

    def some_ranges(self, choice: int) -> list[Range]:
        """Choose what is acknowledged: nothing, the whole, or pieces."""
        if choice == 0:
            return []
        if choice == 1:
            return [(0, self.sent_to + self.script.byte() % 4)]
        end = self.script.number(2 if choice == 2 else 8)
        ranges = [(0, end)] if end else []
        for _ in range(self.script.byte() % 8):
            start = end + 1 + self.script.number(2)
            end = start + 1 + self.script.number(2)
            ranges.append((start, end))
        return ranges

    def offer(self, position: int, size: int) -> None:
        """Note what the peer has sent."""
        self.offered.add(position, position + size)
        if position <= self.offered_to:
            self.offered_to = max(self.offered_to, position + size)

    def take(self, *messages: bytes) -> None:
        """Have messages arrive, maybe with those that come next."""
        self.batch += messages
        if self.gathering:
            self.gathering -= 1
            return
        batch, self.batch = self.batch, []
        self.heard |= any(len(message) >= HEADER_BYTES for message in batch)
        self.stream.receive(batch, self.now)
        self.look()

    def look(self) -> None:
        """Take what the stream sends, and check it and the stream."""
        stream = self.stream
        for _ in range(MOST_TURNS):
            messages = stream.messages_to_send(self.now)
            assert len(messages) <= MOST_AT_ONCE
            for encoded in messages:
                self.look_at_sent(encoded)
            deadline = stream.next_deadline(self.now)
            if deadline is None or deadline > self.now:
                break
            stream.handle_timer(self.now)
        else:
            raise AssertionError("busy for ever")
        assert not (stream.over and deadline is not None)
        assert not (stream.complete and stream.failure is not None)
        assert stream.buffered <= MOST_BUFFERED

    def look_at_sent(self, encoded: bytes) -> None:
        """Check a message as its receiver would."""
        assert len(encoded) in SIZE_CLASSES
        limit = MAX_INITIATE_MESSAGE_BYTES
        assert not self.client or self.heard or len(encoded) <= limit
        message = decode_message(encoded)
        assert message is not None
        assert message.block is not None
        end = message.position + len(message.block)
        assert message.block == pattern(message.position, len(message.block))
        # The last ping is one position beyond the end.
        assert end <= self.written + (not message.block)
        if message.message_id:
            assert message.message_id not in self.ids, "an ID was used twice"
            self.ids = [*self.ids, message.message_id][-REMEMBERED:]
            self.sent_end |= bool(message.ending)
            self.sent_to = max(self.sent_to, min(end, self.written))
        elif not message.block:
            assert not message.ending
        if self.honest:
            self.look_at_acknowledged(list(message.ranges))

    def look_at_acknowledged(self, ranges: list[Range]) -> None:
        """Check that nothing is acknowledged that was not offered."""
        for start, end in ranges:
            missing = self.offered.missing(start, end)
            assert missing in ([], [(end - 1, end)]), "nobody sent that"


def fuzz_stream(data: bytes) -> None:
    """A stream between an owner and a peer of any kind."""
    StreamPlay(Script(data)).run()
