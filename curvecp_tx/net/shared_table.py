"""What the processes of one server share: who is in, and which nonces are used.

It is a piece of memory that all of them map, and a lock that the system takes from
a process that dies. A place is one row: its owner, the client's address and key as
digests. A row counts only while it has an owner, and that is written last; so a
process may die anywhere, and the rows that it leaves are found by its number.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.secure.ledger import Full, Quota
from curvecp_tx.secure.nonces import LongTermNonces

MAX_WORKERS = 64
"""Processes of one server. A row has room for 255."""

NONCES_AT_ONCE = 1 << 16
"""Nonces that a process takes for itself; what it has not used when it dies is lost.
Of the 2^40 that a server has, sixteen million processes can take their part."""

_DIGEST_KEY = slice(0, 32)
_NONCES = 32
_OWNERS = 64
_DIGEST_BYTES = 8
_NOBODY = 0


class SharedTable:
    """The memory, as one process sees it.

    :param descriptor: the memory file; owned by this object from now on.
    :param places: how many clients there may be.
    """

    def __init__(self, descriptor: int, places: int) -> None:
        self.descriptor = descriptor
        self.places = places
        rows = -(-places // _DIGEST_BYTES) * _DIGEST_BYTES
        self._hosts = _OWNERS + rows
        self._keys = self._hosts + _DIGEST_BYTES * places
        size = self._keys + _DIGEST_BYTES * places
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        self._memory = mmap.mmap(descriptor, size)
        self._secret = bytes(self._memory[_DIGEST_KEY])

    @classmethod
    def create(
        cls,
        places: int,
        nonces: range = range(0),
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> SharedTable:
        """Make the memory, for the process that starts the others.

        :param nonces: counter values to be used by all of them.
        :raises OSError: if the system has no room for it.
        """
        descriptor = os.memfd_create("curvecp", os.MFD_CLOEXEC)
        try:
            head = random_bytes(_DIGEST_KEY.stop)
            os.write(descriptor, head + struct.pack("<QQ", nonces.start, nonces.stop))
            return cls(descriptor, places)
        except BaseException:
            os.close(descriptor)
            raise

    def close(self) -> None:
        """Have no part in it any more."""
        self._memory.close()
        os.close(self.descriptor)

    def __len__(self) -> int:
        """Count the places that are taken."""
        return self.places - self._owners().count(_NOBODY)

    def at_host(self, host: str) -> int:
        """Count those that are taken from an address."""
        return self._count(self._hosts, self._digest(host.encode()))

    def of_key(self, key: bytes) -> int:
        """Count those that a key has taken."""
        return self._count(self._keys, self._digest(key))

    def take(self, owner: int, host: str, key: bytes, quota: Quota) -> int | Full:
        """Take a place, and give its number; or tell why there is none.

        :param owner: who takes it, from 0.
        """
        with self._locked():
            full = self.look(host, quota)
            if full is not None:
                return full
            if quota.per_key is not None and self.of_key(key) >= quota.per_key:
                return Full.PER_KEY
            place = self._owners().find(_NOBODY)
            self._write(self._hosts, place, self._digest(host.encode()))
            self._write(self._keys, place, self._digest(key))
            self._memory[_OWNERS + place] = owner + 1
        return place

    def look(self, host: str, quota: Quota) -> Full | None:
        """Tell why nobody from an address can come in now, whatever the key."""
        if len(self) >= min(quota.clients, self.places):
            return Full.CLIENTS
        if quota.per_ip is not None and self.at_host(host) >= quota.per_ip:
            return Full.PER_IP
        return None

    def release(self, place: int) -> None:
        """Give back a place."""
        with self._locked():
            self._memory[_OWNERS + place] = _NOBODY
            self._write(self._hosts, place, bytes(_DIGEST_BYTES))
            self._write(self._keys, place, bytes(_DIGEST_BYTES))

    def clear(self, owner: int) -> None:
        """Give back all places of a process that has died."""
        with self._locked():
            owners = self._owners()
            place = owners.find(owner + 1)
            while place >= 0:
                self._memory[_OWNERS + place] = _NOBODY
                self._write(self._hosts, place, bytes(_DIGEST_BYTES))
                self._write(self._keys, place, bytes(_DIGEST_BYTES))
                place = owners.find(owner + 1, place + 1)

    def take_nonces(self, count: int) -> range:
        """Take counter values that nobody else will get.

        :raises NoncesExhausted: if there are none left.
        """
        with self._locked():
            first, end = struct.unpack_from("<QQ", self._memory, _NONCES)
            last = min(first + count, end)
            if first == last:
                raise NoncesExhausted
            struct.pack_into("<Q", self._memory, _NONCES, last)
        return range(first, last)

    def _owners(self) -> bytes:
        return self._memory[_OWNERS : _OWNERS + self.places]

    def _count(self, column: int, digest: bytes) -> int:
        # A row that is free has zeros here. What straddles two rows looks like a
        # digest as rarely as another digest does.
        size = _DIGEST_BYTES * self.places
        return self._memory[column : column + size].count(digest)

    def _digest(self, value: bytes) -> bytes:
        return blake2b(value, key=self._secret, digest_size=_DIGEST_BYTES).digest()

    def _write(self, column: int, place: int, digest: bytes) -> None:
        start = column + _DIGEST_BYTES * place
        self._memory[start : start + _DIGEST_BYTES] = digest

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # Not flock, which processes that inherit a descriptor hold together.
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)


class SharedLedger:
    """The ledger of one of several processes that serve a port.

    :param owner: the number of this process, from 0.
    :param shares: how many there are.
    """

    def __init__(self, table: SharedTable, owner: int, shares: int) -> None:
        self.shares = shares
        self._table = table
        self._owner = owner
        self._places: dict[tuple[str, bytes], list[int]] = {}

    def __len__(self) -> int:
        """Count the connections of all processes."""
        return len(self._table)

    def look(self, host: str, quota: Quota) -> Full | None:
        """Tell why nobody from an address can come in now, whatever the key."""
        return self._table.look(host, quota)

    def take(self, host: str, key: bytes, quota: Quota) -> Full | None:
        """Take a place, or tell why there is none."""
        place = self._table.take(self._owner, host, key, quota)
        if isinstance(place, Full):
            return place
        self._places.setdefault((host, key), []).append(place)
        return None

    def release(self, host: str, key: bytes) -> None:
        """Give back a place that was taken here."""
        places = self._places[host, key]
        self._table.release(places.pop())
        if not places:
            del self._places[host, key]


class SharedNonces:
    """Nonces of a long-term key that several processes use."""

    def __init__(
        self,
        table: SharedTable,
        nonce_key: bytes,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._table = table
        self._key = nonce_key
        self._random_bytes = random_bytes
        self._run = self._of(range(0))

    def __call__(self) -> bytes:
        """Give the next nonce.

        :raises NoncesExhausted: when all that the server had are used.
        """
        try:
            return self._run()
        except NoncesExhausted:
            self._run = self._of(self._table.take_nonces(NONCES_AT_ONCE))
            return self._run()

    def _of(self, values: range) -> LongTermNonces:
        return LongTermNonces(
            nonce_key=self._key,
            first=values.start,
            count=len(values),
            random_bytes=self._random_bytes,
        )
