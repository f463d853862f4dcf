"""Receivers that say how far they receive, and senders that heed it."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.receiver import (
    MAX_RECEIVE_WINDOW,
    RECEIVE_WINDOW,
    Arrival,
    Receiver,
)
from curvecp_tx.stream.sender import FIRST_LIMIT_PROBE, MAX_PROBE_INTERVAL
from curvecp_tx.stream.stream import GIVE_UP
from curvecp_tx.wire.messages import (
    HEADER_BYTES,
    LIMIT_TAG,
    MAX_BLOCK_BYTES,
    MAX_RANGE_BYTES,
    SIZE_CLASSES,
    decode_message,
    encode_message,
)
from tests.stream.wire_between import Network, Wire, data_of, ending_of

SIZE = 600_000


class CodingTests(SynchronousTestCase):
    """The limit in what fills a message."""

    def test_every_size(self) -> None:
        """A limit fits into any message, and changes no size."""
        for size in range(MAX_BLOCK_BYTES + 1):
            block = bytes([size % 256]) * size
            plain = encode_message(message_id=1, block=block)
            message = encode_message(message_id=1, block=block, limit=2**60)
            self.assertEqual(len(message), len(plain))
            self.assertIn(len(message), SIZE_CLASSES)
            decoded = decode_message(message)
            assert decoded is not None
            self.assertEqual((decoded.block, decoded.limit), (block, 2**60))

    def test_untold(self) -> None:
        """Zeros tell no limit."""
        decoded = decode_message(encode_message(block=b"x"))
        assert decoded is not None
        self.assertIsNone(decoded.limit)

    def test_block_in_its_place(self) -> None:
        """A block that leaves no room is never taken for a limit."""
        block = LIMIT_TAG + bytes(8)
        head = encode_message(position=7, block=block)[:HEADER_BYTES]
        decoded = decode_message(head + block)
        assert decoded is not None
        self.assertEqual((decoded.block, decoded.limit), (block, None))


class HoldingBackTests(SynchronousTestCase):
    """Sending no more than will be kept."""

    def test_never_reads(self) -> None:
        """Who does not read gets one window, and nothing of it twice."""
        wire = Wire(Network(), data_of(SIZE))
        wire.server.reading = False
        wire.run(1000.0)
        stream = wire.client.stream
        self.assertEqual(stream.unsent, SIZE - RECEIVE_WINDOW)
        self.assertEqual(stream.buffered, stream.unsent)
        self.assertEqual(stream.retransmissions, 0)
        self.assertIsNone(stream.failure)

    def test_reads_slowly(self) -> None:
        """A slow reader costs no retransmission, and gets all."""
        wire = Wire(Network(), data_of(SIZE))
        wire.server.reading = False
        for second in range(1, 60):
            wire.run(float(second))
            wire.read(wire.server)
        wire.run(100.0)
        self.assertEqual(len(wire.server.received), SIZE)
        self.assertEqual(wire.client.stream.retransmissions, 0)
        self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)

    def test_goes_on_at_once(self) -> None:
        """As soon as there is room, the sender hears of it."""
        wire = Wire(Network(), data_of(SIZE))
        wire.server.reading = False
        wire.run(500.0)
        wire.server.reading = True
        wire.read(wire.server)
        before = wire.now
        wire.run(before + 1.0)
        self.assertGreater(len(wire.server.received), RECEIVE_WINDOW)

    def test_word_lost(self) -> None:
        """If that word gets lost, the sender asks for it."""
        network = Network(outages=[(500.0, 501.0)])
        wire = Wire(network, data_of(SIZE))
        wire.server.reading = False
        wire.run(500.0)
        wire.server.reading = True
        wire.read(wire.server)
        wire.run(500.0 + 1.0 + MAX_PROBE_INTERVAL + 0.1)
        self.assertGreater(len(wire.server.received), RECEIVE_WINDOW)
        wire.run(600.0)
        self.assertEqual(len(wire.server.received), SIZE)

    def test_asks_seldom(self) -> None:
        """The questions become fewer; there are some, for peers may vanish."""
        wire = Wire(Network(), data_of(SIZE))
        wire.server.reading = False
        wire.run(10.0)
        before = len(wire.client.ids)
        wire.run(10.0 + 100.0)
        asked = len(wire.client.ids) - before
        self.assertGreaterEqual(asked, 100.0 / (MAX_PROBE_INTERVAL + 0.1) - 1)
        self.assertLess(asked, 100.0 / MAX_PROBE_INTERVAL + FIRST_LIMIT_PROBE + 3)

    def test_peer_vanishes(self) -> None:
        """A peer that has no room and answers no more is gone in the end."""
        network = Network(outages=[(100.0, 10_000.0)])
        wire = Wire(network, data_of(SIZE))
        wire.server.reading = False
        wire.run(100.0 + GIVE_UP + 3 * MAX_PROBE_INTERVAL)
        self.assertEqual(ending_of(wire.client), "StreamTimedOut")

    def test_bad_network(self) -> None:
        """With loss and reordering, nothing goes beyond, and all arrives."""
        for seed in range(20):
            network = Network(seed=seed, loss=0.2, burst=3, jitter=0.03)
            wire = Wire(network, data_of(SIZE // 3), data_of(SIZE // 4, 2))
            for side in wire.sides:
                side.reading = False
            for step in range(1, 400):
                wire.run(step / 4)
                for side in wire.sides:
                    wire.read(side)
            wire.run(1000.0)
            for side in wire.sides:
                wire.read(side)
            with self.subTest(seed=seed):
                self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)
                self.assertEqual(len(wire.server.received), SIZE // 3)
                self.assertEqual(len(wire.client.received), SIZE // 4)


class MoreRangesTests(SynchronousTestCase):
    """Ranges beyond the sixth, between ends that tell their limits."""

    @given(st.lists(st.integers(1, 2**20), min_size=2, max_size=60), st.integers(0, 64))
    def test_round_trip(self, steps: list[int], size: int) -> None:
        """All that is told is true, and in a message of its own 22 ranges fit."""
        marks = list(accumulate(steps))
        ranges = list(zip(marks[::2], marks[1::2], strict=False))
        block = bytes(size)
        decoded = decode_message(encode_message(ranges=ranges, block=block, limit=9))
        assert decoded is not None
        self.assertEqual((decoded.limit, decoded.block), (9, block))
        for start, end in decoded.ranges:
            self.assertTrue(any(a <= start < end <= b for a, b in ranges))
        if not size and all(step <= MAX_RANGE_BYTES for step in steps):
            told = ranges if len(ranges) < 21 else ranges[:5] + ranges[-16:]
            self.assertEqual(decoded.ranges, told)

    def test_full_message(self) -> None:
        """Beside a full block there is room for the usual six only."""
        ranges = [(n, n + 1) for n in range(0, 40, 2)]
        message = encode_message(ranges=ranges, block=bytes(1024), limit=9)
        decoded = decode_message(message)
        assert decoded is not None
        self.assertEqual(decoded.ranges, ranges[:6])

    def test_many_gaps(self) -> None:
        """Much loss at once is repaired without repeating what has arrived."""
        network = Network(loss=0.3, seed=3)
        wire = Wire(network, data_of(SIZE))
        wire.run(1000.0)
        self.assertEqual(ending_of(wire.client), "complete")
        blocks = SIZE // MAX_BLOCK_BYTES
        self.assertLess(wire.client.stream.retransmissions, 0.75 * blocks)


class WindowTests(SynchronousTestCase):
    """Windows that fit the reader."""

    def test_grows(self) -> None:
        """A long path and a fast reader get a window of megabytes."""
        wire = Wire(Network(delay=0.1), data_of(30 << 20))
        wire.run(1000.0)
        self.assertEqual(wire.server.stream._receiver.window, MAX_RECEIVE_WINDOW)
        self.assertEqual(len(wire.server.received), 30 << 20)

    def test_enough(self) -> None:
        """Who is not held back by a window gets no larger one, however fast."""
        receiver, position = Receiver(), 0
        for second in range(100):
            for _ in range(64):
                receiver.receive(position, bytes(MAX_BLOCK_BYTES), 0)
                position += MAX_BLOCK_BYTES
            receiver.take()
            receiver.tune(second / 100, False)
        self.assertEqual(receiver.window, RECEIVE_WINDOW)

    def test_stays(self) -> None:
        """With a peer that heeds no limit, the window is what it counts on."""
        wire = Wire(Network(limits=False), data_of(3 << 20))
        wire.run(1000.0)
        self.assertEqual(wire.server.stream._receiver.window, RECEIVE_WINDOW)

    @given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 200)), max_size=60))
    def test_bounds(self, steps: list[tuple[float, int]]) -> None:
        """Whatever the reader does: the limit never falls, the window is bounded."""
        receiver, now, position, told = Receiver(), 0.0, 0, 0
        for pause, blocks in steps:
            for _ in range(blocks):
                block = bytes(MAX_BLOCK_BYTES)
                if receiver.receive(position, block, 0) is Arrival.REFUSED:
                    break
                position += len(block)
            now += pause
            receiver.take()
            receiver.tune(now, True)
            self.assertGreaterEqual(receiver.limit, told)
            told = receiver.limit
            self.assertLessEqual(RECEIVE_WINDOW, receiver.window)
            self.assertLessEqual(receiver.window, MAX_RECEIVE_WINDOW)
            self.assertLessEqual(told - position, MAX_RECEIVE_WINDOW)

    def test_slow_reader_gets_less(self) -> None:
        """A reader that has become slow gets small windows again."""
        receiver, now, position = Receiver(), 0.0, 0
        receiver.tune(now, True)
        for pause, window in ((0.5, 2), (0.5, 4), (2.0, 4), (5.0, 2), (5.0, 1)):
            while position < receiver.limit:
                receiver.receive(position, bytes(MAX_BLOCK_BYTES), 0)
                position += MAX_BLOCK_BYTES
            now += pause
            receiver.take()
            receiver.tune(now, True)
            self.assertEqual(receiver.window, window * RECEIVE_WINDOW)


class NoReaderTests(SynchronousTestCase):
    """Peers that are told that nobody reads."""

    def test_told(self) -> None:
        """The peer fails at once, and both ends are done soon."""
        wire = Wire(Network(), data_of(30 << 20), finish=False)
        wire.server.stream.finish()
        wire.run(0.3)
        wire.server.stream.discard()
        wire.server.stream.stop_peer()
        wire.run(1.0)
        self.assertEqual(ending_of(wire.client), "PeerStopped")
        self.assertEqual(ending_of(wire.server), "PeerFailed")

    def test_word_lost(self) -> None:
        """The word is repeated with each acknowledgment."""
        network = Network(outages=[(0.3, 3.0)])
        wire = Wire(network, data_of(30 << 20), finish=False)
        wire.run(0.3)
        wire.server.stream.discard()
        wire.server.stream.stop_peer()
        wire.run(20.0)
        self.assertEqual(ending_of(wire.client), "PeerStopped")

    def test_too_late(self) -> None:
        """A stream that is complete takes no notice."""
        wire = Wire(Network(), b"all", b"done")
        wire.server.reading = False
        wire.run(0.3)
        wire.server.stream.stop_peer()
        wire.run(100.0)
        self.assertEqual([ending_of(side) for side in wire.sides], ["complete"] * 2)
