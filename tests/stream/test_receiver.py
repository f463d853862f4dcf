"""The receiving half of a stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import StreamBroken
from curvecp_tx.stream.receiver import MAX_GAPS, RECEIVE_WINDOW, Arrival, Receiver
from curvecp_tx.wire.messages import FAILURE, SUCCESS
from tests.stream.wire_between import data_of

DATA = data_of(3000)


class ReceiverTests(SynchronousTestCase):
    """Blocks in, bytes out."""

    def setUp(self) -> None:
        self.receiver = Receiver()

    def receive(self, start: int, end: int, ending: int = 0) -> Arrival:
        """Have a piece of the data arrive."""
        return self.receiver.receive(start, DATA[start:end], ending)

    def test_in_order(self) -> None:
        """Blocks in order can be read at once, each byte one time."""
        self.assertEqual(self.receive(0, 10), Arrival.FRESH)
        self.assertEqual(self.receiver.waiting, 10)
        self.assertEqual(self.receiver.take(), DATA[:10])
        self.receive(10, 20)
        self.receive(20, 30)
        self.assertEqual(self.receiver.take(), DATA[10:30])
        self.assertEqual(self.receiver.take(), b"")
        self.assertFalse(self.receiver.has_gaps)
        self.assertEqual(self.receiver.acknowledgment(), [(0, 30)])

    def test_gap(self) -> None:
        """What comes beyond a gap is kept and acknowledged, and read afterwards."""
        self.assertEqual(self.receive(20, 30), Arrival.FRESH)
        self.assertEqual(self.receive(5, 10), Arrival.FRESH)
        self.assertEqual(self.receiver.waiting, 0)
        self.assertTrue(self.receiver.has_gaps)
        self.assertEqual(self.receiver.acknowledgment(), [(5, 10), (20, 30)])
        self.receive(0, 5)
        self.assertEqual(self.receiver.take(), DATA[:10])
        self.receive(10, 20)
        self.assertEqual(self.receiver.take(), DATA[10:30])
        self.assertFalse(self.receiver.has_gaps)

    def test_repeated(self) -> None:
        """A block of which nothing is new is told from others."""
        self.receive(0, 10)
        self.receive(20, 30)
        for start, end in ((0, 10), (2, 4), (20, 30)):
            self.assertEqual(self.receive(start, end), Arrival.REPEATED)
        self.assertEqual(self.receive(5, 25), Arrival.FRESH)
        self.assertEqual(self.receiver.take(), DATA[:30])

    def test_first_wins(self) -> None:
        """Bytes that are there do not change, delivered or not."""
        self.receive(0, 4)
        self.receive(8, 12)
        self.receiver.receive(0, b"?" * 20, 0)
        expected = DATA[:4] + b"????" + DATA[8:12] + b"?" * 8
        self.assertEqual(self.receiver.take(), expected)

    def test_window(self) -> None:
        """Nothing is kept that lies a window or more beyond what was read."""
        receiver = self.receiver
        receive = receiver.receive
        self.assertEqual(receive(RECEIVE_WINDOW, b"x", 0), Arrival.REFUSED)
        self.assertEqual(receive(RECEIVE_WINDOW - 1, b"xy", 0), Arrival.REFUSED)
        self.assertEqual(receiver.acknowledgment(), [])
        self.assertEqual(receive(RECEIVE_WINDOW - 1, b"x", 0), Arrival.FRESH)
        receive(0, b"a" * 100, 0)
        self.assertEqual(receive(RECEIVE_WINDOW, b"x", 0), Arrival.REFUSED)
        receiver.take()
        self.assertEqual(receive(RECEIVE_WINDOW, b"x", 0), Arrival.FRESH)

    def test_refused_end(self) -> None:
        """The end is not known from a block that was not taken."""
        arrival = self.receiver.receive(RECEIVE_WINDOW, b"x", SUCCESS)
        self.assertEqual(arrival, Arrival.REFUSED)
        self.assertIsNone(self.receiver.total)

    def test_many_gaps(self) -> None:
        """Only so many crumbs are kept, but what closes the first gap always is."""
        receiver = self.receiver
        for count in range(MAX_GAPS):
            arrival = receiver.receive(2 * count + 1, b"x", 0)
            self.assertEqual(arrival, Arrival.FRESH)
        self.assertEqual(receiver.receive(5000, b"x", 0), Arrival.REFUSED)
        self.assertEqual(receiver.receive(0, b"x", 0), Arrival.FRESH)
        self.assertEqual(receiver.waiting, 2)
        for count in range(1, MAX_GAPS):
            arrival = receiver.receive(2 * count, b"x", 0)
            self.assertEqual(arrival, Arrival.FRESH)
        self.assertEqual(receiver.acknowledgment(), [(0, 2 * MAX_GAPS)])

    def test_discard(self) -> None:
        """What nobody wants is acknowledged, takes no room and is not delivered."""
        receiver = self.receiver
        self.receive(0, 10)
        receiver.discard()
        self.assertEqual((receiver.waiting, receiver.take()), (0, b""))
        for start in range(10, 400_000, 1000):
            arrival = receiver.receive(start, b"x" * 1000, 0)
            self.assertEqual(arrival, Arrival.FRESH)
        self.assertEqual(receiver.waiting, 0)
        receiver.receive(400_010, b"", SUCCESS)
        self.assertTrue(receiver.succeeded)
        self.assertTrue(receiver.delivered)

    def test_end(self) -> None:
        """The end counts as one position, and only when all else is there."""
        receiver = self.receiver
        self.receive(5, 10, SUCCESS)
        self.assertEqual((receiver.total, receiver.ending), (10, SUCCESS))
        self.assertFalse(receiver.complete)
        self.assertEqual(receiver.acknowledgment(), [(5, 10)])
        self.receive(0, 5)
        self.assertTrue(receiver.complete)
        self.assertTrue(receiver.succeeded)
        self.assertFalse(receiver.delivered)
        self.assertEqual(receiver.acknowledgment(), [(0, 11)])
        receiver.take()
        self.assertTrue(receiver.delivered)

    def test_end_alone(self) -> None:
        """An end without bytes is news once."""
        self.receive(0, 10)
        self.assertEqual(self.receive(10, 10, SUCCESS), Arrival.FRESH)
        self.assertEqual(self.receive(10, 10, SUCCESS), Arrival.REPEATED)
        self.assertEqual(self.receiver.acknowledgment(), [(0, 11)])

    def test_end_of_known_bytes(self) -> None:
        """A repeated block that now carries the end is news."""
        self.receive(0, 10)
        self.assertEqual(self.receive(5, 10, SUCCESS), Arrival.FRESH)
        self.assertTrue(self.receiver.complete)

    def test_nothing_but_the_end(self) -> None:
        """A stream may be empty."""
        self.assertFalse(self.receiver.complete)
        self.assertEqual(self.receive(0, 0, SUCCESS), Arrival.FRESH)
        self.assertTrue(self.receiver.succeeded)
        self.assertEqual(self.receiver.acknowledgment(), [(0, 1)])

    def test_failure(self) -> None:
        """A failure is an end, and no success."""
        self.receive(0, 10, FAILURE)
        self.assertTrue(self.receiver.complete)
        self.assertFalse(self.receiver.succeeded)

    def test_contradictions(self) -> None:
        """Two ends, bytes beyond the end, an end before bytes: the peer is broken."""
        for steps in (
            ((0, 10, SUCCESS), (0, 9, SUCCESS)),
            ((0, 10, SUCCESS), (0, 10, FAILURE)),
            ((0, 10, SUCCESS), (10, 11, 0)),
            ((0, 10, SUCCESS), (5, 12, SUCCESS)),
            ((5, 10, 0), (0, 7, SUCCESS)),
            ((0, 10, 0), (9, 9, FAILURE)),
        ):
            self.receiver = Receiver()
            *before, last = steps
            for step in before:
                self.receive(*step)
            acknowledged = self.receiver.acknowledgment()
            waiting = self.receiver.waiting
            self.assertRaises(StreamBroken, self.receive, *last)
            self.assertEqual(self.receiver.acknowledgment(), acknowledged)
            self.assertEqual(self.receiver.take(), DATA[:waiting])

    @given(
        st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 700)), max_size=40),
        st.booleans(),
    )
    def test_any_order(self, pieces: list[tuple[int, int]], reading: bool) -> None:
        """Overlapping pieces in any order give what was sent, and no more."""
        receiver, received, there = Receiver(), b"", set[int]()
        for start, size in pieces:
            end = min(start + size, len(DATA))
            before = set(there)
            there |= set(range(start, end))
            arrival = receiver.receive(start, DATA[start:end], 0)
            self.assertEqual(arrival is Arrival.FRESH, there != before)
            if reading:
                received += receiver.take()
        received += receiver.take()
        length = next(n for n in range(len(DATA) + 1) if n not in there)
        self.assertEqual(received, DATA[:length])
        found = {p for a, b in receiver.acknowledgment() for p in range(a, b)}
        self.assertEqual(found, there)
        receiver.receive(0, DATA, SUCCESS)
        self.assertEqual(received + receiver.take(), DATA)
        self.assertTrue(receiver.delivered)
