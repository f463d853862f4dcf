"""What the sender asks of congestion control."""

from __future__ import annotations

from typing import Protocol


class ICongestionControl(Protocol):
    """Decides when blocks may leave, and when one is overdue.

    All times are seconds on the caller's monotonic clock. Blocks count alike,
    whatever their size.
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

    def sent(self, now: float, in_flight: int, blocks: int = 1) -> object:
        """Learn that blocks leave, with so many in flight before.

        :return: whatever :meth:`acknowledged` is to get back with the answer.
        """

    def acknowledged(
        self,
        rtt: float | None,
        now: float,
        blocks: int = 1,
        state: object = None,
        in_flight: int = 0,
    ) -> None:
        """Learn from an acknowledgment.

        :param rtt: seconds since the transmission that it names left; ``None`` if
            it names none.
        :param blocks: how many blocks it newly acknowledges.
        :param state: what :meth:`sent` gave for that transmission.
        :param in_flight: blocks still in flight.
        """

    def lost(self, now: float) -> None:
        """Learn that a block is presumed lost, since later ones have arrived."""

    def timed_out(self, now: float) -> None:
        """Learn that the oldest block is overdue, and nothing has come since."""

    def idle(self, in_flight: int) -> None:
        """Learn that more may be sent than there is."""
