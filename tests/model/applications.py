"""Applications that write what can be recognised, and watch how they are treated."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.streams import StreamConnection
from tests.model.actions import CALLBACKS, Action
from tests.model.hosts import Host
from tests.model.judge import Judge

_PATTERN_BYTES = 65_537
"""A prime, so that no block repeats at a distance that some bug may prefer."""

PRODUCER_INTERVAL = 0.005
"""Seconds between two chunks of a producer that nobody has to ask."""


class Pattern:
    """An endless stream of bytes that depends on a seed."""

    def __init__(self, seed: bytes) -> None:
        self._bytes = random.Random(seed).randbytes(_PATTERN_BYTES)

    def piece(self, start: int, size: int) -> bytes:
        """Give some of it."""
        offset = start % _PATTERN_BYTES
        repeats = (offset + size) // _PATTERN_BYTES + 1
        return (self._bytes * repeats)[offset : offset + size]


class Application(Protocol):
    """One end of a connection, with a mind of its own.

    It closes when the peer has ended its stream, as simple protocols do.

    :ivar connection: the connection's shared key, which both ends have.
    :ivar client_key: C', which names the connection on the wire.
    :ivar wrote: bytes that the transport has accepted.
    :ivar received: bytes that were delivered.
    :ivar closed: whether it has asked for the end of the connection.
    :ivar failed: whether it has broken off, or raised.
    :ivar evicted: whether the owner of its host has ended its connection.
    :ivar gone: whether its host has lost power.
    :ivar lost: why the connection ended, for the application.
    :ivar silence: how long nothing had been heard of the peer then, seconds.
    :ivar awake: for how long its host had been awake then, seconds.
    :ivar lingered: seconds from there to the end for good, but for those in which
        its host was held up.
    :ivar over: how it ended, for good: a problem, or ``None``; at most one.
    """

    transport: StreamConnection

    def __init__(self, side: str, host: Host, judge: Judge) -> None:
        self.side = side
        self.host = host
        self.wrote = self.received = 0
        self.made = self.reading = False
        self.closed = self.failed = self.evicted = self.gone = False
        self.lost: Failure | None = None
        self.lost_at = self.silence = self.awake = 0.0
        self.lingered = 0.0
        self.over: list[CurveCPError | None] = []
        self.connection = self.client_key = b""
        self._judge = judge
        self._half_closed = False
        self._held_before = 0.0
        self._peers: Pattern | None = None
        self._told: set[str] = set()
        self._producer: _Producer | None = None
        self._plans: dict[str, deque[Action]] = {name: deque() for name in CALLBACKS}

    def __repr__(self) -> str:
        return f"<{self.side} {self.client_key.hex()[:6]}>"

    @property
    def alive(self) -> bool:
        """Whether it has a connection."""
        return self.made and self.lost is None and not self.gone

    @property
    def well(self) -> bool:
        """Whether it has a connection that nobody here wants to fail."""
        return self.alive and not self.at_fault

    @property
    def at_fault(self) -> bool:
        """Whether a failure comes from here."""
        return self.failed or self.evicted

    @property
    def ending(self) -> bool:
        """Whether its stream is to end, by its own wish or in answer to the peer."""
        return self._half_closed or self.transport.disconnecting

    @property
    def clean(self) -> bool:
        """Whether all has ended well."""
        return self.over == [None]

    @property
    def producing(self) -> bool:
        """Whether a producer of its is registered."""
        return self._producer is not None

    def plan(self, when: str, actions: Iterable[Action]) -> None:
        """Have things done in callbacks to come: one each time."""
        self._plans[when].extend(actions)

    def calm_down(self) -> None:
        """Plan nothing any more."""
        for planned in self._plans.values():
            planned.clear()

    def do(self, action: Action) -> None:
        """Do something now, if there is a connection."""
        if self.alive:
            action(self)

    # What actions are made of.

    def write(self, size: int) -> None:
        """Write bytes; a transport that was told to end takes none."""
        self.transport.write(self._own.piece(self.wrote, size))
        if self.alive and not self.failed and not (self.ending and not self._producer):
            self.wrote += size

    def half_close(self) -> None:
        """End the stream."""
        self._half_closed = True
        self.transport.loseWriteConnection()

    def close(self) -> None:
        """End the connection."""
        self.closed = True
        self.transport.loseConnection()

    def abort(self) -> None:
        """Break off."""
        self.fail()
        self.transport.abortConnection()

    def fail(self) -> None:
        """Be to blame for what comes."""
        self.failed = True

    def pause(self) -> None:
        """Take no bytes."""
        self.reading = False
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Take bytes again."""
        self.reading = True
        self.transport.resumeProducing()

    def produce(self, chunk: int, chunks: int, streaming: bool) -> None:
        """Register a producer, if there is none."""
        if self._producer is None:
            self._producer = _Producer(self, chunk, chunks, streaming)
            self.transport.registerProducer(self._producer, streaming)
            if self._producer is not None and streaming:
                self._producer.resumeProducing()

    def produced(self) -> None:
        """Do without the producer again: it has written everything."""
        self._producer = None
        self.transport.unregisterProducer()

    def dropped(self) -> None:
        """Do without the producer again: it was told to stop."""
        self._producer = None

    # What is called by the transport.

    def connectionMade(self) -> None:
        """Find out which connection this is."""
        self._expect("made", not self.made)
        self.made = self.reading = True
        session = session_of(self.transport)
        self.connection = session._shared_key
        self.client_key = session.short_term_key
        here, there = ("client", "server")[:: 1 if self.side == "client" else -1]
        self._own = Pattern(self.connection + here.encode())
        self._peers = Pattern(self.connection + there.encode())
        self.transport.whenOver.addCallback(self._is_over)
        self._follow_plan("made")

    def dataReceived(self, data: bytes) -> None:
        """Compare bytes with those that the peer writes."""
        wanted = self.reading and not self.failed and "read ended" not in self._told
        thrown_away = self.closed and not self._producer
        self._expect("data", self.alive and wanted and not thrown_away)
        assert self._peers is not None
        expected = self._peers.piece(self.received, len(data))
        self._judge.demand(data, f"{self} gets no bytes at all")
        self._judge.demand(data == expected, f"{self} gets other bytes than were sent")
        self.received += len(data)
        self._follow_plan("data")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self._expect("lost", self.alive)
        self.lost, self.lost_at = reason, self.host.reactor.seconds()
        self.silence = self.lost_at - self.host.heard.get(self.connection, 0.0)
        self.awake = self.lost_at - self.host.released
        self._held_before = self.host.held_for
        self._judge.demand(not self._producer, f"{self}: its producer was not stopped")
        self._follow_plan("lost")

    def _is_over(self, problem: CurveCPError | None) -> None:
        self._judge.demand(self.lost, f"{self} is over before it is lost")
        self.over.append(problem)
        held = self.host.held_for - self._held_before
        self.lingered = self.host.reactor.seconds() - self.lost_at - held

    def _read_ended(self) -> None:
        self._expect("read ended", self.alive and "read ended" not in self._told)
        self._told.add("read ended")
        self._follow_plan("read ended")

    def _write_ended(self) -> None:
        fine = self.alive and self.ending and "write ended" not in self._told
        self._expect("write ended", fine)
        self._told.add("write ended")
        self._follow_plan("write ended")

    def _expect(self, callback: str, fine: bool) -> None:
        self._judge.demand(fine, f"{self} is told '{callback}' at the wrong time")

    def _follow_plan(self, callback: str) -> None:
        if self._plans[callback]:
            self._plans[callback].popleft()(self)


