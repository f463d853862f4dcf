"""Finds the connections whose peers have gone without a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SWEEPS = 4
"""Looks at the clock in the time that a peer may be silent. A connection lasts
longer than it may by as much of that time at the most."""

_Key = TypeVar("_Key")


class IdleWatch(Generic[_Key]):
    """Tells which connections have been silent for too long; one timer for all.

    :param timeout: how many seconds they may be silent.
    :param silent: called with a connection that was; it has to be forgotten then.
    :raises ValueError: for a timeout that is not above 0.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        seconds: Callable[[], float],
        timeout: float,
        silent: Callable[[_Key], object],
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"an idle timeout is above 0: {timeout}")
        self._reactor = reactor
        self._seconds = seconds
        self._timeout = timeout
        self._silent = silent
        # Whoever was heard last stands last, so that no sweep looks at them all.
        self._heard: dict[_Key, float] = {}
        self._sweep_call: IDelayedCall | None = None

    def heard(self, key: _Key, now: float) -> None:
        """Note a sign of life."""
        self._heard.pop(key, None)
        self._heard[key] = now
        if self._sweep_call is None:
            self._arm()

    def forget(self, key: _Key) -> None:
        """Watch a connection no more."""
        self._heard.pop(key, None)
        if not self._heard and self._sweep_call is not None:
            self._sweep_call.cancel()
            self._sweep_call = None

    def _arm(self) -> None:
        self._sweep_call = self._reactor.callLater(self._timeout / SWEEPS, self._sweep)

    def _sweep(self) -> None:
        self._sweep_call = None
        limit = self._seconds() - self._timeout
        silent = []
        for key, time in self._heard.items():
            if time > limit:
                break
            silent.append(key)
        for key in silent:
            self._silent(key)
        if self._heard and self._sweep_call is None:
            self._arm()
