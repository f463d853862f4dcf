"""Workers for an application: they do the cryptography, it has the connections.

An application is one process, and what it knows is in its memory. So it is not run
several times. Its workers have the port, the handshakes and the streams; each stream
is spliced to a connection inside this host, over which the application gets what it
would get from the stream: bytes, back-pressure, half-closes, ends and failures. The
connection begins with a secret that only the workers know, and with who the client is.

It is TCP, since Unix sockets have no way to tell a failure from an end.
"""

from __future__ import annotations

import hmac
import json
import struct
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.net.forward import ForwardFactory
from curvecp_tx.net.report import Report

LOOPBACK = "127.0.0.1"

SECRET_BYTES = 32

INTRODUCTION_PATIENCE = 10.0
"""Seconds that somebody may take to say who he is. Workers do so at once."""

MAX_INTRODUCTION = 4096
"""Bytes of who the client is."""

_SIZE = struct.Struct("<H")


@implementer(IStreamClientEndpoint)
class _Application:
    """Where workers connect to."""

    def __init__(self, reactor: Any, port: int) -> None:
        self._endpoint = TCP4ClientEndpoint(reactor, LOOPBACK, port)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, without waiting for full segments."""
        return self._endpoint.connect(protocolFactory).addCallback(_hurry)


class HandOverFactory(ForwardFactory):
    """A worker's side: splices each stream to a connection to the application.

    :param port: the application's, on the loopback interface.
    :param secret: what it knows us by, in hexadecimal.
    """

    def __init__(
        self, reactor: Any, port: int, secret: str, *, report: Report | None = None
    ) -> None:
        super().__init__(_Application(reactor, port), report=report)
        self._greeting = partial(introduction, bytes.fromhex(secret))


class Reception(Factory):
    """The application's side: takes connections from workers.

    :param host: our own address, for ``getHost``.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        factory: IProtocolFactory,
        *,
        secret: bytes,
        host: CurveCPAddress,
    ) -> None:
        self.reactor = reactor
        self.factory = factory
        self.secret = secret
        self.host = host

    def buildProtocol(self, addr: Any) -> Arrival:
        """Wait for somebody to say who he is."""
        return Arrival(self)


class Arrival(Protocol):
    """A connection whose client is not known yet."""

    transport: Any

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._came = b""

    def connectionMade(self) -> None:
        """Wait, but not for long."""
        _hurry(self)
        self._patience = self._reception.reactor.callLater(
            INTRODUCTION_PATIENCE, self.transport.abortConnection
        )

    def dataReceived(self, data: bytes) -> None:
        """Look who it is."""
        self._came += data
        secret = self._came[:SECRET_BYTES]
        head = SECRET_BYTES + _SIZE.size
        if len(self._came) < head:
            return
        (size,) = _SIZE.unpack_from(self._came, SECRET_BYTES)
        known = hmac.compare_digest(secret, self._reception.secret)
        if not known or size > MAX_INTRODUCTION:
            self.transport.abortConnection()
        elif len(self._came) >= head + size:
            client = _address(json.loads(self._came[head : head + size]))
            self._introduce(client, self._came[head + size :])

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Forget it."""
        if self._patience.active():
            self._patience.cancel()

    def _introduce(self, client: CurveCPAddress, rest: bytes) -> None:
        """Put the application's protocol in our place."""
        self._patience.cancel()
        transport = self.transport
        protocol = self._reception.factory.buildProtocol(client)
        if protocol is None:
            transport.abortConnection()
            return
        transport.protocol = protocol
        host = self._reception.host
        arrived: Any = ArrivedTransport(transport, protocol, client, host, rest)
        protocol.makeConnection(arrived)
        arrived.deliver()


class ArrivedTransport:
    """A connection inside this host that stands for one over CurveCP.

    :param rest: what has come already, to be delivered as soon as it is wanted.
    """

    def __init__(
        self,
        transport: Any,
        protocol: IProtocol,
        peer: CurveCPAddress,
        host: CurveCPAddress,
        rest: bytes,
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._rest = rest
        self._paused = False
        self._peer = peer
        self._host = host
        directlyProvides(self, providedBy(transport))

    def getPeer(self) -> CurveCPAddress:
        """Tell who the client is, and from where it came in."""
        return self._peer

    def getHost(self) -> CurveCPAddress:
        """Tell the server's key, name and address."""
        return self._host

    def deliver(self) -> None:
        """Deliver what came with the introduction, unless nobody wants it now."""
        if self._rest and not self._paused and not self._transport.disconnecting:
            rest, self._rest = self._rest, b""
            self._protocol.dataReceived(rest)

    def pauseProducing(self) -> None:
        """Deliver nothing for a while."""
        self._paused = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Deliver again."""
        self._paused = False
        self.deliver()
        if not self._paused:
            self._transport.resumeProducing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def introduction(
    secret: bytes, client: CurveCPAddress, server: CurveCPAddress
) -> bytes:
    """Build what a connection to the application begins with."""
    who = {
        "key": client.key.hex(),
        "name": client.name,
        "extension": client.extension.hex(),
        "host": client.host,
        "port": client.port,
    }
    text = json.dumps(who).encode()
    return secret + _SIZE.pack(len(text)) + text


def _address(who: dict[str, Any]) -> CurveCPAddress:
    return CurveCPAddress(
        key=bytes.fromhex(who["key"]),
        name=who["name"],
        extension=bytes.fromhex(who["extension"]),
        host=who["host"],
        port=who["port"],
    )


def _hurry(protocol: Any) -> Any:
    """Have the system send small pieces at once."""
    protocol.transport.setTcpNoDelay(True)
    return protocol
