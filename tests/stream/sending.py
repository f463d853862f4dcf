"""A sender alone, with congestion control out of its way."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.blocks import Block
from curvecp_tx.stream.sender import Sender
from curvecp_tx.wire.messages import Range


class Freely:
    """Congestion control that lets a given number of blocks be in flight."""

    rtt = 0.1
    timeout = 1.0

    def __init__(self, limit: int = 10**6) -> None:
        self.limit = limit
        self.samples: list[float] = []
        self.panics: list[float] = []

    def allowance(self, now: float, in_flight: int) -> int:
        """Allow what the limit leaves."""
        return max(0, self.limit - in_flight)

    def next_time(self, now: float, in_flight: int) -> float | None:
        """Allow it now, or never."""
        return now if in_flight < self.limit else None

    def sent(self, now: float, in_flight: int, blocks: int = 1) -> None:
        """Take no notice."""

    def acknowledged(
        self,
        rtt: float | None,
        now: float,
        blocks: int = 1,
        state: object = None,
        in_flight: int = 0,
    ) -> None:
        """Note a sample."""
        if rtt is not None:
            self.samples.append(rtt)

    def lost(self, now: float) -> None:
        """Take no notice."""

    def idle(self, in_flight: int) -> None:
        """Take no notice."""

    def timed_out(self, now: float) -> None:
        """Note a time-out."""
        self.panics.append(now)


class SenderTestCase(SynchronousTestCase):
    """Has a sender whose IDs are 1, 2, 3 and so on."""

    def setUp(self) -> None:
        self.congestion = Freely()
        self.sender = Sender(self.congestion, block_limit=1024)
        self.last_id = 0

    def send(self, now: float = 0.0, most: int = 10**6) -> list[Block]:
        """Send what may leave."""
        blocks: list[Block] = []
        while len(blocks) < most and (block := self.sender.next(now)) is not None:
            self.last_id += 1
            self.sender.transmitted(block, self.last_id, now)
            blocks.append(block)
        return blocks

    def places(self, now: float = 0.0) -> list[tuple[int, int, int]]:
        """Send what may leave; give position, size and ending of each block."""
        return [(b.position, len(b.data), b.ending) for b in self.send(now)]

    def acknowledge(self, message_id: int, *ranges: Range, now: float = 0.1) -> bool:
        """Take an acknowledgment."""
        return self.sender.acknowledge(message_id, ranges, now)
