"""Key pairs, shared keys, boxes: the only module that knows the NaCl binding.

A shared key of ``crypto_box`` is a key of ``crypto_secretbox``: both are
XSalsa20 with Poly1305. So one pair of functions seals and opens everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

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
        return cls(public_key(secret), secret)

    @classmethod
    def generate(cls, random_bytes: RandomBytes) -> KeyPair:
        """Make a new pair from fresh randomness."""
        return cls.from_secret(random_bytes(KEY_BYTES))


def _public_public_key(secret: bytes) -> bytes:
    return bytes(crypto_scalarmult_base(secret))


def _public_shared_key(public: bytes, secret: bytes) -> bytes | None:
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


class Functions(NamedTuple):
    """What this module does, in one of two ways."""

    seal: Seal
    unseal: Unseal
    shared_key: Callable[[bytes, bytes], bytes | None]
    public_key: Callable[[bytes], bytes]


PUBLIC = Functions(_public_seal, _public_unseal, _public_shared_key, _public_public_key)
"""By the public part of PyNaCl."""


def direct_functions(ffi: Any, library: Any) -> Functions:
    """Make the functions on the library itself, without PyNaCl's copies.

    PyNaCl's own functions put zeros before each message in a copy of it, clear the
    buffer for the answer, and cut that out of it in another copy.

    :raises AttributeError: if the library lacks a function.
    """
    encrypt = library.crypto_secretbox_easy
    decrypt = library.crypto_secretbox_open_easy
    agree = library.crypto_box_beforenm
    multiply = library.crypto_scalarmult_base
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

    def shared_key_directly(public: bytes, secret: bytes) -> bytes | None:
        if len(public) != KEY_BYTES or len(secret) != KEY_BYTES:
            raise ValueError("a key has 32 bytes")
        buffer = allocate(kind, KEY_BYTES)
        if agree(buffer, public, secret):
            return None
        key: bytes = view(buffer)[:]
        return key

    def public_key_directly(secret: bytes) -> bytes:
        if len(secret) != KEY_BYTES:
            raise ValueError("a secret key has 32 bytes")
        buffer = allocate(kind, KEY_BYTES)
        multiply(buffer, secret)
        public: bytes = view(buffer)[:]
        return public

    return Functions(
        seal_directly, unseal_directly, shared_key_directly, public_key_directly
    )


def _best_functions() -> Functions:
    try:
        from nacl._sodium import ffi, lib

        direct = direct_functions(ffi, lib)
        nonce, key = bytes(NONCE_BYTES), bytes(range(KEY_BYTES))
        public = PUBLIC.public_key(key)
        if (
            direct.unseal(PUBLIC.seal(b"test", nonce, key), nonce, key) == b"test"
            and PUBLIC.unseal(direct.seal(b"test", nonce, key), nonce, key) == b"test"
            and direct.public_key(key) == public
            and direct.shared_key(public, key) == PUBLIC.shared_key(public, key)
        ):
            return direct
    # It is PyNaCl's private part: whatever has become of it, its public one works.
    except Exception:  # noqa: S110
        pass
    return PUBLIC


_functions = _best_functions()

seal = _functions.seal
"""Encrypt and authenticate a message under a nonce and a key: 16 bytes of tag, then the
ciphertext. The nonce, 24 bytes, must never have been used with this key."""

unseal = _functions.unseal
"""Verify and decrypt a box under a nonce and a key; ``None`` if it is not authentic."""

shared_key = _functions.shared_key
"""Compute the shared key of two parties from a public and a secret key; ``None`` if the
public one is of low order, in which case everybody could compute the key."""

public_key = _functions.public_key
"""Compute the public key that belongs to a secret key of 32 bytes."""


def derive_key(key: bytes, context: bytes) -> bytes:
    """Derive a 32-byte key for one context from another key (keyed BLAKE2b)."""
    return blake2b(context, key=key, digest_size=KEY_BYTES).digest()
