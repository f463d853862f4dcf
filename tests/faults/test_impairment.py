"""The bad network itself: what it does is what it was told, and it counts that."""

from __future__ import annotations

import itertools

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.impairment import HEADERS, Deed, Impairment, Kind, Link, kind_of
from tests.faults.proxy import Rebinding
from tests.faults.scenario import FaultTestCase, noise

HELLO = b"QvnQ5XlH" + bytes(216)
MESSAGE = b"QvnQ5XlM" + bytes(88)
COUNT = 2000


class ImpairmentTests(SynchronousTestCase):
    """One direction."""

    def send(self, link: Link, count: int = COUNT, every: float = 0.01) -> Impairment:
        """Send Messages at a steady pace, and keep what arrives."""
        way = Impairment(link, seed=1)
        self.arrivals = [
            arrival
            for n in range(count)
            for arrival in way.pass_on(MESSAGE[:-2] + n.to_bytes(2, "big"), n * every)
        ]
        return way

    def test_clear(self) -> None:
        """Without trouble, all arrives at once, as it was."""
        way = self.send(Link())
        self.assertEqual(len(self.arrivals), COUNT)
        self.assertEqual(self.arrivals[7], (0.07, MESSAGE[:-1] + b"\7"))
        self.assertEqual(way.counts.summary(), f"seen {COUNT}, passed {COUNT}")
        seen = way.counts.bytes_seen[Kind.CLIENT_MESSAGE]
        self.assertEqual(seen, COUNT * len(MESSAGE))

    def test_loss(self) -> None:
        """The share that is lost is the one asked for, and no run is too long."""
        way = self.send(Link(loss=0.3))
        lost = way.counts.of(Deed.LOST, Kind.CLIENT_MESSAGE)
        self.assertApproximates(lost / COUNT, 0.3, 0.03)
        self.assertEqual(len(self.arrivals), COUNT - lost)
        self.send(Link(loss=0.9, burst=3))
        numbers = [
            int.from_bytes(datagram[-2:], "big") for _, datagram in self.arrivals
        ]
        gaps = [after - before for before, after in itertools.pairwise(numbers)]
        self.assertEqual(max(gaps), 4)

    def test_same_seed(self) -> None:
        """The same seed brings the same fate."""
        link = Link(loss=0.2, duplicate=0.2, corrupt=0.2, jitter=0.1)
        self.send(link)
        before = self.arrivals
        self.send(link)
        self.assertEqual(self.arrivals, before)

    def test_damage(self) -> None:
        """Corruption flips one bit; truncation cuts the end."""
        way = self.send(Link(corrupt=1.0), count=50)
        for n, (_, datagram) in enumerate(self.arrivals):
            sent = MESSAGE[:-2] + n.to_bytes(2, "big")
            pairs = enumerate(zip(sent, datagram, strict=True))
            (at, bits), *others = [(at, a ^ b) for at, (a, b) in pairs if a != b]
            self.assertEqual((others, bits.bit_count()), ([], 1))
            self.assertEqual(way.flips[datagram], at)
        way = self.send(Link(truncate=1.0), count=50)
        self.assertEqual(way.counts.of(Deed.TRUNCATED), 50)
        for _, datagram in self.arrivals:
            self.assertTrue(len(datagram) < len(MESSAGE))
            self.assertTrue(MESSAGE.startswith(datagram))

    def test_duplicates(self) -> None:
        """A copy is a packet of its own."""
        way = self.send(Link(duplicate=1.0))
        self.assertEqual(len(self.arrivals), 2 * COUNT)
        self.assertEqual(way.counts.of(Deed.DUPLICATED), COUNT)

    def test_order(self) -> None:
        """Delay keeps the order; jitter and hurry do not."""
        for link, kept in (
            (Link(delay=1.0), True),
            (Link(delay=1.0, jitter=0.5), False),
            (Link(delay=1.0, reorder=0.1), False),
        ):
            self.send(link)
            times = [when for when, _ in self.arrivals]
            self.assertEqual(times == sorted(times), kept)

    def test_rate(self) -> None:
        """A rate spaces packets out; beyond the queue they are lost."""
        size = len(MESSAGE) + HEADERS
        way = self.send(Link(rate=8.0 * size, queue=3), count=10, every=0.0)
        self.assertEqual([when for when, _ in self.arrivals], [1.0, 2.0, 3.0, 4.0])
        self.assertEqual(way.counts.of(Deed.OVERFLOWED), 6)

    def test_outages(self) -> None:
        """In an outage nothing passes; it may come again and again, or by hand."""
        link = Link(outages=((5.0, 7.0),), period=7.0)
        self.send(link)
        self.assertTrue(self.arrivals)
        self.assertTrue(all(when % 7.0 < 5.0 for when, _ in self.arrivals))
        way = Impairment()
        way.out = True
        self.assertEqual(way.pass_on(HELLO, 0.0), [])
        way.out = False
        self.assertEqual(way.pass_on(HELLO, 0.0), [(0.0, HELLO)])
        self.assertEqual(way.counts.of(Deed.OUT, Kind.HELLO), 1)

    def test_kinds(self) -> None:
        """Packets can be dropped by kind and number, and held by kind."""
        dropped = frozenset({(Kind.HELLO, 1), (Kind.CLIENT_MESSAGE, 2)})
        way = Impairment(Link(drop=dropped, hold=((Kind.HELLO, 125.0),)))
        arrivals = [way.pass_on(each, 1.0) for each in (HELLO, MESSAGE) * 2]
        self.assertEqual(arrivals, [[], [(1.0, MESSAGE)], [(126.0, HELLO)], []])
        self.assertEqual(way.counts.of(Deed.DROPPED), 2)
        self.assertEqual(way.counts.of(Deed.HELD), 1)
        self.assertIs(kind_of(b"QvnQ5Xl"), Kind.OTHER)


class ProxyTests(FaultTestCase):
    """Both directions, between sockets."""

    async def test_transfer(self) -> None:
        """What passes a clear proxy arrives as it was, each way."""
        data = noise(1 << 20)
        await self.transfer("TT", data, data[::-1])
        self.assertEqual(self.passed.unsent, 0)
        for way in (self.passed.there, self.passed.back):
            self.assertEqual(way.counts.of(Deed.SEEN), way.counts.of(Deed.PASSED))

    async def test_moves(self) -> None:
        """The server comes to see the client elsewhere, when it was told so."""
        hosts = ("127.0.0.5", "127.0.0.6")
        moving = Rebinding(first=0.1, every=0.2, hosts=hosts)
        started = await self.begin("TT", there=Link(), rebinding=moving)
        seen: set[str] = set()
        while not seen.issuperset(hosts):
            await deferLater(reactor, 0.02)
            seen.update(host for host, _ in started.proxy.clients)
        self.assertGreater(started.proxy.moves, 1)
        await started.finish()
