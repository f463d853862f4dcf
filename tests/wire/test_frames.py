"""The framing of messages on pipes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import BadFrame
from curvecp_tx.wire.frames import (
    MAX_FRAME_BYTES,
    MAX_LENGTH_BYTE,
    FrameDecoder,
    encode_frame,
    pack_frames,
)

SIZES = [16 * units for units in range(1, 69)]
MESSAGES = st.builds(
    lambda size, fill: bytes([fill]) * size,
    st.sampled_from(SIZES),
    st.integers(0, 255),
)
BAD_LENGTHS = [0, *range(69, 256)]


class EncodeTests(SynchronousTestCase):
    """From messages to a stream."""

    def test_length_byte(self) -> None:
        """A frame is the message's size in units of 16, then the message."""
        for size in SIZES:
            frame = encode_frame(b"m" * size)
            self.assertEqual(frame, bytes([size // 16]) + b"m" * size)

    def test_limits(self) -> None:
        """A frame has at most 1089 bytes: less than the least PIPE_BUF of Linux."""
        self.assertEqual(MAX_LENGTH_BYTE, 68)
        self.assertEqual(MAX_FRAME_BYTES, 1089)

    @given(st.lists(MESSAGES, max_size=30), st.integers(MAX_FRAME_BYTES, 5000))
    def test_pack(self, messages: list[bytes], limit: int) -> None:
        """Chunks keep order and limit, hold whole frames, and are as few as may be."""
        chunks = pack_frames(messages, limit)
        self.assertEqual(
            b"".join(chunk for _, chunk in chunks),
            b"".join(map(encode_frame, messages)),
        )
        self.assertEqual(sum(count for count, _ in chunks), len(messages))
        for count, chunk in chunks:
            self.assertLessEqual(len(chunk), limit)
            self.assertEqual(len(FrameDecoder().feed(chunk)), count)
        for (_, chunk), (_, following) in pairwise(chunks):
            self.assertGreater(len(chunk) + 1 + 16 * following[0], limit)

    def test_pack_nothing(self) -> None:
        """No messages make no chunks."""
        self.assertEqual(pack_frames([], MAX_FRAME_BYTES), [])


class DecodeTests(SynchronousTestCase):
    """From a stream to messages."""

    def test_every_size(self) -> None:
        """Each legal message comes out of its frame."""
        for size in SIZES:
            message = bytes(range(16)) * (size // 16)
            decoder = FrameDecoder()
            self.assertEqual(decoder.feed(encode_frame(message)), [message])
            self.assertFalse(decoder.in_frame)

    def test_split_everywhere(self) -> None:
        """A stream that is cut at any place gives the same messages."""
        messages = [b"a" * 16, b"b" * 1088, b"c" * 32]
        stream = b"".join(map(encode_frame, messages))
        ends = {0, 17, 17 + 1089, len(stream)}
        for cut in range(len(stream) + 1):
            decoder = FrameDecoder()
            first = decoder.feed(stream[:cut])
            self.assertEqual(decoder.in_frame, cut not in ends)
            self.assertEqual(first + decoder.feed(stream[cut:]), messages)
            self.assertFalse(decoder.in_frame)

    def test_byte_by_byte(self) -> None:
        """A stream that comes in single bytes gives the same messages."""
        messages = [b"a" * 16, b"b" * 640, b"c" * 1088]
        decoder = FrameDecoder()
        found = []
        for byte in b"".join(map(encode_frame, messages)):
            found += decoder.feed(bytes([byte]))
        self.assertEqual(found, messages)

    @given(st.lists(MESSAGES, max_size=8), st.lists(st.integers(0, 9000), max_size=8))
    def test_any_split(self, messages: list[bytes], cuts: list[int]) -> None:
        """Cut anywhere and any number of times: the messages stay the same."""
        stream = b"".join(map(encode_frame, messages))
        places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        decoder = FrameDecoder()
        found = []
        for start, end in pairwise(places):
            found += decoder.feed(stream[start:end])
        self.assertEqual(found, messages)
        self.assertFalse(decoder.in_frame)

    def test_nothing(self) -> None:
        """No bytes give no messages and change nothing."""
        decoder = FrameDecoder()
        self.assertEqual(decoder.feed(b""), [])
        self.assertFalse(decoder.in_frame)

    def test_bad_length(self) -> None:
        """A length byte that is not 1 to 68 is an error that names it."""
        for length in BAD_LENGTHS:
            error = self.assertRaises(BadFrame, FrameDecoder().feed, bytes([length]))
            self.assertEqual(error.messages, [])
            self.assertTrue(str(error).endswith(f": {length}"))

    def test_messages_before_bad_length(self) -> None:
        """What was complete before the bad byte is not lost."""
        decoder = FrameDecoder()
        first = encode_frame(b"a" * 32)
        self.assertEqual(decoder.feed(first[:5]), [])
        stream = first[5:] + encode_frame(b"b" * 16) + b"\0"
        error = self.assertRaises(BadFrame, decoder.feed, stream)
        self.assertEqual(error.messages, [b"a" * 32, b"b" * 16])

    @given(st.lists(st.binary(max_size=300), max_size=20))
    def test_anything(self, pieces: list[bytes]) -> None:
        """Any input gives legal messages or BadFrame, and little is held back."""
        decoder = FrameDecoder()
        found: list[bytes] = []
        taken = b""
        for piece in pieces:
            taken += piece
            try:
                found += decoder.feed(piece)
            except BadFrame as error:
                found += error.messages
                self.assertIn(taken[sum(len(m) + 1 for m in found)], BAD_LENGTHS)
                break
        frames = b"".join(map(encode_frame, found))
        self.assertTrue(taken.startswith(frames))
        for message in found:
            self.assertIn(len(message), SIZES)
