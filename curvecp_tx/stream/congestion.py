"""What the sender asks of congestion control."""

from __future__ import annotations

from typing import Protocol


class ICongestionControl(Protocol):
    """Decides when blocks may leave, and when one is overdue.

    All times are seconds on the caller's monotonic clock.
    """

    @property
    def rtt(self) -> float:
        """The smoothed round-trip time; 0 before the first sample."""

    @property
    def timeout(self) -> float:
        """How long after its transmission an unacknowledged block is overdue."""

    def allowance(self, now: float, in_flight: int) -> int:
        """Tell how many blocks may be sent at ``now``.

        :param in_flight: blocks sent, and neither acknowledged nor given up.
        """

    def next_time(self, now: float, in_flight: int) -> float | None:
        """Tell when something may be sent; ``None`` if only an answer changes that."""

    def sent(self, blocks: int, now: float) -> None:
        """Learn that blocks have been sent."""

    def acknowledged(self, rtt: float, now: float) -> None:
        """Learn that a message was acknowledged ``rtt`` seconds after it left."""

    def timed_out(self, now: float) -> None:
        """Learn that the oldest block is overdue."""
