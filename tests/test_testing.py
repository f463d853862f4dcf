"""The network in memory: it is public, and tests rest on it."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from curvecp_tx.interfaces import IDatagramBatchTransport
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.testing import (
    Conditions,
    FakeReactor,
    MemoryNetwork,
    MemoryPort,
    Traffic,
)

ONE = ("192.0.2.1", 1)
TWO = ("192.0.2.2", 2)


class Inbox:
    """A datagram protocol that notes what it gets, and when."""

    def __init__(self, reactor: FakeReactor) -> None:
        self.batches: list[list[Datagram]] = []
        self.times: list[float] = []
        self.stopped = 0
        self._reactor = reactor

    @property
    def datagrams(self) -> list[bytes]:
        """All datagrams, without their senders."""
        return [datagram for batch in self.batches for datagram, _ in batch]

    def makeConnection(self, transport: MemoryPort) -> None:
        """Begin."""
        self.transport = transport

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Note a batch."""
        self.batches.append(list(datagrams))
        self.times.append(self._reactor.seconds())

    def doStop(self) -> None:
        """End."""
        self.stopped += 1


class NetworkCase(SynchronousTestCase):
    """Two ports on a network."""

    def build(self, seed: int = 1, **conditions: float) -> None:
        """Make them."""
        self.reactor = FakeReactor()
        self.network = MemoryNetwork(
            self.reactor, seed=seed, conditions=Conditions(**conditions)
        )
        self.inbox = Inbox(self.reactor)
        self.sender = self.network.attach(Inbox(self.reactor), *ONE)
        self.receiver = self.network.attach(self.inbox, *TWO)

    def send(self, count: int, seconds: float = 10.0) -> list[bytes]:
        """Send datagrams, and wait for them."""
        datagrams = [b"%04d" % number for number in range(count)]
        self.sender.sendDatagrams([(datagram, TWO) for datagram in datagrams])
        self.reactor.advance(seconds)
        return datagrams


class ConditionsTests(NetworkCase):
    """What happens to datagrams on their way."""

    def test_good(self) -> None:
        """Without further conditions all arrive in order, and at once."""
        self.build()
        sent = self.send(20, seconds=0)
        self.assertEqual(self.inbox.batches, [[(datagram, ONE) for datagram in sent]])
        self.assertEqual(self.network.traffic, Traffic(sent=20, delivered=20))

    def test_loss(self) -> None:
        """A share is lost; the others arrive in order."""
        self.build(loss=0.25)
        sent = self.send(1000)
        arrived = self.inbox.datagrams
        self.assertTrue(650 < len(arrived) < 850)
        self.assertEqual(arrived, [d for d in sent if d in set(arrived)])
        expected = Traffic(sent=1000, delivered=len(arrived), lost=1000 - len(arrived))
        self.assertEqual(self.network.traffic, expected)

    def test_total_loss(self) -> None:
        """A network may be dead, and come to life."""
        self.build(loss=1.0)
        self.send(5)
        self.assertEqual(self.inbox.batches, [])
        self.network.conditions = Conditions()
        self.send(5)
        self.assertEqual(len(self.inbox.datagrams), 5)

    def test_duplicates(self) -> None:
        """A share comes twice."""
        self.build(duplicate=0.25)
        sent = self.send(1000)
        self.assertEqual(set(self.inbox.datagrams), set(sent))
        twice = len(self.inbox.datagrams) - 1000
        self.assertTrue(150 < twice < 350)
        self.assertEqual(self.network.traffic.duplicated, twice)

    def test_corruption(self) -> None:
        """A share arrives with one bit flipped, no matter which."""
        self.build(corrupt=0.25)
        sent = self.send(1000)
        flipped = [
            int.from_bytes(before, "big") ^ int.from_bytes(after, "big")
            for before, after in zip(sent, self.inbox.datagrams, strict=True)
            if before != after
        ]
        self.assertTrue(150 < len(flipped) < 350)
        self.assertEqual({bits.bit_count() for bits in flipped}, {1})
        self.assertEqual(len(set(flipped)), 32)
        self.assertEqual(self.network.traffic.corrupted, len(flipped))

    def test_empty_datagram(self) -> None:
        """An empty datagram has no bit to flip, and arrives as it is."""
        self.build(corrupt=1.0)
        self.sender.write(b"", TWO)
        self.reactor.advance(0)
        self.assertEqual(self.inbox.datagrams, [b""])

    def test_delay(self) -> None:
        """All take their time; those of one moment arrive as one batch."""
        self.build(delay=0.5)
        self.sender.write(b"early", TWO)
        self.reactor.advance(0.25)
        self.sender.sendDatagrams([(b"late", TWO), (b"later", TWO)])
        self.reactor.run(1.0, step=0.125)
        self.assertEqual(self.inbox.times, [0.5, 0.75])
        self.assertEqual(self.inbox.datagrams, [b"early", b"late", b"later"])

    def test_jitter(self) -> None:
        """Random additions to the delay make datagrams overtake each other."""
        self.build(delay=0.5, jitter=0.5)
        sent = self.send(100, seconds=0.49)
        self.assertEqual(self.inbox.batches, [])
        self.reactor.advance(0.51)
        self.assertEqual(sorted(self.inbox.datagrams), sent)
        self.assertNotEqual(self.inbox.datagrams, sent)

    def test_seeds(self) -> None:
        """The same seed gives the same fates, another one others."""

        def fates(seed: int) -> list[bytes]:
            self.build(seed, loss=0.2, duplicate=0.2, corrupt=0.2, jitter=1.0)
            self.send(100)
            return self.inbox.datagrams

        self.assertEqual(fates(1), fates(1))
        self.assertNotEqual(fates(1), fates(2))


