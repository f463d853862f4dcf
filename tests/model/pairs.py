"""The rules about two ends of one connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost

from curvecp_tx.net.reasons import Aborted, PeerFailure, PeerGone, PeerSilent
from curvecp_tx.net.streams import PEER_END_PATIENCE
from curvecp_tx.stream.stream import GIVE_UP, MAX_LINGER, OVERSLEPT_GRACE
from tests.model.applications import Application
from tests.model.judge import Judge

GRAINS = 1e-6
"""Seconds by which floats may be off."""


LONGEST_END = PEER_END_PATIENCE + MAX_LINGER + 1.0
"""Seconds for which a connection may go on without its application."""


class Pair:
    """Both ends of a connection, as far as they have come into being."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._ends: dict[str, Application] = {}

    @property
    def ends(self) -> list[Application]:
        """Those that there are."""
        return list(self._ends.values())

    @property
    def well(self) -> bool:
        """Whether both have a connection, and mean to go on or to end well."""
        return len(self._ends) == 2 and all(end.well for end in self.ends)

    @property
    def sound(self) -> bool:
        """Whether nothing has failed: both go on, or are done."""
        return all(
            end.well or (end.lost is not None and end.lost.check(ConnectionDone))
            for end in self.ends
        )

    @property
    def closing(self) -> bool:
        """Whether one of them wants to be alone."""
        return any(end.closed for end in self.ends)

    @property
    def delivered(self) -> bool:
        """Whether each has everything that the other has written."""
        return all(
            end.closed or end.received == self._other(end).wrote for end in self.ends
        )

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be delivered, as far as can be told."""
        if not all(end.alive for end in self.ends):
            return True
        return self.delivered and not any(end.producing for end in self.ends)

    @property
    def clean(self) -> bool:
        """Whether both have ended well."""
        return all(end.clean for end in self.ends)

    def add(self, application: Application) -> None:
        """Put one end in."""
        self._judge.demand(
            application.side not in self._ends,
            f"{application}: a second protocol for one connection",
        )
        self._ends[application.side] = application

    def parted(self, time: float) -> bool:
        """Tell whether something has come between the two.

        Either the silence of old times, up to ``time``; or one of them does not
        read any more, and the other went on and on.
        """
        return any(
            end.lost is not None
            and (
                end.lost.check(PeerGone)
                or (end.lost.check(PeerSilent) and end.lost_at < time)
            )
            for end in self.ends
        )

    def heard_since(self, time: float) -> bool:
        """Tell whether one of them has had news of the other after ``time``."""
        return any(end.host.heard.get(end.connection, time) > time for end in self.ends)

    def check(self) -> None:
        """Check what holds at any time: nobody has bytes that nobody sent."""
        for end in self.ends:
            other = self._ends.get(_opposite(end))
            wrote = other.wrote if other is not None else 0
            self._judge.demand(
                end.received <= wrote, f"{end} has {end.received} of {wrote} bytes"
            )

    def check_ends(self) -> None:
        """Check what has become of both, when all is over."""
        for end in self.ends:
            if end.gone:
                continue
            self._judge.demand(end.lost is not None, f"{end} is never lost")
            self._judge.demand(len(end.over) == 1, f"{end} is never over")
            self._judge.demand(
                end.lingered <= LONGEST_END, f"{end} lingers for {end.lingered:.3f} s"
            )
            if end.lost is not None:
                self._check_reason(end)
            if end.clean:
                self._check_clean(end)

    def _check_reason(self, end: Application) -> None:
        assert end.lost is not None
        error = end.lost.value
        demand = self._judge.demand
        if type(error) is ConnectionDone:
            demand(
                self._has_all_of(end), f"{end} is done, and its peer has not got all"
            )
        elif isinstance(error, PeerFailure):
            demand(self._other(end).at_fault, f"{end} blames a peer that is well")
        elif isinstance(error, PeerGone):
            other = self._other(end)
            # Whoever has ended its stream can break off in no other way.
            silenced = other.closed or other.at_fault
            demand(silenced, f"{end} blames a peer that still reads")
        elif isinstance(error, PeerSilent):
            demand(
                end.silence >= GIVE_UP - GRAINS,
                f"{end} gives up after {end.silence:.3f} s",
            )
            demand(
                end.awake >= OVERSLEPT_GRACE - GRAINS,
                f"{end} gives up when it has just awoken",
            )
        elif isinstance(error, Aborted):
            demand(end.at_fault, f"{end} was aborted by nobody")
        else:
            below = type(error) is ConnectionLost and end.evicted
            demand(below, f"{end} ends with {error!r}")

    def _check_clean(self, end: Application) -> None:
        demand = self._judge.demand
        assert end.lost is not None
        demand(end.lost.check(ConnectionDone), f"{end}: a clean end with {end.lost}")
        demand(self._has_all_of(end), f"{end} is clean, and its peer has not got all")
        if len(self._ends) == 2:
            other = self._other(end)
            demand(other.ending, f"{end} is clean, and its peer has not ended")
            demand(
                end.closed or end.at_fault or end.received == other.wrote,
                f"{end} is clean with {end.received} of {other.wrote} bytes",
            )

    def _has_all_of(self, end: Application) -> bool:
        """Whether the other end's stream has all of this one's, its end included."""
        other = self._ends.get(_opposite(end))
        if other is None:
            return False
        receiver: Any = other.transport._stream._receiver
        return bool(receiver.complete and receiver.total == end.wrote)

    def _other(self, end: Application) -> Application:
        return self._ends[_opposite(end)]


class Pairs:
    """All connections that there have been, by their shared keys."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._applications: list[Application] = []

    def expect(self, application: Application) -> Application:
        """Watch an application that may get a connection."""
        self._applications.append(application)
        return application

    def __iter__(self) -> Iterator[Pair]:
        pairs: dict[bytes, Pair] = {}
        for application in self.made:
            pair = pairs.setdefault(application.connection, Pair(self._judge))
            pair.add(application)
        return iter(pairs.values())

    @property
    def made(self) -> list[Application]:
        """The applications that have, or had, a connection."""
        return [one for one in self._applications if one.made]

    @property
    def alive(self) -> list[Application]:
        """The applications that have a connection."""
        return [one for one in self._applications if one.alive]

    def check(self) -> None:
        """Check what holds at any time."""
        keys: set[bytes] = set()
        for pair in self:
            pair.check()
        for application in self.made:
            if application.side == "server":
                self._judge.demand(
                    application.client_key not in keys,
                    f"{application}: its short-term key was used before",
                )
                keys.add(application.client_key)

    def check_ends(self) -> None:
        """Check what holds when all is over."""
        for pair in self:
            pair.check_ends()


def _opposite(end: Application) -> str:
    return "server" if end.side == "client" else "client"
