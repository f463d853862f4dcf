"""``python -m tests.faults``: try the whole catalogue, and write down what comes."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import unittest
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TestSuite, TrialRunner

from tests.faults import figures
from tests.faults.catalogue import ROWS
from tests.faults.handshakes import try_handshakes
from tests.faults.holders import CONTROLS, HOLDERS
from tests.faults.report import Outcomes, Verdict, judge, page, surroundings
from tests.faults.row import Row

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(ROOT, "docs", "reliability.rst")


class Noting(TreeReporter):
    """Shows tests as trial does, and notes how they have ended."""

    outcomes = Outcomes()

    def addSuccess(self, test: Any) -> None:
        """Note a success."""
        super().addSuccess(test)
        self.outcomes.passed.add(test.id())

    def addError(self, test: Any, error: Any) -> None:
        """Note an error."""
        super().addError(test, error)
        self.outcomes.failed[test.id()] = str(error)

    def addFailure(self, test: Any, fail: Any) -> None:
        """Note a failure."""
        super().addFailure(test, fail)
        self.outcomes.failed[test.id()] = str(fail)

    def addSkip(self, test: Any, reason: Any = "") -> None:
        """Note a test that cannot be run here."""
        super().addSkip(test, reason)
        self.outcomes.skipped[test.id()] = str(reason)


def tests_of(name: str) -> Iterator[unittest.TestCase]:
    """Load the tests that a dotted name stands for."""
    pending = [TestLoader().loadByName(name, recurse=True)]
    while pending:
        found = pending.pop(0)
        if isinstance(found, unittest.TestSuite):
            pending[:0] = list(found)
        else:
            yield found


def run(names: Sequence[str]) -> dict[str, list[str]]:
    """Run tests, each once; give the full names that each name stands for."""
    loaded = {name: list(tests_of(name)) for name in names}
    tests = {test.id(): test for some in loaded.values() for test in some}
    directory = os.path.join(tempfile.mkdtemp(prefix="reliability-"), "trial")
    runner = TrialRunner(Noting, workingDirectory=directory)
    runner.run(TestSuite(tests.values()))
    return {name: [test.id() for test in some] for name, some in loaded.items()}


def remember(place: str, noted: list[figures.Figure]) -> list[figures.Figure]:
    """Put what an earlier run has found beside this one's, and keep both.

    What was tried again counts as it is now.
    """
    outcomes = Noting.outcomes
    again = {(figure.row, figure.pair) for figure in noted}
    if os.path.exists(place):
        with open(place, encoding="utf-8") as file:
            kept = json.load(file)
        tried = outcomes.passed | outcomes.failed.keys() | outcomes.skipped.keys()
        outcomes.passed.update(set(kept["passed"]) - tried)
        for mine, theirs in (
            (outcomes.failed, kept["failed"]),
            (outcomes.skipped, kept["skipped"]),
        ):
            mine.update({k: v for k, v in theirs.items() if k not in tried})
        earlier = [figures.Figure(*figure) for figure in kept["figures"]]
        noted = [f for f in earlier if (f.row, f.pair) not in again] + noted
    with open(place, "w", encoding="utf-8") as file:
        json.dump(
            {
                "passed": sorted(outcomes.passed),
                "failed": outcomes.failed,
                "skipped": outcomes.skipped,
                "figures": noted,
            },
            file,
        )
    return noted


def try_rows(
    rows: Sequence[Row], *, control: bool, state: str | None = None
) -> tuple[dict[str, Verdict], str]:
    """Try some rows; give the verdicts, and the page that tells of them.

    :param state: a file that remembers earlier runs; all rows are told of then.
    """
    handle, place = tempfile.mkstemp(prefix="figures-")
    os.close(handle)
    os.environ[figures.PLACE] = place
    names = dict.fromkeys(name for row in rows for name in HOLDERS.get(row.name, ()))
    ids = run(list(names))
    if control:
        run([name for row in rows for name in CONTROLS.get(row.name, ())])
    noted = figures.read(place)
    os.unlink(place)
    if state:
        noted = remember(state, noted)
        rows = ROWS
        names = {name: None for row in rows for name in HOLDERS.get(row.name, ())}
        ids = {name: [test.id() for test in tests_of(name)] for name in names}
    verdicts = {}
    for row in rows:
        tests = [test for name in HOLDERS.get(row.name, ()) for test in ids[name]]
        verdicts[row.name] = judge(row, tests, Noting.outcomes)
    return verdicts, page(rows, verdicts, noted, surroundings())


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--rows", help="only these, as A1,B7; printed, not written")
    parser.add_argument(
        "--no-control", action="store_true", help="leave out the reference at both ends"
    )
    parser.add_argument(
        "--state",
        metavar="FILE",
        help="add to what this file remembers of earlier runs",
    )
    parser.add_argument("--output", help="where to write the page")
    parser.add_argument(
        "--handshakes", type=int, metavar="N", help="only connect so often under loss"
    )
    parser.add_argument("--seed", type=int, help="for --handshakes; random without")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; give the exit status."""
    options = parse(arguments)
    if options.handshakes:
        seed = random.randrange(2**32) if options.seed is None else options.seed
        return try_handshakes(options.handshakes, seed)
    rows, output = list(ROWS), options.output or PAGE
    if options.rows:
        wanted = options.rows.split(",")
        rows = [row for row in ROWS if row.name in wanted]
        if len(rows) != len(wanted):
            sys.exit("no such row")
        output = options.output
    verdicts, text = try_rows(rows, control=not options.no_control, state=options.state)
    if output:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text)
    failed = [f"{name}: {v.text}" for name, v in verdicts.items() if v.failed]
    print("\n".join(failed or [f"all of {len(verdicts)} rows hold"]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
