"""Messages that arrive together: nothing but the cost may differ."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import PeerStopped
from curvecp_tx.stream.randomness import IdSource
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import (
    MAX_BLOCK_BYTES,
    NO_READER,
    SUCCESS,
    encode_message,
)

NOW = 100.0
CONTENT = random.Random(9).randbytes(40 * MAX_BLOCK_BYTES)


def full(number: int, message_id: int | None = None, limit: int | None = None) -> bytes:
    """Build the message of a full block."""
    return part(number * MAX_BLOCK_BYTES, MAX_BLOCK_BYTES, message_id, limit=limit)


def part(
    start: int,
    size: int,
    message_id: int | None = None,
    ending: int = 0,
    limit: int | None = None,
) -> bytes:
    """Build a message with some of the content."""
    return encode_message(
        message_id=1000 + start if message_id is None else message_id,
        position=start,
        block=CONTENT[start : start + size],
        ending=ending,
        limit=limit,
    )


messages = st.one_of(
    st.builds(full, st.integers(0, 30)),
    st.builds(full, st.integers(0, 5), st.integers(0, 2)),
    st.builds(full, st.integers(0, 5), limit=st.sampled_from([0, 1 << 17, NO_READER])),
    st.builds(part, st.integers(0, 4000), st.integers(0, MAX_BLOCK_BYTES)),
    st.builds(
        part,
        st.sampled_from([0, 2048, 5000]),
        st.sampled_from([0, MAX_BLOCK_BYTES]),
        # Not FAILURE: whether it or a contradiction comes first may depend on runs.
        ending=st.just(SUCCESS),
    ),
    st.just(b"x" * 32),
)
runs = st.builds(
    lambda first, count: [full(number) for number in range(first, first + count)],
    st.integers(0, 3),
    st.integers(0, 12),
)
batches = st.lists(st.one_of(runs, st.lists(messages, max_size=6)), max_size=8)


class TogetherTests(SynchronousTestCase):
    """Streams that get the same messages, together or one by one."""

    def make(self) -> Stream:
        """Make a stream that has sent something."""
        stream = Stream(random_bytes=random.Random(1).randbytes, now=NOW, client=False)
        stream.write(CONTENT[:3000])
        stream.messages_to_send(NOW)
        return stream

    @given(batches, st.booleans())
    def test_together(self, batches: Sequence[list[bytes]], reading: bool) -> None:
        """What is delivered, acknowledged, and thought of the peer is the same."""
        together, singly = self.make(), self.make()
        for batch in batches:
            together.receive(batch, NOW)
            for message in batch:
                singly.receive([message], NOW)
            states = [
                (
                    stream._receiver.acknowledgment(),
                    stream.failure is None,
                    stream.complete,
                    stream.read() if reading else b"",
                )
                for stream in (together, singly)
            ]
            self.assertEqual(*states)
        self.assertEqual(together.read(), singly.read())

    def test_no_reader(self) -> None:
        """A peer that stops in the middle of a run has stopped."""
        stream = self.make()
        stream.receive([full(0), full(1, limit=NO_READER), full(2)], NOW)
        self.assertIsInstance(stream.failure, PeerStopped)

    def test_no_id(self) -> None:
        """A block that wants no answer ends a run, and counts all the same."""
        stream = self.make()
        stream.receive([full(0), full(1, message_id=0), full(2)], NOW)
        self.assertEqual(stream.read(), CONTENT[: 3 * MAX_BLOCK_BYTES])


class IdTests(SynchronousTestCase):
    """Several IDs at once."""

    def test_many(self) -> None:
        """There are as many as were asked for, all different."""
        source = IdSource(random.Random(2).randbytes)
        for count in (0, 1, 100, 1000):
            self.assertEqual(len(set(source.take_many(count))), count)

    def test_not_good_enough(self) -> None:
        """Zeros and repeats are replaced."""
        pieces = [bytes(4) + b"\1\0\0\0" * 2 + b"\2\0\0\0"]

        def pieces_first(size: int) -> bytes:
            return pieces.pop() if pieces else random.Random(3).randbytes(size)

        found = IdSource(pieces_first).take_many(4)
        self.assertEqual(len(set(found)), 4)
        self.assertTrue({1, 2} < set(found))
        self.assertNotIn(0, found)
