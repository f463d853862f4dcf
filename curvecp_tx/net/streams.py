"""A stream as a Twisted transport: the stream layer on the message seam.

Towards the secure half, a :class:`StreamConnection` is a message protocol; towards
the application, it is a transport like TCP's, with half-close, producers and
consumers. What the application writes in one turn of the reactor leaves together
at its end. There is one timer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProducer,
    IProtocol,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import CurveCPError, StreamAborted, StreamFailed, StreamTimedOut
from curvecp_tx.interfaces import ILeavingProtocol, IMessageTransport
from curvecp_tx.net.clock import monotonic_seconds
from curvecp_tx.net.reasons import loss_reason
from curvecp_tx.net.report import Report
from curvecp_tx.stream.stream import Stream

HIGH_WATER = 128 * 1024
"""Unsent bytes at which a producer is paused: one window is under way besides."""

LOW_WATER = HIGH_WATER // 2

DELIVERY = 64 * 1024
"""Bytes given to the application at a time, so that it can pause."""

STOP_AFTER = 2.0
"""Seconds for which what comes on a closed connection is thrown away in silence. A
peer that goes on for longer is told that nobody reads any more."""

STOP_PATIENCE = 5.0
"""Seconds after which a peer that goes on all the same is left to itself."""

LATE = 1.0
"""Seconds by which a timer may be late before we have been asleep: the process was
stopped, or something has blocked the event loop."""

PEER_END_PATIENCE = 30.0
"""Seconds that a closed connection waits for the peer to end its stream, too."""

Accept = Callable[["StreamConnection"], "IProtocol | None"]
"""Makes the protocol above a connection that stands; ``None`` refuses it."""


@implementer(
    ILeavingProtocol, ITransport, IConsumer, IPushProducer, IHalfCloseableDescriptor
)
class StreamConnection:
    """One connection, as a message protocol below and a transport above.

    :param client: whether our first messages travel in Initiate packets, and so
        have to be small.
    :param accept: makes the protocol.
    :param wait: whether to accept only when the peer's first message has come;
        until then, a ping asks for it. Otherwise that is done at once.
    :param ping: seconds until the peer is pinged if there was nothing to send
        before; ``None`` for never.
    :param followed: whether the peer's first message follows right after
        :meth:`makeConnection`, and with it the first turn.
    :param accepted: called with that protocol when it has seen its transport, and
        before it gets anything else.
    :param failed: called instead, if a client's connection comes to nothing.
    :ivar whenOver: fires when the stream needs no more care: with ``None`` if
        both directions are complete and acknowledged, else with an error.
    """

    disconnecting = False

    def __init__(
        self,
        reactor: IReactorTime,
        *,
        client: bool,
        accept: Accept,
        wait: bool = False,
        ping: float | None = None,
        followed: bool = False,
        accepted: Callable[[IProtocol], object] | None = None,
        failed: Callable[[Failure], object] | None = None,
        report: Report | None = None,
        randomBytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._reactor = reactor
        self._seconds = monotonic_seconds(reactor)
        self._client = client
        self._accept: Accept | None = accept
        self._accepted = accepted
        self._failed = failed
        self._wait = wait
        self._ping = 0.0 if wait else ping
        self._followed = followed
        self._report = report or Report()
        self._random_bytes = randomBytes
        self._protocol: IProtocol | None = None
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self._paused = False
        self._read_ended = False
        self._write_ended = False
        self._write_closing = False
        self._open = False
        self._greeting: IDelayedCall | None = None
        self._drop_at: float | None = None
        self._timer: IDelayedCall | None = None
        self._timer_due = 0.0
        self._discarded_by_then: int | None = None
        self._pending_turn: IDelayedCall | None = None
        self._in_turn = False
        self._messages: IMessageTransport | None = None
        self.whenOver: Deferred[CurveCPError | None] = Deferred()

    # The message seam.

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Begin, on a message transport."""
        self._messages = transport
        self._open = True
        self._stream = Stream(
            random_bytes=self._random_bytes, now=self._seconds(), client=self._client
        )
        if not self._wait:
            self._establish()
        if self._ping is not None:
            self._greeting = self._reactor.callLater(self._ping, self._greet)
        if not self._followed:
            self._turn()

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Take messages; acknowledgments count even while nobody reads."""
        self._stream.receive(messages, self._seconds())
        if self._accept is not None:
            self._establish()
        self._turn()

    def connectionLost(self, reason: Failure) -> None:
        """End, because there is no way to the peer any more."""
        self._let_go()
        self._cancel_calls()
        if not self._open or self._to_be_read:
            return
        if self._stream.failure is not None:
            reason = self._end_reason()
        elif not reason.check(CurveCPError, ConnectionAborted, ConnectionLost):
            reason = Failure(ConnectionLost("the connection was closed"))
        self._end(reason)

    # The transport.

    def write(self, data: bytes) -> None:
        """Send bytes; they leave at the end of this turn."""
        if self._protocol is None or (self.disconnecting and self._producer is None):
            return
        self._stream.write(data)
        if self._producer is not None and self._streaming:
            self._pause_producer()
        self._soon()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def loseWriteConnection(self) -> None:
        """End our stream; the peer's goes on. A registered producer is waited for."""
        self._write_closing = True
        if self._producer is None:
            self._stream.finish()
            self._soon()

    def loseConnection(self) -> None:
        """End the connection when everything written has been acknowledged.

        What still arrives is thrown away. While a producer is registered, its
        end is waited for.
        """
        if not self.disconnecting:
            self.disconnecting = True
            if self._producer is None:
                self._close()

    def abortConnection(self, why: str = "") -> None:
        """End the connection now, and tell the peer that it failed."""
        self._stream.abort(self._seconds(), StreamAborted(why))
        self._stream.discard()
        self._soon()

    def leave(self, why: str) -> None:
        """End the connection at once where that can be: this side stops.

        The peer learns in this very turn that the stream has failed.
        """
        self.abortConnection(why)
        self._turn()

    def getPeer(self) -> CurveCPAddress:
        """Tell who is at the other end."""
        below = self._messages
        return self._peer if below is None else below.getPeer()

    def getHost(self) -> CurveCPAddress:
        """Tell who we are."""
        below = self._messages
        return self._host if below is None else below.getHost()

    # The consumer, for a producer of the application's.

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Take bytes from a producer as fast as they can be sent."""
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if self._protocol is None or self.disconnecting or self._write_closing:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        self._producer_paused = not streaming
        self._soon()

    def unregisterProducer(self) -> None:
        """Go without the producer."""
        self._producer = None
        if self.disconnecting:
            self._close()
        elif self._write_closing:
            self._stream.finish()
        self._soon()

    # The producer, for a consumer of the application's.

    def pauseProducing(self) -> None:
        """Deliver nothing for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Deliver again."""
        self._paused = False
        self._soon()

    def stopProducing(self) -> None:
        """Deliver nothing any more, and close."""
        self.loseConnection()

    # Half-close, as descriptors have it.

    def readConnectionLost(self, reason: Failure) -> None:
        """Tell the protocol that the peer's stream has ended well."""
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._guarded(self._protocol.readConnectionLost)
        else:
            self.loseConnection()

    def writeConnectionLost(self, reason: Failure) -> None:
        """Tell the protocol that the peer has all of our stream."""
        if IHalfCloseableProtocol.providedBy(self._protocol):
            self._guarded(self._protocol.writeConnectionLost)

    # The works.

    def _establish(self) -> None:
        accept, self._accept = self._accept, None
        assert accept is not None  # noqa: S101 - asked by the callers
        protocol = accept(self)
        if protocol is None:
            self._stream.abort(self._seconds())
            return
        self._protocol = protocol
        self._guarded(protocol.makeConnection, self)
        if self._accepted is not None:
            self._accepted(protocol)

    def _greet(self) -> None:
        """Make ourselves known, unless what we had to say has done so."""
        self._greeting = None
        if not self._stream.has_sent:
            self._stream.ping()
            self._turn()

    def _soon(self) -> None:
        """Have a turn when the application has had its say."""
        if self._in_turn or not self._open:
            return
        if self._pending_turn is None:
            self._pending_turn = self._reactor.callLater(0, self._turn_now)

    def _turn_now(self) -> None:
        self._pending_turn = None
        self._turn()

    def _turn(self) -> None:
        """Deliver, produce, send, and see what has ended."""
        if self._in_turn or not self._open:
            return
        self._in_turn = True
        try:
            self._deliver()
            if self._producer is not None:
                self._produce()
                # A producer that is also our consumer may have asked for more.
                self._deliver()
            self._check_ends()
            if self._drop_at is not None:
                self._check_endless(self._drop_at)
            messages = self._stream.messages_to_send(self._seconds())
            if messages and self._messages is not None:
                self._messages.sendMessages(messages)
        finally:
            self._in_turn = False
        done = self._messages is None or self._stream.over
        if (done and not self._to_be_read) or self._is_due(self._drop_at):
            self._end(self._end_reason())
        elif self._messages is not None:
            self._arm()

    @property
    def _to_be_read(self) -> bool:
        """Whether all is well and over, but for a reader that takes its time."""
        stream = self._stream
        return self._protocol is not None and stream.complete and stream.readable

    def _end(self, reason: Failure) -> None:
        """Let go of the message transport, if that has not let go of us."""
        self._open = False
        below = self._let_go()
        self._cancel_calls()
        self._lose(reason)
        self._tell_over(reason)
        if below is not None:
            below.loseConnection()

    def _let_go(self) -> IMessageTransport | None:
        """Do without the message transport from now on, and give it."""
        below = self._messages
        if below is not None:
            # The protocol may still ask.
            self._peer, self._host = below.getPeer(), below.getHost()
            self._messages = None
        return below

    def _deliver(self) -> None:
        stream = self._stream
        while stream.readable and not self._paused and self._protocol is not None:
            self._guarded(self._protocol.dataReceived, stream.read(DELIVERY))
        if stream.peer_ended and not self._read_ended:
            self._read_ended = True
            self.readConnectionLost(Failure(ConnectionDone()))

    def _produce(self) -> None:
        if self._stream.unsent >= LOW_WATER:
            return
        if self._streaming:
            if self._producer_paused:
                self._producer_paused = False
                self._guarded(self._producer.resumeProducing)
        else:
            while self._producer is not None and self._stream.unsent < LOW_WATER:
                before = self._stream.unsent
                self._guarded(self._producer.resumeProducing)
                if self._stream.unsent == before:
                    # It will write, or unregister, in a turn of its own.
                    break

    def _pause_producer(self) -> None:
        if not self._producer_paused and self._stream.unsent >= HIGH_WATER:
            self._producer_paused = True
            self._guarded(self._producer.pauseProducing)

    def _check_ends(self) -> None:
        stream = self._stream
        acknowledged = stream.acknowledged
        if acknowledged and not self._write_ended:
            self._write_ended = True
            self.writeConnectionLost(Failure(ConnectionDone()))
        if stream.failure is not None:
            self._lose(loss_reason(stream.failure))
        elif acknowledged and (self.disconnecting or self._read_ended):
            self._lose(Failure(ConnectionDone()))

    def _check_endless(self, drop_at: float) -> None:
        """Put an end to a stream that nobody reads."""
        if self._stream.failure is not None:
            return
        closed = drop_at - PEER_END_PATIENCE
        discarded = self._stream.discarded
        if self._discarded_by_then is None:
            if self._is_due(closed + STOP_AFTER):
                self._discarded_by_then = discarded
        elif discarded > self._discarded_by_then:
            self._stream.stop_peer()
            self._drop_at = min(drop_at, self._seconds() + STOP_PATIENCE)

    def _close(self) -> None:
        self._stream.finish()
        self._stream.discard()
        self._soon()

    def _lose(self, reason: Failure) -> None:
        """Tell the protocol that it is over, once; the stream may still linger."""
        accept, self._accept = self._accept, None
        if accept is not None and self._failed is not None:
            self._failed(reason)
        if self._drop_at is None:
            self._drop_at = self._seconds() + PEER_END_PATIENCE
        protocol, self._protocol = self._protocol, None
        producer, self._producer = self._producer, None
        if producer is not None:
            self._guarded(producer.stopProducing)
        if protocol is not None:
            self._stream.discard()
            self._guarded(protocol.connectionLost, reason)

    def _end_reason(self) -> Failure:
        if self._stream.failure is not None:
            return loss_reason(self._stream.failure)
        if self._stream.complete:
            return Failure(ConnectionDone())
        return loss_reason(StreamTimedOut("the peer does not end its stream"))

    def _tell_over(self, reason: Failure) -> None:
        """Say how it ended, now that it has ended for good."""
        if self.whenOver.called:
            return
        if self._stream.complete:
            self.whenOver.callback(None)
        elif isinstance(reason.value, CurveCPError):
            self.whenOver.callback(reason.value)
        else:
            self.whenOver.callback(StreamFailed(reason.getErrorMessage()))

    def _guarded(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call the application; what it raises ends this connection only."""
        try:
            call(*arguments)
        except Exception:
            self._report.bug("protocol failed; its connection ends")
            self._stream.abort(self._seconds())

    def _is_due(self, time: float | None) -> bool:
        return time is not None and self._seconds() >= time

    def _arm(self) -> None:
        now = self._seconds()
        deadline = self._stream.next_deadline(now)
        if self._drop_at is not None:
            deadline = min(deadline or self._drop_at, self._drop_at)
        if deadline is None:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._timer = None
            return
        if self._timer is not None and self._timer.active():
            if deadline >= self._timer_due:
                # It fires early once in a while; to move it each time costs more.
                return
            # The reactor would look through all timers for one that comes forward.
            self._timer.cancel()
        self._timer_due = deadline
        delay = max(0.0, deadline - now)
        self._timer = self._reactor.callLater(delay, self._timer_fired)

    def _cancel_calls(self) -> None:
        for call in (self._timer, self._pending_turn, self._greeting):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._pending_turn = self._greeting = None

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._seconds()
        if now > self._timer_due + LATE:
            # Timers run before sockets are read.
            self._stream.overslept(now)
        self._stream.handle_timer(now)
        self._turn()
