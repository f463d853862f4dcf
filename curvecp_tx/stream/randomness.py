"""Randomness as an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import iter_unpack

RandomBytes = Callable[[int], bytes]
"""A source of randomness: from a number of bytes to that many."""

_POOL = 128
"""Bytes. A thousand connections that say little should not hold a megabyte of them."""


class IdSource:
    """Gives random message IDs of 32 bits, none of them 0.

    Asking the system for four bytes at a time would cost more than the rest of
    building a message; a pool is asked for instead.
    """

    __slots__ = ("_pool", "_random_bytes")

    def __init__(self, random_bytes: RandomBytes) -> None:
        self._random_bytes = random_bytes
        self._pool: Iterator[tuple[int]] = iter(())

    def take_many(self, count: int) -> list[int]:
        """Give several IDs, as many as there are; all different."""
        found = set(memoryview(self._random_bytes(4 * count)).cast("I"))
        found.discard(0)
        while len(found) < count:
            found.add(self.take())
        return list(found)

    def take(self) -> int:
        """Give the next ID."""
        while True:
            found = next(self._pool, None)
            if found is None:
                self._pool = iter_unpack("<I", self._random_bytes(_POOL))
            elif found[0]:
                return found[0]
