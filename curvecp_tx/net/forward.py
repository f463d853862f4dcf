"""Two streams spliced: what comes in on one goes out on the other.

Half-closes are passed on, failures too, and each side holds the other back.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.net.report import Report

PROXY_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY_VERSION_AND_COMMAND = 0x21
PROXY_STREAM_IPV4 = 0x11
PROXY_STREAM_IPV6 = 0x21
PROXY_AUTHORITY = 0x02
PROXY_CLIENT_KEY = 0xE0
"""From the range that the PROXY protocol leaves to applications; the value is the
client's long-term key as 64 hexadecimal digits."""


@implementer(IHalfCloseableProtocol)
class Side(Protocol):
    """One of two spliced connections.

    :param made: called when the connection stands.
    :param lost: called when it stands no more.
    :ivar other: the other side, once there is one.
    """

    transport: Any

    def __init__(
        self,
        made: Callable[[Side], object] | None = None,
        lost: Callable[[Side], object] | None = None,
    ) -> None:
        self.other: Side | None = None
        self.ended: Failure | None = None
        self._made = made
        self._lost = lost
        self._early: list[bytes] = []
        self._read_ended = False
        self._write_closed = False

    def connectionMade(self) -> None:
        """Take nothing before it is known where it goes."""
        self.transport.pauseProducing()
        if self._made is not None:
            self._made(self)

    def splice(self, other: Side) -> None:
        """Connect with the other side, whatever has happened before."""
        for side, peer in ((self, other), (other, self)):
            side.other = peer
            if peer.ended is None and side.ended is None:
                peer.transport.registerProducer(side.transport, True)
        for side in (self, other):
            side._catch_up()

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on."""
        if self.other is None:
            self._early.append(data)
        else:
            self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """Pass on that no more will come from here."""
        self._read_ended = True
        if self.other is not None:
            self.other.no_more()

    def writeConnectionLost(self) -> None:
        """End both sides if we have not asked for this: nobody reads any more."""
        if not self._write_closed and self.other is not None:
            self.other.end(Failure(ConnectionLost("nobody reads any more")))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the other side the way this one has ended."""
        self.ended = reason
        if self.other is not None:
            self.other.end(reason)
        if self._lost is not None:
            self._lost(self)

    def no_more(self) -> None:
        """End our stream, for the other side has ended its own."""
        self._write_closed = True
        if self.ended is None:
            self.transport.unregisterProducer()
            lose_write = getattr(self.transport, "loseWriteConnection", None)
            if lose_write is None:
                self.transport.loseConnection()
            else:
                lose_write()

    def end(self, reason: Failure) -> None:
        """End, because the other side has."""
        self._write_closed = True
        if self.ended is None:
            self.transport.unregisterProducer()
            abort = getattr(self.transport, "abortConnection", None)
            if reason.check(ConnectionDone) or abort is None:
                self.transport.loseConnection()
            else:
                abort()

    def _catch_up(self) -> None:
        other = self.other
        assert other is not None  # noqa: S101 - just spliced
        if other.ended is None:
            for data in self._early:
                other.transport.write(data)
        self._early = []
        if self.ended is not None:
            other.end(self.ended)
        else:
            if self._read_ended:
                other.no_more()
            self.transport.resumeProducing()


class ForwardFactory(Factory):
    """Connects each connection that comes in with a new one to an endpoint.

    :param endpoint: where to; a new connection is made for each that comes in.
    :param proxyHeader: whether that connection begins with a PROXY protocol
        header, version 2, which tells the client's address and key.
    """

    noisy = False

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        *,
        proxyHeader: bool = False,
        report: Report | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._greeting: Callable[[CurveCPAddress, CurveCPAddress], bytes] | None
        self._greeting = proxy_header if proxyHeader else None
        self._report = report or Report()
        self._near: set[Side] = set()
        self._dialling: dict[Side, Deferred[IProtocol]] = {}

    def buildProtocol(self, addr: Any) -> Side:
        """Make the near side, which dials the far one."""
        return Side(self._dial, self._gone)

    def end(self) -> list[Side]:
        """End all that is connected, as a failure; give the far sides of it."""
        far = [near.other for near in self._near if near.other is not None]
        for near in tuple(self._near):
            near.end(Failure(ConnectionAborted()))
        return far

    def _dial(self, near: Side) -> None:
        self._near.add(near)
        far = Side()
        connecting = self._endpoint.connect(Factory.forProtocol(lambda: far))
        self._dialling[near] = connecting
        connecting.addBoth(self._dialled, near)
        connecting.addCallback(self._connected, near, far)
        connecting.addErrback(self._failed, near)

    def _gone(self, near: Side) -> None:
        """Forget a near side; nobody needs what is dialled for it any more."""
        self._near.discard(near)
        connecting = self._dialling.get(near)
        if connecting is not None:
            connecting.cancel()

    def _dialled(self, result: Any, near: Side) -> Any:
        self._dialling.pop(near, None)
        return result

    def _connected(self, protocol: IProtocol, near: Side, far: Side) -> None:
        if self._greeting is not None:
            far.transport.write(
                self._greeting(near.transport.getPeer(), near.transport.getHost())
            )
        near.splice(far)

    def _failed(self, reason: Failure, near: Side) -> None:
        if near.ended is None:
            self._report.error_sometimes(
                "forward", "unable to forward: {why}", why=reason.getErrorMessage()
            )
            near.end(reason)


def proxy_header(client: CurveCPAddress, server: CurveCPAddress) -> bytes:
    """Build a PROXY protocol header, version 2, that names a CurveCP client."""
    source, destination = ip_address(client.host), ip_address(server.host)
    if source.version != destination.version:
        # A server on "::" meets clients of either kind, but has one address.
        destination = type(source)(0)
    family = PROXY_STREAM_IPV4 if source.version == 4 else PROXY_STREAM_IPV6
    addresses = source.packed + destination.packed
    ports = struct.pack(">HH", client.port, server.port)
    fields = b""
    for kind, value in (
        (PROXY_AUTHORITY, (server.name or "").encode("utf-8", "surrogateescape")),
        (PROXY_CLIENT_KEY, client.key.hex().encode()),
    ):
        if value:
            fields += struct.pack(">BH", kind, len(value)) + value
    body = addresses + ports + fields
    head = struct.pack(">BBH", PROXY_VERSION_AND_COMMAND, family, len(body))
    return PROXY_SIGNATURE + head + body
