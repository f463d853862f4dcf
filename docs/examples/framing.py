"""Frames on descriptors 8 and 9, for message handlers in plain Python.

Both pipes are non-blocking: a read may bring half a frame, a write may have to
wait. Nothing but the standard library is needed.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

MESSAGES_IN = 8
MESSAGES_OUT = 9
UNIT = 16


def receive(patience: float = 60.0) -> Iterator[bytes]:
    """Give the messages from descriptor 8, one after another, to its end.

    CurveCP has no packet that says goodbye: a peer that has been silent for
    ``patience`` seconds counts as gone.
    """
    pending = b""
    while True:
        if not select.select([MESSAGES_IN], [], [], patience)[0]:
            return
        try:
            data = os.read(MESSAGES_IN, 65536)
        except BlockingIOError:
            continue
        if not data:
            return
        pending += data
        while pending and len(pending) > pending[0] * UNIT:
            end = 1 + pending[0] * UNIT
            yield pending[1:end]
            pending = pending[end:]


def send(message: bytes) -> None:
    """Write a message of 16, 32 ... 1088 bytes to descriptor 9."""
    frame = bytes([len(message) // UNIT]) + message
    while True:
        select.select([], [MESSAGES_OUT], [])
        try:
            # A frame is smaller than PIPE_BUF: it goes whole or not at all.
            os.write(MESSAGES_OUT, frame)
        except BlockingIOError:
            continue
        return


def pad(text: str) -> bytes:
    """Turn a short text into a message: UTF-8, filled up with zeros."""
    data = text.encode()
    return data.ljust(max(UNIT, -(-len(data) // UNIT) * UNIT), b"\0")


def unpad(message: bytes) -> str:
    """Turn such a message into text again."""
    return message.rstrip(b"\0").decode("utf-8", "replace")
