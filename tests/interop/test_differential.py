"""The same messages for the reference's message tool and for ours: the same bytes.

Both are fed in lock-step, so that what they acknowledge can be compared after each
message, and not only what they have delivered in the end.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import PeerFailed, StreamBroken
from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import (
    FAILURE,
    HEADER_BYTES,
    MAX_BLOCK_BYTES,
    SIZE_CLASSES,
    SUCCESS,
    encode_message,
)
from curvecp_tx.wire.packets import MESSAGE_UNIT
from tests.faults import figures
from tests.interop.handlers import SteppedHandler
from tests.interop.processes import OURS, REFERENCE

EXAMPLES = 200
MOST_STEPS = 25
LONG = 250

CONTRADICTION = "ends contradict each other, or bytes follow one"
BOTH_OUTCOMES = "a block says success and failure at once"

DIFFERENCES = {
    CONTRADICTION: "the last end counts; here the first does, and the stream fails",
    BOTH_OUTCOMES: "it counts as an end; here nothing of the block counts",
}
"""All there are: what the reference does with it, and what happens here."""

PATTERN = random.Random(3).randbytes(RECEIVE_WINDOW * 2)
TAIL = struct.Struct("<HQ")


def bytes_at(position: int, size: int) -> bytes:
    """Give the bytes that belong there."""
    return PATTERN[position : position + size]


@dataclass(frozen=True)
class Block:
    """A block to be sent.

    :ivar anchor: what ``offset`` starts from: the ``start`` of the stream, the
        ``next`` byte that is missing, or the end of the ``window``.
    """

    anchor: str
    offset: int
    size: int
    ending: int = 0
    named: bool = True


@dataclass(frozen=True)
class Oddity:
    """A message of which a part, or all, does not count.

    :ivar tail: the field with the size of the block and the flags.
    :ivar size: of the whole message.
    """

    tail: int
    size: int


Step = Block | Oddity


@dataclass
class Course:
    """What has been sent so far, as far as the differences depend on it."""

    total: int | None = None
    ending: int = 0
    furthest: int = 0
    contiguous: int = 0
    met: set[str] = field(default_factory=set)

    def encode(self, step: Step, message_id: int) -> tuple[bytes, str | None]:
        """Build a step's message, and tell which difference it brings about."""
        if isinstance(step, Oddity):
            return self._odd(step, message_id), None
        anchors = {
            "start": 0,
            "next": self.contiguous,
            "window": self.contiguous + RECEIVE_WINDOW - step.size,
        }
        position = max(0, anchors[step.anchor] + step.offset)
        block = bytes_at(position, step.size)
        message = encode_message(
            message_id=message_id if step.named else 0,
            position=position,
            block=block,
            ending=step.ending,
        )
        if not block and not step.ending:
            return message, None
        return message, self._difference(position + len(block), step.ending)

    def _odd(self, step: Oddity, message_id: int) -> bytes:
        head = encode_message(message_id=message_id)[: HEADER_BYTES - TAIL.size]
        message = head + TAIL.pack(step.tail, self.contiguous)
        return message.ljust(step.size, b"?")[: step.size]

    def _difference(self, end: int, ending: int) -> str | None:
        if end > self.contiguous + RECEIVE_WINDOW:
            return None
        if ending == SUCCESS | FAILURE:
            return BOTH_OUTCOMES
        if self.total is not None:
            if end > self.total or (
                ending and (end, ending) != (self.total, self.ending)
            ):
                return CONTRADICTION
        elif ending:
            if end < self.furthest:
                return CONTRADICTION
            self.total, self.ending = end, ending
        self.furthest = max(self.furthest, end)
        return None


class SteppedStream:
    """A stream of ours whose owner reads at once."""

    def __init__(self) -> None:
        self._now = 0.0
        self._received = bytearray()
        self.stream = Stream(
            random_bytes=random.Random(1).randbytes, now=self._now, client=False
        )

    def take(self, message: bytes) -> None:
        """Have a message come in."""
        self._now += 0.001
        self.stream.receive([message], self._now)
        self._received += self.stream.read()
        self.stream.messages_to_send(self._now)

    @property
    def acknowledged(self) -> int:
        """Up to where all is there, the end being one position more."""
        receiver = self.stream._receiver
        ranges = receiver.acknowledgment()
        return ranges[0][1] if ranges and ranges[0][0] == 0 else 0

    @property
    def received(self) -> bytes:
        """Give what was read."""
        return bytes(self._received)


blocks = st.one_of(
    st.builds(
        Block,
        anchor=st.just("next"),
        offset=st.integers(-1500, 3000),
        size=st.integers(0, MAX_BLOCK_BYTES),
        named=st.booleans(),
    ),
    st.builds(Block, st.just("next"), st.just(0), st.integers(1, MAX_BLOCK_BYTES)),
    st.builds(
        Block,
        anchor=st.just("start"),
        offset=st.integers(0, 4000),
        size=st.integers(0, MAX_BLOCK_BYTES),
    ),
    st.builds(
        Block,
        anchor=st.just("window"),
        offset=st.integers(-2, 2),
        size=st.integers(1, MAX_BLOCK_BYTES),
    ),
)
ends = st.builds(
    Block,
    anchor=st.sampled_from(["next", "start"]),
    offset=st.integers(0, 3000),
    size=st.sampled_from([0, 1, MAX_BLOCK_BYTES]),
    ending=st.sampled_from([SUCCESS, FAILURE, SUCCESS | FAILURE]),
)
oddities = st.builds(
    Oddity,
    tail=st.sampled_from([MAX_BLOCK_BYTES + 1, 2047, 1 << 13, 1 << 15, 600, 0]),
    size=st.sampled_from([MESSAGE_UNIT, 32, HEADER_BYTES, *SIZE_CLASSES[:3]]),
)
courses = st.lists(
    st.one_of(blocks, blocks, blocks, ends, oddities), min_size=1, max_size=MOST_STEPS
)

