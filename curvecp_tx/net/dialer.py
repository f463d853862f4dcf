"""The client's datagram protocol: one connection to one server."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from curvecp_tx.address import CurveCPAddress, plain_host
from curvecp_tx.errors import NoncesExhausted, RefusedByPolicy
from curvecp_tx.interfaces import IMessageProtocol, IMessageProtocolFactory
from curvecp_tx.net.clock import monotonic_seconds
from curvecp_tx.net.extension import ExtensionFile
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report
from curvecp_tx.net.transport import MessageTransport
from curvecp_tx.net.udp import batch_sender
from curvecp_tx.secure.client import DEFAULT_TIMEOUT, Client, Phase
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import EXTENSION_BYTES, MAX_INITIATE_MESSAGE_BYTES


class ClientConnection(MessageTransport):
    """The client's end of the connection."""

    messageLimit = MAX_INITIATE_MESSAGE_BYTES

    def __init__(self, dialer: MessageDialer) -> None:
        super().__init__(dialer.reactor, dialer.report, dialer.counters)
        self._dialer = dialer

    def getPeer(self) -> CurveCPAddress:
        """Tell who the server is, and from where it was last heard."""
        return self._dialer.getPeer()

    def getHost(self) -> CurveCPAddress:
        """Tell our own key and address."""
        return self._dialer.getHost()

    def _transmit(self, messages: Sequence[bytes]) -> None:
        self._dialer.transmit(messages)

    def _release(self) -> None:
        self._dialer.disconnect()


