"""What the message transports of servers and clients have in common."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import BadMessageSize
from curvecp_tx.interfaces import (
    ILeavingProtocol,
    IMessageProtocol,
    IMessageTransport,
)
from curvecp_tx.net.report import Report
from curvecp_tx.secure.counters import Counters
from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES, is_message_size

WAITING_LIMIT = 64
"""Messages kept for a protocol that is not there yet, as many as the reference
queues. More are lost, and their sender repeats them."""


@implementer(IMessageTransport)
class MessageTransport:
    """One connection between a session and a message protocol.

    Subclasses say how messages leave (:meth:`_transmit`) and what is freed at the
    end (:meth:`_release`). Whatever a protocol raises ends its own connection
    and nothing else.
    """

    messageLimit = MAX_MESSAGE_BYTES

    def __init__(
        self, reactor: IReactorTime, report: Report, counters: Counters
    ) -> None:
        self._reactor = reactor
        self._report = report
        self._counters = counters
        self._protocol: IMessageProtocol | None = None
        self._waiting: list[bytes] = []
        self._ended = False

    def attach(self, protocol: IMessageProtocol) -> None:
        """Connect the protocol, and let it have what has arrived by now.

        Raises what its ``makeConnection`` raises; the connection is not ended.
        """
        self._protocol = protocol
        try:
            protocol.makeConnection(self)
        except BaseException:
            self._protocol = None
            raise
        waiting, self._waiting = self._waiting, []
        if waiting:
            self.deliver(waiting)

    def deliver(self, messages: Sequence[bytes]) -> None:
        """Pass messages on to the protocol, or keep a few until it is there."""
        if self._ended:
            return
        if self._protocol is None:
            room = WAITING_LIMIT - len(self._waiting)
            self._waiting += messages[:room]
            self._counters.lost_waiting_full += max(0, len(messages) - room)
            return
        try:
            self._protocol.messagesReceived(messages)
        except Exception:
            self._report.bug("message protocol failed; its connection ends")
            self.end(Failure())

    def end(self, reason: Failure) -> None:
        """End the connection now, and tell the protocol in the next turn."""
        if self._ended:
            return
        self._ended = True
        self._waiting = []
        self._release()
        if self._protocol is not None:
            self._reactor.callLater(0, self._tell, self._protocol, reason)
            self._protocol = None

    def leave(self, why: str) -> None:
        """End when the protocol has taken its leave; who does not do that ends now."""
        if not self.bid_farewell(why):
            self.loseConnection()

    def bid_farewell(self, why: str) -> bool:
        """Let the protocol take its leave; tell whether it does that at all."""
        protocol = self._protocol
        if not ILeavingProtocol.providedBy(protocol):
            return False
        try:
            protocol.leave(why)
        except Exception:
            self._report.bug("message protocol failed at its end")
            self.end(Failure())
        return True

    def sendMessages(self, messages: Sequence[bytes]) -> None:
        """Send messages; see the interface."""
        limit = self.messageLimit
        for message in messages:
            if not is_message_size(len(message), limit):
                raise BadMessageSize(f"{len(message)} bytes, limit {limit}")
        if not self._ended:
            self._transmit(messages)

    def loseConnection(self) -> None:
        """End the connection cleanly."""
        self.end(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """End the connection as a failure."""
        self.end(Failure(ConnectionAborted()))

    def getPeer(self) -> CurveCPAddress:
        """Tell who is at the other end."""
        raise NotImplementedError

    def getHost(self) -> CurveCPAddress:
        """Tell who we are."""
        raise NotImplementedError

    def _transmit(self, messages: Sequence[bytes]) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        raise NotImplementedError

    def _tell(self, protocol: IMessageProtocol, reason: Failure) -> None:
        try:
            protocol.connectionLost(reason)
        except Exception:
            self._report.bug("message protocol failed at its end")
