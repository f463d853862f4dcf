"""The endpoint of a server that a client speaks a message protocol with.

It stands apart from the server's, which a client's start need not load.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail

from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IMessageProtocol,
    IMessageProtocolFactory,
)
from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.resolution import resolve_hosts
from curvecp_tx.net.udp import (
    ANY_IPV4,
    ANY_IPV6,
    MAX_PORT,
    OpenPort,
    socket_ports,
)
from curvecp_tx.secure.paths import Address


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
