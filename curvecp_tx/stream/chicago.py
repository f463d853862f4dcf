"""Chicago, the congestion control of the CurveCP reference.

It controls the spacing between blocks, not a window: the rate grows by a fixed
amount for each interval, is doubled now and then while nothing speaks against
it, falls by a random part when the round-trip time climbs above its recent
high-water mark, and is halved when a block is overdue.

The figures are those of the reference, in nanoseconds. Added are bounds: on the
spacing, on time-outs and on samples. Without them one bad sample could stop a
connection for years.
"""

from __future__ import annotations

from curvecp_tx.stream.randomness import RandomBytes

SECOND = 1_000_000_000

FIRST_SPACING = SECOND
MIN_SPACING = 8_000
"""Nanoseconds between blocks at the least: 125 MB/s, beyond what this code can
send. The reference ends at 32 768 to 65 535, for want of a finer clock."""

MAX_SPACING = 2 * SECOND
MIN_VARIANCE = SECOND // 1000
MAX_TIMEOUT = 60 * SECOND
MAX_SAMPLE = 60 * SECOND
MIN_SAMPLE = 1_000
"""Clocks have grains: what took no time at all counts as a microsecond."""

WINDOW = 128
"""Blocks in flight: 128 KiB, which is what a reference receiver keeps."""

BURST = 8
"""Blocks sent at one wake-up if that many are due. Timers wake us up once in a
millisecond; one block each time would be 1 MB/s."""

_ROUNDING = 100
"""Nanoseconds by which a float of seconds may be off after months of uptime."""

_YOUNG = 16
"""Samples among which a much smaller one replaces all before: the first of them
often hold the time that the peer's program took to start."""

_ADJUST_EVERY = 16
_SLOW_RESTART = 10 * SECOND
_WATERMARK_MARGIN = 5_000_000
_FINE_SPACING = 131_072
_COARSE_SPACING = 16_777_216
_MINUTE = 60 * SECOND


