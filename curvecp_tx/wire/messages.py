"""The message format of the stream layer: a header of 48 bytes, zeros, a block.

======  =====  ================================================================
offset  bytes  field
======  =====  ================================================================
0       4      message ID; 0 asks for no acknowledgment
4       4      ID of the message that this one acknowledges, or 0
8       8      size of the first acknowledged range, which begins at 0
16      4      gap to the second range
20      18     sizes (2 bytes) of ranges 2 to 6, and the gaps (2) between them
38      2      size of the block, plus 2048 (success) or 4096 (failure) at the end
40      8      position of the block in the stream
48             zeros that fill the message up to one of four sizes
end-D   D      the block, at the very end
======  =====  ================================================================

All integers are unsigned little-endian.

Receivers ignore what fills a message, and at least 16 bytes do. Our own ends put
the receiver's limit there, which the format lacks: eight bytes that say so, and a
position up to which the receiver has room. Where more room is, further ranges follow,
each as a gap (4 bytes) and a size (4), up to one of size 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES

HEADER_BYTES = 48
MAX_BLOCK_BYTES = 1024

SMALL_BLOCK_BYTES = 512
"""A block of this size travels in a message of 576 bytes, and so fits into an
Initiate packet, which holds 640."""

SUCCESS = 2048
FAILURE = 4096
"""How a stream ends, in the block that reaches its end."""

MAX_STREAM_BYTES = 2**60 - 1
MAX_RANGES = 6
MAX_FIRST_GAP = 2**32 - 1
MAX_RANGE_BYTES = 2**16 - 1
"""Of all ranges but the first, and of all gaps but the first."""

SIZE_CLASSES = (192, 320, 576, 1088)
"""Messages have these sizes only, so that their length tells a spy little."""

NO_READER = 2**64 - 1
"""The limit that says: nobody reads any more, whatever comes is thrown away."""

LIMIT_TAG = b"tx-limit"
MORE_TAG = b"tx-more?"
"""What announces a limit; the second says besides that its sender has more to send
than the other end's limit lets it. Zeros stand there otherwise, and if somebody fills
with random bytes, one message in 2^63 looks like this."""

_CLASS_OVERHEAD = 64
_PAIR_BYTES = 8
_LIMIT = struct.Struct("<8sQ")
_HEADER = struct.Struct("<IIQI10HQ")
_PLAIN_HEADER = struct.Struct("<IIQ22xHQ")
"""The same with the first range at the most, as nearly all messages are."""

_BEYOND = slice(16, 38)
_NOTHING_BEYOND = bytes(22)
_FLAGS = SUCCESS | FAILURE
_DATA_HEADER = struct.Struct("<I34xHQ")
_NO_ACKNOWLEDGMENT = bytes(34)
_FULL_BYTES = _CLASS_OVERHEAD + MAX_BLOCK_BYTES

Range = tuple[int, int]
"""Half-open: first position in it, first position after it."""


class Message(NamedTuple):
    """A message taken apart.

    ``ranges`` holds what is acknowledged, without empty or adjacent ranges.
    ``block`` is ``None`` if the message has no usable block; ``ending`` is 0,
    SUCCESS or FAILURE. ``limit`` is the position up to which its sender receives,
    ``None`` from a peer that does not tell; ``wants_more`` tells whether it has more
    to send than our limit lets it.
    """

    message_id: int
    acknowledged_id: int
    ranges: Sequence[Range]
    position: int
    block: bytes | None
    ending: int
    limit: int | None = None
    wants_more: bool = False


def encode_message(
    *,
    message_id: int = 0,
    acknowledged_id: int = 0,
    ranges: Sequence[Range] = (),
    position: int = 0,
    block: bytes = b"",
    ending: int = 0,
    limit: int | None = None,
    wants_more: bool = False,
) -> bytes:
    """Build a message in the smallest size that holds its block.

    :param ranges: ascending, disjoint, not adjacent; the first counts as such
        only if it begins at 0. What the fields cannot express is left out.
    :param limit: the position up to which we receive. Ranges beyond the sixth travel
        only in its company, and as far as there is room beside the block.
    """
    size = len(block)
    for total in SIZE_CLASSES:
        if size + _CLASS_OVERHEAD <= total:
            break
    fields: Sequence[int] = ()
    if not ranges or (len(ranges) == 1 and not ranges[0][0]):
        first = ranges[0][1] if ranges else 0
        header = _PLAIN_HEADER.pack(
            message_id, acknowledged_id, first, size | ending, position
        )
    else:
        first, fields, end = _encode_ranges(ranges)
        header = _HEADER.pack(
            message_id, acknowledged_id, first, *fields, size | ending, position
        )
    if limit is None:
        return b"".join((header, bytes(total - HEADER_BYTES - size), block))
    room = total - _CLASS_OVERHEAD - size
    more = b""
    if len(fields) == 2 * (MAX_RANGES - 1) and fields[-1]:
        more = _encode_more(ranges, end, room)
    limited = _LIMIT.pack(MORE_TAG if wants_more else LIMIT_TAG, limit)
    return b"".join((header, limited, more, bytes(room - len(more)), block))


def encode_data(
    message_ids: Iterable[int],
    blocks: Iterable[tuple[int, bytes]],
    limit: int,
    wants_more: bool = False,
) -> list[bytes]:
    """Build messages that hold a full block each, and acknowledge nothing.

    :param blocks: position and bytes of each, 1024 of them.
    """
    filling = _LIMIT.pack(MORE_TAG if wants_more else LIMIT_TAG, limit)
    pack = _DATA_HEADER.pack
    return [
        pack(message_id, MAX_BLOCK_BYTES, position) + filling + block
        for message_id, (position, block) in zip(message_ids, blocks, strict=True)
    ]


def decode_data(message: bytes) -> tuple[int, int, int | None, bool] | None:
    """Take a message apart as :func:`encode_data` builds it.

    :return: ID, position, limit and whether more is wanted; the block is the last
        1024 bytes. ``None`` for any other message, however good.
    """
    if len(message) != _FULL_BYTES or message[4:38] != _NO_ACKNOWLEDGMENT:
        return None
    message_id, tail, position = _DATA_HEADER.unpack_from(message)
    if tail != MAX_BLOCK_BYTES or position > MAX_STREAM_BYTES - MAX_BLOCK_BYTES:
        return None
    tag, limit = _LIMIT.unpack_from(message, HEADER_BYTES)
    wants_more = tag == MORE_TAG
    told = wants_more or tag == LIMIT_TAG
    return message_id, position, limit if told else None, wants_more


def decode_message(message: bytes) -> Message | None:
    """Take a message apart; ``None`` if it is too short or too long to be one.

    A message with an impossible block still acknowledges what it acknowledges.
    """
    if not HEADER_BYTES <= len(message) <= MAX_MESSAGE_BYTES:
        return None
    message_id, acknowledged_id, first, tail, position = _PLAIN_HEADER.unpack_from(
        message
    )
    ranges: list[Range] = [(0, first)] if first else []
    full = False
    if message[_BEYOND] != _NOTHING_BEYOND:
        fields = _HEADER.unpack_from(message)[3:-2]
        end = _decode_ranges(ranges, first, fields)
        full = fields[-1] > 0
    size, ending = tail & ~_FLAGS, tail & _FLAGS
    block = None
    if (
        size <= MAX_BLOCK_BYTES
        and HEADER_BYTES + size <= len(message)
        and ending != _FLAGS
        and position + size <= MAX_STREAM_BYTES + (not size and not ending)
    ):
        block = message[len(message) - size :]
    limit, tag = None, message[48:56]
    wants_more = tag == MORE_TAG
    if (wants_more or tag == LIMIT_TAG) and len(message) >= _CLASS_OVERHEAD + size:
        _, limit = _LIMIT.unpack_from(message, HEADER_BYTES)
        if full:
            room = (len(message) - _CLASS_OVERHEAD - size) // _PAIR_BYTES
            more = struct.unpack_from(f"<{2 * room}I", message, _CLASS_OVERHEAD)
            if 0 in more[1::2]:
                more = more[: 2 * more[1::2].index(0)]
            _decode_ranges(ranges, end, more)
    else:
        wants_more = False
    return Message(
        message_id, acknowledged_id, ranges, position, block, ending, limit, wants_more
    )


def _decode_ranges(ranges: list[Range], end: int, fields: Sequence[int]) -> int:
    """Append what gaps and sizes say from ``end`` on; give the new end."""
    for gap, size in zip(fields[::2], fields[1::2], strict=True):
        start = end + gap
        end = start + size
        if not size:
            continue
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, end))
    return end


def _encode_ranges(ranges: Iterable[Range]) -> tuple[int, list[int], int]:
    """Give the size of the first range, gaps and sizes of the other five, their end."""
    wanted = 2 * (MAX_RANGES - 1)
    first = 0
    fields: list[int] = []
    end = 0
    for start, stop in ranges:
        if start == 0:
            first = end = stop
            continue
        if len(fields) >= wanted:
            break
        if start - end > (MAX_RANGE_BYTES if fields else MAX_FIRST_GAP):
            break
        # A range that is too long for its field goes on in the next one.
        while end < stop and len(fields) < wanted:
            start = max(start, end)
            size = min(stop - start, MAX_RANGE_BYTES)
            fields += start - end, size
            end = start + size
    fields += [0] * (wanted - len(fields))
    return first, fields, first + sum(fields)


def _encode_more(ranges: Iterable[Range], end: int, room: int) -> bytes:
    """Give gaps and sizes of ranges beyond ``end``, in at most ``room`` bytes.

    The highest are the latest, as a rule. Those between have been told before.
    """
    beyond = [(max(start, end), stop) for start, stop in ranges if stop > end]
    fields: list[int] = []
    for start, stop in beyond[-(room // _PAIR_BYTES) :] if room >= _PAIR_BYTES else ():
        if max(start - end, stop - start) > MAX_FIRST_GAP:
            break
        fields += start - end, stop - start
        end = stop
    return struct.pack(f"<{len(fields)}I", *fields)
