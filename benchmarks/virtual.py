"""What the emulated links say; the rounds are seeds, and the time is virtual."""

from __future__ import annotations

import os

from benchmarks.rows import (
    OURS,
    REFERENCE,
    Place,
    Row,
    Samples,
    Sizes,
    at_least,
    at_most,
    times_at_most,
)
from benchmarks.scenarios import run_all

CUBIC = "CUBIC"
BESIDE = {f"cubic{queue}": queue for queue in (25, 50, 100, 200)}
ALONE_QUEUE = 50
"""Of the link on which CUBIC is alone as well."""

_WHO = {"bbr": OURS, "cubic": CUBIC, "reference": REFERENCE}
_RUNS = {
    "bbr": ("fast", "file", "file2", *BESIDE),
    "cubic": ("clean",),
    "reference": ("fast", "file", "file2"),
}
_SCALES = {"share": 100.0, "wait": 1000.0}
"""Percent, milliseconds."""


def measure(samples: Samples, sizes: Sizes) -> None:
    """Run what the table asks for, on all processors."""
    for algorithm, keys in _RUNS.items():
        seeds = range(1, sizes.seeds + 1)
        results = run_all(keys, [algorithm], seeds, os.cpu_count())
        for (key, _), runs in results.runs.items():
            for run in runs:
                scaled = {k: _SCALES.get(k, 1.0) * value for k, value in run.items()}
                samples.add(key, _WHO[algorithm], scaled)


def rows(sizes: Sizes) -> list[Row]:
    """Give the lines of the table."""
    fast, took = Place("fast", OURS, "share"), Place("file", OURS, "took")
    lossy = Place("file2", OURS, "took")
    wait = Place(f"cubic{ALONE_QUEUE}", OURS, "wait")
    alone = Place("clean", CUBIC, "wait")
    lines = [
        Row(
            "100 Mbit/s, 100 ms round trip, emulated: share of the link "
            "(reference: a model of it)",
            "%",
            fast,
            Place("fast", REFERENCE, "share"),
            None,
            (at_least(fast, 60, "60 %"),),
            more=True,
        ),
        Row(
            "2 MB over 10 Mbit/s, 30 ms, queue 25, emulated",
            "s",
            took,
            Place("file", REFERENCE, "took"),
        ),
        Row(
            "the same with 2 % loss each way",
            "s",
            lossy,
            Place("file2", REFERENCE, "took"),
            None,
            (times_at_most(lossy, took, 2, "2 times the clean time"),),
        ),
    ]
    for key, queue in BESIDE.items():
        place = Place(key, OURS, "share")
        goals = at_least(place, 30, "at least 30 %"), at_most(place, 70, "at most 70 %")
        work = f"beside TCP CUBIC, 10 Mbit/s, 30 ms, queue {queue}, emulated: our share"
        lines.append(Row(work, "%", place, goals=goals))
    lines.append(
        Row(
            f"beside TCP CUBIC, queue {ALONE_QUEUE}: mean time in the queue",
            "ms",
            wait,
            goals=(times_at_most(wait, alone, 1, "CUBIC alone"),),
        )
    )
    lines.append(Row(f"TCP CUBIC alone, queue {ALONE_QUEUE}: the same", "ms", alone))
    return lines
