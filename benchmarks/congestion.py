"""``python -m benchmarks.congestion``: ways to control congestion, link by link.

Everything runs in virtual time on the links of :mod:`benchmarks.links`, so that the
figures are the same on each machine.
"""

from __future__ import annotations

import argparse
import json
import os

from benchmarks import plots, tables
from benchmarks.scenarios import ALGORITHMS, SCENARIOS, SEEDS, run_all


def main() -> None:
    """Run, print, and write the documentation's figures if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.congestion")
    parser.add_argument("links", nargs="*", metavar="link", help="all by default")
    parser.add_argument("--algorithm", action="append", choices=list(ALGORITHMS))
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--docs", metavar="DIRECTORY", help="write tables and plots there"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.links) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such links: {', '.join(sorted(unknown))}")
    results = run_all(
        arguments.links or list(SCENARIOS),
        arguments.algorithm or list(ALGORITHMS),
        range(1, arguments.seeds + 1),
        os.cpu_count(),
    )
    print(tables.as_text(results))
    if arguments.json:
        runs = {f"{key} {name}": list(run) for (key, name), run in results.runs.items()}
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(runs, file, indent=1, sort_keys=True)
    if arguments.docs:
        tables.write(results, os.path.join(arguments.docs, "congestion.rst"))
        plots.write(results, os.path.join(arguments.docs, "images"))


if __name__ == "__main__":
    main()
