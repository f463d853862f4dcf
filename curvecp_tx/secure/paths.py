"""Where the other end of a connection is, and how far that is to be trusted.

A connection follows its peer: whenever the newest authenticated packet comes
from elsewhere, answers go there. But its sender may have forged the source
address in order to have somebody else flooded. So a new IP address first gets
no more than three times the bytes that came from it, until something comes back
that only a receiver at that address can know: the ID of a message sent there.
"""

from __future__ import annotations

from typing import Any

Address = tuple[Any, ...]
"""A socket address: host and port, and flow and scope with IPv6."""

Datagram = tuple[bytes, Address]
"""A packet and the address that it came from or goes to."""

AMPLIFICATION_LIMIT = 3
"""QUIC's figure (RFC 9000, section 8): bytes sent for each byte received."""

PROBE_LIMIT = 64
"""How many message IDs are remembered as proof. The budget of an unvalidated
path pays for few more; an acknowledgment cites one of the latest."""

_NO_ID = bytes(4)


class Path:
    """The current way to the peer: address, extension, and validation.

    :param validated: whether the peer is known to receive at ``address``.
    :param fallback: where it was last known to receive, while it is not. What must not
        go to ``address`` goes there: whoever gets our packets to us from elsewhere,
        before the peer's own, may lead us astray, but not cut us off.
    """

    __slots__ = ("_budget", "_probes", "address", "extension", "fallback", "validated")

    def __init__(
        self,
        address: Address,
        extension: bytes,
        *,
        validated: bool,
        fallback: Path | None = None,
    ) -> None:
        self.address = address
        self.extension = extension
        self.validated = validated
        self.fallback = fallback
        self._budget = 0
        self._probes: dict[bytes, None] = {}

    def moved(self, address: Address, extension: bytes) -> Path:
        """Give the path after the peer showed up at ``address``.

        A new port of the same host keeps its validation: that is what address
        translators do, and it does not reach anybody new.
        """
        fallback = self.fallback
        if address[0] == self.address[0]:
            validated = self.validated
            path = Path(address, extension, validated=validated, fallback=fallback)
            path._budget, path._probes = self._budget, self._probes
            return path
        if fallback is not None and address[0] == fallback.address[0]:
            return Path(address, extension, validated=True)
        last = self if self.validated else fallback
        return Path(address, extension, validated=False, fallback=last)

    def received(self, size: int, message: bytes) -> None:
        """Account for an authenticated datagram of ``size`` bytes from here."""
        if self.validated:
            return
        self._budget += AMPLIFICATION_LIMIT * size
        # Bytes 4 to 8 of a message name the ID of the message it answers.
        if message[4:8] in self._probes:
            self.validated = True
            self.fallback = None
            self._probes = {}

    def allows(self, size: int, message: bytes) -> bool:
        """Tell whether a datagram of ``size`` bytes may go, and account for it."""
        if self.validated:
            return True
        if size > self._budget:
            return False
        self._budget -= size
        identity = message[:4]
        if identity != _NO_ID:
            if identity not in self._probes and len(self._probes) >= PROBE_LIMIT:
                del self._probes[next(iter(self._probes))]
            self._probes[identity] = None
        return True
