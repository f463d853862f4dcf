"""Token buckets: so many at once, and so many a second after that.

A bucket is one number: the moment at which it will be full again. What is taken
moves that moment on by the time that a token takes to drip in; when it lies
further ahead than a whole burst, the bucket is empty. (Networks of old call this
the virtual scheduling algorithm.) A moment in the past needs no memory at all:
so a table can forget whoever has been quiet, and nobody gains by it.
"""

from __future__ import annotations

MAX_TABLE = 65536
"""Entries of a table: some ten megabytes, however many addresses are forged."""

_ROUNDING = 0.01
"""Part of a token that rounding may cost, over a long life of small additions."""


class TokenBucket:
    """One bucket, which starts out full.

    :param rate: tokens a second, above 0.
    :param burst: what a full bucket holds, at least 1.
    """

    __slots__ = ("_depth", "_full_at", "_interval")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._interval = 1 / rate
        self._depth = (burst - 1 + _ROUNDING) / rate
        self._full_at = now

    def ready(self, now: float) -> bool:
        """Tell whether there is a token."""
        return self._full_at - now <= self._depth

    def take(self, now: float) -> bool:
        """Take a token if there is one, and tell."""
        full_at = self._full_at
        if full_at - now > self._depth:
            return False
        self._full_at = (full_at if full_at > now else now) + self._interval
        return True


class BucketTable:
    """A bucket for each key, in bounded memory.

    Entries live in two generations. Whoever takes a token is in the young one;
    after the time in which any bucket fills up, the young become the old, and
    the old are forgotten, being full. Newcomers that find the table full share
    one bucket: they are worse off, and those who are known are not.

    :param rate: tokens a second for each key, above 0.
    :param burst: what a full bucket holds, at least 1.
    :param entries: how many keys are remembered at most.
    """

    __slots__ = (
        "_depth",
        "_entries",
        "_interval",
        "_lifetime",
        "_old",
        "_shared",
        "_turn_due",
        "_young",
    )

    def __init__(
        self, rate: float, burst: float, now: float, entries: int = MAX_TABLE
    ) -> None:
        self._interval = 1 / rate
        self._depth = (burst - 1 + _ROUNDING) / rate
        self._lifetime = (burst + _ROUNDING) / rate
        self._entries = entries
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._shared = TokenBucket(rate, burst, now)
        self._turn_due = now + self._lifetime

    def __len__(self) -> int:
        """Count the keys that are remembered."""
        return len(self._young) + len(self._old)

    def forget(self, now: float) -> None:
        """Forget who has been quiet for long enough; ``take`` does it, too."""
        if now < self._turn_due:
            return
        overslept = now >= self._turn_due + self._lifetime
        self._old = {} if overslept else self._young
        self._young = {}
        self._turn_due = now + self._lifetime

    def take(self, key: str, now: float) -> bool:
        """Take a token from the key's bucket if there is one, and tell."""
        if now >= self._turn_due:
            self.forget(now)
        young, old = self._young, self._old
        full_at = young.get(key)
        if full_at is None:
            full_at = old.get(key)
            if full_at is None:
                # Half of the room is for each generation's newcomers, so that
                # a flood in one does not shut out everybody in the next.
                if 2 * len(young) >= self._entries or len(self) >= self._entries:
                    return self._shared.take(now)
                full_at = now
        if full_at - now > self._depth:
            return False
        old.pop(key, None)
        young[key] = (full_at if full_at > now else now) + self._interval
        return True
