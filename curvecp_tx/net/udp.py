"""A UDP port that moves datagrams in batches and survives every error.

Twisted's own port closes for good at the first errno that it does not know, and
lets errors of sending through to the caller. On a port that strangers can write
to, no error may end the service: a failed call is a lost datagram and a count.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorFDSet,
    IReadDescriptor,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.interfaces import ICurveCPReactor, IDatagramBatchTransport
from curvecp_tx.net import busy_poll, offload
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram

MAX_PORT = 65535

ANY_IPV4 = "0.0.0.0"  # noqa: S104 - a server's usual place
ANY_IPV6 = "::"

BATCH_LIMIT = 64
"""Datagrams read before the reactor gets its turn; runs may make them twice as many.
64 Hellos, the costliest that a stranger can send, take some 6 ms. To read more at a
time would gain less than a tenth of a microsecond for each."""

SOCKET_BUFFER = 4 << 20
"""Bytes asked of the kernel for each direction: room for the bursts of many
connections. The kernel grants what its own limit allows."""

# Linux values; the socket module does not name them on every version.
_IP_MTU_DISCOVER = getattr(socket, "IP_MTU_DISCOVER", 10)
_IPV6_MTU_DISCOVER = getattr(socket, "IPV6_MTU_DISCOVER", 23)
_PMTUDISC_DONT = 0


class IBatchReceiver(Protocol):
    """The protocol above a :class:`DatagramPort`."""

    def makeConnection(self, transport: Any) -> None:
        """Begin; the port is open."""

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Take the datagrams of one readiness event."""

    def doStop(self) -> None:
        """End; the port is closed."""


def open_socket(interface: str, port: int, *, join: bool = False) -> socket.socket:
    """Make and bind a UDP socket.

    :param interface: an IP address of this host. ``::`` takes IPv4, too.
    :param join: whether the port may have sockets already that let others join.
    :raises CannotListenError: with the reason, if that is impossible.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    sock = None
    try:
        flags = socket.AI_NUMERICHOST | socket.AI_PASSIVE
        # Not with the port: the resolver takes 70000 for 4464, bind refuses it.
        found = socket.getaddrinfo(
            interface, None, family, socket.SOCK_DGRAM, flags=flags
        )
        host, _, *scope = found[0][4]
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        _set_options(sock, family)
        if join:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port, *scope))
    except (OSError, OverflowError, UnicodeError) as error:
        if sock is not None:
            sock.close()
        raise CannotListenError(interface, port, error) from error
    return sock


def _set_options(sock: socket.socket, family: socket.AddressFamily) -> None:
    """Set what helps; none of it is indispensable."""
    wanted = [
        (socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER),
        (socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER),
        # Packets fit IPv6's least MTU; on a smaller one, fragments beat loss.
        (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT),
    ]
    if family == socket.AF_INET6:
        wanted.append((socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0))
        wanted.append((socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT))
    for level, option, value in wanted:
        with contextlib.suppress(OSError):
            sock.setsockopt(level, option, value)


@implementer(IListeningPort, IReadDescriptor, IDatagramBatchTransport)
class DatagramPort:
    """A bound UDP socket under the reactor.

    :param sock: bound and non-blocking; owned by this port from now on.
    :param protocol: gets ``datagramsReceived`` once per readiness event.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        protocol: IBatchReceiver,
        sock: socket.socket,
        counters: Counters,
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._socket = sock
        self._counters = counters
        self._receive = offload.receiver(sock, counters)
        self._send = offload.sender(sock, counters)
        self._patience = busy_poll.patience()
        self._listening = False
        self._started = False

    def startListening(self) -> None:
        """Begin to receive."""
        self._listening = True
        self._protocol.makeConnection(self)
        self._started = True
        if self._listening:
            self._reactor.addReader(self)
        else:
            # It had enough at once; Twisted's protocols cannot end in their start.
            self._protocol.doStop()

    def stopListening(self) -> None:
        """Stop receiving and close the socket, at once."""
        if not self._listening:
            self._socket.close()
            return
        self._listening = False
        self._reactor.removeReader(self)
        self._socket.close()
        if self._started:
            self._protocol.doStop()

    def getHost(self) -> IPv4Address | IPv6Address:
        """Tell the address and port that the socket is bound to."""
        name = self._socket.getsockname()
        kind = IPv6Address if self._socket.family == socket.AF_INET6 else IPv4Address
        return kind("UDP", name[0], name[1])

    def fileno(self) -> int:
        """Give the socket's descriptor, -1 once closed."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """Name this port in log lines."""
        return "CurveCP"

    def connectionLost(self, reason: Failure) -> None:
        """Close if the reactor shuts down; go on after an error of the socket.

        Some reactors take an error that waits without a datagram for a hang-up.
        """
        if not (self._listening and getattr(self._reactor, "running", False)):
            self.stopListening()
            return
        self._counters.lost_receive_error += 1
        # To ask for the error is to clear it; else it would be back at once.
        with contextlib.suppress(OSError):
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._reactor.addReader(self)

    def doRead(self) -> None:
        """Read what waits, up to a limit, and hand it on as one batch."""
        self._read()
        if self._patience:
            busy_poll.stay_awake(self._read, self._patience)

    def _read(self) -> bool:
        """Do that, and tell whether there was anything."""
        if not self._listening:
            return False
        batch = self._receive(BATCH_LIMIT)
        if batch:
            try:
                self._protocol.datagramsReceived(batch)
            except Exception:
                # The reactor would close the port for every other client, too.
                self._log.failure("while handling datagrams")
        return bool(batch)

    def sendDatagrams(self, datagrams: Sequence[Datagram]) -> None:
        """Send datagrams; what the kernel does not take is lost and counted."""
        self._send(datagrams)

    def write(self, datagram: bytes, address: Address) -> None:
        """Send one datagram."""
        self.sendDatagrams([(datagram, address)])


def batch_sender(
    transport: Any, counters: Counters
) -> Callable[[Sequence[Datagram]], None]:
    """Give what sends a batch over any UDP transport, and never raises.

    :param transport: a :class:`DatagramPort`, or a port of Twisted's own.
    """
    if IDatagramBatchTransport.providedBy(transport):
        return transport.sendDatagrams

    def send_singly(datagrams: Sequence[Datagram]) -> None:
        for datagram, address in datagrams:
            try:
                transport.write(datagram, address)
            except (OSError, MessageLengthError):
                counters.lost_send_error += 1
            else:
                counters.datagrams_sent += 1

    return send_singly


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
