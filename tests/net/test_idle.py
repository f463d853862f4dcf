"""Connections whose clients have gone without a word."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.idle import IdleWatch
from curvecp_tx.net.reasons import PeerSilent
from curvecp_tx.net.stream_factory import StreamFactory
from tests.net.recording import (
    CLIENT,
    CLIENT_IDENTITY,
    Recorders,
    WorldCase,
    greeting,
    logged,
    message,
)
from tests.net.streaming import Counted, HalfTalker, StreamCase


class IdleWatchTests(SynchronousTestCase):
    """One timer for all."""

    def setUp(self) -> None:
        """Watch with a patience of eight seconds."""
        self.clock = Clock()
        self.silent: list[str] = []
        self.watch: IdleWatch[str] = IdleWatch(
            self.clock, self.clock.seconds, 8.0, self.gone
        )

    def gone(self, key: str) -> None:
        """Note, and forget."""
        self.silent.append(key)
        self.watch.forget(key)

    def hear(self, *keys: str) -> None:
        """Note signs of life."""
        for key in keys:
            self.watch.heard(key, self.clock.seconds())

    def test_bound(self) -> None:
        """Who is silent is found in time: never early, a quarter late at the most."""
        self.hear("a")
        self.clock.pump([0.5] * 5)
        self.hear("b")
        for key, heard in (("a", 0.0), ("b", 2.5)):
            while key not in self.silent:
                self.clock.advance(0.5)
            self.assertGreaterEqual(self.clock.seconds(), heard + 8.0)
            self.assertLessEqual(self.clock.seconds(), heard + 10.0)
        self.assertEqual(self.silent, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_alive(self) -> None:
        """Who speaks now and then stays, whoever falls silent beside."""
        self.hear("a", "b", "c")
        for _ in range(20):
            self.clock.advance(7.0)
            self.hear("a")
        self.assertEqual(sorted(self.silent), ["b", "c"])

    def test_one_timer(self) -> None:
        """However many there are, there is one timer, and none when all are gone."""
        keys = [str(number) for number in range(100)]
        self.hear(*keys, *keys)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for key in keys:
            self.watch.forget(key)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.forget("nobody")
        self.hear("again")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.watch.forget("again")

    def test_patience(self) -> None:
        """No patience at all is a mistake."""
        for timeout in (0.0, -1.0, float("nan")):
            self.assertRaises(
                ValueError, IdleWatch, self.clock, self.clock.seconds, timeout, print
            )


class ListenerTests(WorldCase):
    """A server that ends what is idle."""

    def test_silent_client(self) -> None:
        """A silent client's connection ends, the log says so; who speaks stays."""
        server = Recorders()
        with logged() as lines:
            listener = self.serve(server, idleTimeout=20.0)
            speaking = Recorders(greeting(message(0)))
            self.dial(speaking)
            self.dial(Recorders(greeting(message(1))), address=("203.0.113.1", 1))
            self.reactor.advance(0)
            # Whose server never answers repeats its Initiate; that is no silence.
            for protocol in server.built:
                protocol.transport.sendMessages([message(2)])
            for _ in range(10):
                self.reactor.run(5.0, step=1.0)
                speaking.built[0].transport.sendMessages([message(3)])
            said = lines("silent")
        self.assertEqual(listener.connections, 1)
        self.assertEqual(listener.counters.ended_idle, 1)
        stayed, ended = server.built
        self.assertEqual(stayed.lost, [])
        [reason] = ended.lost
        self.assertTrue(reason.check(PeerSilent))
        key = CLIENT_IDENTITY.keys.public.hex()
        self.assertEqual(said, [f"silent for 20 s: 203.0.113.1:1 key {key}"])

    def test_forged_packets(self) -> None:
        """Only what is authentic keeps a connection alive."""
        server, client = self.connect(idleTimeout=20.0)
        server.transport.sendMessages([message(1)])
        self.reactor.advance(0)
        self.network.watch = lambda datagram, source, destination: False
        client.transport.sendMessages([message(2)])
        for _ in range(30):
            forged = b"QvnQ5XlM" + bytes(104)
            self.listener.datagramReceived(forged, CLIENT)
            self.reactor.run(1.0, step=1.0)
        self.assertEqual(len(server.lost), 1)

    def test_off_by_default(self) -> None:
        """Without being asked, a server waits for ever."""
        server, _ = self.connect()
        server.transport.sendMessages([message(1)])
        self.reactor.run(100_000.0, step=1000.0)
        self.assertEqual((server.lost, self.listener.connections), ([], 1))

    def test_bad_timeout(self) -> None:
        """A timeout that makes no sense is refused at once."""
        self.assertRaises(ValueError, self.serve, Recorders(), idleTimeout=0.0)


class StreamTests(StreamCase):
    """Streams on such a server."""

    def test_told(self) -> None:
        """A client whose stream is ended because it was silent learns of a failure."""
        served = Counted(HalfTalker)
        self.serve(StreamFactory(self.reactor, served), idleTimeout=8.0)
        near = HalfTalker()
        connected = self.endpoint().connect(Counted(lambda: near))
        self.reactor.run(1.0)
        self.assertIs(self.successResultOf(connected), near)
        self.reactor.run(12.0)
        self.assertEqual(near.ending, "PeerFailure")
        self.assertEqual(served.built[0].ending, "Aborted")
        self.assertIn("silent for 8 seconds", str(served.built[0].over[0]))
