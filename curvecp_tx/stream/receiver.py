"""The receiving half of a stream: blocks in any order become bytes in order."""

from __future__ import annotations

from enum import Enum
from itertools import islice

from curvecp_tx.errors import StreamBroken
from curvecp_tx.stream.ranges import RangeSet
from curvecp_tx.wire.messages import SUCCESS, Range

RECEIVE_WINDOW = 128 * 1024
"""Bytes kept beyond what the application has taken. The reference's senders
count on exactly this much, and know of no field to tell them of more."""

MAX_RECEIVE_WINDOW = 4 << 20
"""Bytes that are kept at the most, when the peer heeds what we say: what 40 MB/s
bring in a round trip of 100 ms."""

GROWTH_TIME = 1.0
"""Seconds. A reader that takes a whole window within this gets one twice as large if
the peer has more to send, one that takes longer than SHRINK_TIME, one half as large:
what waits for a reader is never more than it takes in a few seconds."""

SHRINK_TIME = 4.0

MAX_GAPS = 512
"""Intervals kept apart at the most. A window in flight has 128 full blocks; who
sends crumbs with holes between them costs memory and gets no acknowledgment."""


class Arrival(Enum):
    """What came of a block."""

    FRESH = "something in it was new"
    REPEATED = "all of it was there already"
    REFUSED = "no room for it: not kept"


class Receiver:
    """Reassembles a stream.

    :ivar total: length of the stream, ``None`` until its end was seen.
    :ivar ending: how it ends, 0 until its end was seen.
    :ivar discarded: bytes that came after :meth:`discard`.
    :ivar limit: the position up to which there is room. It never falls.
    :ivar window: bytes that are kept beyond what the application has taken.
    """

    __slots__ = (
        "_chunks",
        "_discarding",
        "_next",
        "_ready",
        "_received",
        "_taken",
        "_tuned",
        "_tuned_at",
        "_wanted",
        "discarded",
        "ending",
        "limit",
        "total",
        "window",
    )

    def __init__(self) -> None:
        self._received = RangeSet()
        self._chunks: dict[int, bytes] = {}
        self._ready: list[bytes] = []
        self._next = 0
        self._taken = 0
        self.window = RECEIVE_WINDOW
        self._tuned = 0
        self._wanted = False
        self._tuned_at: float | None = None
        self.limit = RECEIVE_WINDOW
        self._discarding = False
        self.discarded = 0
        self.total: int | None = None
        self.ending = 0

    @property
    def complete(self) -> bool:
        """Whether everything has arrived, the end included."""
        return self._next == self.total

    @property
    def has_gaps(self) -> bool:
        """Whether something has arrived beyond something that has not."""
        return bool(self._chunks)

    @property
    def gaps(self) -> int:
        """How many ranges have arrived beyond the first gap, or one more."""
        return len(self._received)

    @property
    def delivered(self) -> bool:
        """Whether the application has taken everything that there will be."""
        return self._taken == self.total

    def tune(self, now: float, wanted: bool) -> None:
        """Fit the window to what the reader takes; for peers that heed the limit.

        :param wanted: whether the peer has had more to send than it let it.
        """
        self._wanted |= wanted
        if self._tuned_at is None:
            self._tuned_at = now
        if self._taken - self._tuned < self.window:
            return
        took = now - self._tuned_at
        self._tuned, self._tuned_at = self._taken, now
        wanted, self._wanted = self._wanted, False
        if wanted and took <= GROWTH_TIME:
            self.window = min(2 * self.window, MAX_RECEIVE_WINDOW)
        elif took >= SHRINK_TIME:
            self.window = max(self.window // 2, RECEIVE_WINDOW)
        self._make_room()

    @property
    def waiting(self) -> int:
        """How many bytes the application could take now."""
        return self._next - self._taken

    def receive(self, position: int, block: bytes, ending: int) -> Arrival:
        """Take a block.

        Bytes that are there already stay as they are, whatever comes later.

        :raises StreamBroken: if the end of the stream contradicts what is known.
        """
        end = position + len(block)
        if end > self.limit:
            return Arrival.REFUSED
        if position > self._next and len(self._received) >= MAX_GAPS:
            return Arrival.REFUSED
        fresh = False
        if ending or self.total is not None:
            fresh = self._note_end(end, ending)
        if position == self._next and not self._chunks and block:
            # The common case: the next block in order, and none beyond it.
            self._received.add(position, end)
            self._advance(block)
            return Arrival.FRESH
        for start, stop in self._received.missing(position, end):
            fresh = True
            self._chunks[start] = block[start - position : stop - position]
        if fresh:
            self._received.add(position, end)
            while (chunk := self._chunks.pop(self._next, None)) is not None:
                self._advance(chunk)
            return Arrival.FRESH
        return Arrival.REPEATED

    @property
    def next_in_order(self) -> int | None:
        """Where bytes are appended; ``None`` if there is more to it than that."""
        if self._chunks or self.total is not None:
            return None
        return self._next

    def append(self, blocks: list[bytes], end: int) -> None:
        """Take blocks that follow each other up to ``end``.

        Only for who has seen :attr:`next_in_order` and :attr:`limit`: the same as
        :meth:`receive` for each, for less.
        """
        self._received.add(self._next, end)
        if self._discarding:
            self.discarded += end - self._next
            self._next = self._taken = end
            self._make_room()
        else:
            self._next = end
            self._ready += blocks

    def take(self, most: int | None = None) -> bytes:
        """Give the bytes that are next in order, and make room for as many.

        :param most: how many at the most, or one block if that is longer.
        """
        ready = self._ready
        if most is None or self._next - self._taken <= most:
            self._ready = []
            self._taken = self._next
            self._make_room()
            return ready[0] if len(ready) == 1 else b"".join(ready)
        size = count = 0
        for chunk in ready:
            if count and size + len(chunk) > most:
                break
            size += len(chunk)
            count += 1
        data = b"".join(islice(ready, count))
        del ready[:count]
        self._taken += size
        self._make_room()
        return data

    def discard(self) -> None:
        """Throw away what is here and what is to come; nobody will take it."""
        self._discarding = True
        self._ready = []
        self._taken = self._next
        self._make_room()

    def acknowledgment(self) -> list[Range]:
        """Give what has been received; the end counts as one position more."""
        if self.complete:
            return [(0, self._next + 1)]
        return list(self._received)

    def _advance(self, chunk: bytes) -> None:
        self._next += len(chunk)
        if self._discarding:
            self.discarded += len(chunk)
            self._taken = self._next
            self._make_room()
        else:
            self._ready.append(chunk)

    def _make_room(self) -> None:
        limit = self._taken + self.window
        if limit > self.limit:
            self.limit = limit

    def _note_end(self, end: int, ending: int) -> bool:
        """Check a block against the known end; tell whether it makes it known."""
        if self.total is not None:
            if end > self.total or (ending and (end, ending) != self._end):
                raise StreamBroken("the peer contradicts itself about its end")
            return False
        if not ending:
            return False
        if self._received.end > end:
            raise StreamBroken("the peer ended its stream before its last byte")
        self.total, self.ending = end, ending
        return True

    @property
    def _end(self) -> tuple[int | None, int]:
        return self.total, self.ending

    @property
    def succeeded(self) -> bool:
        """Whether the stream is complete, and ended as a success."""
        return self.complete and self.ending == SUCCESS
