"""Framing on descriptors 8 and 9 of a message handler.

A frame is one length byte n, 1 to 68, and 16·n bytes: exactly one message. The
pipes are non-blocking, so a read may end anywhere, even inside a frame.
"""

from __future__ import annotations

from collections.abc import Iterable

from curvecp_tx.errors import BadFrame
from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES, MESSAGE_UNIT

MAX_LENGTH_BYTE = MAX_MESSAGE_BYTES // MESSAGE_UNIT
MAX_FRAME_BYTES = 1 + MAX_MESSAGE_BYTES
"""Less than PIPE_BUF: a pipe takes a whole frame at once, or nothing of it."""

_LENGTH_BYTES = tuple(bytes([n]) for n in range(MAX_LENGTH_BYTE + 1))


def encode_frame(message: bytes) -> bytes:
    """Frame one message; its size must be legal already."""
    return _LENGTH_BYTES[len(message) // MESSAGE_UNIT] + message


def pack_frames(messages: Iterable[bytes], limit: int) -> list[tuple[int, bytes]]:
    """Join the frames of ``messages`` into as few chunks as ``limit`` allows.

    :param limit: greatest size of a chunk in bytes, at least ``MAX_FRAME_BYTES``.
    :return: for each chunk, how many frames it holds and its bytes.
    """
    chunks: list[tuple[int, bytes]] = []
    frames: list[bytes] = []
    size = 0
    for message in messages:
        frame = encode_frame(message)
        if size + len(frame) > limit:
            chunks.append((len(frames), b"".join(frames)))
            frames, size = [], 0
        frames.append(frame)
        size += len(frame)
    if frames:
        chunks.append((len(frames), b"".join(frames)))
    return chunks


class FrameDecoder:
    """Turns pieces of a stream of frames into messages.

    Holds at most the bytes of one unfinished frame between two calls.
    """

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    @property
    def in_frame(self) -> bool:
        """Whether the stream would end inside a frame if it ended now."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes of the stream and give the messages now complete.

        :raises BadFrame: at a length byte that is not 1 to 68. Messages before
            it are on its ``messages``; the decoder is of no further use.
        """
        data = self._pending + data
        messages: list[bytes] = []
        position = 0
        available = len(data)
        while position < available:
            units = data[position]
            if not 1 <= units <= MAX_LENGTH_BYTE:
                raise BadFrame(units, messages)
            end = position + 1 + units * MESSAGE_UNIT
            if end > available:
                break
            messages.append(data[position + 1 : end])
            position = end
        self._pending = data[position:]
        return messages
