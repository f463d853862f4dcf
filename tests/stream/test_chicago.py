"""Congestion control, formula by formula."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.chicago import (
    BURST,
    MAX_SPACING,
    MAX_TIMEOUT,
    MIN_SPACING,
    MIN_VARIANCE,
    SECOND,
    WINDOW,
    Chicago,
)

MS = SECOND // 1000


def made(now: float = 0.0, random_number: int = 0) -> Chicago:
    """Make one whose random numbers are all the same."""
    return Chicago(
        random_bytes=lambda size: random_number.to_bytes(size, "little"), now=now
    )


def spacing_of(chicago: Chicago) -> int:
    """Give the spacing in nanoseconds."""
    return round(chicago.spacing * SECOND)


def timeout_of(chicago: Chicago) -> int:
    """Give the time-out in nanoseconds."""
    return round(chicago.timeout * SECOND)


class Model:
    """The reference's arithmetic on C integers, with our bounds, step by step."""

    def __init__(self, now: int, random_number: int) -> None:
        self.n = self.rto = SECOND
        self.a = self.v = self.h = self.l = 0
        self.hi_new = self.lo_new = self.hi_old = self.lo_old = False
        self.phase = 0
        self.t_adj = now
        self.t_edge: int | None = None
        self.t_dbl: int | None = None
        self.t_panic: int | None = None
        self.random_number = random_number
        self.young = 16

    def sample(self, r: int, now: int) -> None:
        """Take a round trip."""
        if self.a == 0:
            self.n = self.a = self.h = self.l = r
            self.v = r // 2
        elif self.young and r < self.a // 2:
            self.a = self.h = self.l = r
            self.n = min(self.n, r)
            self.v = r // 2
        self.young = max(0, self.young - 1)
        d = r - self.a
        self.a += int(d / 8)
        self.v += int((abs(d) - self.v) / 4)
        self.rto = min(self.a + max(4 * self.v, MIN_VARIANCE) + 8 * self.n, MAX_TIMEOUT)
        self.h += int((r - self.h) / 1024)
        self.l += int((r - self.l) / (8192 if r > self.l else 256))
        if self.a > self.h + 5_000_000:
            self.hi_new = True
        elif self.a < self.l:
            self.lo_new = True
        if now >= self.t_adj + 16 * self.n:
            self.adjust(now)
        self.double(now)
        self.n = max(MIN_SPACING, min(self.n, MAX_SPACING))

    def adjust(self, now: int) -> None:
        """Change the rate by a little."""
        if now - self.t_adj > 10 * SECOND:
            self.n = SECOND + self.random_number % (SECOND // 8)
        self.t_adj = now
        if self.n >= 131072:
            if self.n < 16777216:
                self.n -= (self.n // 131072) ** 3
            else:
                self.n = int(self.n / (1 + self.n * self.n / 2251799813685248))
        if self.phase == 0:
            if self.hi_old:
                self.phase, self.t_edge = 1, now
                self.n += self.random_number % (self.n // 4)
        elif self.lo_old:
            self.phase = 0
        self.hi_old, self.lo_old = self.hi_new, self.lo_new
        self.hi_new = self.lo_new = False

    def double(self, now: int) -> None:
        """Double the rate, if nothing speaks against it."""
        pause = 4 * self.n + 2 * self.rto
        if self.t_edge is not None and now - self.t_edge < 60 * SECOND:
            pause = 4 * self.n + 64 * self.rto + 5 * SECOND
        if self.t_dbl is not None and now < self.t_dbl + pause:
            return
        if self.n < 2 * MIN_SPACING:
            return
        self.n //= 2
        self.t_dbl = now
        if self.t_edge is not None:
            self.t_edge = now

    def panic(self, now: int) -> None:
        """Halve the rate."""
        if self.t_panic is None or now > self.t_panic + 4 * self.rto:
            self.n = min(2 * self.n, MAX_SPACING)
            self.t_panic = self.t_edge = now


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (0, 1, 10 * MS, 300 * MS, 4 * SECOND, 11 * SECOND, 70 * SECOND)
        ),
        st.none() | st.integers(10, 50 * MS) | st.integers(10, 90 * SECOND),
    ),
    max_size=120,
)


