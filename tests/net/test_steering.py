"""Groups of sockets on one port, and which of them gets what."""

from __future__ import annotations

import os
import random
import socket
import struct
from contextlib import closing

from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from curvecp_tx.errors import NoSteering
from curvecp_tx.net import steering
from curvecp_tx.net.steering import index_of, open_group, steering_program
from curvecp_tx.net.udp import open_socket
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    HELLO_BYTES,
    HELLO_MAGIC,
    INITIATE_MAGIC,
    SHORT_TERM_KEY,
)

HOST = "127.0.0.1"
SIZES = {HELLO_MAGIC: HELLO_BYTES, INITIATE_MAGIC: 544, CLIENT_MESSAGE_MAGIC: 112}
UNKNOWN_OPTION = 9999


def packet(magic: bytes, key: bytes) -> bytes:
    """Make something that looks like a client's packet."""
    body = magic.ljust(SHORT_TERM_KEY.start, b"\0") + key
    return body.ljust(SIZES[magic], b"\0")


class GroupCase(SynchronousTestCase):
    """A test with groups."""

    def open(self, count: int, host: str = HOST, port: int = 0) -> list[socket.socket]:
        """Open a group."""
        sockets = open_group(host, port, count)
        for sock in sockets:
            self.addCleanup(sock.close)
        return sockets

    def port_of(self, sockets: list[socket.socket]) -> int:
        """Give the port, which all of them must have."""
        (port,) = {sock.getsockname()[1] for sock in sockets}
        assert isinstance(port, int)
        return port

    def send(self, port: int, *datagrams: bytes, host: str = HOST) -> None:
        """Send each datagram from a port of its own."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for datagram in datagrams:
            with closing(socket.socket(family, socket.SOCK_DGRAM)) as sock:
                sock.sendto(datagram, (host, port))

    def received(self, sock: socket.socket) -> list[bytes]:
        """Give what is there. On the loopback interface it is there at once."""
        came = []
        while True:
            try:
                came.append(sock.recv(2000))
            except BlockingIOError:
                return came


class SteeringTests(GroupCase):
    """Which socket a client meets."""

    def test_keys(self) -> None:
        """All packets of a client come to one socket, the one that is foretold."""
        for count in (2, 4, 7):
            sockets = self.open(count)
            port = self.port_of(sockets)
            keys = [random.Random(n).randbytes(32) for n in range(5 * count)]
            for magic in SIZES:
                self.send(port, *(packet(magic, key) for key in keys))
                for index, sock in enumerate(sockets):
                    expected = [
                        packet(magic, key)
                        for key in keys
                        if index_of(key, count) == index
                    ]
                    self.assertEqual(self.received(sock), expected, (count, index))

    def test_spread(self) -> None:
        """Keys are spread evenly, whatever their number."""
        rounds, noise = 4000, random.Random(1)
        for count in (2, 3, 64):
            found = [0] * count
            for _ in range(rounds):
                found[index_of(noise.randbytes(32), count)] += 1
            self.assertGreater(min(found), rounds / count / 4)

    def test_short_datagrams(self) -> None:
        """What is too short to have a key does no harm."""
        sockets = self.open(3)
        texts = [b"", b"x", bytes(40), bytes(43)]
        self.send(self.port_of(sockets), *texts)
        came = [text for sock in sockets for text in self.received(sock)]
        self.assertEqual(sorted(came), sorted(texts))

    def test_ipv6(self) -> None:
        """Clients of both kinds are steered alike on a port for both."""
        try:
            sockets = self.open(3, "::")
        except CannotListenError as error:
            raise SkipTest("no IPv6 here") from error
        port = self.port_of(sockets)
        key = struct.pack(">I", 5) + bytes(28)
        self.send(port, packet(HELLO_MAGIC, key), host="::1")
        self.send(port, packet(CLIENT_MESSAGE_MAGIC, key))
        counts = [len(self.received(sock)) for sock in sockets]
        self.assertEqual(counts, [0, 0, 2])

    def test_program(self) -> None:
        """Three instructions: load 4 bytes of the key, divide, give the rest."""
        fields = [*struct.iter_unpack("=HBBI", steering_program(6))]
        self.assertEqual(fields, [(0x20, 0, 0, 40), (0x94, 0, 0, 6), (0x16, 0, 0, 0)])


class OpenTests(GroupCase):
    """How groups are opened."""

    def test_the_port_is_ours(self) -> None:
        """Nobody opens a port that has a group, be it with another group."""
        port = self.port_of(self.open(2))
        self.assertRaises(CannotListenError, open_socket, HOST, port)
        self.assertRaises(CannotListenError, open_group, HOST, port, 2)

    def test_the_port_is_taken(self) -> None:
        """Neither does a group take somebody else's."""
        with closing(open_socket(HOST, 0)) as other:
            port = other.getsockname()[1]
            self.assertRaises(CannotListenError, open_group, HOST, port, 2)

    def test_free_again(self) -> None:
        """When all sockets are closed, the port is free."""
        sockets = open_group(HOST, 0, 4)
        port = self.port_of(sockets)
        for sock in sockets:
            sock.close()
        self.assertEqual(self.port_of(self.open(2, port=port)), port)

    def test_what_came_before(self) -> None:
        """Datagrams that came before the program was there are forgotten."""
        opened = steering._attach

        def attach(sockets: list[socket.socket], interface: str, count: int) -> None:
            self.send(sockets[0].getsockname()[1], b"early")
            opened(sockets, interface, count)

        self.patch(steering, "_attach", attach)
        sockets = self.open(2)
        self.assertEqual([self.received(sock) for sock in sockets], [[], []])

    def test_no_such_thing(self) -> None:
        """A system without groups or without their programs says so."""
        before = len(os.listdir("/proc/self/fd"))
        self.patch(steering, "_SO_ATTACH_REUSEPORT_CBPF", UNKNOWN_OPTION)
        error = self.assertRaises(NoSteering, open_group, HOST, 0, 2)
        self.assertIn("several processes: protocol not available", str(error))
        self.patch(socket, "SO_REUSEPORT", UNKNOWN_OPTION)
        self.assertRaises(NoSteering, open_group, HOST, 0, 2)
        delattr(socket, "SO_REUSEPORT")
        self.assertRaises(NoSteering, open_group, HOST, 0, 2)
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
