"""One connection through a bad network in virtual time, seen from all sides.

Both ends are ours, from the protocol down to the packets. A test of minutes takes
as long as its packets take to be sealed and opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any
from unittest import mock

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address
from curvecp_tx.stream.stream import Stream
from curvecp_tx.testing import MemoryNetwork, MemoryPort
from curvecp_tx.wire.messages import Message, decode_message
from tests.faults.figures import OURS, note
from tests.faults.impairment import Impairment, Kind, Link, Q, kind_of
from tests.interop.streaming import digest
from tests.net.streaming import Counted, StreamCase

TO_CLIENTS = (Kind.COOKIE, Kind.SERVER_MESSAGE)

LONG = 1000.0
"""Virtual seconds in which anything here is over."""


class Road(MemoryNetwork):
    """A network in memory on which datagrams fare as behind the proxy.

    :ivar there: what happens on the way to the server.
    :ivar back: what happens on the way to the client.
    :ivar lost_behind: how many were sent to where the client was seen before.
    """

    def __init__(
        self, clock: IReactorTime, there: Link, back: Link, *, seed: int
    ) -> None:
        super().__init__(clock)
        self.there = Impairment(there, seed=f"there {seed}")
        self.back = Impairment(back, seed=f"back {seed}")
        self.there.began = self.back.began = clock.seconds()
        self._heap: list[tuple[float, int, bytes, Address, Address]] = []
        self._number = count()
        self._next: IDelayedCall | None = None
        self._own: Address | None = None
        self._seen: Address | None = None
        self.lost_behind = 0

    @property
    def out(self) -> bool:
        """Whether everything vanishes."""
        return self.there.out and self.back.out

    @out.setter
    def out(self, out: bool) -> None:
        self.there.out = self.back.out = out

    def translate(self, own: Address, seen: Address) -> None:
        """Have the client be seen elsewhere from now on, as by a translator.

        What is under way to the client has passed that, and arrives.
        """
        self._own, self._seen = own, seen

    def send(self, datagram: bytes, source: Address, destination: Address) -> None:
        """Let a datagram meet its fate."""
        to_client = kind_of(datagram) in TO_CLIENTS
        if self._seen is not None and self._own is not None:
            if source == self._own:
                source = self._seen
            elif to_client and destination != self._seen:
                self.lost_behind += 1
                return
            elif to_client:
                destination = self._own
        if self.watch is not None and not self.watch(datagram, source, destination):
            return
        way = self.back if to_client else self.there
        for due, arriving in way.pass_on(datagram, self.clock.seconds()):
            entry = (due, next(self._number), arriving, source, destination)
            heappush(self._heap, entry)
        self._arm()

    def close(self) -> None:
        """Let nothing arrive any more."""
        self._heap.clear()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _arm(self) -> None:
        if not self._heap:
            return
        due, pending = self._heap[0][0], self._next
        if pending is None or not pending.active():
            delay = max(0.0, due - self.clock.seconds())
            self._next = self.clock.callLater(delay, self._due)
        elif pending.getTime() > due:
            pending.reset(max(0.0, due - self.clock.seconds()))

    def _due(self) -> None:
        now = self.clock.seconds()
        while self._heap and self._heap[0][0] <= now:
            _, _, datagram, source, destination = heappop(self._heap)
            self._arrive(datagram, source, destination)
        self._arm()


@implementer(IHalfCloseableProtocol)
class Party(Protocol):
    """Sends bytes, and keeps what comes.

    :param ends: whether its stream ends after that.
    :ivar arrivals: when something came, and how many bytes there were then.
    :ivar over_at: when the stream needed no more care.
    :ivar problem: how it failed, if it did.
    """

    transport: StreamConnection

    def __init__(
        self, clock: IReactorTime, data: bytes = b"", *, ends: bool = True
    ) -> None:
        self.clock = clock
        self.data = data
        self.ends = ends
        self.received = bytearray()
        self.arrivals: list[tuple[float, int]] = []
        self.over_at: float | None = None
        self.read_ended_at: float | None = None
        self.write_ended_at: float | None = None
        self.problem: CurveCPError | None = None
        self.lost: list[Failure] = []

    @property
    def stream(self) -> Stream:
        """The stream below."""
        return self.transport._stream

    @property
    def ending(self) -> str:
        """How it ended, in a word."""
        if self.over_at is None:
            return "going on"
        return "complete" if self.problem is None else type(self.problem).__name__

    def connectionMade(self) -> None:
        """Send."""
        self.transport.whenOver.addCallback(self._over)
        self.transport.write(self.data)
        if self.ends:
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self.arrivals.append((self.clock.seconds(), len(self.received)))

    def readConnectionLost(self) -> None:
        """Note when the peer had ended."""
        self.read_ended_at = self.clock.seconds()

    def writeConnectionLost(self) -> None:
        """Note when the peer had all."""
        self.write_ended_at = self.clock.seconds()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.lost.append(reason)

    def at(self, time: float) -> int:
        """Tell how many bytes had come at a time."""
        before = 0
        for when, total in self.arrivals:
            if when > time:
                break
            before = total
        return before

    def rate(self, begin: float, end: float) -> float:
        """Tell how many bytes came in a second between two times."""
        return (self.at(end) - self.at(begin)) / (end - begin)

    def _over(self, problem: CurveCPError | None) -> CurveCPError | None:
        self.over_at = self.clock.seconds()
        self.problem = problem
        return problem


class Overheard:
    """What streams have said and heard.

    :ivar said: the time and the message, by stream.
    :ivar heard: likewise.
    """

    def __init__(self) -> None:
        self.said: dict[Stream, list[tuple[float, Message]]] = {}
        self.heard: dict[Stream, list[tuple[float, Message]]] = {}


class CourseCase(StreamCase):
    """A test of one connection.

    :ivar near: the client's party.
    :ivar far: the server's.
    :ivar near_counters: what the client has counted; the server's are those of
        the listener.
    """

    network: Road

    def setUp(self) -> None:
        """Have streams draw their chances from the seed as well."""
        defaults = StreamConnection.__init__.__kwdefaults__
        patching = mock.patch.dict(defaults, randomBytes=self.draw)
        patching.start()
        self.addCleanup(patching.stop)
        super().setUp()

    def draw(self, count: int) -> bytes:
        """Give random bytes that are the same each time."""
        return self.random(count)

    def close_world(self) -> None:
        """End all that is under way, too."""
        if isinstance(self.network, Road):
            self.network.close()
        super().close_world()

    def open_port(
        self, protocol: Any, interface: str, port: int, counters: Counters
    ) -> MemoryPort:
        """Note the client's counters."""
        self.near_counters = counters
        return super().open_port(protocol, interface, port, counters)

    def figure(self, row: str, text: str) -> None:
        """Note a figure of virtual time."""
        note(row, OURS, f"{text} (virtual)")

    def overhear(self) -> Overheard:
        """Note all messages of all streams from now on."""
        overheard = Overheard()
        receive, give = Stream.receive, Stream.messages_to_send

        def note(
            notes: dict[Stream, list[tuple[float, Message]]],
            stream: Stream,
            messages: Sequence[bytes],
            now: float,
        ) -> None:
            entries = notes.setdefault(stream, [])
            for encoded in messages:
                message = decode_message(encoded)
                if message is not None:
                    entries.append((now, message))

        def heard(stream: Stream, messages: Sequence[bytes], now: float) -> None:
            note(overheard.heard, stream, messages, now)
            receive(stream, messages, now)

        def said(stream: Stream, now: float) -> list[bytes]:
            messages = give(stream, now)
            note(overheard.said, stream, messages, now)
            return messages

        self.patch(Stream, "receive", heard)
        self.patch(Stream, "messages_to_send", said)
        return overheard

    def go(
        self,
        up: bytes = b"",
        down: bytes = b"",
        *,
        there: Link = Q,
        back: Link | None = None,
        seed: int = 1,
        near: Callable[[], Party] | None = None,
        far: Callable[[], Party] | None = None,
    ) -> None:
        """Start a connection in a new world.

        :param near: makes the client's party; by default it sends ``up``, and ends.
        :param far: makes the server's, likewise.
        """
        self.close_world()
        self.build_world(seed)
        back = there if back is None else back
        self.network = Road(self.reactor, there, back, seed=seed)
        self.near = near() if near else Party(self.reactor, up)
        self.far = far() if far else Party(self.reactor, down)
        self.parties = (self.near, self.far)
        self.servers = Counted([self.far].pop)
        self.listener = self.serve(
            StreamFactory(self.reactor, self.servers, report=self.report)
        )
        connecting = self.endpoint().connect(Factory.forProtocol(lambda: self.near))
        connecting.addErrback(lambda reason: None)

    def step(self) -> None:
        """Go to the next event."""
        due = min(call.getTime() for call in self.reactor.getDelayedCalls())
        self.reactor.advance(max(0.0, due - self.reactor.seconds()))

    def until(self, condition: Callable[[], object], limit: float = LONG) -> float:
        """Go on until something is so; give the time."""
        while not condition():
            self.step()
            self.assertLessEqual(self.reactor.seconds(), limit)
        return self.reactor.seconds()

    def pass_until(self, time: float) -> None:
        """Go on until a time."""
        self.reactor.callLater(max(0.0, time - self.reactor.seconds()), int)
        while self.reactor.seconds() < time:
            self.step()

    def until_arrived(self, limit: float = LONG) -> float:
        """Go on until all has arrived both ways; give the time."""
        return self.until(
            lambda: (
                len(self.far.received) >= len(self.near.data)
                and len(self.near.received) >= len(self.far.data)
            ),
            limit,
        )

    def finish(self, limit: float = LONG) -> float:
        """Go on to a good end on both sides; give the time when all had arrived."""
        arrived = self.until_arrived(limit)
        self.until(lambda: all(p.over_at is not None for p in self.parties), LONG)
        self.assertEqual([p.ending for p in self.parties], ["complete"] * 2)
        self.assertEqual(digest(bytes(self.far.received)), digest(self.near.data))
        self.assertEqual(digest(bytes(self.near.received)), digest(self.far.data))
        return arrived

    def course(self, up: bytes, down: bytes = b"", **options: Any) -> float:
        """Have a connection from beginning to end; give the time of arrival."""
        self.go(up, down, **options)
        return self.finish()