class Chicago:
    """Spacing and time-outs for one sender.

    :param random_bytes: decides how far the rate backs off.
    :param now: the present, seconds.
    """

    __slots__ = (
        "_adjusted",
        "_backed_off",
        "_deviation",
        "_doubled",
        "_edge",
        "_falling_seen",
        "_high",
        "_last",
        "_low",
        "_panicked",
        "_random_bytes",
        "_rising_seen",
        "_rtt",
        "_spacing",
        "_timeout",
        "_was_falling",
        "_was_rising",
        "_young",
    )

    def __init__(self, *, random_bytes: RandomBytes, now: float) -> None:
        self._random_bytes = random_bytes
        self._spacing = FIRST_SPACING
        self._timeout = FIRST_SPACING
        self._rtt = self._deviation = self._high = self._low = 0
        self._young = _YOUNG
        self._rising_seen = self._falling_seen = False
        self._was_rising = self._was_falling = self._backed_off = False
        self._adjusted = _nanoseconds(now)
        self._edge: int | None = None
        self._doubled: int | None = None
        self._panicked: int | None = None
        self._last: int | None = None

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time, seconds; 0 before the first sample."""
        return self._rtt / SECOND

    @property
    def timeout(self) -> float:
        """How long after its transmission a block is overdue, seconds."""
        return self._timeout / SECOND

    @property
    def spacing(self) -> float:
        """Seconds between two blocks."""
        return self._spacing / SECOND

    def allowance(self, now: float, in_flight: int) -> int:
        """Tell how many blocks may be sent at ``now``."""
        if in_flight >= WINDOW:
            return 0
        if self._last is None:
            return 1
        due = (_nanoseconds(now) - self._last) // self._spacing
        return max(0, min(due, BURST, WINDOW - in_flight))

    def next_time(self, now: float, in_flight: int) -> float | None:
        """Tell when the next block is due; ``None`` while the window is full."""
        if in_flight >= WINDOW:
            return None
        if self._last is None:
            return now
        return (self._last + self._spacing + _ROUNDING) / SECOND

    def sent(self, now: float, in_flight: int, blocks: int = 1) -> None:
        """Learn that blocks leave."""
        present = _nanoseconds(now)
        if self._last is None:
            self._last = present
        else:
            # What was not sent in time is not owed for ever.
            oldest = present - BURST * self._spacing
            self._last = max(self._last, oldest) + blocks * self._spacing
            self._last = min(self._last, present)

    def acknowledged(
        self,
        rtt: float | None,
        now: float,
        blocks: int = 1,
        state: object = None,
        in_flight: int = 0,
    ) -> None:
        """Learn from a round trip; nothing else counts."""
        if rtt is None or rtt < 0:
            return
        sample = max(MIN_SAMPLE, min(_nanoseconds(rtt), MAX_SAMPLE))
        present = _nanoseconds(now)
        self._measure(sample)
        if present >= self._adjusted + _ADJUST_EVERY * self._spacing:
            self._adjust(present)
        self._double(present)
        self._spacing = max(MIN_SPACING, min(self._spacing, MAX_SPACING))

    def lost(self, now: float) -> None:
        """Take it for overdue: Chicago knows no other sign, and would wait for that."""
        self.timed_out(now)

    def idle(self, in_flight: int) -> None:
        """Take no notice."""

    def timed_out(self, now: float) -> None:
        """Halve the rate, unless that was done just now."""
        present = _nanoseconds(now)
        if self._panicked is None or present > self._panicked + 4 * self._timeout:
            self._spacing = min(2 * self._spacing, MAX_SPACING)
            self._panicked = self._edge = present

    def _measure(self, sample: int) -> None:
        young, self._young = self._young, max(0, self._young - 1)
        first = not self._rtt
        if first or (young and sample < self._rtt // 2):
            self._spacing = sample if first else min(self._spacing, sample)
            self._rtt = self._high = self._low = sample
            self._deviation = sample // 2
        error = sample - self._rtt
        self._rtt += _div(error, 8)
        self._deviation += _div(abs(error) - self._deviation, 4)
        variance = max(4 * self._deviation, MIN_VARIANCE)
        # Eight spacings allow for acknowledgments that are held back.
        self._timeout = min(self._rtt + variance + 8 * self._spacing, MAX_TIMEOUT)
        self._high += _div(sample - self._high, 1024)
        if sample > self._low:
            self._low += _div(sample - self._low, 8192)
        else:
            self._low += _div(sample - self._low, 256)
        if self._rtt > self._high + _WATERMARK_MARGIN:
            self._rising_seen = True
        elif self._rtt < self._low:
            self._falling_seen = True

    def _adjust(self, present: int) -> None:
        if present - self._adjusted > _SLOW_RESTART:
            self._spacing = SECOND + self._random_below(SECOND // 8)
        self._adjusted = present
        spacing = self._spacing
        if spacing >= _FINE_SPACING:
            if spacing < _COARSE_SPACING:
                spacing -= (spacing // _FINE_SPACING) ** 3
            else:
                spacing = int(spacing / (1 + spacing * spacing / 2**51))
        if not self._backed_off:
            if self._was_rising:
                self._backed_off = True
                self._edge = present
                spacing += self._random_below(spacing // 4)
        elif self._was_falling:
            self._backed_off = False
        self._spacing = spacing
        self._was_rising, self._was_falling = self._rising_seen, self._falling_seen
        self._rising_seen = self._falling_seen = False

    def _double(self, present: int) -> None:
        spacing, timeout = self._spacing, self._timeout
        pause = 4 * spacing + 2 * timeout
        if self._edge is not None and present - self._edge < _MINUTE:
            pause = 4 * spacing + 64 * timeout + 5 * SECOND
        if self._doubled is not None and present < self._doubled + pause:
            return
        if spacing < 2 * MIN_SPACING:
            return
        self._spacing = spacing // 2
        self._doubled = present
        if self._edge is not None:
            self._edge = present

    def _random_below(self, limit: int) -> int:
        if limit <= 0:
            return 0
        return int.from_bytes(self._random_bytes(8), "little") % limit


def _nanoseconds(seconds: float) -> int:
    return int(seconds * SECOND)


def _div(numerator: int, denominator: int) -> int:
    """Divide towards zero, as C does."""
    quotient = abs(numerator) // denominator
    return quotient if numerator >= 0 else -quotient
