"""The clocks that belong to reactors."""

from __future__ import annotations

import time

from twisted.internet.base import ReactorBase
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.clock import make_monotonic, monotonic_seconds


class Reactor(ReactorBase):
    """A real reactor as far as it goes without running."""

    def installWaker(self) -> None:
        """Do without: nobody waits."""


class ClockTests(SynchronousTestCase):
    """Which time is whose."""

    def test_simulated(self) -> None:
        """A simulated reactor's own time is the only one it has."""
        clock = Clock()
        seconds = monotonic_seconds(clock)
        clock.advance(7.0)
        self.assertEqual(seconds(), 7.0)

    def test_real(self) -> None:
        """A real reactor's protocol time is the system's monotonic clock."""
        self.assertIs(monotonic_seconds(Reactor()), time.monotonic)

    def test_make_monotonic(self) -> None:
        """A real reactor can be made to count its delays monotonically."""
        reactor = Reactor()
        before = reactor.seconds
        make_monotonic(reactor)
        self.assertIsNot(before, time.monotonic)
        self.assertIs(reactor.seconds, time.monotonic)
        earliest = time.monotonic() + 5.0
        call = reactor.callLater(5.0, self.fail, "never runs")
        latest = time.monotonic() + 5.0
        self.assertTrue(earliest <= call.getTime() <= latest)

    def test_simulated_stays(self) -> None:
        """A simulated reactor keeps its time."""
        clock = Clock()
        make_monotonic(clock)
        clock.advance(1.0)
        self.assertEqual(clock.seconds(), 1.0)
