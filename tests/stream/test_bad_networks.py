"""Two streams over networks that lose, delay, reorder, repeat and stop."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.stream import GIVE_UP, MAX_LINGER
from tests.stream.wire_between import Network, Wire, data_of, ending_of

LONG = 3000.0
"""Virtual seconds: more than anything here may take."""

IDLE_WAKES = 20
"""Timer events in one virtual second that send nothing, at the most."""

SIZES = (0, 1, 512, 513, 640, 1023, 1024, 1025, 65535, 65536, 65537)
WINDOW_SIZES = (131071, 131072, 131073, 1 << 20)

NETWORKS = st.builds(
    Network,
    seed=st.integers(0, 2**32),
    delay=st.floats(0.0001, 2.0),
    jitter=st.sampled_from((0.0, 0.001, 0.02, 0.3)),
    loss=st.floats(0, 0.4),
    burst=st.integers(1, 4),
    copies=st.sampled_from((0.0, 0.0, 0.1, 1.0)),
    outages=st.lists(
        st.tuples(st.floats(0, 30), st.floats(0, 60)).map(
            lambda pair: (pair[0], pair[0] + pair[1])
        ),
        max_size=2,
    ),
    one_way=st.booleans(),
)


class BadNetworkTestCase(SynchronousTestCase):
    """Has what the tests here ask of every run."""

    def assert_delivered(self, wire: Wire) -> None:
        """Everything has arrived, both ends know it, and nobody was busy idly."""
        for side, peer in (wire.sides, wire.sides[::-1]):
            self.assertEqual(ending_of(side), "complete", wire.network)
            self.assertEqual(len(side.received), len(peer.data))
        self.assert_calm(wire)

    def assert_calm(self, wire: Wire) -> None:
        """Timers seldom fire for nothing."""
        self.assertLessEqual(max(wire.idle_wakes.values(), default=0), IDLE_WAKES)


class ScheduleTests(BadNetworkTestCase):
    """Any network."""

    @settings(max_examples=150)
    @given(NETWORKS, st.integers(0, 20000), st.integers(0, 20000))
    def test_any(self, network: Network, there: int, back: int) -> None:
        """Both ends come to an end, and who says that all is well is right."""
        wire = Wire(network, data_of(there, 1), data_of(back, 2))
        wire.run(LONG)
        for side, peer in (wire.sides, wire.sides[::-1]):
            self.assertTrue(side.gone)
            self.assertEqual(side.stream.complete, side.stream.failure is None)
            if side.stream.complete:
                self.assertEqual(bytes(side.received), peer.data)
                self.assertEqual(bytes(peer.received), side.data)
        ends = sorted(side.over_at or 0.0 for side in wire.sides)
        self.assertLessEqual(ends[1] - ends[0], GIVE_UP + MAX_LINGER)
        self.assert_calm(wire)

    def test_seeds(self) -> None:
        """With 30 % of the packets lost, 300 of 300 connections are complete."""
        for seed in range(300):
            sizes = random.Random(seed)
            network = Network(seed=seed, loss=0.3, jitter=0.01)
            there, back = sizes.randrange(6000), sizes.randrange(6000)
            wire = Wire(network, data_of(there, seed), data_of(back, seed))
            wire.run(LONG)
            self.assert_delivered(wire)

    def test_pings_between(self) -> None:
        """A ping that got lost does not stand in the way of what comes after it."""
        for seed in range(100):
            network = Network(seed=seed, loss=0.3, jitter=0.02)
            wire = Wire(network, data_of(3000), data_of(3000, 1), finish=False)
            times = random.Random(seed)
            for side in wire.sides:
                wire.run(wire.now + 60 * times.random())
                side.stream.ping()
                wire.run(wire.now + 0.05 * times.random())
                side.stream.finish()
            wire.run(LONG)
            self.assert_delivered(wire)

    def test_bursts(self) -> None:
        """With bursts of up to three lost packets, connections are complete."""
        for seed in range(50):
            network = Network(seed=seed, loss=0.18, burst=3)
            wire = Wire(network, data_of(3000, seed), data_of(3000, seed))
            wire.run(LONG)
            self.assert_delivered(wire)

    def test_copies(self) -> None:
        """Copies of every message change nothing, though no box drops them here."""
        wire = Wire(Network(copies=1.0), data_of(200_000), data_of(200_000, 1))
        wire.run(LONG)
        self.assert_delivered(wire)
        for side in wire.sides:
            self.assertEqual(side.stream.retransmissions, 0)

    def test_reordering(self) -> None:
        """Packets that overtake each other do not slow a transfer down much."""
        ends = []
        for jitter in (0.0, 0.01):
            wire = Wire(Network(jitter=jitter), data_of(1 << 19))
            wire.run(LONG)
            self.assert_delivered(wire)
            ends.append(wire.now)
        self.assertLess(ends[1], 3 * ends[0])

    def test_long_way(self) -> None:
        """A round trip of four seconds is no failure."""
        wire = Wire(Network(delay=2.0), data_of(50_000), data_of(50_000, 1))
        wire.run(LONG)
        self.assert_delivered(wire)


class SizeTests(BadNetworkTestCase):
    """Any amount of data."""

    def test_sizes(self) -> None:
        """Sizes around every limit arrive in both directions, with loss and without."""
        for size in SIZES:
            for loss in (0.0, 0.1):
                network = Network(seed=size, loss=loss)
                wire = Wire(network, data_of(size, 1), data_of(size, 2))
                wire.run(LONG)
                self.assert_delivered(wire)

    def test_window_sizes(self) -> None:
        """So do sizes around and beyond the receive window."""
        for size in WINDOW_SIZES:
            wire = Wire(Network(loss=0.01), data_of(size, 1), data_of(size, 2))
            wire.run(LONG)
            self.assert_delivered(wire)

    def test_clean(self) -> None:
        """Without loss, nothing is sent again, and the ends do not linger."""
        for size in (0, 1, 5000, 1 << 20):
            wire = Wire(Network(), data_of(size, 1), data_of(size, 2))
            wire.run(LONG)
            self.assert_delivered(wire)
            for side in wire.sides:
                self.assertEqual(side.stream.retransmissions, 0)
            last = max((side.arrivals[-1][0] for side in wire.sides if size), default=0)
            self.assertLess(wire.now - last, 0.3)


class OutageTests(BadNetworkTestCase):
    """Times when nothing gets through."""

    def test_goes_on(self) -> None:
        """A transfer goes on soon after an outage, with its lowest byte first."""
        for length in (5.0, 10.0, 30.0, 60.0):
            for begin in (0.1, 0.25):
                outage = (begin, begin + length)
                wire = Wire(Network(outages=[outage]), data_of(3 << 20))
                wire.run(begin + length)
                before = len(wire.server.received)
                self.assertLess(before, 3 << 20)
                wire.run(LONG)
                self.assert_delivered(wire)
                later = [
                    (time, end)
                    for time, end in wire.server.arrivals
                    if time >= outage[1]
                ]
                self.assertLessEqual(later[0][0], outage[1] + 5.0)

    def test_finished_before(self) -> None:
        """What was written and ended before an outage of 14 seconds arrives."""
        for begin in (0.0, 0.05, 0.3, 0.6):
            network = Network(outages=[(begin, begin + 14)])
            wire = Wire(network, data_of(150 * 1024, 1), data_of(150 * 1024, 2))
            wire.run(LONG)
            self.assert_delivered(wire)

    def test_on_and_off(self) -> None:
        """Five seconds of network and two without, again and again, are enough."""
        outages = [(5.0 + 7 * turn, 7.0 + 7 * turn) for turn in range(100)]
        wire = Wire(Network(outages=outages), data_of(3 << 20))
        wire.run(LONG)
        self.assert_delivered(wire)

    def test_never_back(self) -> None:
        """If the network never returns, both ends fail at the give-up time."""
        for back in (b"", data_of(300_000, 2)):
            network = Network(outages=[(0.25, 1e9)])
            wire = Wire(network, data_of(3 << 20), back, finish=not back)
            wire.run(LONG)
            for side in wire.sides:
                self.assertEqual(ending_of(side), "StreamTimedOut")
                assert side.over_at is not None
                self.assertLess(abs(side.over_at - 0.25 - GIVE_UP), GIVE_UP / 10)
            self.assert_calm(wire)

    def test_one_way(self) -> None:
        """If one direction is dead, the end that hears nothing fails in time."""
        network = Network(outages=[(0.2, 1e9)], one_way=True)
        wire = Wire(network, data_of(1 << 20), data_of(1 << 20, 1))
        wire.run(LONG)
        self.assertEqual(ending_of(wire.server), "StreamTimedOut")
        self.assertEqual(ending_of(wire.client), "StreamTimedOut")

    def test_last_packets_lost(self) -> None:
        """Both ends are complete whichever few packets near the end get lost."""
        for size in (0, 3000):
            clean = Wire(Network(), data_of(size), data_of(size, 1))
            clean.run(LONG)
            steps = 60
            for step in range(steps):
                begin = clean.now * step / steps
                network = Network(outages=[(begin, begin + 0.04)])
                wire = Wire(network, data_of(size), data_of(size, 1))
                wire.run(LONG)
                self.assert_delivered(wire)
