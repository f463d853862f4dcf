"""Everything that was ever sent, sent again: at all times, to both, from anywhere."""

from __future__ import annotations

from collections import Counter

from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.secure.paths import Address
from curvecp_tx.testing import Conditions
from curvecp_tx.wire.packets import HELLO_MAGIC, INITIATE_MAGIC
from tests.faults.figures import note
from tests.hostile.attacking import STRANGERS, Tap
from tests.net.recording import CLIENT, SERVER, Catcher
from tests.net.streaming import Counted, Echo, StreamCase, Talker

WORDS = b"said once"
SOURCES: tuple[Address, ...] = (CLIENT, SERVER, *STRANGERS)


class ReplayCase(StreamCase):
    """A connection whose every packet was recorded.

    :ivar times: how often things were replayed.
    """

    bind_address = True

    def setUp(self) -> None:
        """Let a client and an echo talk."""
        self.build_world(1, Conditions(delay=0.01))
        self.network.watch = self.tap = Tap()
        self.times = 0
        self.far_factory = Counted(Echo)
        self.start_server()
        self.call(Talker)
        self.reactor.run(1.0)
        (self.near,) = self.near_factory.built
        self.near.transport.write(WORDS)
        self.reactor.run(1.0)
        (self.far,) = self.far_factory.built
        self.assert_said_once()
        self.recorded = list(self.tap.seen)

    def start_server(self) -> None:
        """Open the server's port."""
        self.listener = self.serve(
            StreamFactory(self.reactor, self.far_factory, report=self.report),
            bindAddress=self.bind_address,
        )

    def replay(self) -> None:
        """Send everything again, to where it went, from each of several places."""
        self.times += 1
        for source in SOURCES:
            for packet, _, destination in self.recorded:
                self.network.send(packet, source, destination)
            self.reactor.run(0.1)

    def assert_said_once(self) -> None:
        """Check that there was one connection, and each word was said once."""
        self.assertEqual(len(self.far_factory.built), 1)
        self.assertEqual((self.far.received, self.near.received), (WORDS, WORDS))


class EveryTimeTests(ReplayCase):
    """Replays on the whole stack."""

    def test_while_open(self) -> None:
        """During the connection nothing comes of them, and it does not move."""
        for _ in range(3):
            self.replay()
        self.assert_said_once()
        self.assertEqual(self.listener.counters.path_changes, 0)
        self.assertEqual(self.far.transport.getPeer().host, CLIENT[0])
        self.assertEqual((self.near.lost, self.far.lost), ([], []))

    def test_after_the_end(self) -> None:
        """After its end, over two rotations of the minute keys and beyond, neither."""
        self.near.transport.loseConnection()
        self.reactor.run(20.0)
        self.assertEqual(self.listener.connections, 0)
        for wait in (0.0, 1.0, MINUTE, MINUTE, MINUTE, 10 * MINUTE):
            self.reactor.run(wait, step=1.0)
            self.replay()
            self.assertEqual(self.listener.connections, 0)
            self.assert_said_once()

    def test_after_the_server_was_killed(self) -> None:
        """A server that is started again knows nobody, and lets no copy in."""
        self.reactor.run(1.0)
        self.ports.pop(0).stopListening()
        self.start_server()
        for wait in (0.0, MINUTE, MINUTE):
            self.reactor.run(wait, step=1.0)
            self.replay()
            self.assertEqual(self.listener.connections, 0)
            self.assert_said_once()

    def test_answers(self) -> None:
        """A copied Hello gets a Cookie, which helps nobody; else there is silence."""
        self.near.transport.loseConnection()
        self.reactor.run(20.0)
        self.tap.seen.clear()
        self.replay()
        sent = Counter(packet[:8] for packet, source, _ in self.tap.seen)
        copied = sum(packet[:8] == HELLO_MAGIC for packet, *_ in self.recorded)
        fresh = [
            packet
            for packet, _, destination in self.tap.seen
            if packet not in {copy for copy, *_ in self.recorded}
        ]
        self.assertEqual(len(fresh), copied * len(SOURCES))
        self.assertEqual({len(packet) for packet in fresh}, {200})
        self.assertEqual(sent[HELLO_MAGIC], copied * len(SOURCES))


class UnboundTests(EveryTimeTests):
    """The same where cookies open for every address."""

    bind_address = False


class FirstCopyTests(StreamCase):
    """An Initiate that an attacker delivers before its sender does."""

    def test_overtaken(self) -> None:
        """Whichever copy comes first, there is one connection, and it works."""
        self.network.watch = catcher = Catcher(INITIATE_MAGIC)
        self.far_factory = Counted(Echo)
        listener = self.serve(StreamFactory(self.reactor, self.far_factory))
        self.call(Talker)
        self.reactor.run(1.0)
        self.network.watch = None
        for packet, _ in catcher.caught * 5:
            for source in SOURCES:
                self.network.send(packet, source, SERVER)
        self.reactor.run(10.0)
        (near,) = self.near_factory.built
        near.transport.write(WORDS)
        self.reactor.run(5.0)
        self.assertEqual(near.received, WORDS)
        self.assertEqual((len(self.far_factory.built), listener.connections), (1, 1))
        note("C2", "TT", "opened once: during, after, after rotations and restart")