class PortTests(NetworkCase):
    """Ports and their addresses."""

    def setUp(self) -> None:
        """Use a good network."""
        self.build()

    def test_interfaces(self) -> None:
        """A port provides what it declares."""
        for interface in (IListeningPort, IDatagramBatchTransport):
            self.assertTrue(verifyObject(interface, self.sender))

    def test_host(self) -> None:
        """A port knows its address, of whichever family."""
        self.assertEqual(self.sender.getHost(), IPv4Address("UDP", *ONE))
        port = self.network.attach(Inbox(self.reactor), "2001:db8::1", 3)
        self.assertEqual(port.getHost(), IPv6Address("UDP", "2001:db8::1", 3))

    def test_ipv6(self) -> None:
        """Socket addresses of IPv6, with flow and scope, find their port."""
        inbox = Inbox(self.reactor)
        self.network.attach(inbox, "2001:db8::1", 3)
        self.sender.write(b"x", ("2001:db8::1", 3, 0, 0))
        self.reactor.advance(0)
        self.assertEqual(inbox.datagrams, [b"x"])

    def test_busy(self) -> None:
        """An address has one port at a time."""
        self.assertRaises(ValueError, self.network.attach, Inbox(self.reactor), *ONE)
        self.sender.stopListening()
        again = self.network.attach(Inbox(self.reactor), *ONE)
        self.assertEqual(again.address, ONE)

    def test_stop(self) -> None:
        """A closed port neither sends nor receives, and its protocol ends once."""
        self.sender.write(b"under way", TWO)
        self.receiver.stopListening()
        self.receiver.stopListening()
        self.receiver.write(b"late", ONE)
        self.reactor.advance(0)
        self.assertEqual((self.inbox.batches, self.inbox.stopped), ([], 1))
        self.assertEqual(self.network.traffic, Traffic(sent=1, unreachable=1))

    def test_stop_before_handing_on(self) -> None:
        """What has arrived when a port is closed is not handed on."""
        self.sender.write(b"there", TWO)
        self.reactor.callLater(0, self.receiver.stopListening)
        self.reactor.advance(0)
        self.assertEqual(self.network.traffic.delivered, 1)
        self.assertEqual(self.inbox.batches, [])

    def test_stop_in_start(self) -> None:
        """A protocol may close its port at once; it ends after its beginning."""
        events: list[str] = []

        class Ending(Inbox):
            def makeConnection(self, transport: MemoryPort) -> None:
                """Close the port."""
                transport.stopListening()
                events.append("began")

            def doStop(self) -> None:
                """Note the end."""
                events.append("ended")

        self.network.attach(Ending(self.reactor), "192.0.2.3", 3)
        self.assertEqual(events, ["began", "ended"])
        self.network.attach(Inbox(self.reactor), "192.0.2.3", 3)

    def test_rebind(self) -> None:
        """A port may move; what goes to its old address is lost."""
        self.receiver.rebind("192.0.2.9", 9)
        self.sender.sendDatagrams([(b"old", TWO), (b"new", ("192.0.2.9", 9))])
        self.reactor.advance(0)
        self.assertEqual(self.inbox.datagrams, [b"new"])
        self.assertEqual(self.network.traffic.unreachable, 1)
        self.assertEqual(self.receiver.getHost(), IPv4Address("UDP", "192.0.2.9", 9))

    def test_rebind_to_a_busy_address(self) -> None:
        """It cannot move to where another one is, and stays."""
        self.assertRaises(ValueError, self.receiver.rebind, *ONE)
        self.send(1)
        self.assertEqual(len(self.inbox.datagrams), 1)
        self.receiver.stopListening()
        self.receiver = self.network.attach(self.inbox, *TWO)
        self.receiver.write(b"back", ONE)
        self.reactor.advance(0)
        self.assertEqual(self.network.traffic.unreachable, 0)

    def test_watch(self) -> None:
        """A watch sees all that is sent, and may make it vanish."""
        seen: list[tuple[bytes, Address, Address]] = []

        def watch(datagram: bytes, source: Address, destination: Address) -> bool:
            seen.append((datagram, source, destination))
            return datagram != b"0001"

        self.network.watch = watch
        self.send(3)
        self.assertEqual(self.inbox.datagrams, [b"0000", b"0002"])
        self.assertEqual(seen, [(b"%04d" % n, ONE, TWO) for n in range(3)])
        self.assertEqual(self.network.traffic, Traffic(sent=3, delivered=2, lost=1))
