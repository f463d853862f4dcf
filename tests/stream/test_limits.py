"""Receivers that say how far they receive, and senders that heed it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.sender import FIRST_LIMIT_PROBE, MAX_PROBE_INTERVAL
from curvecp_tx.stream.stream import GIVE_UP
from curvecp_tx.wire.messages import (
    HEADER_BYTES,
    LIMIT_TAG,
    MAX_BLOCK_BYTES,
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
