"""A set of positions, kept as disjoint intervals."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from curvecp_tx.wire.messages import Range


class RangeSet:
    """Positions of a stream, as ascending half-open intervals that never touch."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __iter__(self) -> Iterator[Range]:
        return zip(self._starts, self._ends, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def end(self) -> int:
        """The first position after the last interval; 0 if there is none."""
        return self._ends[-1] if self._ends else 0

    def overlaps(self, start: int, end: int) -> bool:
        """Tell whether any position from ``start`` to before ``end`` is in."""
        index = bisect_right(self._ends, start)
        return start < end and index < len(self._starts) and self._starts[index] < end

    def missing(self, start: int, end: int) -> list[Range]:
        """Give the parts of an interval that are not in."""
        gaps: list[Range] = []
        index = bisect_right(self._ends, start)
        while start < end:
            if index == len(self._starts) or self._starts[index] >= end:
                gaps.append((start, end))
                break
            if start < self._starts[index]:
                gaps.append((start, self._starts[index]))
            start = self._ends[index]
            index += 1
        return gaps

    def add(self, start: int, end: int) -> None:
        """Put an interval in."""
        if start >= end:
            return
        ends, starts = self._ends, self._starts
        if ends and ends[-1] == start:
            ends[-1] = end
            return
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first < last:
            start = min(start, starts[first])
            end = max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def remove_below(self, position: int) -> None:
        """Take out all intervals that end at or before ``position``."""
        count = bisect_right(self._ends, position)
        del self._starts[:count], self._ends[:count]
