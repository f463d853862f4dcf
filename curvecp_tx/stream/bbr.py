"""BBR: a rate, and a bound on what is in flight, from a model of the path.

Two figures describe a path: how fast blocks arrive (the greatest rate seen in the
last ten round trips) and how long a block takes when no queue is in its way (the
least round-trip time of the last ten seconds). Their product is what the path holds.
Who sends at that rate and has little more than that in flight uses all of the path
and fills no queue. Loss says nothing about the path in this model, so that a lossy
one is used as well as a clean one, and an outage does not make us forget its rate.

To notice that a path can carry more, the rate goes up by a quarter for one round
trip in eight, and down by as much for the next one. To see the path without a queue,
little is sent for a moment if no low round-trip time was seen for ten seconds.

After N. Cardwell and others, "BBR: Congestion-Based Congestion Control", 2016, and
the IETF drafts. Ours are the bound that gives way to others in a short queue, and
the return after an outage.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

STARTUP_GAIN = 2.885
"""2/ln 2: the least that doubles the rate in each round trip."""

WINDOW_GAIN = 2.0
"""What may be in flight, in contents of the path: acknowledgments come in clumps."""

CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""Rates of eight successive round trips, as multiples of the path's."""

FULL_GROWTH = 1.25
FULL_ROUNDS = 3
"""The start is over when the rate has grown by less than a quarter in each of so
many round trips."""

RATE_ROUNDS = 10
"""Round trips for which a rate counts: more than a cycle has."""

RTT_LIFETIME = 10.0
"""Seconds for which the least round-trip time counts."""

RTT_SAMPLES = 3
"""Round-trip times that have to be as low, one after the other."""

RTT_PROBE = 0.2
"""Seconds for which little is sent in order to measure it anew."""

INITIAL_WINDOW = 10
"""Blocks before the first answer; TCP's figure (RFC 6928)."""

MIN_WINDOW = 4
"""Blocks in flight at the least, so that an acknowledgment comes at once."""

MAX_WINDOW = 8192
"""Blocks in flight at the most: 8 MiB."""

OVERFLOW = 0.02
QUEUED = 1.15
"""A round trip that has lost more than this share of its blocks, while the mean time
of a round trip is so many times the least, has met a queue that is full; loss without
a queue is the path's nature, and says nothing."""

OVERFLOW_COUNT = 8
"""At the start, when little is known, this many have to be lost besides."""

HEAVY_LOSS = 0.5
"""Share whose loss means the same with any round-trip time: there are queues too
short to be seen."""

YIELD = 0.85
"""What is left of the bound on blocks in flight after a round trip that has met a full
queue. After a while it grows again, by 1, 2, 4 blocks and so on with each that has
not."""

MAX_HOLD = 1.0
"""Seconds for which the bound stays as it is, at the most; else as many round-trip
times without a queue as it has blocks. Others need as long to take the room that was
made: Reno one round trip for each block. Without that, we would be back before them,
and leave nothing to anybody in a queue shorter than the path."""

TIMER_GRAIN = 0.001
"""Seconds: event loops wake up no more precisely. As much is sent at a time."""

MIN_QUANTUM = 2
"""Blocks sent at a time if that many are due, and acknowledged together."""

MIN_PACE = 1.0
"""Blocks per second: an answer that took minutes tells of an outage, not of a path."""

MAX_RATE = 1e6
"""Blocks per second, 1 GB/s: what is measured beyond that is the grain of the clock,
and a spacing below that grain would let a timer go round in circles."""

FIRST_TIMEOUT = 1.0
MIN_VARIANCE = 0.010
"""Seconds beyond the mean after which a block is overdue at the least: what a
scheduler or a garbage collector takes now and then, and the peer's delay of 5 ms."""

MAX_TIMEOUT = 60.0
MIN_SAMPLE = 1e-6
MAX_SAMPLE = 60.0
"""Seconds: clocks have grains, and one bad sample must not do harm for years."""


