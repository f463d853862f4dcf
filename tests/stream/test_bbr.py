"""BBR, on paths of our own making."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.competitors import CubicFlow
from benchmarks.links import (
    Flow,
    Link,
    OurFlow,
    World,
    delivered_between,
    mean_wait,
    share,
)
from curvecp_tx.stream.bbr import (
    FIRST_TIMEOUT,
    INITIAL_WINDOW,
    MAX_TIMEOUT,
    MAX_WINDOW,
    MIN_VARIANCE,
    MIN_WINDOW,
    Bbr,
    Phase,
)

MEGABIT = 1e6
SLOW = Link(rate=10 * MEGABIT, delay=0.015, queue=200)
PAYLOAD = 1024 / 1212
"""Share of a link's bits that are a stream's bytes."""


def made(rng: random.Random) -> Bbr:
    """Make one for a flow."""
    return Bbr(phase=rng.randrange(100))


def steady_rate(link: Link, start: float = 10.0, end: float = 20.0) -> float:
    """Give the share of a link that a lone flow uses."""
    flow = OurFlow(made)
    World(link, [flow]).run(end)
    used = 8 * delivered_between(flow, start, end) / (end - start)
    return used / (link.rate * PAYLOAD)


class PathTests(SynchronousTestCase):
    """How well paths are used."""

    def test_model(self) -> None:
        """Rate and length of the path are found, and kept to."""
        flow = OurFlow(made)
        world = World(SLOW, [flow])
        world.run(8.0)
        bbr = flow.near._congestion
        assert isinstance(bbr, Bbr)
        self.assertIs(bbr.phase, Phase.CRUISE)
        blocks = SLOW.rate / 8 / 1212
        self.assertLess(abs(bbr.rate / blocks - 1), 0.1)
        self.assertLess(bbr.min_rtt, 2 * SLOW.delay * 1.1)
        self.assertLess(mean_wait(world, 2.0, 8.0), 0.015)
        self.assertEqual(flow.near.retransmissions, 0)

    def test_whole_path(self) -> None:
        """A path is used whole, be it clean, lossy, short of queue, or long."""
        cases = (
            (SLOW, 0.93),
            (Link(10 * MEGABIT, 0.015, 25, loss=0.02), 0.9),
            (Link(10 * MEGABIT, 0.015, 5), 0.85),
            (Link(20 * MEGABIT, 0.05, 200), 0.9),
        )
        for link, least in cases:
            with self.subTest(link=link):
                self.assertGreater(steady_rate(link, 3.0, 9.0), least)

    def test_path_gets_faster(self) -> None:
        """When a competitor leaves, its share is taken over within seconds."""
        staying, leaving = OurFlow(made), OurFlow(made, stop=15.0)
        World(SLOW, [staying, leaving]).run(22.0)
        used = 8 * delivered_between(staying, 18.0, 22.0) / 4
        self.assertGreater(used, 0.9 * SLOW.rate * PAYLOAD)

    def test_outage(self) -> None:
        """After an outage, the old rate is back within moments."""
        link = Link(10 * MEGABIT, 0.015, 25, outages=[(5.0, 15.0)])
        flow = OurFlow(made)
        World(link, [flow]).run(22.0)
        before = delivered_between(flow, 3.0, 5.0)
        self.assertGreater(delivered_between(flow, 20.0, 22.0), 0.9 * before)

    def test_two_share(self) -> None:
        """Two flows on one path get about the same."""
        flows = [OurFlow(made), OurFlow(made, start=2.0)]
        World(SLOW, flows).run(25.0)
        shares = sorted(delivered_between(flow, 10.0, 25.0) for flow in flows)
        self.assertGreater(shares[0], 0.7 * shares[1])

    def test_leaves_room(self) -> None:
        """TCP keeps a fair part of a path whose queue is shorter than the path."""
        flows: list[Flow] = [OurFlow(made, start=0.5), CubicFlow()]
        world = World(Link(10 * MEGABIT, 0.015, 20), flows)
        world.run(25.0)
        ours, theirs = (share(world, flow, 5.0, 25.0) for flow in flows)
        self.assertGreater(ours, 0.3)
        self.assertGreater(theirs, 0.2)


class GateTests(SynchronousTestCase):
    """When blocks may leave."""

    def test_first_window(self) -> None:
        """Before the first answer, a small window leaves at once."""
        bbr = Bbr()
        for count in range(INITIAL_WINDOW):
            self.assertEqual(bbr.allowance(5.0, count), INITIAL_WINDOW - count)
            bbr.sent(5.0, count)
        self.assertEqual(bbr.allowance(5.0, INITIAL_WINDOW), 0)
        self.assertIsNone(bbr.next_time(5.0, INITIAL_WINDOW))

    def test_begin_again(self) -> None:
        """When nothing comes back, little is sent; the rate is remembered."""
        bbr = Bbr()
        states = [bbr.sent(0.0, count) for count in range(10)]
        for count, state in enumerate(states):
            bbr.acknowledged(0.1, 0.1 + count / 1000, 1, state, 9 - count)
        rate = bbr.rate
        bbr.timed_out(1.0)
        self.assertEqual(bbr.rate, rate)
        self.assertLessEqual(bbr.allowance(10.0, 0), MIN_WINDOW)

    def test_timeouts(self) -> None:
        """A second at first; then the mean round trip and four deviations."""
        bbr = Bbr()
        self.assertEqual(bbr.timeout, FIRST_TIMEOUT)
        for count in range(200):
            bbr.acknowledged(0.1, 0.1 * count, 1, bbr.sent(0.1 * count, 0), 0)
        self.assertAlmostEqual(bbr.timeout, 0.1 + MIN_VARIANCE, 3)

    @given(
        st.floats(0, 1e8),
        st.lists(
            st.tuples(
                st.sampled_from(("send", "answer", "lose", "panic", "idle")),
                st.floats(0, 100),
                st.integers(1, 50),
            ),
            max_size=60,
        ),
    )
    def test_any_history(
        self, begin: float, steps: list[tuple[str, float, int]]
    ) -> None:
        """Whatever happens, all figures stay in bounds, and no timer fires in vain."""
        bbr, now = Bbr(), begin
        states: list[tuple[float, object]] = []
        for what, value, count in steps:
            if what == "send":
                for _ in range(min(count, bbr.allowance(now, len(states)))):
                    states.append((now, bbr.sent(now, len(states))))
            elif what == "answer" and states:
                sent, state = states.pop(0)
                blocks = min(count, len(states) + 1)
                del states[: blocks - 1]
                bbr.acknowledged(now - sent, now, blocks, state, len(states))
            elif what == "lose" and states:
                states.pop(0)
                bbr.lost(now)
            elif what == "panic":
                bbr.timed_out(now)
            elif what == "idle":
                bbr.idle(len(states))
            now += value
            self.assertLessEqual(0, bbr.timeout)
            self.assertLessEqual(bbr.timeout, MAX_TIMEOUT)
            self.assertLessEqual(bbr.allowance(now, len(states)), MAX_WINDOW)
            due = bbr.next_time(now, len(states))
            if due is None:
                self.assertGreaterEqual(len(states), MIN_WINDOW)
            else:
                self.assertGreater(bbr.allowance(max(now, due), len(states)), 0)
