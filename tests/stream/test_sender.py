"""The sending half of a stream: blocks, acknowledgments, pings and ends."""

from __future__ import annotations

from curvecp_tx.errors import StreamBroken
from curvecp_tx.stream.blocks import REMEMBERED_IDS
from curvecp_tx.stream.sender import WINDOW_BYTES, Sender
from curvecp_tx.wire.messages import FAILURE, MAX_STREAM_BYTES, SUCCESS
from tests.stream.sending import SenderTestCase


class CutTests(SenderTestCase):
    """From bytes to blocks."""

    def test_blocks(self) -> None:
        """Bytes leave in order, in blocks as large as may be; the last one ends."""
        self.sender.block_limit = 512
        self.sender.write(b"a" * 1000)
        self.assertEqual(self.places(), [(0, 512, 0), (512, 488, 0)])
        self.sender.block_limit = 5000
        self.sender.write(b"b" * 1500)
        self.sender.finish()
        self.assertEqual(self.places(), [(1000, 1024, 0), (2024, 476, SUCCESS)])
        self.assertEqual(self.places(), [])

    def test_end_alone(self) -> None:
        """An end that comes late has a block of its own."""
        self.sender.write(b"abc")
        self.send()
        self.assertFalse(self.sender.wants_to_send)
        self.sender.finish()
        self.assertTrue(self.sender.wants_to_send)
        self.assertEqual(self.places(), [(3, 0, SUCCESS)])
        self.assertFalse(self.sender.wants_to_send)

    def test_nothing_after_the_end(self) -> None:
        """What is written after the end is not sent."""
        self.sender.finish()
        self.sender.write(b"late")
        self.sender.finish()
        self.assertEqual(self.places(), [(0, 0, SUCCESS)])

    def test_window(self) -> None:
        """No block lies a window or more beyond the first unacknowledged byte."""
        self.sender.block_limit = 1000
        self.sender.write(bytes(300_000))
        blocks = self.send()
        self.assertEqual(blocks[-1].limit, WINDOW_BYTES)
        self.assertEqual(self.sender.unsent, 300_000 - WINDOW_BYTES)
        self.assertEqual(self.sender.buffered, 300_000)
        self.acknowledge(1, (0, 1000))
        self.assertEqual(self.places(), [(WINDOW_BYTES, 1000, 0)])
        self.assertEqual(self.sender.buffered, 299_000)

    def test_longest(self) -> None:
        """A stream that would get too long is an error, not a wrap."""
        self.sender.write(b"abc")
        self.send()
        self.sender._position = MAX_STREAM_BYTES - 3
        self.sender.write(b"abc")
        self.assertRaises(OverflowError, self.sender.write, b"d")
        self.assertEqual(self.sender.unsent, 3)

    def test_far_out(self) -> None:
        """Positions beyond 2^32 are like others."""
        self.sender._position = 2**32 - 500
        self.sender.write(bytes(1000))
        self.sender.finish()
        self.assertEqual(self.places(), [(2**32 - 500, 1000, SUCCESS)])
        self.assertTrue(self.acknowledge(1, (0, 2**32 + 501)))
        self.assertTrue(self.sender.finished)

    def test_has_sent(self) -> None:
        """It is known whether anything was sent."""
        self.assertFalse(self.sender.has_sent)
        self.sender.ping()
        self.send()
        self.assertTrue(self.sender.has_sent)


