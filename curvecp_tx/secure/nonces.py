"""Nonces: outgoing counters, the replay window, and the long-term kind."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.secure.boxes import RandomBytes
from curvecp_tx.wire.packets import LONG_NONCE_BYTES

NONCE_LIMIT = 2**64 - 1
"""A connection ends before it would send this nonce."""

FIRST_NONCE_BITS = 48
"""Counters start at a random number of this size: a start at 1 would tell a
spy how much a connection has sent, and 2^64 - 2^48 are left to use."""

REPLAY_WINDOW = 1024
"""How far behind the newest packet one may come and still count. WireGuard's
8192 serves multi-core reordering; a path that reorders over more than a
thousand packets does not exist for a window of 128 KiB in flight."""

_WINDOW_MASK = (1 << REPLAY_WINDOW) - 1


def first_nonce(random_bytes: RandomBytes) -> int:
    """Pick where the counter of a new short-term key begins."""
    return int.from_bytes(random_bytes(FIRST_NONCE_BITS // 8), "little")


class NonceCounter:
    """The outgoing nonces of one short-term key: each is given out once."""

    __slots__ = ("_next",)

    def __init__(self, start: int) -> None:
        self._next = start

    def take(self) -> int:
        """Give the next nonce.

        :raises NoncesExhausted: when 2^64 - 1 is reached; no nonce comes twice.
        """
        nonce = self._next
        if nonce >= NONCE_LIMIT:
            raise NoncesExhausted
        self._next = nonce + 1
        return nonce

    def take_many(self, count: int) -> range:
        """Give the next nonces, all or none; see :meth:`take`."""
        first = self._next
        if first + count > NONCE_LIMIT:
            self._next = NONCE_LIMIT
            raise NoncesExhausted
        self._next = first + count
        return range(first, first + count)


class ReplayWindow:
    """The incoming nonces of one connection: accepts each at most once.

    Reordered packets count while they are fewer than :data:`REPLAY_WINDOW`
    behind the newest. Mark a nonce only after its box has been verified.
    """

    __slots__ = ("_seen", "highest")

    def __init__(self, first: int) -> None:
        self.highest = first
        # Bit i stands for the nonce i below the highest.
        self._seen = 1

    def is_fresh(self, nonce: int) -> bool:
        """Tell whether a packet with this nonce could still be accepted."""
        behind = self.highest - nonce
        return behind < 0 or (behind < REPLAY_WINDOW and not self._seen >> behind & 1)

    def mark(self, nonce: int) -> bool:
        """Record a fresh, verified nonce; tell whether it is the newest yet."""
        ahead = nonce - self.highest
        if ahead == 1:
            # By far the most frequent.
            self._seen = (self._seen << 1 | 1) & _WINDOW_MASK
            self.highest = nonce
            return True
        if ahead <= 0:
            self._seen |= 1 << -ahead
            return False
        if ahead < REPLAY_WINDOW:
            self._seen = (self._seen << ahead | 1) & _WINDOW_MASK
        else:
            self._seen = 1
        self.highest = nonce
        return True


LongTermNonceSource = Callable[[], bytes]
"""Gives 16 bytes that have never been used with the long-term key."""

_FEISTEL_ROUNDS = 4
"""Luby and Rackoff: four rounds of a pseudo-random function make a strong
pseudo-random permutation."""


def permute(block: bytes, key: bytes) -> bytes:
    """Apply a secret permutation of 16-byte blocks: a Feistel network on BLAKE2b."""
    left, right = block[:8], block[8:]
    for number in range(_FEISTEL_ROUNDS):
        pad = blake2b(
            right, key=key, digest_size=8, salt=bytes([number]), person=b"curvecp-nonce"
        ).digest()
        mixed = int.from_bytes(left, "little") ^ int.from_bytes(pad, "little")
        left, right = right, mixed.to_bytes(8, "little")
    return left + right


class LongTermNonces:
    """A reserved run of counter values as nonces of a long-term key.

    Each nonce is a secret permutation of the counter and 8 random bytes. The
    counter keeps nonces apart; the random half keeps them apart even where a
    restored backup has turned the counter back; the permutation hides both.

    :param nonce_key: 32 secret bytes that live as long as the long-term key.
    :param first: first counter value of the run.
    :param count: how many values the run has. Whoever reserved it has made sure
        that nobody else will use them, not even after a crash.
    """

    __slots__ = ("_key", "_left", "_next", "_random_bytes")

    def __init__(
        self, *, nonce_key: bytes, first: int, count: int, random_bytes: RandomBytes
    ) -> None:
        self._key = nonce_key
        self._next = first
        self._left = count
        self._random_bytes = random_bytes

    def hand_over(self) -> tuple[bytes, range]:
        """Give what is left to others: the nonce key, and the counter values."""
        left = range(self._next, self._next + self._left)
        self._left = 0
        return self._key, left

    def __call__(self) -> bytes:
        """Give the next nonce.

        :raises NoncesExhausted: when the run has come to its end.
        """
        if not self._left:
            raise NoncesExhausted
        block = self._next.to_bytes(8, "little") + self._random_bytes(8)
        self._next += 1
        self._left -= 1
        return permute(block, self._key)


class RandomNonces:
    """Random nonces for a long-term key that no file backs.

    With 128 bits, the chance of a repeat stays under 2^-32 for the first 2^48.
    """

    __slots__ = ("_random_bytes",)

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes

    def __call__(self) -> bytes:
        """Give 16 random bytes."""
        return self._random_bytes(LONG_NONCE_BYTES)
