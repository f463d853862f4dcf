"""The server's datagram protocol: sessions on one side, message protocols above."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress, plain_host
from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.interfaces import IClientPolicy, IMessageProtocolFactory
from curvecp_tx.net.clock import monotonic_seconds
from curvecp_tx.net.idle import IdleWatch
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.reasons import PeerSilent
from curvecp_tx.net.refusals import Refusals
from curvecp_tx.net.report import Report
from curvecp_tx.net.transport import MessageTransport
from curvecp_tx.net.udp import batch_sender
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedKeys
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.ledger import Ledger
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.secure.server import Server
from curvecp_tx.secure.session import Session
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import EXTENSION_BYTES

POLICY_TIMEOUT = 30.0
"""Seconds that a policy may think: a client waits for 60."""


@implementer(IClientPolicy)
class AdmitEverybody:
    """The default policy: whoever proves a key comes in, whatever the key."""

    def admit(self, client: CurveCPAddress) -> bool:
        """Say yes."""
        return True


class ServerConnection(MessageTransport):
    """The server's end of one connection."""

    def __init__(self, listener: MessageListener, session: Session) -> None:
        super().__init__(listener.reactor, listener.report, listener.counters)
        self._listener = listener
        self._session = session

    def getPeer(self) -> CurveCPAddress:
        """Tell who the client is, and from where it was last heard."""
        path = self._session.path
        return CurveCPAddress(
            key=self._session.peer_key,
            name=self._session.peer_name,
            extension=path.extension,
            host=plain_host(path.address[0]),
            port=path.address[1],
        )

    def getHost(self) -> CurveCPAddress:
        """Tell the server's own key, name and address."""
        return self._listener.getHost()

    def _transmit(self, messages: Sequence[bytes]) -> None:
        try:
            datagrams = self._session.seal(messages)
        except NoncesExhausted:
            self.end(Failure())
        else:
            self._listener.send(datagrams)

    def _release(self) -> None:
        self._listener.released(self._session)


