"""What services wait for when they stop."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.service.stopping import Waiting


class WaitingTests(SynchronousTestCase):
    """Tests for ``Waiting``."""

    def setUp(self) -> None:
        """Wait in virtual time."""
        self.clock = Clock()
        self.waiting = Waiting(self.clock)
        self.event: Deferred[str] = Deferred()

    def tearDown(self) -> None:
        """No timer may be left."""
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_event(self) -> None:
        """The event ends it, and others still get what the event has to say."""
        waited = self.waiting.wait(self.event, 5.0)
        self.assertNoResult(waited)
        self.event.callback("it")
        self.successResultOf(waited)
        self.assertEqual(self.successResultOf(self.event), "it")

    def test_happened_before(self) -> None:
        """What has happened, well or not, is not waited for."""
        self.successResultOf(self.waiting.wait(succeed(None), 5.0))
        failed: Deferred[None] = fail(ValueError())
        self.successResultOf(self.waiting.wait(failed, 5.0))
        self.failureResultOf(failed, ValueError)

    def test_time(self) -> None:
        """So does the end of the time; the event may still come."""
        waited = self.waiting.wait(self.event, 5.0)
        self.clock.advance(4.75)
        self.assertNoResult(waited)
        self.clock.advance(0.25)
        self.successResultOf(waited)
        self.event.callback("late")

    def test_no_time(self) -> None:
        """No time means no wait."""
        self.successResultOf(self.waiting.wait(self.event, 0.0))

    def test_hurry(self) -> None:
        """Once hurried, it waits for nothing any more."""
        waited = self.waiting.wait(self.event, 5.0)
        self.waiting.hurry()
        self.successResultOf(waited)
        self.waiting.hurry()
        self.successResultOf(self.waiting.wait(Deferred(), 5.0))
        self.event.callback("late")
