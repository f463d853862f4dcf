"""Prints the known answers about messages and names: ``>messages.json``.

Like its neighbour it knows the tables of the protocol, and nothing of the package.
"""

from __future__ import annotations

import json
import struct
from typing import Any

Vector = dict[str, Any]
Pair = tuple[int, int]

ABOUT = (
    "Messages of the stream format, and server names. 'message' is what was in the "
    "box, in hexadecimal. 'decodes' is what it says: ranges are half-open, 'end' is "
    "null, success or failure. 'error' is why it is no message, or has no usable "
    "block; in the second case the rest counts, and is under 'decodes'. "
    "'canonical' marks messages that an encoder gives for these fields. 'sent' is "
    "how much of its own stream the receiver has sent: to acknowledge more is an "
    "error. The 'encoded' form of a name comes before zeros that fill 256 bytes; "
    "'field' is such a form that no text has."
)
SUCCESS, FAILURE = 2048, 4096
ENDS = {0: None, SUCCESS: "success", FAILURE: "failure"}


def header(
    identity: int = 0,
    acknowledged: int = 0,
    first: int = 0,
    pairs: tuple[Pair, ...] = (),
    tail: int = 0,
    position: int = 0,
) -> bytes:
    fields = [number for pair in pairs for number in pair]
    fields += [0] * (10 - len(fields))
    return struct.pack(
        "<IIQI10HQ",
        identity,
        acknowledged,
        first,
        *fields,
        tail,
        position,
    )


def data(size: int) -> bytes:
    return bytes(1 + n % 251 for n in range(size))


def message(
    name: str,
    total: int,
    *,
    identity: int = 0,
    acknowledged: int = 0,
    first: int = 0,
    pairs: tuple[Pair, ...] = (),
    block: int = 0,
    end: int = 0,
    position: int = 0,
    ranges: list[list[int]] | None = None,
    canonical: bool = True,
    error: str | None = None,
    **more: Any,
) -> Vector:
    """Put a vector together; ``ranges`` where they are not just the first."""
    start = header(identity, acknowledged, first, pairs, block | end, position)
    room = total - len(start) - block
    content = (
        start + bytes(room) + data(block) if room >= 0 else start.ljust(total, b"\0")
    )
    if ranges is None:
        ranges = [[0, first]] if first else []
    decodes: Vector = {
        "id": identity,
        "acknowledged": acknowledged,
        "ranges": ranges,
    }
    if error is None or "sent" in more:
        decodes |= {"position": position, "block": data(block).hex(), "end": ENDS[end]}
    vector = {"name": name, "message": content.hex(), "decodes": decodes, **more}
    if error is None:
        vector["canonical"] = canonical
    else:
        vector["error"] = error
    return vector


def no_message(name: str, content: bytes) -> Vector:
    return {"name": name, "message": content.hex(), "error": "bad size"}


