"""``python -m benchmarks.micro``: what each step of the hot path costs.

Two commits are compared with ``--json`` on one and ``--compare`` on the other. What is
counted is processor time, and the least of many samples: what else runs on the machine
can only add to it. ``--instructions`` counts instructions instead, with perf or,
slowly, with valgrind.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from benchmarks.steps import STEPS, Step

ROUNDS = 5
SECONDS = 0.25
"""For each step and round."""

LEAST_SAMPLES = 5
COUNTED_SAMPLES = 3

Figures = dict[str, float]


def measure(names: Sequence[str], rounds: int = ROUNDS) -> Figures:
    """Give microseconds of processor time per operation: the least of all samples."""
    least: Figures = {}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in names:
                sample = _least_sample(STEPS[name])
                least[name] = min(sample, least.get(name, sample))
            gc.collect()
    finally:
        gc.enable()
    return least


def _least_sample(step: Step) -> float:
    clock = time.process_time
    ends = clock() + SECONDS
    samples = 0
    least = float("inf")
    while samples < LEAST_SAMPLES or clock() < ends:
        run = step.prepare()
        began = clock()
        run()
        least = min(least, clock() - began)
        samples += 1
    return 1e6 * least / step.operations


def count(names: Sequence[str]) -> Figures:
    """Give thousands of instructions per operation.

    One child runs some samples, another one only prepares them; what lies between
    counts.
    """
    perf = _perf_works()
    if not perf and shutil.which("valgrind") is None:
        raise SystemExit(
            "instructions are counted with perf or valgrind: neither works"
        )
    figures = {}
    for name in names:
        runs = _instructions(name, COUNTED_SAMPLES, perf)
        runs -= _instructions(name, -COUNTED_SAMPLES, perf)
        figures[name] = runs / (1e3 * COUNTED_SAMPLES * STEPS[name].operations)
    return figures


def _perf_works() -> bool:
    if shutil.which("perf") is None:
        return False
    try:
        _counted(["perf", "stat", "-x,", "-e", "instructions:u", "true"], perf=True)
    except ValueError:
        return False
    return True


def _instructions(name: str, samples: int, perf: bool) -> int:
    """Count those of a whole child; samples below zero are only prepared."""
    command = [sys.executable, "-m", "benchmarks.micro", "--child", str(samples), name]
    if perf:
        return _counted(
            ["perf", "stat", "-x,", "-e", "instructions:u", *command], perf=True
        )
    return _counted(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        perf=False,
    )


def _counted(command: Sequence[str], *, perf: bool) -> int:
    done = subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    found = re.search(
        r"^(\d+),.*instructions" if perf else r"Collected : (\d+)", done.stderr, re.M
    )
    if done.returncode or found is None:
        raise ValueError(done.stderr)
    return int(found[1])


def _child(name: str, samples: int) -> None:
    """Run samples, or only prepare as many."""
    gc.disable()
    # Warm: what is computed once and kept must not count.
    STEPS[name].prepare()()
    for _ in range(abs(samples)):
        run = STEPS[name].prepare()
        if samples > 0:
            run()


def table(figures: Figures, unit: str, before: Figures | None) -> str:
    """Give the figures as text, beside those of another run if there is one."""
    lines = [f"{'step':<34} {unit:>12}" + ("       before   ratio" if before else "")]
    for name, value in figures.items():
        line = f"{name:<34} {value:12.2f}"
        if before and name in before:
            line += f" {before[name]:12.2f} {value / before[name]:7.3f}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run the steps that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro")
    parser.add_argument("steps", nargs="*", metavar="step", help="all by default")
    parser.add_argument("--instructions", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--compare", metavar="FILE", help="what --json has written")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.steps) - set(STEPS)
    if unknown:
        parser.error(f"no such steps: {', '.join(sorted(unknown))}")
    if arguments.child is not None:
        _child(arguments.steps[0], arguments.child)
        return
    names = arguments.steps or list(STEPS)
    unit = "thousands" if arguments.instructions else "µs"
    before = _read(arguments.compare, unit) if arguments.compare else None
    print(
        f"Python {platform.python_version()}, PyNaCl {version('pynacl')}, "
        f"{platform.machine()}"
    )
    figures = (
        count(names) if arguments.instructions else measure(names, arguments.rounds)
    )
    print(table(figures, unit, before))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"unit": unit, "steps": figures}, file, indent=1)


def _read(path: str, unit: str) -> Figures:
    with open(path, encoding="utf-8") as file:
        saved: Mapping[str, object] = json.load(file)
    steps = saved["steps"]
    if saved["unit"] != unit or not isinstance(steps, dict):
        raise SystemExit(f"{path} holds {saved['unit']}, not {unit}")
    return {name: float(value) for name, value in steps.items()}


if __name__ == "__main__":
    main()
