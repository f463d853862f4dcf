"""When a receiver answers, and which ID its answer names."""

from __future__ import annotations

from collections.abc import Iterable

from curvecp_tx.stream.ranges import RangeSet
from curvecp_tx.wire.messages import Range

MAX_ACK_DELAY = 0.005
"""Seconds that an acknowledgment may wait for company. A sender's time-out allows
for it; its round-trip samples would suffer from more."""

ACK_EVERY = 2
"""Messages that one acknowledgment answers, as with TCP."""

EAGER_ACKS = 16
"""Messages at the beginning that are acknowledged singly: a peer that knows no
round-trip time yet sends one message a second."""


class Answers:
    """The acknowledgment that is due to the peer.

    :ivar pending: how many messages it will answer.
    :ivar by: when it has to leave at the latest.
    """

    __slots__ = ("_eager", "_id", "_scattered", "by", "pending")

    def __init__(self) -> None:
        self._eager = EAGER_ACKS
        self.pending = 0
        self.by: float | None = None
        self._id = 0
        # Few connections ever have a gap.
        self._scattered: RangeSet | None = None

    def is_due(self, now: float) -> bool:
        """Tell whether it has to leave now, if need be without company."""
        if not self.pending:
            return False
        return self.pending >= ACK_EVERY or self.by is None or now >= self.by

    def hurry(self) -> None:
        """Have one leave now, even if there is nothing new to acknowledge."""
        self.pending = max(self.pending, ACK_EVERY)

    def owe(self, messages: int, now: float, rtt: float, *, patient: bool) -> None:
        """Note messages that want an answer.

        :param rtt: seconds, 0 if unknown: a long path bears a longer delay.
        :param patient: whether the peer is known to be one of ours. The reference
            looks whether it may send when its timer fires, once a millisecond at the
            most, and when something arrives: each answer lets it send.
        """
        self.pending += messages
        if self._eager:
            self._eager = max(0, self._eager - messages)
            self.hurry()
        elif not patient:
            self.hurry()
        if self.by is None:
            self.by = now + min(rtt / 8, MAX_ACK_DELAY)

    def cite(self, message_id: int, start: int, end: int) -> None:
        """Have the answer name an ID, if that is wise.

        The reference takes a nonsensical round-trip time from the ID of a block
        that was acknowledged beyond a gap before.
        """
        scattered = self._scattered
        if scattered is None or not scattered.overlaps(start, end):
            self._id = message_id

    def take(self, ranges: Iterable[Range], window: int) -> int:
        """Give the ID for an answer with these ranges; each is named once.

        :param window: bytes below which ranges need not be remembered.
        """
        message_id = self._id
        self.pending = self._id = 0
        self.by = None
        scattered, contiguous = self._scattered, 0
        for start, end in ranges:
            if not start:
                contiguous = end
                continue
            if scattered is None:
                scattered = self._scattered = RangeSet()
            scattered.add(start, end)
        if scattered is not None:
            scattered.remove_below(contiguous - window)
        return message_id
