"""Key pairs, shared keys, boxes: the only module that knows the NaCl binding.

A shared key of ``crypto_box`` is a key of ``crypto_secretbox``: both are
XSalsa20 with Poly1305. So one pair of functions seals and opens everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
    crypto_scalarmult_base,
)
from nacl.exceptions import CryptoError

from curvecp_tx.wire.packets import KEY_BYTES

NONCE_BYTES = 24
TAG_BYTES = 16

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
    secret: bytes = field(repr=False, compare=False)

    @classmethod
    def from_secret(cls, secret: bytes) -> KeyPair:
        """Complete a 32-byte secret key with its public key."""
        if len(secret) != KEY_BYTES:
            raise ValueError(f"a secret key has {KEY_BYTES} bytes")
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


def _public_seal(message: bytes, nonce: bytes, key: bytes) -> bytes:
    return bytes(crypto_box_afternm(message, nonce, key))


def _public_unseal(box: bytes, nonce: bytes, key: bytes) -> bytes | None:
    try:
        return bytes(crypto_box_open_afternm(box, nonce, key))
    except CryptoError:
        return None


Seal = Callable[[bytes, bytes, bytes], bytes]
Unseal = Callable[[bytes, bytes, bytes], "bytes | None"]


def direct_functions(ffi: Any, library: Any) -> tuple[Seal, Unseal]:
    """Make the two functions on the library itself, without PyNaCl's copies.

    PyNaCl's own functions put zeros before each message in a copy of it, clear the
    buffer for the answer, and cut that out of it in another copy.

    :raises AttributeError: if the library lacks a function.
    """
    encrypt = library.crypto_secretbox_easy
    decrypt = library.crypto_secretbox_open_easy
    view = ffi.buffer
    # Not one buffer for all calls: the library lets other threads run meanwhile.
    allocate = ffi.new_allocator(should_clear_after_alloc=False)
    kind = ffi.typeof("unsigned char[]")

    def seal_directly(message: bytes, nonce: bytes, key: bytes) -> bytes:
        size = len(message)
        if len(nonce) != NONCE_BYTES or len(key) != KEY_BYTES:
            raise ValueError("a nonce has 24 bytes, a key 32")
        buffer = allocate(kind, size + TAG_BYTES)
        encrypt(buffer, message, size, nonce, key)
        box: bytes = view(buffer)[:]
        return box

    def unseal_directly(box: bytes, nonce: bytes, key: bytes) -> bytes | None:
        size = len(box)
        if len(nonce) != NONCE_BYTES or len(key) != KEY_BYTES:
            raise ValueError("a nonce has 24 bytes, a key 32")
        if size < TAG_BYTES:
            return None
        buffer = allocate(kind, size - TAG_BYTES)
        if decrypt(buffer, box, size, nonce, key):
            return None
        message: bytes = view(buffer)[:]
        return message

    return seal_directly, unseal_directly


def _best_functions() -> tuple[Seal, Unseal]:
    try:
        from nacl._sodium import ffi, lib

        seal, unseal = direct_functions(ffi, lib)
        nonce, key = bytes(NONCE_BYTES), bytes(KEY_BYTES)
        if unseal(_public_seal(b"test", nonce, key), nonce, key) == b"test":
            return seal, unseal
    # It is PyNaCl's private part: whatever has become of it, its public one works.
    except Exception:  # noqa: S110
        pass
    return _public_seal, _public_unseal


seal: Seal
"""Encrypt and authenticate a message under a nonce and a key: 16 bytes of tag, then the
ciphertext. The nonce, 24 bytes, must never have been used with this key."""

unseal: Unseal
"""Verify and decrypt a box under a nonce and a key; ``None`` if it is not authentic."""

seal, unseal = _best_functions()


def derive_key(key: bytes, context: bytes) -> bytes:
    """Derive a 32-byte key for one context from another key (keyed BLAKE2b)."""
    return blake2b(context, key=key, digest_size=KEY_BYTES).digest()
