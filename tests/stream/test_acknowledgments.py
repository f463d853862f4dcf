"""When a stream acknowledges, and what it names."""

from __future__ import annotations

from curvecp_tx.stream.answers import EAGER_ACKS, MAX_ACK_DELAY
from curvecp_tx.stream.bbr import INITIAL_WINDOW
from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.stream import EXPECTING
from curvecp_tx.wire.messages import MAX_BLOCK_BYTES, SUCCESS, encode_message
from tests.stream.talking import StreamTestCase

PEERS_LIMIT = 1 << 20
"""What a peer tells that is one of ours."""


class AcknowledgmentTestCase(StreamTestCase):
    """Has a stream that is past its eager beginning."""

    def setUp(self) -> None:
        super().setUp()
        self.warm()

    def warm(self) -> None:
        """Get over the beginning; ten bytes for each message."""
        for count in range(EAGER_ACKS):
            self.hear(100 + count, 10 * count, b"0123456789")
            self.said()
        self.position = 10 * EAGER_ACKS

    def data(
        self, message_id: int, skip: int = 0, limit: int | None = PEERS_LIMIT
    ) -> None:
        """Have the next ten bytes arrive, or some that come later."""
        self.hear(message_id, self.position + skip, b"0123456789", limit=limit)
        if not skip:
            self.position += 10


class TimingTests(AcknowledgmentTestCase):
    """When."""

    def warm(self) -> None:
        """Look at the beginning, too."""
        for count in range(EAGER_ACKS):
            self.hear(100 + count, 10 * count, b"0123456789")
            self.assertEqual(self.only().acknowledged_id, 100 + count)
        self.position = 10 * EAGER_ACKS

    def test_every_second(self) -> None:
        """After the beginning, one acknowledgment answers two messages."""
        for count in range(0, 20, 2):
            self.data(1 + count)
            self.now += MAX_ACK_DELAY / 100
            self.stream._answers.by = self.now + 1
            self.assertEqual(self.said(), [])
            self.data(2 + count)
            message = self.only()
            self.assertEqual(message.acknowledged_id, 2 + count)
            self.assertEqual(message.ranges, [(0, self.position)])
            self.assertEqual((message.message_id, message.block), (0, b""))

    def test_reference(self) -> None:
        """A peer that tells no limit gets an acknowledgment for each message."""
        for count in range(1, 20):
            self.data(count, limit=None)
            self.assertEqual(self.only().acknowledged_id, count)

    def test_reference_full_blocks(self) -> None:
        """The same holds for full blocks."""
        for count in range(1, 20):
            block = bytes(MAX_BLOCK_BYTES)
            self.hear(count, self.position, block)
            self.position += len(block)
            self.assertEqual(self.only().acknowledged_id, count)

    def test_in_time(self) -> None:
        """A single message does not wait long for its acknowledgment."""
        self.stream.write(b"x")
        sent = self.only()
        self.now += 0.02
        self.hear(named=sent.message_id, ranges=((0, 1),))
        self.said()
        self.data(1)
        self.assertEqual(self.said(), [])
        deadline = self.stream.next_deadline(self.now)
        assert deadline is not None
        self.assertLessEqual(deadline - self.now, 0.02 / 8 + 1e-6)
        self.now = deadline
        self.stream.handle_timer(self.now)
        self.assertEqual(self.only().acknowledged_id, 1)

    def test_gap(self) -> None:
        """Something beyond a gap is acknowledged at once, and what fills it soon."""
        self.data(1, skip=10)
        message = self.only()
        self.assertEqual(message.acknowledged_id, 1)
        self.assertEqual(
            message.ranges,
            [(0, self.position), (self.position + 10, self.position + 20)],
        )
        self.data(2, skip=20)
        self.assertEqual(self.only().acknowledged_id, 2)

    def test_repeated(self) -> None:
        """Something known is acknowledged at once: the last one was lost."""
        self.hear(1, 0, b"0123456789")
        self.assertEqual(self.only().acknowledged_id, 1)

    def test_end(self) -> None:
        """The end is acknowledged at once, with one position more."""
        self.hear(1, self.position, b"x", SUCCESS)
        message = self.said()[0]
        self.assertEqual(message.acknowledged_id, 1)
        self.assertEqual(message.ranges, [(0, self.position + 2)])

    def test_ping(self) -> None:
        """A ping is answered at once, by its ID."""
        self.hear(1)
        self.assertEqual(self.only().acknowledged_id, 1)
        self.hear(2, 12345)
        self.assertEqual(self.only().acknowledged_id, 2)

    def test_no_id(self) -> None:
        """A message without an ID is taken, and not acknowledged."""
        self.stream.read()
        self.hear(0, self.position, b"unasked")
        self.assertEqual(self.pass_time(EXPECTING / 2), [])
        self.assertEqual(self.stream.read(), b"unasked")

    def test_batch(self) -> None:
        """Many messages at once get one acknowledgment."""
        position = self.position
        batch = [
            encode_message(message_id=n + 1, position=position + n, block=b"x")
            for n in range(50)
        ]
        self.stream.receive(batch, self.now)
        message = self.only()
        self.assertEqual(message.acknowledged_id, 50)
        self.assertEqual(message.ranges, [(0, position + 50)])

    def test_not_a_message(self) -> None:
        """What is too short or too long to be a message is not answered."""
        self.stream.receive([b"", bytes(16), bytes(2000)], self.now)
        self.assertEqual(self.said(), [])

    def test_unusable_block(self) -> None:
        """A message with an impossible block is not answered, and acknowledges."""
        self.stream.write(b"x")
        sent = self.only()
        encoded = bytearray(
            encode_message(
                message_id=5, acknowledged_id=sent.message_id, ranges=[(0, 1)]
            )
        )
        encoded[39] = 255
        self.stream.receive([bytes(encoded)], self.now)
        self.assertEqual(self.said(), [])
        self.assertEqual(self.stream.buffered, 0)