def good_messages() -> list[Vector]:
    spread = ((10, 10), (20, 1), (1, 65535), (65535, 2), (5, 5))
    far, all_ranges = 100, [[0, 100]]
    for gap, size in spread:
        all_ranges.append([far + gap, far + gap + size])
        far += gap + size
    sizes = [
        message(f"block of {size} bytes", total, identity=size, block=size)
        for size, total in (
            (1, 192),
            (128, 192),
            (129, 320),
            (256, 320),
            (257, 576),
            (512, 576),
            (513, 1088),
            (1024, 1088),
        )
    ]
    return [
        message("ping", 192, identity=1),
        message("ping at a position", 192, identity=7, position=12345),
        message("greatest ID", 192, identity=2**32 - 1),
        message("acknowledgment", 192, acknowledged=1, first=5),
        message("acknowledgment of an ID alone", 192, acknowledged=0xDEADBEEF),
        message("six ranges", 192, first=100, pairs=spread, ranges=all_ranges),
        message("no first range", 192, pairs=((1000, 24),), ranges=[[1000, 1024]]),
        message("a long stream", 192, acknowledged=3, first=2**60 - 1),
        *sizes,
        message("block far out", 192, identity=9, block=16, position=2**60 - 17),
        message("end with a block", 192, identity=2, block=5, end=SUCCESS),
        message("end alone", 192, identity=3, position=5, end=SUCCESS),
        message("end of an empty stream", 192, identity=3, end=SUCCESS),
        message("failure", 320, identity=4, block=200, end=FAILURE, position=1),
        message(
            "block and acknowledgment",
            192,
            identity=5,
            acknowledged=6,
            first=9,
            block=3,
        ),
        message("block without ID", 192, block=3),
        message("least padding", 64, identity=1, block=16, canonical=False),
        message("least of all", 48, identity=1, canonical=False),
        message("odd size class", 1088, identity=1, block=3, canonical=False),
        message(
            "ranges that touch",
            192,
            first=10,
            pairs=((0, 5), (3, 2)),
            ranges=[[0, 15], [18, 20]],
            canonical=False,
        ),
        message(
            "empty ranges",
            192,
            pairs=((4, 0), (3, 2), (9, 0)),
            ranges=[[7, 9]],
            canonical=False,
        ),
        message("all that was sent", 192, acknowledged=1, first=100, sent=100),
    ]


def bad_messages() -> list[Vector]:
    return [
        no_message("empty", b""),
        no_message("cut header", header(1)[:47]),
        no_message("too long", header(1) + bytes(1056)),
        message("block of 1025 bytes", 1088, block=1025, error="block too long"),
        message(
            "block beyond the message",
            192,
            acknowledged=8,
            first=4,
            block=145,
            error="block beyond message",
        ),
        message("both ends", 192, identity=1, block=5, end=6144, error="two ends"),
        message("unknown flag", 192, identity=1, end=8192, error="block too long"),
        message(
            "block beyond the longest stream",
            192,
            identity=1,
            block=16,
            position=2**60 - 16,
            error="stream too long",
        ),
        message(
            "position beyond all",
            192,
            identity=1,
            position=2**64 - 1,
            error="stream too long",
        ),
        message(
            "first range never sent",
            192,
            acknowledged=1,
            first=102,
            sent=100,
            error="bad range",
        ),
        message(
            "later range never sent",
            192,
            acknowledged=1,
            first=50,
            pairs=((10, 41),),
            ranges=[[0, 50], [60, 101]],
            sent=100,
            error="bad range",
        ),
        message(
            "range as long as a number",
            192,
            acknowledged=1,
            first=2**64 - 1,
            sent=100,
            error="bad range",
        ),
    ]


def form(text: str) -> bytes:
    labels = [label for label in text.encode().split(b".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def names() -> list[Vector]:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    stray = form("a").ljust(255, b"\0") + b"\1"
    texts = ("this.machine.name", "a", "", "WWW.Example", "a" * 63, longest)
    return [
        *({"text": text, "encoded": form(text).hex()} for text in texts),
        {"text": "www.example.", "encoded": form("www.example").hex()},
        {"text": "www..example", "encoded": form("www.example").hex()},
        {"text": "a" * 64, "error": "long label"},
        {"text": "www." + "a" * 64 + ".org", "error": "long label"},
        {"text": longest + "d", "error": "long name"},
        {"text": ".".join("a" * 200), "error": "long name"},
        {"field": stray.hex(), "error": "bytes behind the end"},
        {"field": (bytes([64]) + b"a" * 64).hex(), "error": "long label"},
        {"field": (b"\x3f" + b"a" * 63).hex() * 4, "error": "no end"},
        {"field": b"\3a.b".hex(), "error": "dot in a label"},
    ]


def main() -> None:
    content = {
        "about": ABOUT,
        "messages": good_messages() + bad_messages(),
        "names": names(),
    }
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
