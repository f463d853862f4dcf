"""``python -m benchmarks``: run, and print the table of everything.

With ``--write``, the table goes into the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from benchmarks import bulk, connections, echo, flames, report, startup, virtual
from benchmarks.rows import QUICK, Measure, Place, Row, Samples, Sizes
from benchmarks.sides import has_reference, keys

DOCS = "docs"
PAGE = "performance.rst"
PROFILED = 512 << 20
LINKS, FLAMES = "links", "flames"

Sides = Mapping[str, Measure]

ROWS: Sequence[Callable[[Sizes], list[Row]]] = (
    bulk.rows,
    connections.rows,
    echo.rows,
    startup.rows,
    virtual.rows,
)


def benchmarks() -> Mapping[str, Sides]:
    """Give those that run in real time, and whoever can be measured here."""
    return {
        "bulk": bulk.sides(),
        "echo": echo.sides(),
        **connections.sides(),
        "startup": startup.sides(),
    }


def alternate(
    name: str, sides: Sides, rounds: int, sizes: Sizes, samples: Samples
) -> int:
    """Measure all sides in turn, round after round; give how many have failed."""
    failures = 0
    with keys() as run:
        for number in range(1, rounds + 1):
            for side, measure in sides.items():
                began = time.monotonic()
                what = f"{name} {number}/{rounds}: {side}"
                try:
                    samples.add(name, side, measure(run, sizes))
                except Exception as error:
                    # The others have taken minutes, and are worth keeping.
                    failures += 1
                    what += f" failed: {error!r}"
                progress(what, began)
    return failures


def progress(text: str, began: float) -> None:
    """Tell whoever watches that something was done."""
    print(f"{text}, {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def profile(size: int, images: str | None) -> dict[str, dict[str, float]]:
    """Profile both ends of bulk, and draw them if there is a place for it."""
    began = time.monotonic()
    with keys() as run:
        profiles = flames.record(run, size)
    if images is not None:
        flames.write(profiles, images)
    progress("profile", began)
    return {end: flames.shares(stacks) for end, stacks in profiles.items()}


def parse(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    names = [*benchmarks(), LINKS, FLAMES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "which", nargs="*", metavar="benchmark", help=f"all of {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, help="of bulk, but the reference's")
    parser.add_argument("--many", type=int, help="connections at once")
    parser.add_argument("--quick", action="store_true", help="one round, little of it")
    parser.add_argument(
        "--write",
        metavar="DIRECTORY",
        nargs="?",
        const=DOCS,
        help=f"write table and pictures there ({DOCS})",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--again", metavar="FILE", help="take what is not measured now from there"
    )
    arguments = parser.parse_args(given)
    unknown = set(arguments.which) - set(names)
    if unknown:
        parser.error(f"no such benchmarks: {', '.join(sorted(unknown))}")
    arguments.which = arguments.which or names
    return arguments


def sizes_of(arguments: argparse.Namespace) -> Sizes:
    """Give how much is to be done."""
    sizes = QUICK if arguments.quick else Sizes()
    if arguments.megabytes is not None:
        sizes = replace(sizes, bulk=arguments.megabytes << 20)
    if arguments.many is not None:
        sizes = replace(sizes, many=arguments.many)
    return sizes


def main() -> int:
    """Run the benchmarks that the command line names."""
    arguments = parse()
    sizes = sizes_of(arguments)
    rounds = 1 if arguments.quick else arguments.rounds
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if not has_reference():
        print("the reference (nacl-tools) is not installed", file=sys.stderr)
    said = report.circumstances(rounds)
    samples = Samples()
    if arguments.again:
        said += f" Only {', '.join(arguments.which)} this time, the others earlier."
        load(arguments.again, samples, arguments.which)
    failures = 0
    for name, sides in benchmarks().items():
        if name in arguments.which:
            failures += alternate(name, sides, rounds, sizes, samples)
    if LINKS in arguments.which:
        virtual.measure(samples, sizes)
    directory = arguments.write
    images = None if directory is None else os.path.join(directory, "images")
    profiled = partial(profile, min(PROFILED, 16 * sizes.bulk), images)
    shares = profiled() if FLAMES in arguments.which else {}
    lines = report.lines_of([row for make in ROWS for row in make(sizes)], samples)
    print(f"{said}\n\n{report.as_text(lines)}")
    breakdown = report.shares_as_rst(shares, samples)
    print(breakdown)
    if arguments.json:
        save(arguments.json, samples)
    if directory is not None:
        text = f"{report.as_rst(lines, said)}\n{breakdown}".rstrip()
        report.write(text, os.path.join(directory, PAGE))
    if failures:
        print(f"{failures} measurements have failed", file=sys.stderr)
    return 1 if failures else 0


def load(path: str, samples: Samples, but: Sequence[str]) -> None:
    """Read figures from a file, except for those of some benchmarks."""
    with open(path, encoding="utf-8") as file:
        figures: Mapping[str, list[float]] = json.load(file)
    for name, values in figures.items():
        place = Place(*name.split("/"))
        known = place.benchmark if place.benchmark in benchmarks() else LINKS
        if known not in but:
            samples.values[place] = values


def save(path: str, samples: Samples) -> None:
    """Write all figures to a file."""

    def named(place: Place) -> str:
        return "/".join(place)

    with open(path, "w", encoding="utf-8") as file:
        figures = {named(place): values for place, values in samples.values.items()}
        json.dump(figures, file, indent=1, sort_keys=True)


if __name__ == "__main__":
    sys.exit(main())
