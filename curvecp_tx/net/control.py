"""What a server and its workers say to each other: values in frames, over pipes.

The server says ``start`` first, with all that a worker must know; then ``authorized``
when the list of keys has changed, ``stop``, and ``kill``. A worker says ``log`` for a
line of the log, and ``counters`` at its end. When the pipes close, the server is gone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys

SOCKET = 3
TABLE = 4
CONTROL_IN = 5
CONTROL_OUT = 6
"""A worker's descriptors. Its programs get none of them."""

Saying = dict[str, Any]
"""One thing that is said: a name and what belongs to it."""

_HEAD = struct.Struct("<I")


def encode(saying: Saying) -> bytes:
    """Make a frame."""
    body = json.dumps(saying).encode()
    return _HEAD.pack(len(body)) + body


class Decoder:
    """Finds the frames in what comes through a pipe."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterable[Saying]:
        """Take some bytes; give what is complete."""
        pending = self._pending + data
        while len(pending) >= _HEAD.size:
            end = _HEAD.size + _HEAD.unpack_from(pending)[0]
            if len(pending) < end:
                break
            saying, pending = pending[_HEAD.size : end], pending[end:]
            self._pending = pending
            yield json.loads(saying)
        self._pending = pending


def pack_keys(keys: AuthorizedKeys) -> list[tuple[str, str | None, int | None]]:
    """Turn authorized keys into what can be said."""
    return [(client.key.hex(), client.name, client.limit) for client in keys]


def unpack_keys(packed: Iterable[Any]) -> AuthorizedKeys:
    """Turn what was said into authorized keys."""
    return AuthorizedKeys(
        *(
            AuthorizedClient(bytes.fromhex(key), name, limit)
            for key, name, limit in packed
        )
    )
