"""The verdict of a soak: what it finds, and what it lets pass."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.soak_figures import (
    MEGABYTE,
    Reading,
    complaints,
    failures,
    growth,
    read,
    slope,
)

BEGIN = Reading(0.0, 40_000_000, 9, 0)
HOUR = 3600
TIMEOUT = 30.0


def run(seconds: int, megabytes: Callable[[float], float]) -> list[Reading]:
    """Make up what is read every ten seconds, given the growth after some hours."""
    return [
        Reading(at, 40_000_000 + int(megabytes(at / HOUR) * MEGABYTE), 30, 5)
        for at in range(0, seconds, 10)
    ]


class SlopeTests(SynchronousTestCase):
    """The line through points."""

    def test_line(self) -> None:
        """Points on a line give its slope."""
        self.assertAlmostEqual(slope([(x, 3.0 * x - 7.0) for x in range(9)]), 3.0)

    def test_scattered(self) -> None:
        """What lies on both sides of a line does not tilt it."""
        points = [(x, 2.0 * x + (5.0 if x % 4 in (0, 3) else -5.0)) for x in range(80)]
        self.assertAlmostEqual(slope(points), 2.0, places=1)

    def test_too_few(self) -> None:
        """One point, none, or two at one time have no slope."""
        for points in ([], [(1.0, 2.0)], [(1.0, 2.0), (1.0, 3.0)]):
            self.assertEqual(slope(points), 0.0)


class VerdictTests(SynchronousTestCase):
    """One process, and all connections."""

    def test_beginning(self) -> None:
        """Growth in the first half is what any process needs to get going."""
        readings = run(HOUR, lambda hours: min(hours, 0.4) * 50.0)
        self.assertAlmostEqual(growth(readings), 0.0)
        self.assertEqual(complaints("x", BEGIN, readings, BEGIN), [])

    def test_leak(self) -> None:
        """Growth that goes on is found, the sooner the faster it is."""
        for seconds, rate, bad in (
            (HOUR, 1.5, False),
            (HOUR, 3.0, True),
            (24 * HOUR, 0.9, False),
            (24 * HOUR, 1.2, True),
            (300, 20.0, False),
            (300, 60.0, True),
        ):
            readings = run(seconds, lambda hours, rate=rate: rate * hours)  # type: ignore[misc]
            self.assertAlmostEqual(growth(readings), rate, places=2)
            found = complaints("x", BEGIN, readings, BEGIN)
            self.assertEqual(len(found), bad, (seconds, rate))

    def test_left(self) -> None:
        """Descriptors and children that stay are found."""
        readings = run(HOUR, lambda hours: 0.0)
        after = Reading(3600.0, 40_000_000, 11, 1)
        self.assertEqual(
            complaints("x", BEGIN, readings, after),
            ["x keeps 2 descriptors", "x keeps 1 children"],
        )

    def test_connections(self) -> None:
        """So is anything that went wrong with a connection, or no connection at all."""
        self.assertEqual(failures({"stream": 1}, [], [], 0), [])
        self.assertEqual(len(failures({}, [], [], 0)), 1)
        self.assertEqual(len(failures({"stream": 1}, ["wrong bytes"], [], 0)), 1)
        self.assertEqual(len(failures({"stream": 1}, [], ["error"], 0)), 1)
        self.assertEqual(len(failures({"stream": 1}, [], [], 1)), 1)

    def test_read(self) -> None:
        """A process is seen as it is."""
        before = read(os.getpid(), 1.0)
        self.assertGreater(before.resident, MEGABYTE)
        with Path(os.devnull).open() as _:
            child = subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.stdin.read()"],
                stdin=subprocess.PIPE,
            )
            self.addCleanup(child.communicate, timeout=TIMEOUT)
            after = read(os.getpid(), 2.0)
        self.assertEqual(after.children, before.children + 1)
        self.assertEqual(after.descriptors, before.descriptors + 2)
        self.assertEqual(after.at, 2.0)
