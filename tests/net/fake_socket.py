"""A UDP socket whose system calls do what a test has lined up."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, cast

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net import offload
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram

PEER = ("192.0.2.9", 4433)
UDP_SEGMENT = 103
UDP_GRO = 104


def _has_runs() -> bool:
    if sys.platform != "linux":
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            for option in (UDP_SEGMENT, UDP_GRO):
                sock.setsockopt(socket.IPPROTO_UDP, option, 0)
        except OSError:
            return False
    return True


HAS_RUNS = _has_runs()
"""Whether the kernel under the tests knows of runs."""

Ancillary = Sequence[tuple[int, int, bytes]]


def error(number: int) -> OSError:
    """Make the error that a system call raises."""
    return OSError(number, os.strerror(number))


def run_of(size: int) -> Ancillary:
    """Give what the kernel says about a run of datagrams of that size."""
    return [(socket.IPPROTO_UDP, UDP_GRO, struct.pack("=i", size))]


def pieces(count: int, size: int) -> list[bytes]:
    """Make datagrams of one size that differ."""
    return [struct.pack("=H", number).ljust(size, b".") for number in range(count)]


def to_peer(packets: Sequence[bytes], address: Address = PEER) -> list[Datagram]:
    """Address datagrams."""
    return [(packet, address) for packet in packets]


class Arrival(NamedTuple):
    """What one call reads, with what the kernel says about it."""

    data: bytes
    address: Address
    ancillary: Ancillary
    flags: int = 0


class FakeSocket:
    """Reads what has been put into ``arriving``, and notes what is sent.

    :param runs: whether the system knows of runs.
    :ivar fates: what becomes of the next calls that send.
    :ivar refusal: what becomes of every run, until further notice.
    :ivar calls: how many datagrams each of them was to send.
    """

    def __init__(self, *, runs: bool) -> None:
        self.runs = runs
        self.arriving: deque[Datagram | Arrival | OSError] = deque()
        self.fates: deque[OSError | None] = deque()
        self.refusal: OSError | None = None
        self.sent: list[Datagram] = []
        self.calls: list[int] = []
        self.reads = 0
        self.closed = False

    def setsockopt(self, level: int, option: int, value: int) -> None:
        """Know nothing of runs, perhaps."""
        if not self.runs:
            raise error(errno.ENOPROTOOPT)

    def recvfrom(self, size: int) -> Datagram:
        """Give what is next, or say that there is nothing."""
        data, address, *_ = self._next()
        return data[:size], address

    def recvmsg_into(
        self, buffers: Sequence[memoryview], ancillary_bytes: int
    ) -> tuple[int, Ancillary, int, Address]:
        """Do so with all that recvmsg tells."""
        assert self.runs
        data, address, ancillary, flags = self._next()
        [buffer] = buffers
        buffer[: len(data)] = data
        return len(data), ancillary, flags, address

    def sendto(self, datagram: bytes, address: Address) -> None:
        """Send, or fail."""
        self._meet_fate(1)
        self.sent.append((datagram, address))

    def sendmsg(
        self, buffers: Sequence[bytes], ancillary: Ancillary, flags: int, to: Address
    ) -> None:
        """Send a run, or fail; the pieces are those that the kernel would make."""
        assert self.runs
        [(level, kind, data)] = ancillary
        assert (level, kind, flags) == (socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        [size] = struct.unpack("=H", data)
        self._meet_fate(len(buffers))
        if self.refusal is not None:
            raise self.refusal
        whole = b"".join(buffers)
        for start in range(0, len(whole), size):
            self.sent.append((whole[start : start + size], to))

    def close(self) -> None:
        """Close it."""
        self.closed = True

    def _next(self) -> Arrival:
        self.reads += 1
        outcome = self.arriving.popleft() if self.arriving else error(errno.EAGAIN)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome if isinstance(outcome, Arrival) else Arrival(*outcome, ())

    def _meet_fate(self, datagrams: int) -> None:
        self.calls.append(datagrams)
        fate = self.fates.popleft() if self.fates else None
        if fate is not None:
            raise fate


class FakeSocketTestCase(SynchronousTestCase):
    """A socket that does what it is told."""

    def setUp(self) -> None:
        """Make the socket."""
        self.counters = Counters()
        self.socket = FakeSocket(runs=True)

    def open(self) -> None:
        """Find out how to use it."""
        sock = cast(socket.socket, self.socket)
        self.send = offload.sender(sock, self.counters)
        self.receive = offload.receiver(sock, self.counters)
