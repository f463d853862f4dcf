"""The message format of the stream layer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.wire.messages import (
    FAILURE,
    HEADER_BYTES,
    MAX_BLOCK_BYTES,
    MAX_FIRST_GAP,
    MAX_RANGE_BYTES,
    MAX_STREAM_BYTES,
    SIZE_CLASSES,
    SMALL_BLOCK_BYTES,
    SUCCESS,
    Message,
    Range,
    decode_message,
    encode_message,
)
from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "vectors.json").read_text("utf-8")
)["messages"]

IDS = st.integers(0, 2**32 - 1)
ENDINGS = st.sampled_from((0, SUCCESS, FAILURE))


def ranges_from(first: int, pairs: list[tuple[int, int]]) -> list[Range]:
    """Lay out ranges: the first from 0, the others by gap and size."""
    ranges = [(0, first)] if first else []
    end = first
    for gap, size in pairs:
        ranges.append((end + gap, end + gap + size))
        end += gap + size
    return ranges


GAPS_AND_SIZES = st.lists(
    st.tuples(st.integers(1, MAX_RANGE_BYTES), st.integers(1, MAX_RANGE_BYTES)),
    max_size=5,
)


def decoded(encoded: bytes) -> Message:
    """Decode what has to be a message."""
    message = decode_message(encoded)
    assert message is not None
    return message


class VectorTests(SynchronousTestCase):
    """Bytes that another implementation has sent or understood."""

    EXPECTED = (
        ("m1", Message(1, 0, [], 0, b"", 0)),
        ("m2", Message(0, 1, [], 0, b"", 0)),
        ("m3", Message(2, 0, [], 0, b"hello", SUCCESS)),
    )

    def test_encode(self) -> None:
        """A ping, an acknowledgment and a whole stream come out byte for byte."""
        for name, message in self.EXPECTED:
            encoded = encode_message(
                message_id=message.message_id,
                acknowledged_id=message.acknowledged_id,
                ranges=message.ranges,
                position=message.position,
                block=message.block or b"",
                ending=message.ending,
            )
            self.assertEqual(encoded.hex(), VECTORS[name]["hex"])
            self.assertEqual(len(encoded), VECTORS[name]["length"])
            digest = hashlib.sha256(encoded).hexdigest()
            self.assertEqual(digest, VECTORS[name]["sha256"])

    def test_decode(self) -> None:
        """The same bytes are understood."""
        for name, message in self.EXPECTED:
            self.assertEqual(
                decode_message(bytes.fromhex(VECTORS[name]["hex"])), message
            )


class EncodeTests(SynchronousTestCase):
    """From fields to bytes and back."""

    @given(
        IDS,
        IDS,
        st.integers(0, 2**60),
        GAPS_AND_SIZES,
        st.integers(0, MAX_STREAM_BYTES - MAX_BLOCK_BYTES),
        st.binary(max_size=MAX_BLOCK_BYTES),
        ENDINGS,
    )
    def test_round_trip(
        self,
        message_id: int,
        acknowledged_id: int,
        first: int,
        pairs: list[tuple[int, int]],
        position: int,
        block: bytes,
        ending: int,
    ) -> None:
        """What is put in comes out, padded to a usual size."""
        ranges = ranges_from(first, pairs)
        encoded = encode_message(
            message_id=message_id,
            acknowledged_id=acknowledged_id,
            ranges=ranges,
            position=position,
            block=block,
            ending=ending,
        )
        self.assertIn(len(encoded), SIZE_CLASSES)
        self.assertEqual(
            encoded[HEADER_BYTES : len(encoded) - len(block)].strip(b"\0"), b""
        )
        expected = Message(message_id, acknowledged_id, ranges, position, block, ending)
        self.assertEqual(decode_message(encoded), expected)

    def test_size_classes(self) -> None:
        """Four sizes, and 64 bytes at the least that are not block."""
        for size, total in (
            (0, 192),
            (1, 192),
            (128, 192),
            (129, 320),
            (256, 320),
            (257, 576),
            (512, 576),
            (513, 1088),
            (1024, 1088),
        ):
            encoded = encode_message(block=b"x" * size)
            self.assertEqual(len(encoded), total, size)
            self.assertEqual(encoded[total - size :], b"x" * size)

    def test_limits(self) -> None:
        """A small block fits into an Initiate; the largest into any other packet."""
        self.assertLessEqual(len(encode_message(block=bytes(SMALL_BLOCK_BYTES))), 640)
        self.assertEqual(SIZE_CLASSES[-1], MAX_MESSAGE_BYTES)

    def test_fields(self) -> None:
        """Each field has its place, and is little-endian."""
        encoded = encode_message(
            message_id=0x04030201,
            acknowledged_id=0x08070605,
            ranges=ranges_from(
                0x100F0E0D0C0B0A, [(3, 4), (5, 6), (7, 8), (9, 10), (11, 12)]
            ),
            position=0x0123,
            block=b"z",
            ending=FAILURE,
        )
        self.assertEqual(
            encoded[:HEADER_BYTES].hex(),
            "01020304"
            "05060708"
            "0a0b0c0d0e0f1000"
            "03000000"
            "0400"
            "05000600"
            "07000800"
            "09000a00"
            "0b000c00"
            "0110"
            "2301000000000000",
        )


class RangeTests(SynchronousTestCase):
    """Acknowledged ranges, and the fields that hold them."""

    def sent(self, *ranges: Range) -> list[Range]:
        """Give what of some ranges gets through."""
        return list(decoded(encode_message(ranges=ranges)).ranges)

    def test_no_first(self) -> None:
        """Nothing has to be there at the beginning."""
        self.assertEqual(self.sent((5, 9), (11, 12)), [(5, 9), (11, 12)])

    def test_too_many(self) -> None:
        """Six ranges fit, or five where none begins at 0; the lowest ones count."""
        many = [(10 * n, 10 * n + 5) for n in range(20)]
        self.assertEqual(self.sent(*many), many[:6])
        self.assertEqual(self.sent(*many[1:]), many[1:6])

    def test_first_gap(self) -> None:
        """The first gap has 32 bits; what lies farther off is left out."""
        fits = (MAX_FIRST_GAP + 1, MAX_FIRST_GAP + 2)
        self.assertEqual(self.sent((0, 1), fits), [(0, 1), fits])
        too_far = (MAX_FIRST_GAP + 2, MAX_FIRST_GAP + 3)
        self.assertEqual(self.sent((0, 1), too_far), [(0, 1)])

    def test_later_gaps(self) -> None:
        """The other gaps have 16 bits; what lies farther off is left out."""
        near = (MAX_RANGE_BYTES + 3, MAX_RANGE_BYTES + 4)
        self.assertEqual(self.sent((2, 3), near), [(2, 3), near])
        far = (MAX_RANGE_BYTES + 4, MAX_RANGE_BYTES + 5)
        self.assertEqual(self.sent((2, 3), far, (far[1] + 1, far[1] + 2)), [(2, 3)])

    def test_long(self) -> None:
        """A range that is too long for one field takes several, and is one again."""
        long = (1000, 1000 + 131_072)
        self.assertEqual(
            self.sent((0, 5), long, (140_000, 140_001))[1:], [long, (140_000, 140_001)]
        )

    def test_longest(self) -> None:
        """Five fields of ranges are all there are: the rest is left out."""
        self.assertEqual(self.sent((7, 10**6)), [(7, 7 + 5 * MAX_RANGE_BYTES)])

    @given(
        st.lists(st.integers(0, 200_000), max_size=40, unique=True).map(sorted),
    )
    def test_never_more(self, edges: list[int]) -> None:
        """What gets through is never more than what was to be said."""
        ranges = list(zip(edges[::2], edges[1::2], strict=False))
        for start, end in self.sent(*ranges):
            self.assertTrue(any(a <= start and end <= b for a, b in ranges))

    def test_empty(self) -> None:
        """Sizes of 0 acknowledge nothing; their gaps count."""
        header = bytearray(encode_message(acknowledged_id=1))
        header[16] = 5
        header[22] = 6
        header[24] = 7
        self.assertEqual(decoded(bytes(header)).ranges, [(11, 18)])


class DecodeTests(SynchronousTestCase):
    """Whatever comes."""

    @given(st.binary(max_size=1200))
    def test_anything(self, encoded: bytes) -> None:
        """Any bytes are a message or are none, and nothing raises."""
        message = decode_message(encoded)
        if message is None:
            self.assertFalse(HEADER_BYTES <= len(encoded) <= MAX_MESSAGE_BYTES)
        else:
            self.check(message, encoded)

    @given(st.binary(min_size=48, max_size=48), st.integers(0, 1040))
    def test_any_header(self, header: bytes, rest: int) -> None:
        """So it is with each header before any number of bytes."""
        encoded = header + bytes(rest)
        self.check(decoded(encoded), encoded)

    def check(self, message: Message, encoded: bytes) -> None:
        """Whatever is in a message is within the limits."""
        for start, end in message.ranges:
            self.assertLess(start, end)
        for (_, end), (start, _) in zip(
            message.ranges, message.ranges[1:], strict=False
        ):
            self.assertLess(end, start)
        if message.block is not None:
            self.assertLessEqual(len(message.block), MAX_BLOCK_BYTES)
            self.assertTrue(encoded.endswith(message.block))
            self.assertLessEqual(
                message.position + len(message.block), MAX_STREAM_BYTES
            )
            self.assertIn(message.ending, (0, SUCCESS, FAILURE))

    def test_length(self) -> None:
        """Less than a header, or more than a packet holds, is no message."""
        for size in (0, 16, 32, 47, MAX_MESSAGE_BYTES + 1, 2000):
            self.assertIsNone(decode_message(bytes(size)))
        for size in (48, 64, MAX_MESSAGE_BYTES):
            self.assertEqual(decode_message(bytes(size)), Message(0, 0, [], 0, b"", 0))

    def test_any_padding(self) -> None:
        """The block is at the very end, however much stands before it."""
        sent = encode_message(message_id=1, block=b"data", position=9)
        for padding in (0, 16, 500):
            message = decoded(sent[:48] + b"?" * padding + b"data")
            self.assertEqual((message.block, message.position), (b"data", 9))

    def unusable(self, tail: int, position: int = 0, size: int = 1088) -> None:
        """Ask that a size field spoils the block, and the block only."""
        encoded = bytearray(
            encode_message(message_id=3, acknowledged_id=7, ranges=[(0, 5)])
        )
        encoded[38:40] = tail.to_bytes(2, "little")
        encoded[40:48] = position.to_bytes(8, "little")
        message = decoded(bytes(encoded[:48]) + bytes(size - 48))
        self.assertIsNone(message.block, (tail, position, size))
        self.assertEqual((message.acknowledged_id, message.ranges), (7, [(0, 5)]))

    def test_unusable_size(self) -> None:
        """Too long a block, or unknown bits: only the acknowledgment counts."""
        for tail in (
            1025,
            2047,
            1025 | SUCCESS,
            8192,
            16384,
            32768,
            8192 | SUCCESS | 5,
        ):
            self.unusable(tail)

    def test_both_endings(self) -> None:
        """A stream does not end well and badly."""
        self.unusable(SUCCESS | FAILURE)
        self.unusable(SUCCESS | FAILURE | 10)

    def test_longer_than_message(self) -> None:
        """A block does not reach into the header."""
        self.unusable(17, size=64)
        self.unusable(1, size=48)

    def test_beyond_the_longest_stream(self) -> None:
        """A block does not reach beyond position 2^60 - 1."""
        for position, size in (
            (MAX_STREAM_BYTES, 1),
            (MAX_STREAM_BYTES - 1023, 1024),
            (MAX_STREAM_BYTES + 2, 0),
            (2**64 - 1, 1),
        ):
            self.unusable(size, position)
        last_ping = decoded(encode_message(position=MAX_STREAM_BYTES + 1))
        self.assertEqual(last_ping.block, b"")
        for position, size in ((MAX_STREAM_BYTES, 0), (MAX_STREAM_BYTES - 1024, 1024)):
            encoded = encode_message(
                position=position, block=bytes(size), ending=SUCCESS
            )
            self.assertEqual(decoded(encoded).block, bytes(size))
