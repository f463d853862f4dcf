"""Stories that the model test has found, each told once more."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.testing import Conditions
from tests.model.actions import Produce, Write
from tests.model.duo import OTHER_HOSTS, VICTIM, Duo
from tests.model.network import Fate, Packet
from tests.model.world import SERVER_ADDRESS


class DuoCase(SynchronousTestCase):
    """A story of two endpoints."""

    def begin(self, **options: Any) -> Duo:
        """Make a world in which a client dials."""
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

    def test_after_an_early_outage(self) -> None:
        """Where the first answer comes late, the next bytes leave at once.

        That answer was taken for the speed of the path: a block in half a minute.
        """
        for outage in (10.0, 30.0, 60.0, 100.0):
            world = self.begin()
            world.run(1.0)
            world.network.dark.add("client")
            world.do("server", Write(2000))
            world.run(outage)
            world.network.heal()
            world.run(10.0)
            (client,) = (one for one in world.pairs.alive if one.side == "client")
            self.assertEqual(client.received, 2000)
            world.do("server", Write(100))
            world.run(1.0)
            self.assertEqual(client.received, 2100)

    def test_after_long_round_trips(self) -> None:
        """A client that was asleep for long, and then moves, is found all the same.

        It took the sleep for a round trip, and waited for three of them before it
        said where it was.
        """
        world = self.begin(seed=983, careful=(False, True))
        world.plan_server("made", [Write(131_072)])
        world.run(0.0)
        for side, seconds in (("client", 2.0), ("client", 30.0), ("server", 30.0)):
            host = world.hosts[side]
            host.hold()
            world.run(seconds)
            host.release()
        world.client.move((OTHER_HOSTS[0], 1024))
        world.end_well()


class PathTests(DuoCase):
    """Where packets come from."""

    def test_both_ends_led_away(self) -> None:
        """Who has made both ends talk to a stranger cannot keep them apart.

        The attacker holds back one packet of each, and sends it from the stranger's
        address. Each is the newest, and so it is believed; but the stranger does not
        answer.
        """
        world = self.begin()
        world.run(1.0)
        network = world.network
        network.fates.append(Fate(copies=0))
        world.do("server", Write(100))
        world.run(0.001)
        network.inject(Packet(network.tape[-1].datagram, VICTIM, world.client.address))
        world.run(0.1)
        network.inject(Packet(network.tape[-1].datagram, VICTIM, SERVER_ADDRESS))
        world.run(0.1)
        for application in world.pairs.alive:
            self.assertEqual(application.transport.getPeer().host, VICTIM[0])
            application.do(Write(100))
        world.end_well()
