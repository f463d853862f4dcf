"""Token buckets, one by one and in tables."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.buckets import MAX_TABLE, BucketTable, TokenBucket

RATES = st.sampled_from([0.25, 1.0, 4.0, 64.0])
BURSTS = st.integers(1, 6)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 12) | st.integers(0, 300).map(lambda number: number * 16),
        st.sampled_from("abc"),
    ),
    max_size=80,
)
"""Sixteenths of a token's time that pass, then who asks."""


class PlainBucket:
    """A bucket as one would explain it: tokens that drip in, and a brim."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst = Fraction(rate), Fraction(burst)
        self.tokens, self.filled = self.burst, Fraction(now)

    def take(self, now: float) -> bool:
        """Take a token if there is one, and tell."""
        dripped = (Fraction(now) - self.filled) * self.rate
        self.tokens = min(self.burst, self.tokens + dripped)
        self.filled = Fraction(now)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def most(times: list[float], rate: float, burst: float) -> bool:
    """Tell whether grants at some times keep to the rate in every interval."""
    return all(
        last - first + 1 <= rate * (times[last] - times[first]) + burst + 0.02
        for first in range(len(times))
        for last in range(first, len(times))
    )


class TokenBucketTests(SynchronousTestCase):
    """One bucket."""

    def test_burst_then_rate(self) -> None:
        """A full bucket gives its burst at once, and then one token at a time."""
        bucket = TokenBucket(10.0, 3, now=100.0)
        self.assertEqual(
            [bucket.take(100.0) for _ in range(5)], [True] * 3 + [False] * 2
        )
        self.assertFalse(bucket.take(100.09))
        self.assertTrue(bucket.take(100.11))
        self.assertFalse(bucket.take(100.11))

    def test_brim(self) -> None:
        """A bucket that nobody asks for long holds a burst, and no more."""
        bucket = TokenBucket(10.0, 3, now=0.0)
        self.assertEqual(sum(bucket.take(1e6) for _ in range(10)), 3)

    def test_ready(self) -> None:
        """To look costs nothing, and tells what asking would get."""
        bucket = TokenBucket(1.0, 1, now=0.0)
        for now, expected in ((0.0, True), (0.5, False), (1.0, True)):
            for _ in range(3):
                self.assertIs(bucket.ready(now), expected)
            self.assertIs(bucket.take(now), expected)

    def test_whole_bursts(self) -> None:
        """Rounding takes no token away, at any rate and after a month."""
        for rate in (0.1, 3.0, 50.0, 200.0, 2000.0):
            for now in (0.0, 1e5 / 3, 1e7 / 3):
                bucket = TokenBucket(rate, 2 * rate + 1, now)
                granted = sum(bucket.take(now) for _ in range(int(2 * rate) + 9))
                self.assertEqual(granted, int(2 * rate + 1), (rate, now))

    @given(RATES, BURSTS, STEPS)
    def test_as_explained(
        self, rate: float, burst: int, steps: list[tuple[int, str]]
    ) -> None:
        """A bucket grants exactly what tokens and a brim would grant."""
        now = 1000.0
        bucket, model = TokenBucket(rate, burst, now), PlainBucket(rate, burst, now)
        for passed, _ in steps:
            now += passed / 16 / rate
            self.assertEqual(bucket.take(now), model.take(now))


class BucketTableTests(SynchronousTestCase):
    """Many buckets."""

    def test_own_buckets(self) -> None:
        """What one key takes is not another's."""
        table = BucketTable(1.0, 2, now=0.0)
        self.assertEqual([table.take("a", 0.0) for _ in range(3)], [True, True, False])
        self.assertEqual([table.take("b", 0.0) for _ in range(3)], [True, True, False])
        self.assertEqual(len(table), 2)

    def test_forgets(self) -> None:
        """Who has been quiet for two fillings is not remembered."""
        table = BucketTable(1.0, 4, now=0.0)
        table.take("a", 0.0)
        for now, size in ((4.5, 1), (8.0, 1), (9.5, 0), (99.0, 0)):
            table.forget(now)
            self.assertEqual(len(table), size, now)

    def test_forgets_after_long_silence(self) -> None:
        """After a long silence nobody at all is remembered."""
        table = BucketTable(1.0, 4, now=0.0)
        table.take("a", 0.0)
        table.forget(100.0)
        self.assertEqual(len(table), 0)

    def test_newcomers_share(self) -> None:
        """In a full table newcomers share one bucket; who is known has its own."""
        table = BucketTable(1.0, 2, now=0.0, entries=4)
        self.assertTrue(all(table.take(key, 0.0) for key in "ab"))
        self.assertEqual(
            [table.take(key, 0.0) for key in "cdef"], [True, True, False, False]
        )
        self.assertTrue(all(table.take(key, 0.0) for key in "ab"))
        self.assertEqual(len(table), 2)

    def test_room_for_the_next(self) -> None:
        """A generation that was flooded leaves half of the room to the next."""
        table = BucketTable(1.0, 2, now=0.0, entries=4)
        for number in range(100):
            table.take(f"first {number}", 0.0)
        for number in range(100):
            table.take(f"second {number}", 2.5)
        self.assertEqual(len(table), 4)
        self.assertEqual(sum(table.take("second 0", 2.5) for _ in range(3)), 1)

    def test_known_keys_stay(self) -> None:
        """However many newcomers come, who keeps asking keeps its bucket."""
        table = BucketTable(1.0, 2, now=0.0, entries=8)
        for second in range(50):
            self.assertTrue(table.take("known", second))
            for number in range(20):
                table.take(f"{second} {number}", second)
            self.assertLessEqual(len(table), 8)

    def test_bounded(self) -> None:
        """200,000 addresses leave no more than the bound, and none after a while."""
        dice = Random(5)
        table = BucketTable(200.0, 400.0, now=0.0)
        largest = 0
        for number in range(200_000):
            table.take(f"{dice.getrandbits(128):x}", number / 30_000)
            largest = max(largest, len(table))
        self.assertGreater(largest, MAX_TABLE // 2)
        self.assertLessEqual(largest, MAX_TABLE)
        table.forget(60.0)
        self.assertEqual(len(table), 0)

    @given(RATES, BURSTS, STEPS)
    def test_forgetting_changes_nothing(
        self, rate: float, burst: int, steps: list[tuple[int, str]]
    ) -> None:
        """With room enough, each key gets exactly what its own bucket would give."""
        now = 1000.0
        table = BucketTable(rate, burst, now)
        models = {key: PlainBucket(rate, burst, now) for key in "abc"}
        for passed, key in steps:
            now += passed / 16 / rate
            self.assertEqual(table.take(key, now), models[key].take(now))

    @given(st.floats(0.01, 1e4), st.floats(1.0, 50.0), STEPS)
    def test_never_more(
        self, rate: float, burst: float, steps: list[tuple[int, str]]
    ) -> None:
        """In any interval a key gets at most the rate's tokens and one burst."""
        now = 12345.678
        table = BucketTable(rate, burst, now)
        granted: dict[str, list[float]] = {key: [] for key in "abc"}
        for passed, key in steps:
            now += passed / 16 / rate
            if table.take(key, now):
                granted[key].append(now)
        for times in granted.values():
            self.assertTrue(most(times, rate, burst))

    @given(RATES, BURSTS, STEPS, st.integers(1, 5))
    def test_never_much_more(
        self, rate: float, burst: int, steps: list[tuple[int, str]], entries: int
    ) -> None:
        """Without room, a key has its own bucket and the shared one, at the most."""
        now = 0.0
        table = BucketTable(rate, burst, now, entries)
        granted: dict[str, list[float]] = {key: [] for key in "abc"}
        for passed, key in steps:
            now += passed / 16 / rate
            if table.take(key, now):
                granted[key].append(now)
            self.assertLessEqual(len(table), entries)
        for times in granted.values():
            self.assertTrue(most(times, 2 * rate, 2 * burst))
