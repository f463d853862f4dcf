"""Links, who is on them, and what is measured there; all of it in virtual time."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from math import inf
from statistics import fmean

from benchmarks.competitors import CubicFlow, ReferenceFlow
from benchmarks.links import (
    Flow,
    Link,
    OurFlow,
    World,
    first_after,
    high_wait,
    mean_wait,
    share,
)
from curvecp_tx.stream.bbr import Bbr
from curvecp_tx.stream.chicago import Chicago

SEEDS = (1, 2, 3)
WARM_UP = 5.0
"""Seconds that do not count: the start is another question."""

SPREAD = 2.0
"""Seconds within which flows that run side by side begin."""

TRANSFER = 2_000_000
RECOVERY = 15.0

MBIT = 1e6
BASE = Link(10 * MBIT, 0.015, 50)
"""A path of 30 ms holds 31 full packets of ours."""


def _bbr(start: float, size: int | None) -> Flow:
    return OurFlow(lambda rng: Bbr(phase=rng.randrange(256)), start=start, size=size)


def _chicago(start: float, size: int | None) -> Flow:
    return OurFlow(
        lambda rng: Chicago(random_bytes=rng.randbytes, now=0.0),
        start=start,
        size=size,
    )


def _cubic(start: float, size: int | None) -> Flow:
    return CubicFlow(start=start, size=size)


def _reference(start: float, size: int | None) -> Flow:
    return ReferenceFlow(start=start, size=size)


ALGORITHMS: Mapping[str, Callable[[float, int | None], Flow]] = {
    "bbr": _bbr,
    "chicago": _chicago,
    "cubic": _cubic,
    "reference": _reference,
}


@dataclass(frozen=True)
class Scenario:
    """A link, and who is on it.

    :ivar rival: the other flow's algorithm; ``"itself"`` for a second one of the same.
    :ivar size: bytes to be sent; ``None`` for a flow that has no end.
    :ivar apart: seconds by which the second flow begins later.
    """

    key: str
    title: str
    link: Link
    seconds: float = 30.0
    rival: str | None = None
    size: int | None = None
    apart: float = 0.0
    warm_up: float = WARM_UP


def _with_outage(seconds: float) -> Link:
    return Link(BASE.rate, BASE.delay, BASE.queue, outages=((10.0, 10.0 + seconds),))


ALONE = (
    Scenario("clean", "10 Mbit/s, 30 ms, queue 50", BASE),
    Scenario("loss2", "the same, 2 % loss", Link(10 * MBIT, 0.015, 50, 0.02)),
    Scenario("loss10", "the same, 10 % loss", Link(10 * MBIT, 0.015, 50, 0.10)),
    Scenario("long", "10 Mbit/s, 100 ms, queue 50", Link(10 * MBIT, 0.05, 50)),
    Scenario("shallow", "10 Mbit/s, 30 ms, queue 10", Link(10 * MBIT, 0.015, 10)),
    Scenario("deep", "10 Mbit/s, 30 ms, queue 400", Link(10 * MBIT, 0.015, 400)),
    Scenario(
        "fast", "100 Mbit/s, 100 ms, queue 200", Link(100 * MBIT, 0.05, 200), 15.0
    ),
)

BESIDE = (
    *(
        Scenario(
            f"cubic{queue}",
            f"TCP CUBIC, queue {queue}",
            Link(10 * MBIT, 0.015, queue),
            65.0,
            "cubic",
        )
        for queue in (25, 50, 100, 200)
    ),
    Scenario("itself", "itself, 10 s older", BASE, 65.0, "itself", None, 10.0, 20.0),
    Scenario("reference", "the reference", BASE, 65.0, "reference"),
)

OUTAGES = tuple(
    Scenario(
        f"outage{seconds:g}",
        f"{seconds:g} s",
        _with_outage(seconds),
        10.0 + seconds + RECOVERY,
    )
    for seconds in (5.0, 10.0, 30.0, 60.0)
)

TRANSFERS = tuple(
    Scenario(key, title, link, 120.0, None, TRANSFER)
    for key, title, link in (
        ("file", "no loss", Link(10 * MBIT, 0.015, 25)),
        ("file2", "2 % loss each way", Link(10 * MBIT, 0.015, 25, 0.02)),
        ("file10", "10 % loss each way", Link(10 * MBIT, 0.015, 25, 0.10)),
    )
)

SCENARIOS = {
    scenario.key: scenario for scenario in (*ALONE, *BESIDE, *OUTAGES, *TRANSFERS)
}

Figures = dict[str, float]


def set_up(scenario: Scenario, algorithm: str, seed: int) -> World:
    """Put the flows of a scenario on its link."""
    rng = random.Random(seed)
    make = ALGORITHMS[algorithm]
    if scenario.rival is None:
        return World(scenario.link, [make(0.0, scenario.size)], seed)
    rival = algorithm if scenario.rival == "itself" else scenario.rival
    flows = [
        make(scenario.apart + SPREAD * rng.random(), None),
        ALGORITHMS[rival](SPREAD * rng.random(), None),
    ]
    return World(scenario.link, flows, seed)


def measure(scenario: Scenario, algorithm: str, seed: int) -> Figures:
    """Run a scenario, and give what came of it; times in seconds."""
    world = set_up(scenario, algorithm, seed)
    end = scenario.seconds
    world.run(end)
    flow = world.flows[0]
    if scenario.size is not None:
        done = flow.done_at
        return {"took": inf if done is None else done, "repeated": flow.repeated}
    if scenario.link.outages:
        return _recovery(world)
    start = scenario.warm_up
    figures = {
        "share": share(world, flow, start, end),
        "wait": mean_wait(world, start, end),
        "high": high_wait(world, start, end),
        "repeated": flow.repeated,
    }
    if scenario.rival is not None:
        figures["rival"] = share(world, world.flows[1], start, end)
        figures["jain"] = fairness([figures["share"], figures["rival"]])
    return figures


def _recovery(world: World) -> Figures:
    flow = world.flows[0]
    began, ended = world.link.outages[0]
    first = first_after(flow, ended)
    before = share(world, flow, WARM_UP, began)
    after = share(world, flow, ended, ended + RECOVERY)
    return {
        "first": inf if first is None else first - ended,
        "recovered": after / before if before else 0.0,
    }


def fairness(shares: Sequence[float]) -> float:
    """Give Jain's index: 1 if all have the same, 1/n if one has it all."""
    squares = sum(value * value for value in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 0.0


Job = tuple[str, str, int]


def run_job(job: Job) -> Figures:
    """Run one scenario with one algorithm and one seed."""
    key, algorithm, seed = job
    return measure(SCENARIOS[key], algorithm, seed)


@dataclass(frozen=True)
class Results:
    """Figures of all runs, by scenario, algorithm and seed."""

    runs: Mapping[tuple[str, str], Sequence[Figures]]

    def mean(self, key: str, algorithm: str, figure: str) -> float:
        """Give the mean of a figure over all seeds."""
        return fmean(run[figure] for run in self.runs[key, algorithm])

    def has(self, key: str, algorithm: str) -> bool:
        """Tell whether that was run."""
        return (key, algorithm) in self.runs


def run_all(
    keys: Sequence[str],
    algorithms: Sequence[str],
    seeds: Sequence[int],
    processes: int | None = None,
) -> Results:
    """Run everything, on all processors."""
    jobs = [
        (key, algorithm, seed)
        for key in keys
        for algorithm in algorithms
        for seed in seeds
    ]
    runs: dict[tuple[str, str], list[Figures]] = {}
    with ProcessPoolExecutor(processes) as pool:
        for number, (job, figures) in enumerate(
            zip(jobs, pool.map(run_job, jobs), strict=True), 1
        ):
            runs.setdefault(job[:2], []).append(figures)
            if sys.stderr.isatty():
                print(f"\r{number} of {len(jobs)}", end="", file=sys.stderr)
    return Results(runs)
