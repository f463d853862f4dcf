"""The rule that no nonce is used twice, and a way to tell whose a packet is."""

from __future__ import annotations

import sys
from types import ModuleType

from curvecp_tx.secure import boxes
from curvecp_tx.secure.boxes import COOKIE_NONCE, VOUCH_NONCE
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    COUNTER_BYTES,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
)
from tests.model.judge import Judge

_BOX_BEGINS = {CLIENT_MESSAGE_MAGIC: 80, INITIATE_MAGIC: 176, SERVER_MESSAGE_MAGIC: 48}
"""Where the box of a packet begins that belongs to a connection."""

_LONG_TERM = (COOKIE_NONCE, VOUCH_NONCE)
"""Prefixes of nonces under a long-term key. A cookie's box has another shared key
for each client; still the nonces of one server must all differ."""


def sealed_part(datagram: bytes) -> bytes:
    """Give what makes a packet authentic, its nonce and its box.

    The rest may be damaged on the way, in part, and the packet count all the same.
    """
    begin = _BOX_BEGINS.get(datagram[:8])
    return b"" if begin is None else datagram[begin - COUNTER_BYTES :]


class Ledger:
    """Sees each box as it is sealed."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._used: set[tuple[bytes, bytes]] = set()
        self._keys: dict[bytes, bytes] = {}
        self._seal = boxes.seal
        self._modules: list[ModuleType] = []

    def open(self) -> None:
        """Begin: take the place of the function that all boxes come from."""
        self._modules = [
            module
            for name, module in tuple(sys.modules.items())
            if name.startswith("curvecp_tx.")
            and getattr(module, "seal", None) is self._seal
        ]
        self._put(self._watch)

    def close(self) -> None:
        """Watch no more."""
        self._put(self._seal)

    def _put(self, seal: boxes.Seal) -> None:
        for module in self._modules:
            vars(module)["seal"] = seal

    @property
    def count(self) -> int:
        """How many nonces have been used."""
        return len(self._used)

    def connection_of(self, datagram: bytes) -> bytes | None:
        """Give the shared key of the connection that made the box of a packet.

        ``None`` for handshakes, and for what nobody has made.
        """
        return self._keys.get(sealed_part(datagram))

    def _watch(self, message: bytes, nonce: bytes, key: bytes) -> bytes:
        self._use(key, nonce)
        if nonce[:8] in _LONG_TERM:
            self._use(b"", nonce)
        box = self._seal(message, nonce, key)
        self._keys[nonce[-COUNTER_BYTES:] + box] = key
        return box

    def _use(self, key: bytes, nonce: bytes) -> None:
        if (key, nonce) in self._used:
            self._judge.blame(f"nonce {nonce!r} is used twice")
        self._used.add((key, nonce))
