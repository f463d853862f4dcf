"""Sets of positions."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.ranges import RangeSet

POSITIONS = st.integers(0, 40)
STEPS = st.lists(
    st.tuples(st.booleans() | st.just(True), POSITIONS, POSITIONS), max_size=20
)


def built(steps: list[tuple[bool, int, int]]) -> tuple[RangeSet, set[int]]:
    """Give a set of ranges and a plain set after the same steps."""
    ranges, model = RangeSet(), set[int]()
    for adding, start, end in steps:
        if adding:
            ranges.add(start, end)
            model |= set(range(start, end))
        else:
            for low, high in list(ranges):
                if high <= start:
                    model -= set(range(low, high))
            ranges.remove_below(start)
    return ranges, model


class RangeSetTests(SynchronousTestCase):
    """Against a plain set."""

    @given(STEPS)
    def test_content(self, steps: list[tuple[bool, int, int]]) -> None:
        """It holds what was put in and not taken out, as intervals that are apart."""
        ranges, model = built(steps)
        intervals = list(ranges)
        found = {place for start, end in intervals for place in range(start, end)}
        self.assertEqual(found, model)
        self.assertTrue(all(start < end for start, end in intervals))
        self.assertTrue(
            all(end < start for (_, end), (start, _) in pairwise(intervals))
        )
        self.assertEqual(len(ranges), len(intervals))
        self.assertEqual(bool(ranges), bool(model))
        self.assertEqual(ranges.end, max(model, default=-1) + 1)

    @given(STEPS, POSITIONS, POSITIONS)
    def test_questions(
        self, steps: list[tuple[bool, int, int]], start: int, end: int
    ) -> None:
        """It tells what of an interval is in, and what is missing."""
        ranges, model = built(steps)
        asked = set(range(start, end))
        self.assertEqual(ranges.overlaps(start, end), bool(asked & model))
        missing = ranges.missing(start, end)
        self.assertEqual({p for a, b in missing for p in range(a, b)}, asked - model)
        self.assertTrue(all(a < b for a, b in missing))
        self.assertTrue(all(b < a for (_, b), (a, _) in pairwise(missing)))

    def test_before_the_first(self) -> None:
        """Positions below 0 are never in."""
        ranges = RangeSet()
        self.assertFalse(ranges.overlaps(-1, 1))
        ranges.add(0, 5)
        self.assertTrue(ranges.overlaps(-1, 1))
        self.assertFalse(ranges.overlaps(-1, 0))
        ranges.remove_below(-100)
        self.assertEqual(list(ranges), [(0, 5)])
