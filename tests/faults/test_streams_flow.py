"""Streams in both directions whose ends stop early, read late, or read slowly."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.interfaces import IDelayedCall, IPullProducer, IPushProducer
from zope.interface import implementer

from curvecp_tx.errors import PeerFailed
from curvecp_tx.net.streams import HIGH_WATER
from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.sender import WINDOW_BYTES
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import FAILURE, MAX_BLOCK_BYTES, MAX_STREAM_BYTES
from tests.faults.course import CourseCase, Party
from tests.faults.impairment import Link, Q
from tests.faults.scenario import noise
from tests.interop.streaming import KIBIBYTE, MEBIBYTE
from tests.stream.wire_between import Network, Wire, data_of, ending_of

TEN_MEBIBYTES = noise(10 * MEBIBYTE, "ten")
LOSSY = replace(Q, loss=0.02)

HANG = 5.0
MODEM = Link(delay=0.015, rate=1e6, queue=25)

PACE = 1024
"""Bytes that a slow reader takes in a second."""

READING = 300.0
REPEATED = 0.05


class Replier(Party):
    """Says what it has to say when its peer has ended."""

    def connectionMade(self) -> None:
        """Wait."""
        self.transport.whenOver.addCallback(self._over)

    def readConnectionLost(self) -> None:
        """Speak."""
        super().readConnectionLost()
        self.transport.write(self.data)
        self.transport.loseWriteConnection()


class Closer(Party):
    """Closes as soon as it has a little of what it gets."""

    def dataReceived(self, data: bytes) -> None:
        """Have enough."""
        super().dataReceived(data)
        self.transport.loseConnection()


class Stubborn(Party):
    """Reads nothing until its peer has all that it has written."""

    def connectionMade(self) -> None:
        """Write, and do not read."""
        super().connectionMade()
        self.transport.pauseProducing()

    def writeConnectionLost(self) -> None:
        """Begin to read."""
        super().writeConnectionLost()
        self.transport.resumeProducing()


class HalfCloseTests(CourseCase):
    """One direction ends before the other."""

    def test_client_first(self) -> None:
        """Ten mebibytes come back after the client has ended its stream."""
        self.go(
            b"request",
            far=lambda: Replier(self.reactor, TEN_MEBIBYTES),
            there=Q,
        )
        seconds = self.finish()
        self.figure("B11", f"client ends first, 10 MiB come back in {seconds:.1f} s")

    def test_server_first(self) -> None:
        """So do some there after the server has ended its own."""
        self.go(
            near=lambda: Replier(self.reactor, TEN_MEBIBYTES[: 2 * MEBIBYTE]),
            down=b"greeting",
            there=Q,
        )
        self.finish()

    def test_closed_reader(self) -> None:
        """What comes for an end that has closed is taken, and nobody hangs."""
        for near, far in ((Closer, Party), (Party, Closer)):
            sizes = (KIBIBYTE, MEBIBYTE) if near is Closer else (MEBIBYTE, KIBIBYTE)
            parties = [
                kind(self.reactor, noise(size))
                for kind, size in zip((near, far), sizes, strict=True)
            ]
            self.go(near=[parties[0]].pop, far=[parties[1]].pop, there=LOSSY)
            for party in parties:
                party.clock = self.reactor
            self.until(lambda: all(p.over_at is not None for p in self.parties))
            self.assertEqual([p.ending for p in self.parties], ["complete"] * 2)
            writer, closer = parties[::-1] if near is Closer else parties
            self.assertIsNotNone(writer.write_ended_at)
            self.assertLess(len(closer.received), len(writer.data))
            self.assertEqual(bytes(writer.received), closer.data)

    def test_endless_writer(self) -> None:
        """Who never ends while the peer has closed is told so in the end."""

        @implementer(IPullProducer)
        class Endless(Party):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(self, False)

            def resumeProducing(self) -> None:
                self.transport.write(b"yes\n" * 256)

            def stopProducing(self) -> None:
                self.stopped_at = self.clock.seconds()

        self.go(
            near=lambda: Closer(self.reactor),
            far=lambda: Endless(self.reactor, ends=False),
            there=Q,
        )
        closed = self.until(lambda: self.near.received)
        self.until(lambda: all(p.over_at is not None for p in self.parties))
        self.assertNotEqual([p.ending for p in self.parties], ["complete"] * 2)
        client, server = ((p.over_at or 0.0) - closed for p in self.parties)
        self.figure(
            "B11",
            f"client closes while the server never ends: client fails after"
            f" {client:.1f} s, server after {server:.1f} s",
        )
        self.assertLess(client, HANG)
        self.assertLess(server, HANG)


class FullDuplexTests(CourseCase):
    """Both ends send much, and one does not read yet."""

    def test_writes_before_it_reads(self) -> None:
        """A mebibyte gets out while nobody reads the 400 KiB that come."""
        up, down = noise(400 * KIBIBYTE), noise(MEBIBYTE)
        for link in (MODEM, replace(Q, loss=0.05)):
            if link is MODEM:
                self.go(up, far=lambda: Stubborn(self.reactor, down), there=link)
            else:
                self.go(down=up, near=lambda: Stubborn(self.reactor, down), there=link)
            seconds = self.finish()
            party = self.far if link is MODEM else self.near
            sent, taken = party.write_ended_at, party.arrivals[0][0]
            assert sent is not None
            self.assertGreaterEqual(taken, sent)
            self.figure(
                "B12",
                f"1 MiB out before 400 KiB in, {link.rate / 1e6:g} Mbit/s,"
                f" loss {link.loss:.0%}: {seconds:.1f} s",
            )


class OffsetTests(CourseCase):
    """Streams that are already long."""

    def at_offset(self, offset: int, size: int, **options: float) -> Wire:
        """Give two ends that have exchanged so many bytes before."""
        wire = Wire(Network(**options), data_of(size, 1), data_of(size, 2))  # type: ignore[arg-type]
        for side in wire.sides:
            sender, receiver = side.stream._sender, side.stream._receiver
            sender._position = offset
            receiver._next = receiver._taken = offset
            receiver._received.add(0, offset)
            # The wire would take what comes for more than a window.
            side.contiguous = offset
        return wire

    def test_four_gibibytes(self) -> None:
        """Nothing happens at 2^32, nor at 2^31, with loss or without."""
        for power in (31, 32):
            for loss in (0.0, 0.05):
                wire = self.at_offset(2**power - 100_000, 200_000, loss=loss)
                wire.run(1000.0)
                self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)

    def test_longest(self) -> None:
        """A stream of 2^60 - 1 bytes ends well."""
        wire = self.at_offset(MAX_STREAM_BYTES - 200_000, 200_000, loss=0.05)
        wire.run(1000.0)
        self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)

    def test_too_long(self) -> None:
        """One byte more is an error, and changes nothing."""
        self.go(there=Q, near=lambda: Party(self.reactor, b"a", ends=False))
        self.until_arrived()
        self.pass_until(self.reactor.seconds() + 1.0)
        sender = self.near.stream._sender
        sender._position = MAX_STREAM_BYTES - 2
        self.assertRaises(OverflowError, self.near.transport.write, b"bcd")
        self.assertEqual(self.near.stream.unsent, 0)


class FailureTests(CourseCase):
    """One end fails."""

    def test_flag(self) -> None:
        """The other one sees the flag for it, on bad networks, too; never an end."""
        overheard = self.overhear()
        for link in (Q, replace(Q, loss=0.3)):
            for failing in (0, 1):
                self.go(noise(MEBIBYTE), noise(MEBIBYTE), there=link, seed=failing)
                self.until(lambda: self.near.received and self.far.received)
                self.parties[failing].transport.abortConnection("a signal")
                self.until(lambda: all(p.over_at is not None for p in self.parties))
                peer = self.parties[1 - failing]
                self.assertIsInstance(peer.problem, PeerFailed)
                self.assertIsNone(peer.read_ended_at)
                flags = {m.ending for _, m in overheard.heard[peer.stream]}
                self.assertIn(FAILURE, flags)


class Sipping(Party):
    """Reads a little now and then, as a program behind a pipe does.

    :ivar most: how many bytes had been waiting for it at the most.
    """

    most = 0
    next: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        """Take it, and need time for it."""
        super().dataReceived(data)
        self.most = max(self.most, len(data))
        self.transport.pauseProducing()
        self.next = self.clock.callLater(
            len(data) / PACE, self.transport.resumeProducing
        )


@implementer(IPushProducer)
class Filling(Party):
    """Writes whenever there is room.

    :ivar most: how many bytes waited to be acknowledged at the most.
    """

    most = 0

    def connectionMade(self) -> None:
        """Be ready to write."""
        super().connectionMade()
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """Write until it is enough."""
        self.paused = False
        while not self.paused:
            self.transport.write(bytes(KIBIBYTE))
            self.data += bytes(KIBIBYTE)
            self.most = max(self.most, self.stream.buffered)

    def pauseProducing(self) -> None:
        """Write no more."""
        self.paused = True

    def stopProducing(self) -> None:
        """Write no more."""
        self.paused = True


class SlowReaderTests(CourseCase):
    """The application reads a kibibyte a second."""

    def sip(self, link: Link) -> Stream:
        """Let one read slowly for some minutes; give the sender's stream."""
        readers = [Sipping(self.reactor)]
        self.go(
            there=link,
            near=lambda: Filling(self.reactor, ends=False),
            far=readers.pop,
        )
        self.far.clock = self.reactor
        self.pass_until(READING)
        reader, writer = self.far, self.near
        assert isinstance(reader, Sipping)
        assert isinstance(writer, Filling)
        self.assertGreater(len(reader.received), PACE * READING)
        self.assertLessEqual(len(reader.received), PACE * READING + 2 * RECEIVE_WINDOW)
        self.assertLessEqual(reader.most, RECEIVE_WINDOW)
        slack = 2 * KIBIBYTE
        self.assertLessEqual(writer.most, WINDOW_BYTES + HIGH_WATER + slack)
        if reader.next is not None and reader.next.active():
            reader.next.cancel()
        return writer.stream

    def test_throttled(self) -> None:
        """Its peer holds back, and sends hardly anything twice."""
        for name, link in (("clean", Q), ("2 % loss", LOSSY)):
            stream = self.sip(link)
            blocks = len(self.far.received) / MAX_BLOCK_BYTES
            share = stream.retransmissions / blocks
            self.figure(
                "B15",
                f"{PACE} bytes a second, {name}: {share:.1%} sent again,"
                f" at most {self.near.most >> 10} KiB with the sender"  # type: ignore[attr-defined]
                f" and {self.far.most >> 10} KiB with the receiver",  # type: ignore[attr-defined]
            )
            self.assertLessEqual(share, REPEATED + link.loss)
