"""What the kernel makes of runs of datagrams."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net import offload
from curvecp_tx.net.offload import MAX_SEGMENTS
from curvecp_tx.net.udp import BATCH_LIMIT, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from tests.net.fake_socket import HAS_RUNS, pieces, to_peer

# Linux values, which the socket module does not name.
SO_NO_CHECK = 11
UDP_NO_CHECK6_TX = 101
UDP_NO_CHECK6_RX = 102


class Noting:
    """A socket, with a note of the calls that send."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.calls: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def sendto(self, datagram: bytes, address: Address) -> None:
        """Note it, and do it."""
        self.calls.append(1)
        self.sock.sendto(datagram, address)

    def sendmsg(self, run: Sequence[bytes], *arguments: Any) -> None:
        """Note it, and do it."""
        self.calls.append(len(run))
        self.sock.sendmsg(run, *arguments)


class KernelTests(SynchronousTestCase):
    """What the kernel makes of runs, from an IPv4 address to another."""

    if not HAS_RUNS:
        skip = "this kernel knows nothing of runs"

    here = there = "127.0.0.1"
    no_checksums = accept_no_checksums = (socket.SOL_SOCKET, SO_NO_CHECK)

    def setUp(self) -> None:
        """Open two ends."""
        self.patch(os, "environ", {})
        self.counters = Counters()
        self.socket = Noting(self.open_end(self.here))
        self.target = self.open_end(self.there)
        self.send = offload.sender(cast(socket.socket, self.socket), self.counters)
        self.source = self.name_for(self.socket.sock, self.target)
        self.address = self.name_for(self.target, self.socket.sock)

    def open_end(self, host: str) -> socket.socket:
        """Open a socket for the length of a test."""
        sock = open_socket(host, 0)
        self.addCleanup(sock.close)
        return sock

    def name_for(self, sock: socket.socket, other: socket.socket) -> Address:
        """Give a socket's address, as another one sees it."""
        name: Address = sock.getsockname()
        return name

    def received(self) -> list[list[Datagram]]:
        """Read until there is nothing left; give what came of each time."""
        receive = offload.receiver(self.target, self.counters)
        return list(iter(lambda: list(receive(BATCH_LIMIT)), []))

    def test_run(self) -> None:
        """A run is sent with one call, and read with one."""
        packets = [*pieces(55, 1152), b"short"]
        offload.receiver(self.target, self.counters)
        self.send(to_peer(packets, self.address))
        self.assertEqual(self.socket.calls, [56])
        data, ancillary, _, _ = self.target.recvmsg(1 << 16, 64)
        self.assertEqual(data, b"".join(packets))
        self.assertEqual(len(ancillary), 1)

    def test_both_ends(self) -> None:
        """What is sent in runs comes as it was, in order, from its sender."""
        offload.receiver(self.target, self.counters)
        packets = [
            *pieces(60, 1152),
            *pieces(1, 400),
            *pieces(3, 1184),
            *pieces(70, 80),
            b"end",
        ]
        self.send(to_peer(packets, self.address))
        self.assertLess(len(self.socket.calls), 10)
        received = [datagram for batch in self.received() for datagram in batch]
        self.assertEqual(received, to_peer(packets, self.source))
        self.assertEqual(self.counters.datagrams_sent, len(packets))

    def test_plain_receiver(self) -> None:
        """Who knows nothing of runs gets datagrams."""
        packets = [*pieces(40, 1184), b"short"]
        self.send(to_peer(packets, self.address))
        received = [self.target.recvfrom(2000) for _ in packets]
        self.assertEqual(received, to_peer(packets, self.source))

    def test_plain_sender(self) -> None:
        """What was sent datagram by datagram comes like that."""
        packets = [b"", *pieces(30, 1184), b"", bytes(1)]
        offload.receiver(self.target, self.counters)
        for packet in packets:
            self.socket.sendto(packet, self.address)
        received = [datagram for batch in self.received() for datagram in batch]
        self.assertEqual(received, to_peer(packets, self.source))

    def test_crumbs(self) -> None:
        """A run of single bytes is bounded by the kernel, and by us."""
        offload.receiver(self.target, self.counters)
        crumbs = [bytes([n]) for n in range(MAX_SEGMENTS)]
        for _ in range(3):
            self.send(to_peer(crumbs, self.address))
        expected = [to_peer(crumbs, self.source)] * 3
        self.assertEqual(self.received(), expected)

    def test_refused(self) -> None:
        """What the kernel refuses as a run arrives nevertheless; later runs are taken.

        It takes no runs from a socket that is to leave out checksums.
        """
        self.target.setsockopt(*self.accept_no_checksums, 1)
        self.socket.setsockopt(*self.no_checksums, 1)
        packets = pieces(5, 1152)
        for _ in range(2):
            self.send(to_peer(packets, self.address))
        self.assertEqual(self.socket.calls, [5, 1, 1, 1, 1, 1] + [1] * 5)
        self.socket.setsockopt(*self.no_checksums, 0)
        self.send(to_peer(packets, self.address))
        self.assertEqual(self.socket.calls[11:], [5])
        received = [datagram for batch in self.received() for datagram in batch]
        self.assertEqual(received, to_peer(packets * 3, self.source))
        self.assertEqual(self.counters.lost_send_error, 0)

    def test_port_zero(self) -> None:
        """What cannot be sent at all is lost and counted, datagram by datagram."""
        host, _, *rest = self.address
        self.send(to_peer(pieces(5, 1152), (host, 0, *rest)))
        self.assertEqual(self.counters.lost_send_error, 5)
        self.assertEqual(self.counters.datagrams_sent, 0)


class KernelIPv6Tests(KernelTests):
    """The same with IPv6."""

    here = there = "::1"
    no_checksums = (socket.IPPROTO_UDP, UDP_NO_CHECK6_TX)
    accept_no_checksums = (socket.IPPROTO_UDP, UDP_NO_CHECK6_RX)


class MappedKernelTests(KernelTests):
    """The same from a socket for both families to an IPv4 address."""

    here = "::"

    def name_for(self, sock: socket.socket, other: socket.socket) -> Address:
        """Give an address of the other socket's family."""
        port = sock.getsockname()[1]
        if other.family == socket.AF_INET6:
            return ("::ffff:127.0.0.1", port, 0, 0)
        return ("127.0.0.1", port)


class MappedReceiverKernelTests(MappedKernelTests):
    """The same from an IPv4 address to a socket for both families."""

    here, there = "127.0.0.1", "::"
