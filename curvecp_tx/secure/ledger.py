"""Who is in: counted in this process, or together with others.

A server whose clients are spread over several processes has limits all the same.
What counts the clients is therefore handed in, and may be shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

_Key = TypeVar("_Key", str, bytes)


class Full(Enum):
    """Why there is no place; the value is the counter's name."""

    CLIENTS = "refused_limit"
    PER_IP = "refused_per_ip"
    PER_KEY = "refused_per_key"


@dataclass(frozen=True, slots=True)
class Quota:
    """How many connections there may be at once; ``None`` means no limit.

    :ivar clients: in all.
    :ivar per_ip: from one address.
    :ivar per_key: with one key.
    """

    clients: int
    per_ip: int | None
    per_key: int | None


class Ledger(Protocol):
    """Knows who is in.

    An address is given as what it counts as.
    """

    @property
    def shares(self) -> int:
        """How many processes use it, each with an equal share of the clients."""

    def __len__(self) -> int:
        """Count the connections of all of them."""

    def look(self, host: str, quota: Quota) -> Full | None:
        """Tell why nobody from an address can come in now, whatever the key."""

    def take(self, host: str, key: bytes, quota: Quota) -> Full | None:
        """Take a place, or tell why there is none."""

    def release(self, host: str, key: bytes) -> None:
        """Give back a place that was taken here."""


class OwnLedger:
    """The ledger of a server that is one process."""

    shares = 1

    def __init__(self) -> None:
        self._connections = 0
        self._by_host: dict[str, int] = {}
        self._by_key: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Count the connections."""
        return self._connections

    def look(self, host: str, quota: Quota) -> Full | None:
        """Tell why nobody from an address can come in now, whatever the key."""
        if self._connections >= quota.clients:
            return Full.CLIENTS
        if quota.per_ip is not None and self._by_host.get(host, 0) >= quota.per_ip:
            return Full.PER_IP
        return None

    def take(self, host: str, key: bytes, quota: Quota) -> Full | None:
        """Take a place, or tell why there is none."""
        full = self.look(host, quota)
        if full is not None:
            return full
        if quota.per_key is not None and self._by_key.get(key, 0) >= quota.per_key:
            return Full.PER_KEY
        self._connections += 1
        self._by_host[host] = self._by_host.get(host, 0) + 1
        self._by_key[key] = self._by_key.get(key, 0) + 1
        return None

    def release(self, host: str, key: bytes) -> None:
        """Give back a place."""
        self._connections -= 1
        _subtract(self._by_host, host)
        _subtract(self._by_key, key)


def _subtract(counts: dict[_Key, int], key: _Key) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