class MessageListener(DatagramProtocol):
    """Serves message protocols to CurveCP clients.

    Works on any UDP transport of Twisted's, and best on a
    :class:`~curvecp_tx.net.udp.DatagramPort`, which moves datagrams in batches.

    :param factory: makes a message protocol for each client that is let in.
    :param identity: the server's long-term key pair and nonces.
    :param name: the server's name, for which clients ask.
    :param extension: the server's 16-byte extension.
    :param policy: decides on each client's key and address.
    :param limits: how many clients there may be, and how fast they may come.
    :param authorized: the only keys that may come in; ``None`` for any.
    :param idleTimeout: seconds after which a connection ends whose client has sent
        nothing valid; ``None`` for never. It lasts a quarter longer at the most.
    :param bindAddress: whether a cookie opens only for the IP address that it
        was sent to; without it, a new client's path starts out unvalidated.
    :param ledger: knows who is in, where other processes serve the port as well.
    :raises BadName: if ``name`` cannot be a server's name.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        factory: IMessageProtocolFactory,
        *,
        identity: Identity,
        name: str,
        extension: bytes = bytes(EXTENSION_BYTES),
        policy: IClientPolicy | None = None,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        authorized: AuthorizedKeys | None = None,
        idleTimeout: float | None = None,
        bindAddress: bool = True,
        ledger: Ledger | None = None,
        report: Report | None = None,
        counters: Counters | None = None,
        randomBytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if len(extension) != EXTENSION_BYTES:
            raise ValueError(f"an extension has {EXTENSION_BYTES} bytes")
        self.reactor = reactor
        self.report = report or Report()
        self.counters = counters or Counters()
        self._factory = factory
        self._policy = policy or AdmitEverybody()
        self._seconds = monotonic_seconds(reactor)
        self._name = name
        self._extension = extension
        self._identity = identity
        self._server = Server(
            keys=identity.keys,
            name=encode_server_name(name),
            extension=extension,
            cookie_nonces=identity.nonces,
            random_bytes=randomBytes,
            now=self._seconds(),
            limits=limits,
            authorized=authorized,
            counters=self.counters,
            bind_address=bindAddress,
            ledger=ledger,
        )
        self._connections: dict[Session, ServerConnection] = {}
        self._deciding: set[Deferred[bool]] = set()
        self._refusals = Refusals(self.report, self.counters)
        self._idle_timeout = idleTimeout
        self._idle: IdleWatch[Session] | None = None
        if idleTimeout is not None:
            self._idle = IdleWatch(
                reactor, self._seconds, idleTimeout, self._end_silent
            )
        self._waiting: list[Deferred[None]] = []
        self._host = CurveCPAddress(identity.keys.public, name, extension)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._server.connections

    def getHost(self) -> CurveCPAddress:
        """Tell the server's key, name, extension and bound address."""
        return self._host

    def startProtocol(self) -> None:
        """Begin to serve: the port is open."""
        bound = self.transport.getHost()  # type: ignore[union-attr]
        self._host = CurveCPAddress(
            key=self._identity.keys.public,
            name=self._name,
            extension=self._extension,
            host=plain_host(bound.host),
            port=bound.port,
        )
        self.send = batch_sender(self.transport, self.counters)
        self._server.accepting = True
        self._rotation = self.reactor.callLater(MINUTE, self._rotate)

    def stopProtocol(self) -> None:
        """End all connections: the port is closed."""
        self.stopAccepting()
        self.loseConnections()
        self._rotation.cancel()

    def allow(self, limits: Limits, authorized: AuthorizedKeys | None) -> None:
        """Replace limits and authorized keys. Whoever is in stays in."""
        self._server.allow(limits, authorized, self._seconds())

    def stopAccepting(self) -> None:
        """Let nobody new in."""
        self._server.accepting = False

    def leave(self, why: str) -> None:
        """Let nobody new in, and have every connection take its leave.

        Streams tell their peers now that they have failed. That may take a while,
        see :meth:`whenIdle`; :meth:`loseConnections` puts an end to it.
        """
        self.stopAccepting()
        for deferred in tuple(self._deciding):
            deferred.cancel()
        for connection in tuple(self._connections.values()):
            connection.leave(why)

    def loseConnections(self) -> None:
        """End all connections, those under consideration included."""
        for deferred in tuple(self._deciding):
            deferred.cancel()
        for connection in tuple(self._connections.values()):
            connection.loseConnection()

    def whenIdle(self) -> Deferred[None]:
        """Give a Deferred that fires when no connection is open any more."""
        deferred: Deferred[None] = Deferred()
        self._waiting.append(deferred)
        self._check_idle()
        return deferred

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Handle a datagram from a port that brings them one by one."""
        self.datagramsReceived([(datagram, addr)])

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Handle the datagrams of one readiness event."""
        now = self._seconds()
        received = self._server.receive(datagrams, now)
        if received.replies:
            self.send(received.replies)
        for session in received.opened:
            if self._server.accepting:
                self._opened(session)
            else:
                # What was done for an earlier one has put an end to it all.
                self.counters.refused_draining += 1
                self._server.close(session, forget=True)
        connections, idle = self._connections, self._idle
        for session, messages in received.messages.items():
            connection = connections.get(session)
            if connection is not None:
                if idle is not None:
                    idle.heard(session, now)
                connection.deliver(messages)
        self._refusals.look(self._server.limits)

    def released(self, session: Session) -> None:
        """Free the slot of a connection that has ended."""
        if self._forget(session) is not None:
            self._server.close(session)
            self._report_status()

    def _opened(self, session: Session) -> None:
        connection = ServerConnection(self, session)
        self._connections[session] = connection
        self._report_status()
        peer = connection.getPeer()
        try:
            verdict = self._policy.admit(peer)
        except Exception:
            self.report.bug("client policy failed; the client is refused")
            verdict = False
        if isinstance(verdict, Deferred):
            self._deciding.add(verdict)
            verdict.addTimeout(POLICY_TIMEOUT, self.reactor)
            verdict.addErrback(self._policy_failed)
            verdict.addCallback(self._decided, verdict, connection, session)
        else:
            self._decide(verdict, connection, session, peer)

    def _policy_failed(self, failure: Failure) -> bool:
        if self._server.accepting:
            self.report.error(
                "client policy failed; the client is refused: {error}",
                error=failure.getErrorMessage(),
            )
        return False

    def _decided(
        self,
        verdict: bool,
        deferred: Deferred[bool],
        connection: ServerConnection,
        session: Session,
    ) -> None:
        self._deciding.discard(deferred)
        self._decide(verdict, connection, session, connection.getPeer())

    def _decide(
        self,
        admitted: bool,
        connection: ServerConnection,
        session: Session,
        peer: CurveCPAddress,
    ) -> None:
        if session not in self._connections:
            return
        if not admitted:
            self._refuse(connection)
            return
        try:
            protocol = self._factory.buildProtocol(peer)
            if protocol is None:
                self._refuse(connection)
            elif session in self._connections:
                connection.attach(protocol)
        except OSError as error:
            self._failed(session, str(error))
        except Exception:
            self.report.bug("message protocol failed at its start")
            self._failed(session, "message protocol failed at its start")

    def _refuse(self, connection: ServerConnection) -> None:
        self.counters.refused_policy += 1
        self.report.info("refused {who}", who=connection.getPeer().described)
        connection.loseConnection()

    def _failed(self, session: Session, reason: str) -> None:
        """Give up the slot, such that the same Initiate may try it again."""
        self.counters.refused_handler += 1
        self._server.close(session, forget=True)
        connection = self._forget(session)
        if connection is not None:
            connection.abortConnection()
        self._report_status()
        self.report.error_sometimes(
            "handler", "unable to start message handler: {reason}", reason=reason
        )

    def _report_status(self) -> None:
        self.report.info(
            "status: {count}/{limit}",
            count=self._server.occupied,
            limit=self._server.limits.clients,
        )

    def _forget(self, session: Session) -> ServerConnection | None:
        connection = self._connections.pop(session, None)
        if self._idle is not None:
            self._idle.forget(session)
        self._check_idle()
        return connection

    def _check_idle(self) -> None:
        """Tell who waits for the last connection, when its protocol knows."""
        if not self._connections:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                self.reactor.callLater(0, deferred.callback, None)

    def _end_silent(self, session: Session) -> None:
        connection = self._connections[session]
        self.counters.ended_idle += 1
        who = connection.getPeer().described
        self.report.info(
            "silent for {seconds:g} s: {who}", seconds=self._idle_timeout, who=who
        )
        why = f"the client was silent for {self._idle_timeout:g} seconds"
        connection.bid_farewell(why)
        connection.end(Failure(PeerSilent(why)))

    def _rotate(self) -> None:
        """Retire minute keys on time even when no packets come."""
        self._server.rotate(self._seconds())
        self._rotation = self.reactor.callLater(MINUTE, self._rotate)
