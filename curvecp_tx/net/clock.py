"""Time that only goes forward.

Twisted's reactors take their time from the wall clock. When somebody sets that
back by an hour, every pending call waits an hour longer. Protocol time here is
monotonic, and processes of our own give the reactor a monotonic clock, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorTime


def monotonic_seconds(reactor: IReactorTime) -> Callable[[], float]:
    """Give the monotonic clock that belongs to a reactor.

    A real reactor's is the system's; a simulated one has only its own time.
    """
    if isinstance(reactor, ReactorBase):
        return time.monotonic
    return reactor.seconds


def make_monotonic(reactor: IReactorTime) -> None:
    """Let a real reactor count its delays on the monotonic clock from now on.

    For processes that are ours from the start: calls that were scheduled before
    would be thrown out of step.
    """
    if isinstance(reactor, ReactorBase):
        reactor.seconds = time.monotonic