class ModelTests(SynchronousTestCase):
    """Against the reference's arithmetic."""

    @given(STEPS, st.integers(0, 2**63))
    def test_any_course(
        self, steps: list[tuple[int, int | None]], random_number: int
    ) -> None:
        """Spacing and time-out are the reference's, whatever happens, and bounded."""
        chicago, model, now = made(0.0, random_number), Model(0, random_number), 0
        for pause, sample in steps:
            now += pause
            seconds = now / SECOND
            present = int(seconds * SECOND)
            if sample is None:
                chicago.timed_out(seconds)
                model.panic(present)
            else:
                rtt = sample / SECOND
                chicago.acknowledged(rtt, seconds)
                taken = min(int(rtt * SECOND), 60 * SECOND)
                model.sample(max(1000, taken), present)
            self.assertEqual(spacing_of(chicago), model.n)
            self.assertEqual(timeout_of(chicago), model.rto)
            self.assertTrue(MIN_SPACING <= spacing_of(chicago) <= MAX_SPACING)
            self.assertLessEqual(timeout_of(chicago), MAX_TIMEOUT)

    def test_rates_rise_and_fall(self) -> None:
        """A queue that builds up makes the rate fall; an empty one lets it rise."""
        chicago, model, now = made(random_number=10**17 + 7), Model(0, 10**17 + 7), 0
        edges = 0
        for turn in range(6000):
            now += 5 * MS
            sample = 20 * MS + (30 * MS if turn % 900 > 600 else turn % 3)
            rtt, seconds = sample / SECOND, now / SECOND
            chicago.acknowledged(rtt, seconds)
            before = model.phase
            model.sample(int(rtt * SECOND), int(seconds * SECOND))
            edges += model.phase > before
            self.assertEqual(spacing_of(chicago), model.n)
        self.assertGreater(edges, 2)


class FirstSampleTests(SynchronousTestCase):
    """The beginning."""

    def test_before(self) -> None:
        """Before any sample, one block a second."""
        chicago = made()
        self.assertEqual((chicago.rtt, chicago.timeout, chicago.spacing), (0, 1, 1))

    def test_first(self) -> None:
        """The first round trip is the estimate, and the spacing, halved at once."""
        chicago = made()
        chicago.acknowledged(0.1, 0.1)
        self.assertAlmostEqual(chicago.rtt, 0.1)
        # V is half the sample, less the quarter by which it is off.
        variance = 50 * MS - 50 * MS // 4
        self.assertEqual(timeout_of(chicago), 100 * MS + 4 * variance + 800 * MS)
        self.assertEqual(spacing_of(chicago), 50 * MS)

    def test_peer_that_starts(self) -> None:
        """A first sample that holds the start of a program is soon forgotten."""
        chicago = made()
        chicago.acknowledged(0.5, 0.5)
        chicago.acknowledged(0.001, 0.75)
        self.assertAlmostEqual(chicago.rtt, 0.001)
        self.assertLessEqual(chicago.spacing, 0.001)
        self.assertLess(chicago.timeout, 0.02)

    def test_grown_up(self) -> None:
        """Later, one small sample counts for an eighth, as always."""
        chicago = made()
        for turn in range(20):
            chicago.acknowledged(0.5, 0.5 * turn)
        chicago.acknowledged(0.001, 11.0)
        self.assertAlmostEqual(chicago.rtt, 0.5 - 0.499 / 8)

    def test_useless(self) -> None:
        """A sample from the future changes nothing."""
        chicago = made()
        chicago.acknowledged(-1.0, 5.0)
        self.assertEqual((chicago.rtt, chicago.timeout, chicago.spacing), (0, 1, 1))

    def test_no_time_at_all(self) -> None:
        """A sample of zero is one, nevertheless: clocks have grains."""
        chicago = made()
        chicago.acknowledged(0.0, 5.0)
        self.assertEqual(chicago.rtt, 1e-6)
        self.assertEqual(spacing_of(chicago), MIN_SPACING)

    def test_absurd(self) -> None:
        """A sample of years counts as a minute, and no time-out is longer."""
        chicago = made()
        chicago.acknowledged(1e9, 1e9)
        self.assertEqual((chicago.rtt, chicago.timeout), (60, 60))
        self.assertLessEqual(chicago.spacing, 2)

    def test_least_variance(self) -> None:
        """However steady the network, a millisecond of patience is added."""
        chicago = made()
        for turn in range(400):
            chicago.acknowledged(0.02, 0.02 * turn)
        expected = 0.02 + 0.001 + 8 * chicago.spacing
        self.assertLess(abs(chicago.timeout - expected), 1e-6 + 8 * chicago.spacing)


