"""Minute keys: sealed cookies, and the memory of short-term keys that were used.

A server keeps nothing for a Hello. What it needs to know later travels inside
the cookie, sealed under a key that lives for one to two minutes. While a cookie
can still be opened, an Initiate that was recorded from the wire can be opened
again, too; so the key that came with an accepted Initiate is remembered exactly
as long as that.
"""

from __future__ import annotations

from hashlib import blake2b

from curvecp_tx.secure.boxes import MINUTE_NONCE, RandomBytes, derive_key, seal, unseal
from curvecp_tx.wire.packets import KEY_BYTES, LONG_NONCE_BYTES

MINUTE = 60.0
"""Seconds until the current key becomes the previous one, as the protocol says:
a client must return its cookie within a minute."""

MAX_USED_KEYS = 1 << 17
"""Bound on each minute's memory: over 2000 new connections a second, all minute
long. Beyond it no new client is let in until the minute ends, for forgetting
would mean that a recorded Initiate could start a program again."""

_DIGEST_BYTES = 8
_DIGEST_SHIFT = 4
_DIGEST_USE = b"used keys"


class MinuteKey:
    """One minute's key, with the short-term keys first used in that minute.

    Used keys are remembered by digests of 60 bits, the most that an integer of
    32 bytes holds; the keys themselves would take twice as much. A newcomer whose
    digest meets one of at most 2**18 remembered ones is turned away like a replay.
    That happens once in 2**42 connections, and then the client may try again with
    another key. As the digests are keyed, nobody can search for such a key, and
    they tell nothing about who came once the minute is over.
    """

    __slots__ = ("_used", "secret")

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._used: set[int] = set()

    def __len__(self) -> int:
        """Count the keys that were used."""
        return len(self._used)

    def __contains__(self, client_key: bytes) -> bool:
        """Tell whether C' was used."""
        return bool(self._used) and self._digest(client_key) in self._used

    def add(self, client_key: bytes) -> None:
        """Remember C'."""
        self._used.add(self._digest(client_key))

    def discard(self, client_key: bytes) -> None:
        """Forget C', if it was used."""
        self._used.discard(self._digest(client_key))

    def _digest(self, client_key: bytes) -> int:
        digest = blake2b(
            client_key,
            key=self.secret,
            person=_DIGEST_USE,
            digest_size=_DIGEST_BYTES,
        ).digest()
        return int.from_bytes(digest, "little") >> _DIGEST_SHIFT


class CookieJar:
    """Seals and opens cookie values under rotating minute keys.

    :param random_bytes: source of the minute keys.
    :param now: the present, monotonic seconds.
    :param bind_address: derive a key per client IP address, so that a cookie
        opens only for the address that it was sent to. Nobody can then point an
        Initiate at a victim's address.
    """

    __slots__ = (
        "_bind_address",
        "_current",
        "_previous",
        "_random_bytes",
        "_rotation_due",
    )

    def __init__(
        self, *, random_bytes: RandomBytes, now: float, bind_address: bool = True
    ) -> None:
        self._random_bytes = random_bytes
        self._bind_address = bind_address
        self._current = self._new_key()
        self._previous = self._new_key()
        self._rotation_due = now + MINUTE

    @property
    def binds_address(self) -> bool:
        """Whether an opened cookie proves that its client has its address."""
        return self._bind_address

    def rotate(self, now: float) -> None:
        """Retire keys that are due; after a long sleep, all of them."""
        if now < self._rotation_due:
            return
        overslept = now >= self._rotation_due + MINUTE
        self._previous = self._new_key() if overslept else self._current
        self._current = self._new_key()
        self._rotation_due = now + MINUTE if overslept else self._rotation_due + MINUTE

    def seal(
        self, *, client_key: bytes, server_secret: bytes, host: str, nonce: bytes
    ) -> bytes:
        """Make the 96-byte cookie value for C' and s', returned from ``host``.

        :param nonce: the 16-byte nonce of the Cookie packet; it serves both
            boxes, which differ in key and prefix.
        """
        key = self._key_for(self._current, host)
        return nonce + seal(client_key + server_secret, MINUTE_NONCE + nonce, key)

    def open(self, value: bytes, *, client_key: bytes, host: str) -> bytes | None:
        """Open a cookie value, current key first.

        :return: s', or ``None`` if the cookie is forged or too old, was issued to
            another address, or belongs to a C' other than ``client_key``.
        """
        nonce = value[:LONG_NONCE_BYTES]
        box = value[LONG_NONCE_BYTES:]
        for minute_key in (self._current, self._previous):
            key = self._key_for(minute_key, host)
            plaintext = unseal(box, MINUTE_NONCE + nonce, key)
            if plaintext is not None:
                if plaintext[:KEY_BYTES] != client_key:
                    return None
                return plaintext[KEY_BYTES:]
        return None

    @property
    def is_full(self) -> bool:
        """Whether no further used key can be remembered in this minute."""
        return len(self._current) >= MAX_USED_KEYS

    def was_used(self, client_key: bytes) -> bool:
        """Tell whether C' was used while a cookie for it could still open."""
        return client_key in self._current or client_key in self._previous

    def remember(self, client_key: bytes) -> None:
        """Remember C' as used.

        Any cookie that its client holds by now was sealed under the current key
        or an older one, so the current key's memory outlives all of them.
        """
        self._current.add(client_key)

    def forget(self, client_key: bytes) -> None:
        """Let C' be used again: nothing came of its connection."""
        self._current.discard(client_key)
        self._previous.discard(client_key)

    def _new_key(self) -> MinuteKey:
        return MinuteKey(self._random_bytes(KEY_BYTES))

    def _key_for(self, minute_key: MinuteKey, host: str) -> bytes:
        if not self._bind_address:
            return minute_key.secret
        return derive_key(minute_key.secret, host.encode())
