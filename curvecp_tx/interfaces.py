"""The message seam and its neighbours, as zope interfaces.

CurveCP has two halves. The secure half turns datagrams into messages; whatever
takes those messages implements :class:`IMessageProtocol` and answers through
:class:`IMessageTransport`. The two need to know nothing else of each other.

A *message* is 16 to 1088 bytes, a multiple of 16. Messages may be lost and may
arrive in another order, but on one connection none arrives twice, and none is
forged.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReactorProcess,
    IReactorTime,
)
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from curvecp_tx.address import CurveCPAddress


class ICurveCPReactor(IReactorFDSet, IReactorProcess, IReactorTime):
    """What of a reactor this package uses; every POSIX reactor has it."""


class IMessageTransport(Interface):
    """One connection, as its message protocol sees it."""

    messageLimit: int = Attribute(
        """
        The greatest message, in bytes, that may be sent now: 640 for a client
        until the server's first message has arrived, 1088 otherwise.
        """
    )

    def sendMessages(messages: Sequence[bytes]) -> None:
        """
        Send messages, each in a packet of its own. They may get lost.

        After the end of the connection this does nothing.

        @raise curvecp_tx.errors.BadMessageSize: if one is longer than
            C{messageLimit} or of a size that no message has; none is sent then.
        """

    def loseConnection() -> None:
        """
        End the connection; C{connectionLost} follows, with C{ConnectionDone}.

        CurveCP has no packet that says so: the peer finds out by silence,
        unless the message protocol has told it before.
        """

    def abortConnection() -> None:
        """
        End the connection; C{connectionLost} follows, with C{ConnectionAborted}.
        """

    def getPeer() -> CurveCPAddress:
        """
        Tell who is at the other end, and from where it was last heard.
        """

    def getHost() -> CurveCPAddress:
        """
        Tell who we are on this connection.
        """


class IMessageProtocol(Interface):
    """What is done with the messages of one connection."""

    def makeConnection(transport: IMessageTransport) -> None:
        """
        Begin. Called once, before anything else.

        A client must send its first message within a second or so, since the
        server learns of the connection by it; an empty one (16 zero bytes) will
        do where the message protocol allows it.
        """

    def messagesReceived(messages: Sequence[bytes]) -> None:
        """
        Take messages that have arrived together.

        What cannot be handled at once has to be queued or thrown away.
        """

    def connectionLost(reason: Failure) -> None:
        """
        Learn that the connection has ended. Called once, after everything else.
        """


class ILeavingProtocol(IMessageProtocol):
    """A message protocol that has something to say or to do before its end."""

    def leave(why: str) -> None:
        """
        End the connection, for this side stops. Messages may still be sent, and
        arrive, until C{transport.loseConnection} is called; who does not do so
        in a second or two loses the connection all the same.
        """


class IMessageProtocolFactory(Interface):
    """Makes a message protocol for each connection."""

    def buildProtocol(address: CurveCPAddress) -> IMessageProtocol | None:
        """
        Make a protocol for a connection with the peer at C{address}, or return
        L{None} to refuse it.
        """


class IHandlerFactory(IMessageProtocolFactory):
    """A factory of message protocols that may need time to end."""

    def whenIdle() -> Deferred[None]:
        """
        See to it that what was started for connections ends, and wait for that.

        @return: a Deferred that fires when nothing of that is left.
        """

    def kill() -> None:
        """
        End by force what was started, at once.
        """


class IClientPolicy(Interface):
    """Decides whom a server lets in, before anything is started for them."""

    def admit(client: CurveCPAddress) -> bool | Deferred[bool]:
        """
        Decide on a client whose long-term key has been verified.

        A client that is turned away gets no answer of any kind.

        @return: whether it may come in, or a Deferred that tells. An error, or
            no answer within 30 seconds, means no.
        """


class IDatagramBatchTransport(Interface):
    """A UDP port that takes datagrams in batches."""

    def sendDatagrams(datagrams: Sequence[tuple[bytes, tuple[object, ...]]]) -> None:
        """
        Send datagrams, each to its address. Failures are counted, not raised.
        """