class AcknowledgmentTests(SenderTestCase):
    """What comes back."""

    def test_all(self) -> None:
        """The end is acknowledged by one position more than there are bytes."""
        self.sender.write(b"abc")
        self.sender.finish()
        self.send()
        self.assertTrue(self.acknowledge(1, (0, 3)))
        self.assertTrue(self.sender.owes)
        self.assertFalse(self.sender.finished)
        self.acknowledge(1, (0, 4))
        self.assertFalse(self.sender.owes)
        self.assertTrue(self.sender.finished)
        self.assertEqual(self.sender.buffered, 0)

    def test_end_block_alone(self) -> None:
        """An end-only block is not acknowledged by the bytes before it."""
        self.sender.write(b"abc")
        self.send()
        self.sender.finish()
        self.send()
        self.acknowledge(1, (0, 3))
        self.assertFalse(self.sender.finished)
        self.sender.handle_timer(5.0)
        self.assertEqual(self.places(5.0), [(3, 0, SUCCESS)])
        self.acknowledge(3, (0, 4))
        self.assertTrue(self.sender.finished)

    def test_whole_blocks(self) -> None:
        """A block of which a part is acknowledged is not acknowledged."""
        self.sender.write(bytes(3072))
        self.send()
        self.acknowledge(2, (0, 1023), (1025, 3072))
        self.assertEqual(self.sender.buffered, 3072)
        self.assertEqual(self.sender.in_flight, 2)
        self.acknowledge(1, (0, 2048))
        self.assertFalse(self.sender.owes)

    def test_samples(self) -> None:
        """The time since that very transmission is a round trip."""
        self.sender.write(bytes(1024))
        self.send(0.0)
        self.sender.handle_timer(1.0)
        self.send(1.0)
        self.acknowledge(1, (0, 1024), now=1.5)
        self.acknowledge(2, (0, 1024), now=1.75)
        self.assertEqual(self.congestion.samples, [1.5, 0.75])

    def test_unknown_id(self) -> None:
        """An acknowledgment of an ID that was never sent counts for nothing."""
        self.sender.write(bytes(1024))
        self.send()
        self.assertFalse(self.acknowledge(77, (0, 1024)))
        self.assertFalse(self.acknowledge(77, (0, 10**9)))
        self.assertTrue(self.sender.owes)
        self.assertEqual(self.congestion.samples, [])

    def test_no_id(self) -> None:
        """One without an ID counts for what was sent twice, and for nothing else."""
        self.sender.write(bytes(2048))
        self.send()
        self.assertFalse(self.acknowledge(0, (0, 2048)))
        self.sender.handle_timer(1.0)
        self.send(1.0)
        self.assertTrue(self.acknowledge(0, (0, 2048)))
        self.assertEqual(self.sender.buffered, 1024)
        self.assertEqual(self.congestion.samples, [])

    def test_no_id_whole_stream(self) -> None:
        """One of the whole stream counts without an ID: nothing is left to send."""
        self.sender.write(bytes(2048))
        self.sender.finish()
        self.send()
        self.assertFalse(self.acknowledge(0, (0, 2048)))
        self.assertFalse(self.acknowledge(0, (1, 2049)))
        self.assertTrue(self.acknowledge(0, (0, 2049)))
        self.assertTrue(self.sender.finished)

    def test_never_sent(self) -> None:
        """Who acknowledges what was never sent breaks the protocol."""
        self.sender.write(bytes(2048))
        self.send(most=1)
        for ranges in ([(0, 1025)], [(2000, 2001)], [(0, 5), (1024, 1025)]):
            self.assertRaises(StreamBroken, self.acknowledge, 1, *ranges)
        self.sender.finish()
        self.send()
        self.assertRaises(StreamBroken, self.acknowledge, 1, (0, 2050))
        self.assertRaises(StreamBroken, self.acknowledge, 0, (0, 2050))

    def test_forgotten_id(self) -> None:
        """Only so many IDs are remembered."""
        self.sender.write(bytes(1024))
        self.send()
        for _ in range(2 * REMEMBERED_IDS):
            self.sender.transmitted(self.sender._blocks[0], self.last_id + 1, 0.0)
            self.last_id += 1
        known = [self.sender.knows(number + 1) for number in range(self.last_id)]
        self.assertFalse(any(known[: REMEMBERED_IDS // 2]))
        self.assertTrue(all(known[-REMEMBERED_IDS:]))
        self.assertFalse(self.acknowledge(1, (0, 1024)))
        self.assertTrue(self.acknowledge(self.last_id - 100, (0, 1024)))


class PingTests(SenderTestCase):
    """Empty blocks."""

    def test_ping(self) -> None:
        """A ping is an empty block, acknowledged by its ID."""
        self.sender.ping()
        self.assertTrue(self.sender.pinging)
        self.assertEqual(self.places(), [(0, 0, 0)])
        self.assertFalse(self.sender.pinging)
        self.assertTrue(self.sender.owes)
        self.acknowledge(1)
        self.assertFalse(self.sender.owes)

    def test_not_by_range(self) -> None:
        """No range acknowledges a ping."""
        self.sender.write(b"abc")
        self.send()
        self.acknowledge(1, (0, 3))
        self.sender.ping()
        self.send()
        self.acknowledge(0, (0, 3))
        self.assertTrue(self.sender.owes)

    def test_later_answer(self) -> None:
        """An answer to something later will do; an answer to something earlier not."""
        self.sender.write(b"abc")
        self.send()
        self.acknowledge(1, (0, 3))
        self.sender.ping()
        self.send()
        self.sender.write(b"def")
        self.send()
        self.acknowledge(1, (0, 3))
        self.assertEqual(self.sender.in_flight, 2)
        self.acknowledge(3, (0, 6))
        self.assertFalse(self.sender.owes)

    def test_later_block(self) -> None:
        """So will anything that tells of a later block, though it names no ID."""
        self.sender.ping()
        self.send()
        self.sender.finish()
        self.send()
        self.acknowledge(0, (0, 1))
        self.assertFalse(self.sender.owes)
        self.assertTrue(self.sender.finished)

    def test_any_transmission(self) -> None:
        """An answer to any transmission of a ping will do."""
        self.sender.ping()
        self.send()
        self.sender.handle_timer(1.0)
        self.send(1.0)
        self.acknowledge(1)
        self.assertFalse(self.sender.owes)

    def test_not_needed(self) -> None:
        """No ping is sent where something else asks for an answer."""
        self.sender.ping()
        self.sender.write(b"abc")
        self.assertEqual(self.places(), [(0, 3, 0)])
        self.assertFalse(self.sender.pinging)
        self.sender.ping()
        self.assertEqual(self.places(), [])
        self.sender.finish()
        self.assertEqual(self.places(), [(3, 0, SUCCESS)])

    def test_after_the_end(self) -> None:
        """A ping after the end stands one position after it."""
        self.sender.write(b"abc")
        self.sender.finish()
        self.send()
        self.acknowledge(1, (0, 4))
        self.sender.ping()
        self.assertEqual(self.places(), [(4, 0, 0)])
        self.assertEqual(self.sender.buffered, 0)
        self.acknowledge(2, (0, 4))
        self.assertFalse(self.sender.owes)


class FailTests(SenderTestCase):
    """Ends that are no success."""

    def test_fail(self) -> None:
        """A failure ends the stream after what has been sent; the rest is dropped."""
        self.sender.write(bytes(3000))
        self.send(most=1)
        self.sender.fail()
        self.assertEqual(self.places(), [(1024, 0, FAILURE)])
        self.assertEqual(self.sender.unsent, 0)
        self.acknowledge(2, (0, 1025))
        self.assertTrue(self.sender.finished)

    def test_after_finish(self) -> None:
        """A success that was not sent yet turns into a failure."""
        self.sender.write(bytes(3000))
        self.sender.finish()
        self.send(most=1)
        self.sender.fail()
        self.sender.fail()
        self.assertEqual(self.places(), [(1024, 0, FAILURE)])

    def test_too_late(self) -> None:
        """A success that was sent stays one."""
        self.sender.finish()
        self.send()
        self.sender.fail()
        self.sender.handle_timer(1.0)
        self.assertEqual(self.places(1.0), [(0, 0, SUCCESS)])


class RunTests(SenderTestCase):
    """Runs of full blocks, sent for less."""

    def ids(self, count: int) -> list[int]:
        """Give the next IDs."""
        first = self.last_id + 1
        self.last_id += count
        return list(range(first, first + count))

    def test_same(self) -> None:
        """A run is what single blocks would be."""
        one, other = self.sender, Sender(self.congestion, block_limit=1024)
        for sender in (one, other):
            sender.write(bytes(range(256)) * 41)
        singly = self.send(2.0)
        self.sender, self.last_id = other, 0
        run = other.next_run(2.0, self.ids)
        assert run is not None
        ids, blocks = run
        self.assertEqual(ids, list(range(1, 11)))
        rest = self.send(2.0)
        together = blocks + rest
        self.assertEqual(
            [(b.position, b.data, b.serial, b.sent, b.transmissions) for b in singly],
            [(b.position, b.data, b.serial, b.sent, b.transmissions) for b in together],
        )
        self.assertEqual(one.in_flight, other.in_flight)
        self.acknowledge(10, (0, 10240))
        self.assertEqual(other.in_flight, 1)

    def test_not_now(self) -> None:
        """No run with little to send, small blocks, losses, or no allowance."""
        self.sender.write(bytes(2048))
        self.assertIsNone(self.sender.next_run(0.0, self.ids))
        self.sender.write(bytes(10240))
        self.sender.block_limit = 512
        self.assertIsNone(self.sender.next_run(0.0, self.ids))
        self.sender.block_limit = 1024
        self.congestion.limit = 1
        self.assertIsNone(self.sender.next_run(0.0, self.ids))
        self.congestion.limit = 100
        self.send(most=5)
        self.acknowledge(5, (4096, 5120))
        self.assertIsNone(self.sender.next_run(0.2, self.ids))

    def test_id_taken(self) -> None:
        """If an ID is in use already, there is no run this time."""
        self.sender.write(bytes(10240))
        self.send(most=1)
        self.assertIsNone(self.sender.next_run(0.0, lambda count: [1] * count))
        self.assertEqual(self.sender.in_flight, 1)
