"""Peers that contradict themselves: other bytes, other ends, ends too early."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import StreamBroken
from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.stream import GIVE_UP, KEEPALIVE, MAX_LINGER, Stream
from curvecp_tx.wire.messages import FAILURE, SUCCESS, encode_message
from tests.faults.figures import note

Block = tuple[int, int, int, int, bool]
"""Position, size, which of three contents, ending, and whether we read after it."""

BLOCKS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 60), st.integers(RECEIVE_WINDOW - 9, RECEIVE_WINDOW)),
        st.integers(0, 40),
        st.integers(0, 2),
        st.sampled_from((0, 0, 0, SUCCESS, FAILURE)),
        st.booleans(),
    ),
    max_size=30,
)
LETTERS = b"abc"


class Model:
    """What a stream has to be, byte by byte: the first one wins."""

    def __init__(self) -> None:
        self.there: dict[int, int] = {}
        self.end: tuple[int, int] | None = None
        self.taken = 0

    def receive(self, position: int, block: bytes, ending: int) -> bool:
        """Take a block; tell whether it contradicts what is known."""
        end = position + len(block)
        if end > self.taken + RECEIVE_WINDOW or not (block or ending):
            return False
        if self.end is not None:
            if end > self.end[0] or (ending and (end, ending) != self.end):
                return True
        elif ending:
            if self.there and max(self.there) >= end:
                return True
            self.end = end, ending
        for offset, byte in enumerate(block):
            self.there.setdefault(position + offset, byte)
        return False

    def read(self) -> bytes:
        """Take what is next in order."""
        taken = bytearray()
        while self.taken in self.there:
            taken.append(self.there[self.taken])
            self.taken += 1
        return bytes(taken)


class ContradictionTests(SynchronousTestCase):
    """A stream whose peer lies about its own."""

    def setUp(self) -> None:
        """Make a stream that has to deliver and to be delivered."""
        self.now = 10.0
        self.stream = Stream(
            random_bytes=Random(1).randbytes, now=self.now, client=False
        )
        self.stream.write(b"ours")
        self.stream.messages_to_send(self.now)

    def hear(self, number: int, position: int, block: bytes, ending: int) -> None:
        """Have a block arrive."""
        self.now += 0.001
        encoded = encode_message(
            message_id=number, position=position, block=block, ending=ending
        )
        self.stream.receive([encoded], self.now)
        self.stream.messages_to_send(self.now)

    def wait_for_the_end(self) -> None:
        """Let time pass until nothing is left to do."""
        latest = self.now + GIVE_UP + KEEPALIVE + MAX_LINGER + 1.0
        while not self.stream.over:
            deadline = self.stream.next_deadline(self.now)
            assert deadline is not None
            self.assertLess(deadline, latest)
            self.now = max(self.now, deadline)
            self.stream.handle_timer(self.now)
            self.stream.messages_to_send(self.now)

    @given(BLOCKS)
    def test_any_lie(self, blocks: list[Block]) -> None:
        """The first word holds or the stream fails; what is delivered stays so."""
        self.setUp()
        stream, model = self.stream, Model()
        broken = False
        for number, (position, size, content, ending, reading) in enumerate(blocks, 1):
            block = LETTERS[content : content + 1] * size
            self.hear(number, position, block, ending)
            broken = broken or model.receive(position, block, ending)
            if broken:
                self.assertIsInstance(stream.failure, StreamBroken)
                break
            if stream.failure is not None:
                # The peer has ended as a failure, and all of that has arrived.
                assert model.end is not None
                self.assertEqual(len(model.there), model.end[0])
                self.assertEqual(model.end[1], FAILURE)
                break
            if reading:
                self.assertEqual(stream.read(), model.read())
        if not broken:
            self.assertEqual(stream.read(), model.read())
        self.wait_for_the_end()
        self.assertEqual(stream.read(), b"")

    def test_end_before_what_was_read(self) -> None:
        """An end before delivered bytes fails the stream, and changes none of them."""
        self.hear(1, 0, b"delivered", 0)
        self.assertEqual(self.stream.read(), b"delivered")
        self.hear(2, 3, b"", SUCCESS)
        self.assertIsInstance(self.stream.failure, StreamBroken)
        self.assertFalse(self.stream.peer_ended)
        self.wait_for_the_end()
        note("C11", "TT", "first word holds or the stream fails; no hang, 100 courses")

    def test_two_ends(self) -> None:
        """Of two different ends the first holds, and the second fails the stream."""
        for second in ((9, SUCCESS), (11, SUCCESS), (10, FAILURE)):
            self.setUp()
            self.hear(1, 10, b"", SUCCESS)
            self.hear(2, second[0], b"", second[1])
            self.assertIsInstance(self.stream.failure, StreamBroken)
            self.wait_for_the_end()

    def test_hole_that_is_never_filled(self) -> None:
        """A peer that keeps bytes back keeps nobody for ever."""
        self.hear(1, 10, b"late", SUCCESS)
        self.assertIsNone(self.stream.failure)
        self.wait_for_the_end()
        self.assertIsNotNone(self.stream.failure)
