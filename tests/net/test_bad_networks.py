"""Servers and clients on networks that lose, repeat, damage and reorder."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall

from curvecp_tx.secure.client import FRESH_START_AFTER
from curvecp_tx.testing import Conditions
from curvecp_tx.wire.packets import INITIATE_MAGIC
from tests.net.recording import (
    SERVER,
    Catcher,
    Recorder,
    Recorders,
    WorldCase,
    echo,
    greeting,
    message,
    number_of,
)

SEEDS = range(6)
INTERVAL = 0.25


class ConversationCase(WorldCase):
    """Tests in which a client talks all the time, and the server echoes."""

    def converse(self, seed: int, conditions: Conditions, seconds: float) -> None:
        """Let them talk, and stop."""
        self.build_world(seed, conditions)
        self.server = Recorders(received=echo)
        self.client = Recorders(self.talk, self.hear)
        self.said = 0
        self.next: IDelayedCall | None = None
        self.serve(self.server)
        self.dial(self.client)
        self.reactor.run(seconds, step=0.05)

    def talk(self, protocol: Recorder) -> None:
        """Say the next number, and go on."""
        protocol.transport.sendMessages([message(self.said)])
        self.said += 1
        self.next = self.reactor.callLater(INTERVAL, self.talk, protocol)

    def hear(self, protocol: Recorder, messages: Sequence[bytes]) -> None:
        """Hear an echo of what was said."""
        for received in messages:
            self.assertLess(number_of(received), self.said)
            self.assertEqual(received, message(number_of(received)))

    def finish(self) -> tuple[list[int], list[int]]:
        """Stop, and give the numbers that arrived: at the server, at the client."""
        if self.next is not None:
            self.next.cancel()
        self.reactor.run(5.0, step=0.05)
        [server], [client] = self.server.built, self.client.built
        self.assertEqual((server.lost, client.lost), ([], []))
        heard = [number_of(received) for received in server.messages]
        echoed = [number_of(received) for received in client.messages]
        for numbers in (heard, echoed):
            self.assertEqual(len(numbers), len(set(numbers)))
        self.assertLessEqual(set(echoed), set(heard))
        return heard, echoed


class ConditionsTests(ConversationCase):
    """One kind of trouble after the other."""

    def test_loss(self) -> None:
        """With 30 % loss each way, a connection comes about and carries the rest."""
        for seed in SEEDS:
            conditions = Conditions(loss=0.3, delay=0.015)
            self.converse(seed, conditions, 60.0)
            heard, echoed = self.finish()
            self.assertGreater(len(heard), 0.55 * self.said)
            self.assertGreater(len(echoed), 0.35 * self.said)
            self.close_world()

    def test_duplication(self) -> None:
        """When every datagram comes twice, nothing is delivered twice."""
        self.converse(1, Conditions(duplicate=1.0, delay=0.015), 10.0)
        heard, echoed = self.finish()
        self.assertEqual(heard, list(range(self.said)))
        self.assertEqual(echoed, heard)

    def test_corruption(self) -> None:
        """Damaged datagrams are lost ones; none is delivered damaged."""
        for seed in SEEDS:
            self.converse(seed, Conditions(corrupt=0.3, delay=0.015), 60.0)
            heard, echoed = self.finish()
            self.assertGreater(self.network.traffic.corrupted, 0)
            self.assertGreater(len(heard), 0.55 * self.said)
            self.assertGreater(len(echoed), 0.35 * self.said)
            self.close_world()

    def test_reordering(self) -> None:
        """Datagrams that overtake others cost nothing."""
        self.converse(1, Conditions(delay=0.1, jitter=2.0), 60.0)
        heard, echoed = self.finish()
        self.assertEqual(sorted(heard), list(range(self.said)))
        self.assertNotEqual(heard, sorted(heard))
        self.assertEqual(sorted(echoed), sorted(heard))

    def test_everything(self) -> None:
        """All of it together is survived as well."""
        conditions = Conditions(0.15, 0.15, 0.15, delay=0.05, jitter=0.3)
        for seed in SEEDS:
            self.converse(seed, conditions, 60.0)
            heard, echoed = self.finish()
            self.assertGreater(len(heard), 0.55 * self.said)
            self.assertGreater(len(echoed), 0.35 * self.said)
            self.close_world()

    def test_outage(self) -> None:
        """A connection goes on after an hour without a network."""
        self.converse(1, Conditions(delay=0.015), 2.0)
        self.network.conditions = Conditions(loss=1.0)
        self.reactor.run(3600.0, step=5.0)
        self.network.conditions = Conditions(delay=0.015)
        before = self.said
        self.reactor.run(2.0, step=0.05)
        _, echoed = self.finish()
        self.assertIn(before + 1, echoed)

    def test_rebinding(self) -> None:
        """A client may change its port and its address while it talks."""
        self.converse(1, Conditions(delay=0.015), 2.0)
        for host, port in (("198.51.100.7", 9), ("203.0.113.8", 10)):
            self.ports[1].rebind(host, port)
            self.reactor.run(2.0, step=0.05)
            peer = self.server.built[0].transport.getPeer()
            self.assertEqual((peer.host, peer.port), (host, port))
        heard, echoed = self.finish()
        self.assertEqual(heard, list(range(self.said)))
        # An echo that was under way to the old address is lost.
        self.assertGreaterEqual(len(echoed), self.said - 2)


class RestartTests(WorldCase):
    """Servers that come and go."""

    def test_restart_before_initiate(self) -> None:
        """If the server that gave the cookie is gone, the client starts afresh."""
        catcher = self.network.watch = Catcher(INITIATE_MAGIC)
        self.serve(Recorders())
        client = Recorders(greeting(message(0), message(1)))
        dialer = self.dial(client)
        self.reactor.advance(0)
        self.assertEqual(len(catcher.caught), 2)
        self.ports.pop(0).stopListening()
        self.network.watch = None
        again = Recorders(received=echo)
        listener = self.serve(again)
        self.reactor.run(FRESH_START_AFTER - 1.0, step=0.5)
        self.assertEqual(again.built, [])
        self.assertGreater(listener.counters.dropped_bad_cookie, 0)
        self.reactor.run(3.0, step=0.5)
        self.assertEqual(again.built[0].messages, [message(0), message(1)])
        # One protocol lives through both attempts.
        self.assertEqual(len(client.built), 1)
        self.assertEqual(client.built[0].messages, [message(0), message(1)])
        self.assertIs(self.successResultOf(dialer.connected), client.built[0])

    def test_several_addresses(self) -> None:
        """A dead address delays a connection and does not prevent it."""
        self.serve(Recorders(received=echo))
        client = Recorders(greeting(message(0)))
        dead = ("192.0.2.66", 1)
        self.dial(client, addresses=[dead, SERVER])
        self.reactor.run(2.5)
        self.assertEqual(client.built[0].messages, [message(0)])
        self.assertEqual(client.built[0].transport.getPeer().host, SERVER[0])

    def test_server_comes_late(self) -> None:
        """A server that starts after its client is found."""
        client = Recorders(greeting(message(0)))
        self.dial(client)
        self.reactor.run(20.0, step=0.1)
        self.serve(Recorders(received=echo))
        self.reactor.run(35.0, step=0.1)
        self.assertEqual(client.built[0].messages, [message(0)])
