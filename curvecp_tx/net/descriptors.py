"""Where a plain program has its stream: the descriptors of servers and clients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Descriptors:
    """Which descriptors of a program carry its stream."""

    read: int
    write: int


SERVER_DESCRIPTORS = Descriptors(read=0, write=1)
CLIENT_DESCRIPTORS = Descriptors(read=6, write=7)


class StreamMode(Enum):
    """Who a program is, and who speaks first; the options of curvecpmessage.

    The value is the number of seconds until a ping, where nothing was said.
    """

    SERVER = None
    CLIENT = 0.0
    CLIENT_FIRST = 1.0

    @property
    def descriptors(self) -> Descriptors:
        """Where the program has its stream."""
        return SERVER_DESCRIPTORS if self is StreamMode.SERVER else CLIENT_DESCRIPTORS
