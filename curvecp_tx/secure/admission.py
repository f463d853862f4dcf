"""Who may come in: slots, limits per address and per key, rates, known keys.

What is asked grows with what has been proved. A Hello proves nothing, so only its
address counts, and a table of buckets is all that it leaves behind. An Initiate
whose cookie has opened proves the address, which is good for a look at the slots
before any curve operation. Only a vouch proves a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from math import inf

from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.buckets import BucketTable, TokenBucket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.ledger import Ledger, OwnLedger, Quota

DEFAULT_CLIENTS = 100
"""The man page's default for ``-c``."""

HELLO_RATE = 200.0
"""Handshakes a second and address. A whole office behind one translator needs
less; one address that uses it up costs a fiftieth of a core."""

HELLO_BURST_SECONDS = 2.0
"""What a full bucket of an address holds, in seconds of its rate: everybody
behind one translator comes back at once after an outage."""

MAX_HELLO_RATE = 2000.0
"""Hellos a second from everywhere. Each costs a tenth of a millisecond, so this
leaves four fifths of a core to those who are in. As many make a burst."""

START_BURST = 100.0
"""New connections at once where their rate is limited: as many as there are
slots by default, so that a server's clients can all return together."""

PROGRAM_START_RATE = 50.0
"""Programs a second: starting one holds up everything else for the better part
of a millisecond."""

SUBNET_BITS = 64
"""An IPv6 network's own part: whoever has one address there has them all."""

HOST_CACHE = 4096
"""IPv6 addresses whose network need not be worked out again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is let in; ``None`` means no limit.

    :ivar clients: connections at once.
    :ivar per_ip: connections at once from one address, or one IPv6 network.
    :ivar per_key: connections at once with one long-term key, unless the list
        of authorized keys says otherwise.
    :ivar hello_rate: handshakes a second from one address or network.
    :ivar start_rate: new connections a second.
    :raises ValueError: for a rate that is not above 0 and finite.
    """

    clients: int = DEFAULT_CLIENTS
    per_ip: int | None = None
    per_key: int | None = None
    hello_rate: float = HELLO_RATE
    start_rate: float | None = None

    def __post_init__(self) -> None:
        for rate in (self.hello_rate, self.start_rate):
            if rate is not None and not 0 < rate < inf:
                raise ValueError(f"a rate is above 0 and finite: {rate}")


def accounting_host(host: str) -> str:
    """Give what an address counts as.

    An IPv4 address counts as itself, also when it came through an IPv6 socket;
    an IPv6 address counts as its network of 64 bits.
    """
    return _network(host) if ":" in host else host


@lru_cache(HOST_CACHE)
def _network(host: str) -> str:
    try:
        address = IPv6Address(host.partition("%")[0])
    except AddressValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    shift = 128 - SUBNET_BITS
    return f"{IPv6Address(int(address) >> shift << shift)}/{SUBNET_BITS}"


def accounting_key(key: bytes) -> bytes:
    """Give the form under which a key is counted: the curve ignores the topmost bit."""
    return key[:-1] + bytes([key[-1] & 0x7F])


class Admission:
    """Decides on newcomers, and counts who is in. What is refused is counted.

    Where processes share a ledger, each has its share of the rates that were asked
    for; the rate of all Hellos keeps a core from drowning, and each has a core.

    :param authorized: the only keys that may come in; ``None`` for any.
    :param ledger: knows who is in; one of our own without.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        authorized: AuthorizedKeys | None,
        counters: Counters,
        now: float,
        ledger: Ledger | None = None,
    ) -> None:
        self.limits = limits
        self.authorized = authorized
        self._counters = counters
        self._ledger: Ledger = OwnLedger() if ledger is None else ledger
        self._all_hellos = TokenBucket(MAX_HELLO_RATE, MAX_HELLO_RATE, now)
        self._hellos = self._host_table(now)
        self._initiates = self._host_table(now)
        self._starts = self._start_bucket(now)

    @property
    def occupied(self) -> int:
        """How many places are taken, wherever."""
        return len(self._ledger)

    def set_limits(self, limits: Limits, now: float) -> None:
        """Replace the limits. Nobody is dropped who is in; rates that stay the
        same give nobody a fresh burst."""
        previous, self.limits = self.limits, limits
        if limits.hello_rate != previous.hello_rate:
            self._hellos = self._host_table(now)
            self._initiates = self._host_table(now)
        if limits.start_rate != previous.start_rate:
            self._starts = self._start_bucket(now)

    def forget(self, now: float) -> None:
        """Free what a flood has left behind; due now and then."""
        self._hellos.forget(now)
        self._initiates.forget(now)

    def hello(self, host: str, now: float) -> bool:
        """Decide whether a Hello is worth a curve operation.

        When there are too many in all, their addresses are not even looked at:
        forged ones fill the table no faster than they are answered.
        """
        if not self._all_hellos.ready(now):
            self._counters.refused_hello_total += 1
            return False
        if not self._hellos.take(accounting_host(host), now):
            self._counters.refused_hello_rate += 1
            return False
        return self._all_hellos.take(now)

    def may_start(self, host: str, now: float) -> bool:
        """Decide whether an Initiate is worth curve operations: its cookie opened.

        The address pays for each, whatever comes of it; for a cookie is good
        for any number of Initiates until one is accepted.
        """
        host = accounting_host(host)
        counters = self._counters
        full = self._ledger.look(host, self._quota(self.limits.per_key))
        if full is not None:
            counters.count(full.value)
        elif self._starts is not None and not self._starts.ready(now):
            counters.refused_start_rate += 1
        elif not self._initiates.take(host, now):
            counters.refused_initiate_rate += 1
        else:
            return True
        return False

    def admit(self, host: str, key: bytes, now: float) -> AuthorizedClient | None:
        """Decide on a client that has proved its key; who may come in has a place.

        Only here a token for a start is spent: who cannot come in cannot keep
        others out.

        :return: what is known of the client, or ``None`` if it is refused.
        """
        client = (
            AuthorizedClient(key)
            if self.authorized is None
            else self.authorized.find(key)
        )
        if client is None:
            self._counters.refused_unauthorized += 1
            return None
        host = accounting_host(host)
        limit = self.limits.per_key if client.limit is None else client.limit
        account = accounting_key(key)
        full = self._ledger.take(host, account, self._quota(limit))
        if full is not None:
            self._counters.count(full.value)
            return None
        if self._starts is not None and not self._starts.take(now):
            self._ledger.release(host, account)
            self._counters.refused_start_rate += 1
            return None
        return client

    def closed(self, host: str, key: bytes) -> None:
        """Free a place.

        :param host: where its client came in from, wherever it is by now.
        """
        self._ledger.release(accounting_host(host), accounting_key(key))

    def _quota(self, per_key: int | None) -> Quota:
        return Quota(self.limits.clients, self.limits.per_ip, per_key)

    def _host_table(self, now: float) -> BucketTable:
        rate = self.limits.hello_rate / self._ledger.shares
        return BucketTable(rate, max(1.0, HELLO_BURST_SECONDS * rate), now)

    def _start_bucket(self, now: float) -> TokenBucket | None:
        rate, shares = self.limits.start_rate, self._ledger.shares
        if rate is None:
            return None
        return TokenBucket(rate / shares, max(1.0, START_BURST / shares), now)