class CompanyTests(AcknowledgmentTestCase):
    """Acknowledgments that travel with data."""

    def test_together(self) -> None:
        """Data that may leave takes the acknowledgment along."""
        self.data(1)
        self.stream.write(b"answer")
        message = self.only()
        self.assertEqual((message.acknowledged_id, message.block), (1, b"answer"))
        self.assertEqual(message.ranges, [(0, self.position)])
        self.assertEqual([m for m in self.pass_time(0.5) if m.acknowledged_id], [])

    def test_not_held_back(self) -> None:
        """Data that may not leave yet holds no acknowledgment back."""
        self.stream.write(bytes(MAX_BLOCK_BYTES * INITIAL_WINDOW))
        self.said()
        self.stream.write(b"second")
        self.data(1)
        self.data(2)
        message = self.only()
        self.assertEqual((message.acknowledged_id, message.message_id), (2, 0))


class CitingTests(AcknowledgmentTestCase):
    """Which IDs are named: the reference takes some for round trips of decades."""

    def test_once(self) -> None:
        """No ID is named twice, though the range may be said again."""
        self.data(1)
        self.data(2)
        self.only()
        self.hear(0, 0, b"0123456789")
        self.assertEqual(self.pass_time(EXPECTING / 2), [])

    def test_repeated_in_order(self) -> None:
        """A repeated block has a new ID, which is named if no gap was before it."""
        self.hear(77, 0, b"0123456789")
        self.assertEqual(self.only().acknowledged_id, 77)

    def test_beyond_a_gap(self) -> None:
        """A block that was acknowledged beyond a gap is not named again."""
        hole = self.position
        self.data(1, skip=10)
        self.assertEqual(self.only().acknowledged_id, 1)
        self.data(2, skip=10)
        message = self.only()
        self.assertEqual(message.acknowledged_id, 0)
        self.assertEqual(message.ranges[-1], (hole + 10, hole + 20))
        self.data(3)
        self.assertEqual(self.only().acknowledged_id, 3)
        self.hear(4, hole + 10, b"0123456789")
        message = self.only()
        self.assertEqual(
            (message.acknowledged_id, message.ranges), (0, [(0, hole + 20)])
        )

    def test_end_beyond_a_gap(self) -> None:
        """Nor is an end without bytes after such a block: a range covers it, too."""
        end = self.position + 20
        self.data(1, skip=10)
        self.only()
        self.hear(2, end, b"", SUCCESS)
        self.assertEqual(self.only().acknowledged_id, 0)
        self.data(3)
        message = self.said()[0]
        self.assertEqual((message.acknowledged_id, message.ranges), (3, [(0, end + 1)]))

    def test_ping_beyond_a_gap(self) -> None:
        """A ping at such a place is named: nothing else acknowledges it."""
        self.data(1, skip=10)
        self.only()
        for place in (10, 15, 20):
            self.hear(100 + place, self.position + place)
            self.assertEqual(self.only().acknowledged_id, 100 + place)

    def test_end_elsewhere(self) -> None:
        """An end that touches no such block is named."""
        self.data(1, skip=10)
        self.only()
        self.hear(2, self.position + 30, b"", SUCCESS)
        self.assertEqual(self.only().acknowledged_id, 2)

    def test_long_ago(self) -> None:
        """What lies more than a window back is forgotten."""
        self.data(1, skip=10)
        self.only()
        self.assertTrue(self.stream._answers._scattered)
        for position in range(self.position, 2 * RECEIVE_WINDOW, 1024):
            self.hear(position + 10, position, bytes(1024))
            self.said()
            self.stream.read()
        self.assertFalse(self.stream._answers._scattered)

    def test_refused(self) -> None:
        """A block without room gets an answer, but is not named."""
        self.hear(1, self.position + RECEIVE_WINDOW, b"x")
        (message,) = self.pass_time(0.1)
        self.assertEqual(message.acknowledged_id, 0)
        self.assertEqual(message.ranges, [(0, self.position)])
