"""How services end: some time for what is under way, and none for who asks twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

T = TypeVar("T")

DEFAULT_GRACE = 10.0
"""Seconds that connections get to end by themselves when a server is to stop."""

FAREWELL = 1.0
"""Seconds that the last messages may take: peers are told that their streams have
failed, and some of the telling may get lost."""


class Waiting:
    """Waits for things, for so long at the most, and not at all once it is hurried."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._hurried = False
        self._go_on: Callable[[], None] | None = None

    def wait(self, event: Deferred[T], seconds: float) -> Deferred[None]:
        """Give a Deferred that fires with ``event``, or when the time is over."""
        waiting: Deferred[None] = Deferred()
        timer = self._reactor.callLater(seconds, waiting.callback, None)

        def go_on() -> None:
            if not waiting.called:
                timer.cancel()
                waiting.callback(None)

        def happened(result: T) -> T:
            go_on()
            return result

        self._go_on = go_on
        event.addBoth(happened)
        if self._hurried or not seconds:
            go_on()
        return waiting

    def hurry(self) -> None:
        """Wait no longer, now and later."""
        self._hurried = True
        if self._go_on is not None:
            self._go_on()
