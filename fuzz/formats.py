"""Targets: what turns bytes into values, without any state."""

from __future__ import annotations

from itertools import pairwise

from curvecp_tx.errors import BadAuthorizedKeys, BadFrame, BadName
from curvecp_tx.secure.authorized import (
    MAX_CLIENT_LIMIT,
    MAX_CLIENT_NAME_BYTES,
    AuthorizedKeys,
)
from curvecp_tx.wire.frames import (
    MAX_FRAME_BYTES,
    MAX_LENGTH_BYTE,
    FrameDecoder,
    encode_frame,
    pack_frames,
)
from curvecp_tx.wire.messages import (
    MAX_BLOCK_BYTES,
    MAX_RANGE_BYTES,
    MAX_STREAM_BYTES,
    SIZE_CLASSES,
    Range,
    decode_message,
    encode_message,
)
from curvecp_tx.wire.names import (
    MAX_ENCODED_NAME_BYTES,
    decode_server_name,
    encode_server_name,
    parse_extension,
    parse_key,
)
from curvecp_tx.wire.packets import (
    HELLO_BYTES,
    NAME_BYTES,
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    InitiateContents,
    is_message_size,
)
from fuzz.script import Script

COOKIE_CONTENT_BYTES = 128
INITIATE_CONTENT_BYTES = 352

LONGEST_RANGE = 1 << 24


def fuzz_packets(data: bytes) -> None:
    """Packets and what their boxes hold: taken apart and put together again."""
    hello = Hello.parse(data)
    if hello is not None:
        assert len(data) == HELLO_BYTES
        # What is in the place of the zeros is for extensions to come.
        assert hello.encode() == data[:72] + bytes(64) + data[136:]
    for kind in (Cookie, Initiate):
        packet = kind.parse(data)
        assert packet is None or packet.encode() == data
    opened = data.ljust(COOKIE_CONTENT_BYTES, b"\0")[:COOKIE_CONTENT_BYTES]
    assert CookieContents.parse(opened).encode() == opened
    opened = data.ljust(INITIATE_CONTENT_BYTES, b"\0")
    assert InitiateContents.parse(opened).encode() == opened


def fuzz_messages(data: bytes) -> None:
    """A message of the stream layer: taken apart, and said again in our words."""
    message = decode_message(data)
    if message is None:
        return
    check_ranges(message.ranges)
    block = message.block
    if block is None:
        return
    if message.ranges and message.ranges[-1][1] > MAX_STREAM_BYTES + 1:
        # It acknowledges what no stream has.
        return
    if any(end - start > LONGEST_RANGE for start, end in message.ranges if start):
        # No receiver has so much beyond a gap, and the encoder counts on that.
        return
    assert len(block) <= MAX_BLOCK_BYTES
    assert data.endswith(block)
    # The last ping is one position beyond the end.
    beyond = not block and not message.ending
    assert message.position + len(block) <= MAX_STREAM_BYTES + beyond
    encoded = encode_message(**{**message._asdict(), "block": block})
    assert len(encoded) in SIZE_CLASSES
    again = decode_message(encoded)
    assert again is not None
    assert again._replace(ranges=()) == message._replace(ranges=())
    check_ranges(again.ranges)
    for start, end in again.ranges:
        assert any(a <= start and end <= b for a, b in message.ranges)
    gaps = [start - end for (_, end), (start, _) in pairwise(message.ranges)]
    begins = not message.ranges or message.ranges[0][0] <= MAX_RANGE_BYTES
    if message.limit is None and begins and all(gap <= MAX_RANGE_BYTES for gap in gaps):
        assert list(again.ranges) == list(message.ranges)


def check_ranges(ranges: object) -> None:
    """Check that ranges ascend, and neither touch nor are empty."""
    assert isinstance(ranges, list)
    typed: list[Range] = ranges
    assert all(start < end for start, end in typed)
    assert all(end < start for (_, end), (start, _) in pairwise(typed))


def fuzz_frames(data: bytes) -> None:
    """Frames on descriptors 8 and 9, in pieces that end anywhere."""
    script = Script(data)
    sizes = [1 + script.byte() for _ in range(4)]
    stream = script.rest()
    whole, at_once, error = FrameDecoder(), [], False
    try:
        at_once = whole.feed(stream)
    except BadFrame as bad:
        at_once, error = list(bad.messages), True
    pieces = FrameDecoder()
    piecewise: list[bytes] = []
    position = turn = 0
    try:
        while position < len(stream):
            size = sizes[turn % len(sizes)]
            piecewise += pieces.feed(stream[position : position + size])
            position += size
            turn += 1
    except BadFrame as bad:
        piecewise += bad.messages
        assert error
    else:
        assert not error
        assert pieces.in_frame == whole.in_frame
    assert piecewise == at_once
    assert all(is_message_size(len(message)) for message in at_once)
    framed = b"".join(map(encode_frame, at_once))
    assert stream.startswith(framed)
    left = stream[len(framed) :]
    if error:
        assert not 1 <= left[0] <= MAX_LENGTH_BYTE
    else:
        assert len(left) < MAX_FRAME_BYTES
    chunks = pack_frames(at_once, MAX_FRAME_BYTES + sizes[0])
    assert b"".join(chunk for _, chunk in chunks) == framed
    assert sum(count for count, _ in chunks) == len(at_once)
    assert all(len(chunk) <= MAX_FRAME_BYTES + sizes[0] for _, chunk in chunks)


def fuzz_names(data: bytes) -> None:
    """Server names in both forms, keys and extensions in hexadecimal."""
    field = data.ljust(NAME_BYTES, b"\0")
    name = decode_server_name(field)
    if name is not None:
        assert encode_server_name(name) == field
    text = data.decode("utf-8", "surrogateescape")
    try:
        encoded = encode_server_name(text)
    except BadName:
        pass
    else:
        assert len(encoded) == NAME_BYTES
        assert not any(encoded[MAX_ENCODED_NAME_BYTES:])
        labels = [label for label in text.split(".") if label]
        assert decode_server_name(encoded) == ".".join(labels)
    for parse in (parse_key, parse_extension):
        value = parse(text)
        assert value is None or value.hex() == text.lower()


def fuzz_authorized(data: bytes) -> None:
    """A file of authorized keys."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        keys = AuthorizedKeys.parse(text)
    except BadAuthorizedKeys:
        return
    found = 0
    for line in text.split("\n"):
        words = line.split()
        key = parse_key(words[0]) if words else None
        client = None if key is None else keys.find(key)
        if client is None:
            continue
        found += 1
        assert client.key == key
        assert client.limit is None or 1 <= client.limit <= MAX_CLIENT_LIMIT
        if client.name is not None:
            assert client.name == words[1]
            assert len(client.name.encode()) <= MAX_CLIENT_NAME_BYTES
    assert found == len(keys)
