"""Stories that the model test has found, each told once more."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.testing import Conditions
from tests.model.actions import Produce, Write
from tests.model.duo import Duo


class DuoCase(SynchronousTestCase):
    """A story of two endpoints."""

    def begin(self, **options: Any) -> Duo:
        """Make a world in which a client has just connected."""
        world = Duo(**options)
        self.addCleanup(world.close)
        world.call()
        return world


class DelayTests(DuoCase):
    """How long packets are under way."""

    def test_no_delay_at_all(self) -> None:
        """Where a round trip takes no time, nobody waits for no time again and again.

        The rate that was measured then had no bound, and the next packet was due at
        once, but might not leave yet.
        """
        for seed in range(8):
            world = self.begin(seed=seed, careful=(False, False))
            world.run(1.0)
            world.network.conditions = Conditions(loss=0.6, corrupt=0.1, delay=0.001)
            world.do("client", Write(30_000))
            world.run(28.0)
            world.network.conditions = Conditions(loss=0.3, duplicate=0.1)
            world.do("client", Produce(70_000, 2, streaming=False))
            world.run(0.1)
            world.end_well()