WHOLE: Sequence[Step] = (
    Block("next", 600, 400),
    Block("next", 0, 300),
    Block("next", -100, 500),
    Oddity(1 << 13, 192),
    Block("start", 0, 1000),
    Block("window", 1, 10),
    Block("next", 0, 24, SUCCESS),
    Block("start", 0, 1000),
    Block("start", 1000, 24, named=False),
)
"""Gaps, overlaps, repeats, and in the end a whole stream."""


class DifferentialTests(SynchronousTestCase):
    """Two message tools, one course of messages."""

    def setUp(self) -> None:
        self.met: set[str] = set()
        self.count = 0

    def handler(self, kind: str) -> SteppedHandler:
        """Start a tool that ends with the test at the latest."""
        self.count += 1
        handler = SteppedHandler(kind, os.path.abspath(f"{self.mktemp()}.{kind}"))
        self.addCleanup(handler.close)
        return handler

    def compare(self, steps: Sequence[Step]) -> int:
        """Feed the reference and a stream of ours until they may differ.

        :return: how many bytes were delivered.
        """
        reference, ours = self.handler(REFERENCE), SteppedStream()
        course = Course()
        for number, step in enumerate(steps, 1):
            message, difference = course.encode(step, number)
            theirs = reference.take(message)[-1].ranges
            ours.take(message)
            course.contiguous = len(ours.received)
            if difference is not None:
                self.met.add(difference)
                self.look_at(difference, ours, steps)
                break
            acknowledged = theirs[0][1] if theirs else 0
            self.assertEqual(ours.acknowledged, acknowledged, (number, steps))
        delivered = reference.close()
        self.assertTrue(delivered.startswith(ours.received), steps)
        if difference is None:
            self.assertEqual(len(ours.received), len(delivered), steps)
        return len(delivered)

    def look_at(
        self, difference: str, ours: SteppedStream, steps: Sequence[Step]
    ) -> None:
        """Check what a listed difference comes to."""
        self.assertIn(difference, DIFFERENCES)
        failure = ours.stream.failure
        if difference == CONTRADICTION:
            self.assertIsInstance(failure, (StreamBroken, PeerFailed), steps)
        else:
            self.assertFalse(isinstance(failure, StreamBroken), steps)

    def test_any_course(self) -> None:
        """Whatever comes: the same acknowledgments, and the same bytes."""

        @settings(max_examples=EXAMPLES)
        @given(courses)
        def check(steps: list[Step]) -> None:
            self.compare(steps)

        check()
        figures.note(
            "G5",
            figures.OURS,
            f"{EXAMPLES} courses: the same bytes and acknowledgments",
        )

    def test_long_course(self) -> None:
        """So it goes on beyond the window, where the reference's ring begins anew."""
        chance = random.Random(4)
        steps = [
            Block("next", chance.choice((-700, -1, 0, 0, 1, 900)), MAX_BLOCK_BYTES)
            for _ in range(LONG)
        ]
        delivered = self.compare(steps)
        self.assertGreater(delivered, RECEIVE_WINDOW)

    def test_differences(self) -> None:
        """Each listed difference exists: the reference does what the list says."""
        end = Block("start", 10, 0, SUCCESS)
        late = [Block("start", 0, 10), end, Block("start", 0, 30)]
        both = [Block("start", 0, 30, SUCCESS | FAILURE)]
        for steps, difference, acknowledged in (
            (late, CONTRADICTION, 30),
            (both, BOTH_OUTCOMES, 31),
        ):
            with self.subTest(difference=difference):
                self.compare(steps)
                self.assertEqual(self.met, {difference})
                self.met.clear()
                reference = self.handler(REFERENCE)
                course = Course()
                for number, step in enumerate(steps, 1):
                    message, _ = course.encode(step, number)
                    answer = reference.take(message)[-1]
                self.assertGreaterEqual(answer.ranges[0][1], acknowledged)

    def test_whole(self) -> None:
        """Our tool does as our stream does, and as the reference."""
        results: list[tuple[list[int], bytes]] = []
        for kind in (REFERENCE, OURS):
            handler = self.handler(kind)
            course = Course()
            seen = []
            for number, step in enumerate(WHOLE, 1):
                message, difference = course.encode(step, number)
                self.assertIsNone(difference)
                ranges = handler.take(message)[-1].ranges
                seen.append(ranges[0][1] if ranges and not ranges[0][0] else 0)
                course.contiguous = min(seen[-1], 1024)
            results.append((seen, handler.close()))
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0][1], bytes_at(0, 1024))
        self.compare(WHOLE)
