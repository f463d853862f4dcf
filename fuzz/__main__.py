"""``python -m fuzz [NAME ...]``: run targets for a while, and print a table."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from fuzz.targets import TARGETS

DEFAULT_SECONDS = 60
DEFAULT_JOBS = 2
FOUND = os.path.join("fuzz", "found")

_EXECUTIONS = re.compile(r"stat::number_of_executed_units: *(\d+)")
_MEMORY = re.compile(r"stat::peak_rss_mb: *(\d+)")
_REACHED = re.compile(r"cov: (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What came of running a target."""

    name: str
    status: int
    output: str

    @property
    def row(self) -> str:
        """Give it as a row of a table."""
        executions, memory, reached = (
            (pattern.findall(self.output) or ["-"])[-1]
            for pattern in (_EXECUTIONS, _MEMORY, _REACHED)
        )
        verdict = "FOUND SOMETHING" if self.status else "ok"
        return f"{self.name:14}{executions:>12}{reached:>10}{memory:>8}  {verdict}"


def run(name: str, seconds: int, corpus: str, found: str) -> Outcome:
    """Run a target in a process of its own."""
    command = [sys.executable, "-m", "fuzz.engine", name]
    command += ["--seconds", str(seconds), "--found", found]
    command += ["--corpus", os.path.join(corpus, name)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    return Outcome(name, done.returncode, done.stdout)


def run_all(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    """Run targets, several at a time, and tell how it went; 1 after a finding."""
    guided = importlib.util.find_spec("atheris") is not None
    print("guided by coverage" if guided else "without atheris: not guided")
    print(f"{'target':14}{'executions':>12}{'reached':>10}{'MB':>8}")

    failed = False
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(arguments.jobs) as pool:

        def run_one(name: str) -> Outcome:
            corpus = arguments.corpus or scratch
            return run(name, arguments.seconds, corpus, arguments.found)

        for outcome in pool.map(run_one, names):
            print(outcome.row, flush=True)
            if outcome.status:
                failed = True
                print(outcome.output[-4000:], flush=True)
    return int(failed)


def main() -> int:
    """Run what the command line names, or everything."""
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=DEFAULT_SECONDS)
    parser.add_argument("--jobs", type=int, default=DEFAULT_JOBS)
    parser.add_argument(
        "--corpus", help="directory that keeps what is found on the way"
    )
    parser.add_argument("--found", default=FOUND, help="directory for findings")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return run_all(arguments, arguments.names or list(TARGETS))


if __name__ == "__main__":
    sys.exit(main())
