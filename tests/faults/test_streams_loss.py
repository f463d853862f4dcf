"""Streams whose packets get lost, overtake others, come twice or come damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from tests.faults.course import CourseCase
from tests.faults.impairment import Deed, Kind, Link, Q
from tests.faults.scenario import noise
from tests.interop.streaming import KIBIBYTE, MEBIBYTE

MUCH = noise(2 * MEBIBYTE, "much")
SOME = noise(512 * KIBIBYTE, "some")

SEEDS = range(5)
ANCHOR = 60.0
"""Seconds that implementations of QUIC are given for their transfers."""

TEN_PERCENT_LOSS = 6.0

WIDE = Link(delay=0.015)
"""Copies do not take away anybody's room here."""


class LossyCase(CourseCase):
    """Compares transfers on a bad link with the same on a good one."""

    def times(
        self, data: bytes, link: Link, check: Callable[[], object] = int
    ) -> list[float]:
        """Send the bytes with several seeds; give the seconds, in order.

        :param check: called after each transfer.
        """
        times = []
        for seed in SEEDS:
            times.append(self.course(data, there=link, seed=seed))
            check()
        return sorted(times)

    def compare(
        self,
        row: str,
        data: bytes,
        clean: Link,
        check: Callable[[], object] = int,
        **trouble: float,
    ) -> tuple[list[float], float]:
        """Give the seconds on the bad link, and how many times the good one's."""
        good = self.times(data, clean)
        bad = self.times(data, replace(clean, **trouble), check)  # type: ignore[arg-type]
        ratio = median(bad) / median(good)
        what = ", ".join(trouble)
        self.figure(
            row,
            f"{len(data) >> 10} KiB, {what}: median {median(bad):.2f} s,"
            f" max {bad[-1]:.2f} s; {ratio:.2f} times clean ({median(good):.2f} s)",
        )
        return bad, ratio


class LossTests(LossyCase):
    """Packets vanish."""

    def test_two_percent(self) -> None:
        """Two mebibytes take at most twice as long as without loss."""
        times, ratio = self.compare("B1", MUCH, Q, loss=0.02)
        self.assertLessEqual(times[-1], ANCHOR)
        self.assertLessEqual(ratio, 2.0)

    def test_ten_percent(self) -> None:
        """Half a mebibyte arrives within six seconds."""
        times, _ = self.compare("B2", SOME, Q, loss=0.1)
        self.assertLessEqual(median(times), TEN_PERCENT_LOSS)


class ReorderingTests(LossyCase):
    """Packets overtake others: some that hurry, or all by chance."""

    def assert_none_too_old(self) -> None:
        """No packet was so late that it could not be told from a copy."""
        for counters in (self.listener.counters, self.near_counters):
            self.assertEqual(counters.dropped_replay, 0)

    def test_early(self) -> None:
        """A tenth that comes early costs half the time more at the most."""
        _, ratio = self.compare("B3", SOME, Q, self.assert_none_too_old, reorder=0.1)
        self.assertLessEqual(ratio, 1.5)

    def test_jitter(self) -> None:
        """So does a delay that varies by ten milliseconds."""
        _, ratio = self.compare("B3", SOME, Q, self.assert_none_too_old, jitter=0.01)
        self.assertLessEqual(ratio, 1.5)


class DuplicateTests(LossyCase):
    """Packets come twice."""

    def assert_each_once(self) -> None:
        """No copy of a message has come through to a stream."""
        ways = (
            (self.network.there, Kind.CLIENT_MESSAGE, self.listener.counters),
            (self.network.back, Kind.SERVER_MESSAGE, self.near_counters),
        )
        for way, kind, counters in ways:
            copies = way.counts.of(Deed.DUPLICATED, kind)
            self.assertGreater(copies, 50)
            self.assertGreaterEqual(counters.dropped_replay, copies - 2)
            seen = way.counts.of(Deed.SEEN)
            self.assertLessEqual(counters.messages_received, seen)

    def test_thirty_percent(self) -> None:
        """Each message is taken once; a third more packets cost a tenth of time."""
        _, ratio = self.compare("B4", MUCH, WIDE, self.assert_each_once, duplicate=0.3)
        self.assertLessEqual(ratio, 1.1)


class CorruptionTests(LossyCase):
    """Packets come with one bit flipped."""

    def assert_all_dropped(self) -> None:
        """What was damaged was thrown away, and hardly anything else.

        An extension is not under the seal: a message whose sender's is damaged is
        good, and the next answer goes to that extension.
        """
        ways = (
            (self.network.there, self.listener.counters),
            (self.network.back, self.near_counters),
        )
        damaged = dropped = astray = 0
        for way, counters in ways:
            damaged += way.counts.of(Deed.CORRUPTED)
            counts = counters.as_dict().items()
            dropped += sum(n for name, n in counts if name.startswith("dropped_"))
            astray += counters.dropped_wrong_extension
        self.assertGreater(damaged, 40)
        self.assertGreater(dropped, 0.8 * damaged)
        self.assertLessEqual(dropped, damaged + astray)

    def test_two_percent(self) -> None:
        """Two mebibytes take at most twice as long as without damage."""
        _, ratio = self.compare("B5", MUCH, Q, self.assert_all_dropped, corrupt=0.02)
        self.assertLessEqual(ratio, 2.0)
