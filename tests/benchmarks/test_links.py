"""The emulated links, the flows of others, and the tables."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import micro, tables
from benchmarks.competitors import Cubic, CubicFlow, ReferenceFlow
from benchmarks.links import (
    Flow,
    Link,
    OurFlow,
    World,
    delivered_between,
    first_after,
    high_wait,
    mean_wait,
    share,
)
from benchmarks.scenarios import (
    ALGORITHMS,
    SCENARIOS,
    Results,
    fairness,
    measure,
    set_up,
)
from benchmarks.steps import STEPS
from curvecp_tx.stream.bbr import Bbr

SLOW = Link(1e6, 0.02, 20)
"""83 full packets of TCP a second."""


def ours(size: int | None = None) -> OurFlow:
    """Give a flow of ours."""
    return OurFlow(lambda rng: Bbr(phase=rng.randrange(256)), size=size)


class Talker:
    """Sends what it is told, and notes what comes of it."""

    efficiency = 1.0
    repeated = 0.0
    done_at: float | None = None

    def __init__(self, *packets: tuple[float, int], start: float = 0.0) -> None:
        self.packets = list(packets)
        self.start = start
        self.stop = 0.0
        self.delivered: list[tuple[float, int]] = []
        self.answers: list[tuple[float, Any]] = []

    def begin(self, world: World, index: int, now: float) -> None:
        """Begin."""
        self.world, self.index = world, index

    def arrived(self, packet: Any, now: float) -> None:
        """Count, and answer with the same."""
        before = self.delivered[-1][1] if self.delivered else 0
        self.delivered.append((now, before + packet))
        self.world.back(self.index, packet, now)

    def answered(self, packet: Any, now: float) -> None:
        """Note it."""
        self.answers.append((now, packet))

    def deadline(self, now: float) -> float:
        """When the next packet is due."""
        return self.packets[0][0] if self.packets else float("inf")

    def wake(self, now: float) -> None:
        """Send what is due."""
        while self.packets and self.packets[0][0] <= now:
            _, size = self.packets.pop(0)
            self.world.forward(self.index, size, size, now)


class WorldTests(SynchronousTestCase):
    """A link does what its figures say."""

    def test_time_of_a_packet(self) -> None:
        """A packet takes its bytes over the rate, and the delay each way."""
        flow = Talker((1.0, 1250))
        World(Link(1e6, 0.05, 5), [flow]).run(3.0)
        self.assertEqual([round(time, 6) for time, _ in flow.delivered], [1.06])
        self.assertEqual([round(time, 6) for time, _ in flow.answers], [1.11])

    def test_queue(self) -> None:
        """Packets wait for those before them, and the tail is dropped."""
        flow = Talker(*[(0.0, 1250)] * 10)
        world = World(Link(1e6, 0.0, 4), [flow])
        world.run(1.0)
        self.assertEqual((world.passed, world.dropped), (5, 5))
        waits = [round(wait, 6) for _, wait in world.waits]
        self.assertEqual(waits, [0.0, 0.01, 0.02, 0.03, 0.04])
        self.assertAlmostEqual(mean_wait(world, 0.0, 1.0), 0.02)
        self.assertAlmostEqual(high_wait(world, 0.0, 1.0, 1.0), 0.04)

    def test_loss(self) -> None:
        """The share that was asked for gets lost, each way."""
        flow = Talker(*[(0.01 * number, 100) for number in range(4000)])
        World(Link(1e6, 0.0, 4, loss=0.2), [flow], seed=7).run(50.0)
        self.assertLess(abs(len(flow.delivered) / 4000 - 0.8), 0.03)
        self.assertLess(abs(len(flow.answers) / 4000 - 0.64), 0.03)

    def test_outage(self) -> None:
        """Nothing comes through in an outage, and everything after it."""
        flow = Talker(*[(0.1 * number, 100) for number in range(100)])
        World(Link(1e6, 0.0, 4, outages=((2.0, 5.0),)), [flow]).run(20.0)
        self.assertEqual(delivered_between(flow, 2.01, 5.0), 0)
        self.assertGreater(delivered_between(flow, 5.0, 10.0), 4000)
        first = first_after(flow, 2.01)
        self.assertIsNotNone(first)
        self.assertGreaterEqual(first or 0.0, 5.0)

    def test_late_start(self) -> None:
        """A flow begins when it is told to."""
        flow = CubicFlow(start=3.0)
        World(SLOW, [flow]).run(10.0)
        first = first_after(flow, 0.0)
        self.assertIsNotNone(first)
        self.assertGreater(first or 0.0, 3.0)

    def test_repeatable(self) -> None:
        """The same seed gives the same run, another seed another one."""

        def run(seed: int) -> list[tuple[float, int]]:
            flow = ours()
            World(Link(1e6, 0.02, 20, loss=0.05), [flow], seed=seed).run(5.0)
            return flow.delivered

        self.assertEqual(run(1), run(1))
        self.assertNotEqual(run(1), run(2))


class FlowTests(SynchronousTestCase):
    """Each kind of flow fills a link that nobody disputes, and ends."""

    def test_fills_a_link(self) -> None:
        """A flow alone on a clean link gets nearly all of it, and not more.

        The reference halves its rate over and over, and so gets less.
        """
        for make, least in ((ours, 0.9), (CubicFlow, 0.9), (ReferenceFlow, 0.7)):
            flow: Flow = make()
            world = World(SLOW, [flow])
            world.run(30.0)
            got = share(world, flow, 10.0, 30.0)
            self.assertGreater(got, least, make)
            self.assertLessEqual(got, 1.01, make)

    def test_ends(self) -> None:
        """A transfer of a given size arrives in spite of losses."""
        for make in (ours, CubicFlow, ReferenceFlow):
            flow: Flow = make(size=100_000)
            World(Link(1e6, 0.02, 20, loss=0.02), [flow], seed=3).run(120.0)
            self.assertIsNotNone(flow.done_at, make)
            self.assertGreaterEqual(flow.delivered[-1][1], 100_000, make)

    def test_cubic_fills_the_queue(self) -> None:
        """CUBIC goes on until something is dropped, and then repeats that."""
        flow = CubicFlow()
        world = World(SLOW, [flow])
        world.run(60.0)
        self.assertGreater(world.dropped, 0)
        self.assertGreater(flow.repeated, 0)
        # Half of the queue of 20 packets of 12 ms.
        self.assertGreater(mean_wait(world, 10.0, 60.0), 0.12)

    def test_two_of_cubic_share(self) -> None:
        """Two CUBIC flows share a link, more or less."""
        flows = [CubicFlow(), CubicFlow(start=5.0)]
        world = World(Link(10e6, 0.015, 50), flows)
        world.run(60.0)
        shares = [share(world, flow, 20.0, 60.0) for flow in flows]
        self.assertGreater(fairness(shares), 0.85)

    def test_reference_is_cautious(self) -> None:
        """The reference sends about one block in a millisecond at the most."""
        flow = ReferenceFlow()
        world = World(Link(100e6, 0.005, 100), [flow])
        world.run(20.0)
        blocks = delivered_between(flow, 10.0, 20.0) / 1024
        self.assertLess(blocks / 10, 2500)
        self.assertGreater(blocks / 10, 500)


class CubicTests(SynchronousTestCase):
    """The window of RFC 9438."""

    def test_shrinks_by_its_factor(self) -> None:
        """A loss leaves seven tenths of the window."""
        cubic = Cubic()
        cubic.window = 100.0
        cubic.congested()
        self.assertEqual(cubic.window, 70.0)
        self.assertEqual(cubic.threshold, 70.0)

    def test_comes_back_to_its_plateau(self) -> None:
        """The window is back where it was after the cube root of 0.3 W/C seconds."""
        cubic = Cubic()
        cubic.window = 1000.0
        cubic.congested()
        now, rtt = 0.0, 0.1
        while now < (0.3 * 1000 / 0.4) ** (1 / 3):
            cubic.acknowledged(int(cubic.window), now, rtt)
            now += rtt
        self.assertLess(abs(cubic.window - 1000.0), 20.0)

    def test_makes_room(self) -> None:
        """A second loss below the plateau lowers it: others have come."""
        cubic = Cubic()
        cubic.window = 100.0
        cubic.congested()
        cubic.congested()
        self.assertAlmostEqual(cubic.window, 49.0)
        self.assertAlmostEqual(cubic._most, 59.5)

    def test_time_out(self) -> None:
        """A time-out leaves one segment, and a slow start up to seven tenths."""
        cubic = Cubic()
        cubic.window = 100.0
        cubic.timed_out()
        self.assertEqual((cubic.window, cubic.threshold), (1.0, 70.0))
        cubic.acknowledged(1, 0.0, 0.1)
        self.assertEqual(cubic.window, 2.0)


class ScenarioTests(SynchronousTestCase):
    """Figures, and the tables that they are shown in."""

    def test_fairness(self) -> None:
        """Jain's index is 1 for equals, and 1/n if one has it all."""
        self.assertEqual(fairness([3.0, 3.0]), 1.0)
        self.assertEqual(fairness([1.0, 0.0]), 0.5)
        self.assertEqual(fairness([0.0, 0.0]), 0.0)

    def test_recovery(self) -> None:
        """What comes after an outage is measured from its end."""
        figures = measure(SCENARIOS["outage5"], "cubic", 1)
        self.assertGreater(figures["first"], 0.0)
        self.assertLess(figures["first"], 15.0)
        self.assertGreater(figures["recovered"], 0.0)

    def test_pairs(self) -> None:
        """Whoever is beside itself has a second flow of its own kind."""
        for name in ALGORITHMS:
            flows = set_up(SCENARIOS["itself"], name, 1).flows
            self.assertEqual(len(flows), 2)
            self.assertIs(type(flows[0]), type(flows[1]))
            self.assertGreater(flows[0].start, flows[1].start)

    def test_written_between_marks(self) -> None:
        """What was written by hand around the tables stays."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"before\n\n{tables.BEGIN}\nold\n{tables.END}\n\nafter\n")
        results = Results({("file", "bbr"): [{"took": 2.0}, {"took": 3.0}]})
        for _ in range(2):
            tables.write(results, path)
            with open(path, encoding="utf-8") as file:
                text = file.read()
            self.assertTrue(text.startswith(f"before\n\n{tables.BEGIN}\n"))
            self.assertTrue(text.endswith(f"{tables.END}\n\nafter\n"))
            self.assertIn("2.5 s", text)
            self.assertNotIn("\nold\n", text)
        self.assertIn("2.5 s", tables.as_text(results))


class MicroTests(SynchronousTestCase):
    """The steps of the hot path."""

    def test_every_step_runs(self) -> None:
        """Each step can be prepared and run, twice."""
        for name, step in STEPS.items():
            self.assertGreater(step.operations, 0, name)
            for _ in range(2):
                step.prepare()()

    def test_comparison(self) -> None:
        """The figure before and the ratio are shown beside the figure."""
        text = micro.table({"new": 1.0, "open": 6.0}, "µs", {"open": 2.0})
        last = text.splitlines()[-1].split()
        self.assertEqual(last, ["open", "6.00", "2.00", "3.000"])

    def test_other_units(self) -> None:
        """Microseconds are not compared with instructions."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"unit": "thousands", "steps": {"open": 1.0}}, file)
        self.assertEqual(micro._read(path, "thousands"), {"open": 1.0})
        self.assertRaises(SystemExit, micro._read, path, "µs")