class Simple(Application):
    """Knows nothing of half-close: the transport closes for it."""


@implementer(IHalfCloseableProtocol)
class Careful(Application):
    """Is told of the end of each stream, and closes when it likes."""

    def readConnectionLost(self) -> None:
        """Note the end of the peer's stream."""
        self._read_ended()

    def writeConnectionLost(self) -> None:
        """Note that the peer has all of ours."""
        self._write_ended()


@implementer(IPushProducer)
class _Producer:
    """Writes an application's bytes: on its own until paused, or when asked."""

    def __init__(
        self, application: Application, chunk: int, chunks: int, streaming: bool
    ) -> None:
        self._application = application
        self._chunk = chunk
        self._left = chunks
        self._streaming = streaming
        self._next: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        """Write one chunk, or begin to."""
        if self._streaming:
            self._later()
        else:
            self._write()

    def pauseProducing(self) -> None:
        """Wait until asked again."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def stopProducing(self) -> None:
        """Forget the rest."""
        self.pauseProducing()
        self._application.dropped()

    def _later(self) -> None:
        if self._next is None:
            reactor = self._application.host.reactor
            self._next = reactor.callLater(PRODUCER_INTERVAL, self._tick)

    def _tick(self) -> None:
        self._next = None
        if self._left:
            # Before the write, which may pause us.
            self._later()
        self._write()

    def _write(self) -> None:
        if self._left:
            self._left -= 1
            self._application.write(self._chunk)
        else:
            self._application.produced()


def session_of(transport: StreamConnection) -> Any:
    """Give the secure session under a stream: only it knows the keys."""
    messages: Any = transport._messages
    if hasattr(messages, "_session"):
        return messages._session
    return messages._dialer._client._session


MakeApplication = Callable[[], Application]
