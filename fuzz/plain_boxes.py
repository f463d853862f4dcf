"""Boxes that anybody can make, so that a fuzzer gets to what is behind them.

The machines are used as they are; in their modules, the three functions that do
cryptography are replaced. A box is then a tag and what it holds, and opens unless
its tag begins with 255. Only the boxes of cookies stay honest: their key never
leaves the server, and a used short-term key is forgotten when they cannot open.

The replacements look at what they are asked for: no nonce is used twice under a
key, and no Message is opened twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from curvecp_tx.secure import boxes, client, server
from curvecp_tx.secure.boxes import (
    CLIENT_MESSAGE_NONCE,
    MINUTE_NONCE,
    SERVER_MESSAGE_NONCE,
)
from curvecp_tx.wire.packets import KEY_BYTES, TAG_BYTES

FORGED = b"\xff"
"""How the tag of a box begins that does not open."""

MESSAGE_PREFIXES = (CLIENT_MESSAGE_NONCE, SERVER_MESSAGE_NONCE)

LOW_ORDER_KEY = bytes(KEY_BYTES)


def plain_box(content: bytes, *, forged: bool = False) -> bytes:
    """Make a box that opens, or one that does not."""
    return (FORGED if forged else b"").ljust(TAG_BYTES, b"\0") + content


class PlainBoxes:
    """The replacements, and what they have seen."""

    def __init__(self) -> None:
        self._sealed: set[tuple[bytes, bytes]] = set()
        self._opened: set[tuple[bytes, bytes]] = set()

    def shared_key(self, public: bytes, secret: bytes) -> bytes | None:
        """Give a key for two halves of pairs; ``None`` for one weak key."""
        assert len(public) == len(secret) == KEY_BYTES
        if public == LOW_ORDER_KEY:
            return None
        return blake2b(public + secret, digest_size=KEY_BYTES).digest()

    def seal(self, message: bytes, nonce: bytes, key: bytes) -> bytes:
        """Make a box."""
        assert len(nonce) == 24
        assert len(key) == KEY_BYTES
        assert (nonce, key) not in self._sealed, "a nonce was used twice"
        self._sealed.add((nonce, key))
        if nonce.startswith(MINUTE_NONCE):
            return _honest_tag(message, nonce, key) + message
        return plain_box(message)

    def unseal(self, box: bytes, nonce: bytes, key: bytes) -> bytes | None:
        """Open a box."""
        assert len(nonce) == 24
        assert len(key) == KEY_BYTES
        assert len(box) >= TAG_BYTES
        content = box[TAG_BYTES:]
        if nonce.startswith(MINUTE_NONCE):
            honest = box.startswith(_honest_tag(content, nonce, key))
            return content if honest else None
        if box.startswith(FORGED):
            return None
        if nonce.startswith(MESSAGE_PREFIXES):
            assert (nonce, key) not in self._opened, "a Message counted twice"
            self._opened.add((nonce, key))
        return content

    def forget_opened(self) -> None:
        """Let everything be opened again: a connection begins anew."""
        self._opened.clear()


def _honest_tag(content: bytes, nonce: bytes, key: bytes) -> bytes:
    return blake2b(nonce + content, key=key, digest_size=TAG_BYTES).digest()


def _users() -> list[tuple[Any, str]]:
    """Find every module that calls one of the functions by its own name for it."""
    found = [
        (module, name)
        for path, module in sys.modules.items()
        if path.startswith("curvecp_tx.secure.") and module is not boxes
        for name in ("shared_key", "seal", "unseal")
        if getattr(module, name, None) is getattr(boxes, name)
    ]
    assert (client, "seal") in found
    assert (server, "shared_key") in found
    return found


_USERS = _users()
_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(boxes, name) for _, name in _USERS
}


@contextmanager
def plain_boxes() -> Iterator[PlainBoxes]:
    """Have the machines use plain boxes for a while."""
    replacements = PlainBoxes()
    for module, name in _USERS:
        setattr(module, name, getattr(replacements, name))
    try:
        yield replacements
    finally:
        for module, name in _USERS:
            setattr(module, name, _REAL[name])
