"""Endpoints for message protocols: where a server listens, what a client dials."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IMessageProtocol,
    IMessageProtocolFactory,
)
from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.resolution import resolve_hosts
from curvecp_tx.net.udp import MAX_PORT, DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address

ANY_IPV4 = "0.0.0.0"  # noqa: S104 - a server's usual place
ANY_IPV6 = "::"


OpenPort = Callable[[Any, str, int, Counters], IListeningPort]
"""Makes a port, not listening yet, for a datagram protocol: given that protocol,
the address and port number to bind, and where to count."""


def socket_ports(reactor: ICurveCPReactor) -> OpenPort:
    """Give what opens real UDP ports under a reactor.

    What it gives raises ``CannotListenError`` where a port cannot be bound.
    """

    def open_port(
        protocol: Any, interface: str, port: int, counters: Counters
    ) -> DatagramPort:
        sock = open_socket(interface, port)
        return DatagramPort(reactor, protocol, sock, counters)

    return open_port


@implementer(IListeningPort)
class MessagePort:
    """A server's open port.

    :ivar listener: the protocol under it, which knows the connections.
    :ivar whenStopped: fires when the port has been closed.
    """

    def __init__(self, port: IListeningPort, listener: MessageListener) -> None:
        self._port = port
        self.listener = listener
        self.whenStopped: Deferred[None] = Deferred()

    @property
    def counters(self) -> Counters:
        """What has happened on this port, by reason."""
        return self.listener.counters

    def startListening(self) -> None:
        """Begin to serve."""
        self._port.startListening()

    def stopListening(self) -> Deferred[None]:
        """End all connections and close the port.

        Streams tell their peers that they have failed, as far as they may send now.
        """
        self.listener.leave("the server stops")
        self._port.stopListening()
        if not self.whenStopped.called:
            self.whenStopped.callback(None)
        return succeed(None)

    def getHost(self) -> CurveCPAddress:
        """Tell the server's key, name, extension, address and port."""
        return self.listener.getHost()


class MessageServerEndpoint:
    """A place to serve a message protocol.

    :param interface: IP address to bind; ``::`` takes IPv4 as well.
    :param port: UDP port to bind; 0 picks one.
    :param openPort: what opens the port; a socket by default.
    :param options: as for :class:`~curvecp_tx.net.listener.MessageListener`.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        *,
        identity: Identity,
        name: str,
        interface: str = ANY_IPV4,
        port: int = 0,
        openPort: OpenPort | None = None,
        **options: Any,
    ) -> None:
        self._reactor = reactor
        self._open_port = openPort or socket_ports(reactor)
        self._identity = identity
        self._name = name
        self._interface = interface
        self._port = port
        self._options = options

    def listen(self, factory: IMessageProtocolFactory) -> Deferred[MessagePort]:
        """Bind the port and serve.

        :return: fires with the port, or fails with ``CannotListenError``.
        """
        try:
            listener = MessageListener(
                self._reactor,
                factory,
                identity=self._identity,
                name=self._name,
                **self._options,
            )
            below = self._open_port(
                listener, self._interface, self._port, listener.counters
            )
        except Exception:
            return fail()
        port = MessagePort(below, listener)
        port.startListening()
        return succeed(port)


class MessageClientEndpoint:
    """A server to speak a message protocol with.

    :param serverKey: the server's long-term public key, 32 bytes.
    :param serverName: the server's name.
    :param hosts: its IP addresses or names, tried in this order.
    :param port: its UDP port.
    :param identity: our long-term keys; a new pair for each connection without.
    :param openPort: what opens a port for a connection; a socket by default.
    :param options: as for :class:`~curvecp_tx.net.dialer.MessageDialer`.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        *,
        serverKey: bytes,
        serverName: str,
        hosts: Iterable[str],
        port: int,
        identity: Identity | None = None,
        openPort: OpenPort | None = None,
        **options: Any,
    ) -> None:
        self._reactor = reactor
        self._open_port = openPort or socket_ports(reactor)
        self._server_key = serverKey
        self._server_name = serverName
        self._hosts = list(hosts)
        self._port = port
        self._identity = identity
        self._options = options

    def connect(self, factory: IMessageProtocolFactory) -> Deferred[IMessageProtocol]:
        """Dial the server.

        :return: fires with the protocol when the server's Cookie has come, or
            fails with :class:`~curvecp_tx.errors.ConnectTimedOut`; may be
            cancelled.
        """
        found = resolve_hosts(self._reactor, self._hosts)
        return found.addCallback(partial(self._dial, factory))

    def _dial(
        self, factory: IMessageProtocolFactory, hosts: Sequence[str]
    ) -> Deferred[IMessageProtocol]:
        try:
            interface, addresses = resolve(hosts, self._port)
            dialer = MessageDialer(
                self._reactor,
                factory,
                identity=self._identity or Identity.ephemeral(),
                serverKey=self._server_key,
                serverName=self._server_name,
                addresses=addresses,
                **self._options,
            )
            port = self._open_port(dialer, interface, 0, dialer.counters)
        except Exception:
            return fail()
        connected = dialer.connected
        port.startListening()
        return connected


def resolve(hosts: Iterable[str], port: int) -> tuple[str, list[Address]]:
    """Turn IP addresses into socket addresses that one socket can reach.

    :return: the address to bind that socket to, and the socket addresses.
    :raises OSError: if one of ``hosts`` is no IP address.
    :raises ValueError: if there are none, or ``port`` is no port number.
    """
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"port number must be 1 to {MAX_PORT}, not {port}")
    hosts = list(hosts)
    if not hosts:
        raise ValueError("no address to dial")
    if not any(":" in host for host in hosts):
        family, interface = socket.AF_INET, ANY_IPV4
    else:
        family, interface = socket.AF_INET6, ANY_IPV6
        hosts = [host if ":" in host else f"::ffff:{host}" for host in hosts]
    addresses: list[Address] = []
    for host in hosts:
        found = socket.getaddrinfo(
            host, port, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        addresses.append(found[0][4])
    return interface, addresses
