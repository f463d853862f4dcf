"""Key pairs, shared keys, boxes: the only module that knows the NaCl binding.

A shared key of ``crypto_box`` is a key of ``crypto_secretbox``: both are
XSalsa20 with Poly1305. So one pair of functions seals and opens everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError

from curvecp_tx.wire.packets import KEY_BYTES

RandomBytes = Callable[[int], bytes]
"""A source of randomness: from a number of bytes to that many."""

HELLO_NONCE = b"CurveCP-client-H"
INITIATE_NONCE = b"CurveCP-client-I"
CLIENT_MESSAGE_NONCE = b"CurveCP-client-M"
SERVER_MESSAGE_NONCE = b"CurveCP-server-M"
COOKIE_NONCE = b"CurveCPK"
VOUCH_NONCE = b"CurveCPV"
MINUTE_NONCE = b"minute-k"
"""Prefixes that fill a compressed nonce up to 24 bytes."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An X25519 key pair; its representation shows the public half only."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> KeyPair:
        """Complete a 32-byte secret key with its public key."""
        return cls(crypto_scalarmult_base(secret), secret)

    @classmethod
    def generate(cls, random_bytes: RandomBytes) -> KeyPair:
        """Make a new pair from fresh randomness."""
        return cls.from_secret(random_bytes(KEY_BYTES))


def shared_key(public: bytes, secret: bytes) -> bytes | None:
    """Compute the shared key of two parties.

    :return: 32 bytes, or ``None`` if ``public`` is of low order, in which case
        everybody could compute the key.
    """
    try:
        return bytes(crypto_box_beforenm(public, secret))
    # The binding raises its RuntimeError, a CryptoError, for all-zero secrets.
    except CryptoError:
        return None


def seal(message: bytes, nonce: bytes, key: bytes) -> bytes:
    """Encrypt and authenticate: 16 bytes of tag, then the ciphertext.

    :param nonce: 24 bytes that have never been used with this key.
    """
    return bytes(crypto_box_afternm(message, nonce, key))


def unseal(box: bytes, nonce: bytes, key: bytes) -> bytes | None:
    """Verify and decrypt a box; ``None`` if it is not authentic."""
    try:
        return bytes(crypto_box_open_afternm(box, nonce, key))
    except CryptoError:
        return None


def derive_key(key: bytes, context: bytes) -> bytes:
    """Derive a 32-byte key for one context from another key (keyed BLAKE2b)."""
    return blake2b(context, key=key, digest_size=KEY_BYTES).digest()