class PanicTests(SynchronousTestCase):
    """What is overdue."""

    def test_halves(self) -> None:
        """A time-out halves the rate, and no second one does soon after."""
        chicago = made()
        chicago.acknowledged(0.01, 0.01)
        spacing, timeout = chicago.spacing, chicago.timeout
        chicago.timed_out(1.0)
        self.assertAlmostEqual(chicago.spacing, 2 * spacing)
        chicago.timed_out(1.0 + 4 * timeout)
        self.assertAlmostEqual(chicago.spacing, 2 * spacing)
        chicago.timed_out(1.0 + 4 * timeout + 1e-6)
        self.assertAlmostEqual(chicago.spacing, 4 * spacing)

    def test_lost(self) -> None:
        """A block that was overtaken counts as one that is overdue."""
        chicago = made()
        chicago.acknowledged(0.01, 0.01)
        spacing = chicago.spacing
        chicago.lost(1.0)
        self.assertAlmostEqual(chicago.spacing, 2 * spacing)
        chicago.timed_out(1.0)
        self.assertAlmostEqual(chicago.spacing, 2 * spacing)

    def test_bounded(self) -> None:
        """Any number of time-outs leave a block every two seconds."""
        chicago = made()
        for turn in range(100):
            chicago.timed_out(100.0 * turn)
        self.assertEqual(chicago.spacing, 2)

    def test_slow_restart(self) -> None:
        """After ten seconds without a sample, the rate is found anew."""
        chicago = made(random_number=0)
        for turn in range(100):
            chicago.acknowledged(0.001, 0.001 * turn)
        self.assertLess(chicago.spacing, 0.0005)
        chicago.acknowledged(0.001, 20.0)
        # One second, pulled to 2 ms by the step that follows, then halved.
        expected = int(SECOND / (1 + SECOND**2 / 2**51)) // 2
        self.assertEqual(spacing_of(chicago), expected)


class GateTests(SynchronousTestCase):
    """When a block may leave."""

    def test_first(self) -> None:
        """The first block leaves at once, alone."""
        chicago = made(now=50.0)
        self.assertEqual(chicago.allowance(50.0, 0), 1)
        self.assertEqual(chicago.next_time(50.0, 0), 50.0)

    def test_spacing(self) -> None:
        """The next one leaves when the spacing is over, and not before."""
        chicago = made()
        chicago.sent(10.0, 0)
        self.assertEqual(chicago.allowance(10.999, 1), 0)
        self.assertEqual(chicago.allowance(11.0, 1), 1)

    def test_window(self) -> None:
        """With a full window only an answer helps."""
        for begun in (False, True):
            chicago = made()
            if begun:
                chicago.sent(0.0, 0)
            for in_flight in (WINDOW, WINDOW + 1):
                self.assertEqual(chicago.allowance(100.0, in_flight), 0)
                self.assertIsNone(chicago.next_time(100.0, in_flight))

    def test_burst(self) -> None:
        """A late timer makes up for what was missed, within bounds."""
        chicago = made()
        chicago.sent(0.0, 0)
        self.assertEqual(chicago.allowance(3.5, 0), 3)
        self.assertEqual(chicago.allowance(1000.0, 0), BURST)
        self.assertEqual(chicago.allowance(1000.0, WINDOW - 2), 2)

    def test_not_owed_for_ever(self) -> None:
        """After a pause, one burst leaves, and then the spacing counts again."""
        chicago = made()
        chicago.sent(0.0, 0)
        for left in range(BURST, 0, -1):
            self.assertEqual(chicago.allowance(1000.0, 0), left)
            chicago.sent(1000.0, 0)
        self.assertEqual(chicago.allowance(1000.0, 0), 0)
        self.assertEqual(chicago.allowance(1000.99, 0), 0)

    def test_out_of_turn(self) -> None:
        """A probe out of turn takes no more than its own turn away."""
        chicago = made()
        chicago.sent(10.0, 0)
        chicago.sent(10.5, 0)
        self.assertEqual(chicago.allowance(11.499, 0), 0)
        self.assertEqual(chicago.allowance(11.5, 0), 1)

    @given(
        st.floats(0, 1e8),
        st.lists(st.tuples(st.floats(1e-6, 5), st.booleans()), max_size=30),
    )
    def test_next_time(self, begin: float, steps: list[tuple[float, bool]]) -> None:
        """At the time that is named, something may leave: no timer fires in vain."""
        chicago, now = made(now=begin), begin
        for sample, panic in steps:
            time = chicago.next_time(now, 0)
            assert time is not None
            now = max(now, time)
            self.assertGreater(chicago.allowance(now, 0), 0)
            while chicago.allowance(now, 0):
                chicago.sent(now, 0)
            following = chicago.next_time(now, 0)
            assert following is not None
            self.assertGreater(following, now)
            if panic:
                chicago.timed_out(now)
            else:
                chicago.acknowledged(sample, now)