class MessageDialer(DatagramProtocol):
    """Connects a message protocol to a CurveCP server.

    The protocol starts when the server's Cookie has come: the first packet after
    that needs a message from it. :attr:`connected` fires then. If the server
    does not answer that message in time, the protocol's ``connectionLost`` gets a
    :class:`~curvecp_tx.errors.ConnectTimedOut`.

    :param factory: makes the message protocol.
    :param identity: our long-term key pair and nonces.
    :param serverKey: the server's long-term public key, 32 bytes.
    :param serverName: the server's name.
    :param serverExtension: the server's 16-byte extension.
    :param addresses: socket addresses, tried in this order, round and round.
    :param extension: where our own extension is read.
    :param timeout: seconds until the server must have answered; ``None`` for ever.
    :ivar connected: fires with the message protocol; cancel it to give up.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        factory: IMessageProtocolFactory,
        *,
        identity: Identity,
        serverKey: bytes,
        serverName: str,
        addresses: Sequence[Address],
        serverExtension: bytes = bytes(EXTENSION_BYTES),
        extension: ExtensionFile | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        report: Report | None = None,
        counters: Counters | None = None,
        randomBytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.reactor = reactor
        self.report = report or Report()
        self.counters = counters or Counters()
        self.connected: Deferred[IMessageProtocol] = Deferred(self._cancelled)
        self._factory = factory
        self._identity = identity
        self._server_key = serverKey
        self._server_name = serverName
        self._encoded_name = encode_server_name(serverName)
        self._server_extension = serverExtension
        self._addresses = addresses
        self._last_address = addresses[0]
        self._extension = extension or ExtensionFile()
        self._timeout = timeout
        self._random_bytes = randomBytes
        self._seconds = monotonic_seconds(reactor)
        self._client: Client | None = None
        self._connection: ClientConnection | None = None
        self._timer: IDelayedCall | None = None
        self._armed_for: float | None = None

    def getPeer(self) -> CurveCPAddress:
        """Tell who the server is, and where."""
        client = self._client
        where = self._last_address if client is None else client.path
        return CurveCPAddress(
            key=self._server_key,
            name=self._server_name,
            extension=self._server_extension,
            host=plain_host(where[0]),
            port=where[1],
        )

    def getHost(self) -> CurveCPAddress:
        """Tell our own key and address."""
        return CurveCPAddress(
            key=self._identity.keys.public,
            name=None,
            extension=self._extension.read(self._seconds()),
            host=plain_host(self._bound.host),
            port=self._bound.port,
        )

    def startProtocol(self) -> None:
        """Say Hello: the port is open."""
        # Kept, because a protocol may still ask when the port is closed.
        self._bound = self.transport.getHost()  # type: ignore[union-attr]
        self._send = batch_sender(self.transport, self.counters)
        now = self._seconds()
        try:
            self._client = Client(
                server_key=self._server_key,
                server_name=self._encoded_name,
                server_extension=self._server_extension,
                addresses=self._addresses,
                keys=self._identity.keys,
                vouch_nonces=self._identity.nonces,
                extension=self._extension.read(now),
                random_bytes=self._random_bytes,
                now=now,
                timeout=self._timeout,
                counters=self.counters,
            )
        except Exception:
            self._finish(Failure())
        else:
            self._pump(now)

    def stopProtocol(self) -> None:
        """End the connection: the port is closed."""
        # Without a machine, it was our own end that closed the port.
        if self._client is not None:
            self._finish(Failure(ConnectionDone()))

    def disconnect(self) -> None:
        """Stop everything that goes on for the connection."""
        if self._client is not None:
            self._last_address = self._client.path
            self._client = None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self.transport is not None:
            self.transport.stopListening()

    def transmit(self, messages: Sequence[bytes]) -> None:
        """Send messages of the protocol."""
        self._drive(lambda client, now: client.send(messages))

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """Handle a datagram from a port that brings them one by one."""
        self.datagramsReceived([(datagram, addr)])

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Handle the datagrams of one readiness event."""
        self._drive(lambda client, now: client.receive(datagrams, now))

    def _drive(self, step: Callable[[Client, float], None]) -> None:
        """Have the machine take a step, and carry on what comes of it."""
        client = self._client
        if client is None:
            return
        now = self._seconds()
        client.extension = self._extension.read(now)
        try:
            step(client, now)
        except NoncesExhausted:
            self._finish(Failure())
        else:
            self._pump(now)

    def _pump(self, now: float) -> None:
        """Carry on whatever the machine has come to."""
        client = self._client
        if client is None:
            return
        datagrams = client.take_datagrams()
        if datagrams:
            self._send(datagrams)
        if client.failure is not None:
            self._finish(Failure(client.failure))
            return
        self._arm(client, now)
        if client.phase is Phase.INITIATE and self._connection is None:
            self._begin()
        if self._connection is not None:
            self._connection.messageLimit = client.message_limit
            messages = client.take_messages()
            if messages:
                self._connection.deliver(messages)

    def _begin(self) -> None:
        """Build the protocol, which then sends its first message."""
        peer = self.getPeer()
        self.report.info("cookie from {host}:{port}", host=peer.host, port=peer.port)
        connection = ClientConnection(self)
        try:
            protocol = self._factory.buildProtocol(peer)
            if protocol is None:
                raise RefusedByPolicy("by the protocol factory")
            if self._client is None:
                # The factory has cancelled the attempt.
                return
            self._connection = connection
            connection.attach(protocol)
        except Exception:
            self._connection = None
            self._finish(Failure())
        else:
            if not self.connected.called:
                self.connected.callback(protocol)

    def _finish(self, reason: Failure) -> None:
        """End it: tell the protocol, or else whoever waits for one."""
        if self._connection is not None:
            self._connection.end(reason)
            return
        self.disconnect()
        if not self.connected.called:
            self.connected.errback(reason)

    def _cancelled(self, deferred: Deferred[IMessageProtocol]) -> None:
        if self._connection is not None:
            self._connection.abortConnection()
        else:
            self.disconnect()

    def _arm(self, client: Client, now: float) -> None:
        deadline = client.next_deadline()
        if deadline == self._armed_for and self._timer is not None:
            return
        self._armed_for = deadline
        if deadline is None:
            if self._timer is not None and self._timer.active():
                self._timer.cancel()
            self._timer = None
        elif self._timer is not None and self._timer.active():
            self._timer.reset(max(0.0, deadline - now))
        else:
            self._timer = self.reactor.callLater(
                max(0.0, deadline - now), self._timer_fired
            )

    def _timer_fired(self) -> None:
        self._timer = None
        self._drive(lambda client, now: client.handle_timer(now))
