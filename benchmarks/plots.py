"""Plots for the documentation; the only part that needs matplotlib."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.links import Flow, World, mean_wait, share
from benchmarks.scenarios import (
    ALGORITHMS,
    ALONE,
    BESIDE,
    SCENARIOS,
    Results,
    Scenario,
    set_up,
)
from benchmarks.tables import NAMES

COLOURS = {
    "bbr": "#1f6fb4",
    "chicago": "#d9822b",
    "cubic": "#7f7f7f",
    "reference": "#8c564b",
}
STEP = 0.5
"""Seconds that a point of a time series stands for."""


def write(results: Results, directory: str) -> None:
    """Write all plots as SVG; the same figures give the same files."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plots: matplotlib is not installed", file=sys.stderr)
        return

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "curvecp",
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    os.makedirs(directory, exist_ok=True)
    _bars(
        results,
        ALONE,
        "share",
        100,
        "share of the link, %",
        os.path.join(directory, "goodput.svg"),
    )
    _bars(
        results,
        ALONE,
        "wait",
        1e3,
        "mean time in the queue, ms",
        os.path.join(directory, "queueing.svg"),
        logarithmic=True,
    )
    _bars(
        results,
        BESIDE,
        "jain",
        1,
        "Jain's index of fairness",
        os.path.join(directory, "fairness.svg"),
    )
    _outage(os.path.join(directory, "outage.svg"))
    _beside(os.path.join(directory, "beside-cubic.svg"))


def _subplots(rows: int, height: float) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, 1, figsize=(8, height), sharex=True)
    return figure, axes


def _legend(axes: Any, columns: int) -> None:
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
    axes.legend(ncols=columns, frameon=False, fontsize=7, **place)


def _save(figure: Any, path: str) -> None:
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _bars(
    results: Results,
    scenarios: Sequence[Scenario],
    what: str,
    scale: float,
    label: str,
    path: str,
    *,
    logarithmic: bool = False,
) -> None:
    figure, axes = _subplots(1, 3.4)
    width = 0.8 / len(ALGORITHMS)
    for number, name in enumerate(ALGORITHMS):
        shown = [
            (place, scale * results.mean(scenario.key, name, what))
            for place, scenario in enumerate(scenarios)
            if results.has(scenario.key, name)
        ]
        places = [place + (number - 1.5) * width for place, _ in shown]
        heights = [height for _, height in shown]
        axes.bar(places, heights, width, label=NAMES[name], color=COLOURS[name])
    if logarithmic:
        axes.set_yscale("symlog", linthresh=1)
    axes.set_ylabel(label)
    axes.set_xticks(
        range(len(scenarios)),
        [_wrapped(scenario.title) for scenario in scenarios],
        fontsize=7,
    )
    _legend(axes, len(ALGORITHMS))
    _save(figure, path)


def _wrapped(title: str) -> str:
    return title.replace(", ", ",\n")


def _outage(path: str) -> None:
    """Draw what arrives before, in and after an outage."""
    scenario = SCENARIOS["outage10"]
    figure, axes = _subplots(1, 2.8)
    for name in ALGORITHMS:
        world = set_up(scenario, name, 1)
        world.run(scenario.seconds)
        times, rates = _series(world, world.flows[0], scenario.seconds)
        axes.plot(times, rates, label=NAMES[name], color=COLOURS[name])
    start, end = scenario.link.outages[0]
    axes.axvspan(start, end, color="#eeeeee", label="outage")
    axes.set_xlabel("seconds")
    axes.set_ylabel("share of the link, %")
    _legend(axes, len(ALGORITHMS) + 1)
    _save(figure, path)


def _beside(path: str) -> None:
    """Draw two flows on one link, and its queue."""
    scenario = SCENARIOS["cubic50"]
    figure, (shares, waits) = _subplots(2, 4.2)
    for name in ("bbr", "cubic"):
        world = set_up(scenario, name, 1)
        world.run(scenario.seconds)
        if name == "bbr":
            for flow, whose in zip(world.flows, ("bbr", "cubic"), strict=True):
                times, rates = _series(world, flow, scenario.seconds)
                shares.plot(times, rates, label=NAMES[whose], color=COLOURS[whose])
        steps = [STEP * number for number in range(int(scenario.seconds / STEP))]
        delays = [1e3 * mean_wait(world, time, time + STEP) for time in steps]
        label = "BBR beside CUBIC" if name == "bbr" else "CUBIC beside CUBIC"
        waits.plot(steps, delays, label=label, color=COLOURS[name])
    shares.set_ylabel("share of the link, %")
    waits.set_ylabel("time in the queue, ms")
    waits.set_xlabel("seconds")
    for axes in (shares, waits):
        axes.set_ylim(bottom=0)
        _legend(axes, 2)
    _save(figure, path)


def _series(world: World, flow: Flow, end: float) -> tuple[list[float], list[float]]:
    times = [STEP * number for number in range(int(end / STEP))]
    return times, [100 * share(world, flow, time, time + STEP) for time in times]