_ROUNDING = 1e-3
"""Blocks by which floats of seconds may be off after months of uptime."""


class Phase(Enum):
    """What is being found out."""

    STARTUP = "how fast the path is"
    DRAIN = "nothing: the queue that this has filled drains"
    CRUISE = "whether it has become faster, now and then"
    PROBE_RTT = "how long the path is"


class Flight(NamedTuple):
    """How things stood when a block left."""

    sent: float
    delivered: int
    delivered_at: float
    first_sent: float
    idle: bool


class Bbr:
    """The rate and the window of one sender.

    :param phase: where in the cycle of rates to begin, so that connections which
        start together do not probe together; any number.
    """

    __slots__ = (
        "_bound",
        "_cycle",
        "_cycle_began",
        "_delivered",
        "_delivered_at",
        "_first_sent",
        "_full_rate",
        "_full_rounds",
        "_held_until",
        "_idle_until",
        "_last",
        "_limit",
        "_lost",
        "_min_rtt",
        "_min_rtt_at",
        "_pace",
        "_peak",
        "_phase",
        "_probe_ends",
        "_quantum",
        "_rate",
        "_rates",
        "_round",
        "_round_began",
        "_round_ends",
        "_rtt",
        "_samples",
        "_seed",
        "_step",
        "_variance",
        "_window",
        "_yielded",
    )

    def __init__(self, *, phase: int = 0) -> None:
        self._phase = Phase.STARTUP
        self._seed = phase
        self._rtt = self._variance = 0.0
        self._min_rtt = 0.0
        self._min_rtt_at = 0.0
        # Lists, though they shrink at the front: the smallest deque takes 600 bytes.
        self._samples: list[float] = []
        self._probe_ends: float | None = None
        self._rates: list[tuple[int, float]] = []
        self._rate = 0.0
        self._round = 0
        self._round_began = 0
        self._round_ends = 0
        self._delivered = 0
        self._delivered_at = 0.0
        self._first_sent = 0.0
        self._idle_until = 0
        self._lost = 0
        self._full_rate = 0.0
        self._full_rounds = 0
        self._cycle = 0
        self._cycle_began = 0.0
        self._window = float(INITIAL_WINDOW)
        self._bound = float(MAX_WINDOW)
        self._yielded = -2
        self._held_until = 0.0
        self._step = 1.0
        self._peak = 0
        self._last: float | None = None
        self._pace = 0.0
        self._quantum = MIN_QUANTUM
        self._limit = INITIAL_WINDOW

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time, seconds; 0 before the first sample."""
        return self._rtt

    @property
    def timeout(self) -> float:
        """How long after its transmission a block is overdue, seconds."""
        if not self._rtt:
            return FIRST_TIMEOUT
        return min(self._rtt + max(4 * self._variance, MIN_VARIANCE), MAX_TIMEOUT)

    @property
    def rate(self) -> float:
        """What the path carries, as far as is known: blocks per second."""
        return self._rate

    @property
    def min_rtt(self) -> float:
        """The round-trip time without a queue, seconds; 0 before the first sample."""
        return self._min_rtt

    @property
    def phase(self) -> Phase:
        """What is being found out at present."""
        return self._phase

    def allowance(self, now: float, in_flight: int) -> int:
        """Tell how many blocks may be sent at ``now``."""
        room = self._limit - in_flight
        if room <= 0:
            return 0
        if self._last is None or not self._pace:
            return room
        due = int((now - self._last) * self._pace + _ROUNDING)
        return max(0, min(due, room, self._quantum))

    def next_time(self, now: float, in_flight: int) -> float | None:
        """Tell when the next blocks are due; ``None`` while the window is full."""
        if in_flight >= self._limit:
            return None
        if self._last is None or not self._pace:
            return now
        spacing = 1 / self._pace
        return self._last + max(spacing, min(TIMER_GRAIN, spacing * MIN_QUANTUM))

    def sent(self, now: float, in_flight: int, blocks: int = 1) -> Flight:
        """Learn that blocks leave; how things stand goes with them."""
        if in_flight + blocks > self._peak:
            self._peak = in_flight + blocks
        if not in_flight:
            self._first_sent = self._delivered_at = now
        if self._pace and self._last is not None:
            spacing = 1 / self._pace
            # What was not sent in time is not owed for ever.
            owed = max(self._last, now - self._quantum * spacing)
            self._last = min(owed + blocks * spacing, now)
        else:
            self._last = now
        idle = self._delivered < self._idle_until
        return Flight(now, self._delivered, self._delivered_at, self._first_sent, idle)

    def idle(self, in_flight: int) -> None:
        """Learn that the application holds us back: rates will say less."""
        self._idle_until = self._delivered + (in_flight or 1)

    def acknowledged(
        self,
        rtt: float | None,
        now: float,
        blocks: int = 1,
        state: object = None,
        in_flight: int = 0,
    ) -> None:
        """Learn from an acknowledgment."""
        self._delivered += blocks
        self._delivered_at = now
        if rtt is not None and rtt >= 0:
            self._measure(max(MIN_SAMPLE, min(rtt, MAX_SAMPLE)), now, in_flight)
        if isinstance(state, Flight):
            if state.delivered >= self._round_ends:
                self._end_round(now)
            self._take_rate(state, now)
        self._grow(blocks)
        self._change_phase(now, in_flight)
        self._refresh()

    def lost(self, now: float) -> None:
        """Count a loss; a few mean nothing."""
        self._lost += 1

    def timed_out(self, now: float) -> None:
        """Begin again with a small window. The rate is remembered."""
        self._window = MIN_WINDOW
        self._refresh()

    def _measure(self, sample: float, now: float, in_flight: int) -> None:
        if not self._rtt:
            self._rtt, self._variance = sample, sample / 2
        else:
            error = sample - self._rtt
            self._rtt += error / 8
            self._variance += (abs(error) - self._variance) / 4
        # A single packet that hurries through a queue tells nothing of the path.
        samples = self._samples
        samples.append(sample)
        if len(samples) > RTT_SAMPLES:
            del samples[0]
        sample = max(samples)
        expired = now > self._min_rtt_at + RTT_LIFETIME
        if not self._min_rtt or sample <= self._min_rtt:
            self._min_rtt, self._min_rtt_at = sample, now
        elif expired and self._phase is not Phase.PROBE_RTT:
            if self._delivered < self._idle_until:
                # Whoever sends little sees the path without a queue anyway.
                self._min_rtt, self._min_rtt_at = sample, now
            else:
                self._phase = Phase.PROBE_RTT
                self._probe_ends = None
                self._min_rtt = sample

    def _end_round(self, now: float) -> None:
        """See what a round trip has brought."""
        delivered = self._delivered - self._round_began
        share = self._lost / max(1, self._lost + delivered)
        queued = self._rtt > QUEUED * self._min_rtt
        few = OVERFLOW_COUNT if self._phase is Phase.STARTUP else 1
        full = self._lost > few and share > (OVERFLOW if queued else HEAVY_LOSS)
        if full and self._round > self._yielded + 1:
            # What was sent before this is known will be lost in the next one, too.
            self._yielded = self._round
            self._bound = max(MIN_WINDOW, YIELD * min(self._bound, self._peak))
            self._held_until = now + min(self._bound * self._min_rtt, MAX_HOLD)
            self._step = 1.0
            self._full_rounds = FULL_ROUNDS
        elif not full and now >= self._held_until:
            self._bound = min(MAX_WINDOW, self._bound + self._step)
            self._step *= 2
        self._peak = 0
        self._lost = 0
        self._round += 1
        self._round_began = self._delivered
        self._round_ends = self._delivered
        if self._phase is Phase.STARTUP and self._delivered >= self._idle_until:
            if self._rate >= FULL_GROWTH * self._full_rate:
                self._full_rate = self._rate
                self._full_rounds = 0
            else:
                self._full_rounds += 1

    def _take_rate(self, state: Flight, now: float) -> None:
        sent, delivered, delivered_at, first_sent, idle = state
        if sent > self._first_sent:
            self._first_sent = sent
        elapsed = max(now - delivered_at, sent - first_sent)
        if elapsed <= 0:
            return
        rate = min((self._delivered - delivered) / elapsed, MAX_RATE)
        rates = self._rates
        # An application that sends little proves nothing but that it can be more.
        if not idle or rate >= self._rate:
            while rates and rates[-1][1] <= rate:
                rates.pop()
            rates.append((self._round, rate))
        while len(rates) > 1 and rates[0][0] < self._round - RATE_ROUNDS:
            del rates[0]
        if rates:
            self._rate = rates[0][1]

    def _grow(self, blocks: int) -> None:
        """Let the window grow by what has arrived, up to its target."""
        if self._phase is Phase.STARTUP:
            target = max(self._target(STARTUP_GAIN), float(INITIAL_WINDOW))
        else:
            target = self._target(WINDOW_GAIN)
        if self._window < target:
            self._window = min(self._window + blocks, target)
        elif self._phase is not Phase.STARTUP:
            self._window = target

    def _change_phase(self, now: float, in_flight: int) -> None:
        if self._phase is Phase.STARTUP and self._full_rounds >= FULL_ROUNDS:
            self._phase = Phase.DRAIN
        if self._phase is Phase.DRAIN and in_flight <= self._contents():
            self._cruise(now)
        elif self._phase is Phase.CRUISE:
            self._turn_cycle(now, in_flight)
        elif self._phase is Phase.PROBE_RTT:
            if self._probe_ends is None:
                if in_flight <= self._limit:
                    self._probe_ends = now + max(RTT_PROBE, self._min_rtt)
            elif now >= self._probe_ends:
                self._min_rtt_at = now
                if self._full_rounds >= FULL_ROUNDS:
                    self._cruise(now)
                else:
                    self._phase = Phase.STARTUP

    def _cruise(self, now: float) -> None:
        self._phase = Phase.CRUISE
        # Anywhere but in the phase that lets a queue drain.
        self._cycle = (2 + self._seed % (len(CYCLE) - 1)) % len(CYCLE)
        self._cycle_began = now

    def _turn_cycle(self, now: float, in_flight: int) -> None:
        gain = CYCLE[self._cycle]
        over = now - self._cycle_began > self._min_rtt
        if gain > 1:
            filled = in_flight >= gain * self._contents()
            over = over and (filled or self._lost > 0 or self._held_back)
        elif gain < 1:
            over = over or in_flight <= self._contents()
        if over:
            self._cycle = (self._cycle + 1) % len(CYCLE)
            self._cycle_began = now

    @property
    def _held_back(self) -> bool:
        return self._delivered < self._idle_until

    def _refresh(self) -> None:
        """Work out what follows for the next blocks."""
        pace, phase = self._rate, self._phase
        if phase is Phase.CRUISE:
            pace *= CYCLE[self._cycle]
        elif phase is Phase.STARTUP:
            pace *= STARTUP_GAIN
        elif phase is Phase.DRAIN:
            pace /= STARTUP_GAIN
        if 0 < pace < MIN_PACE:
            pace = MIN_PACE
        self._pace = pace
        quantum = int(2 * TIMER_GRAIN * pace) + 1
        self._quantum = quantum if quantum > MIN_QUANTUM else MIN_QUANTUM
        # The bound is within what may be; comparisons cost less than min and max.
        window = self._window if self._window < self._bound else self._bound
        if phase is Phase.PROBE_RTT:
            window = min(window, self._contents() / 2)
        self._limit = int(window) if window > MIN_WINDOW else MIN_WINDOW

    def _contents(self) -> float:
        """What the path holds without a queue, in blocks."""
        return self._rate * self._min_rtt

    def _target(self, gain: float) -> float:
        return gain * self._contents() + 3 * self._quantum
