"""System calls for datagrams: one for each, or one for a run of them.

A run is what goes to one address in pieces of one size, of which the last may be
shorter. Linux sends a run with one call (UDP GSO, since 4.18), and lets one call read
what has arrived as a run (UDP GRO, since 5.0). A call costs as much as the cipher,
so bulk transfers gain. Elsewhere, and where the kernel or a device refuses, each
datagram has a call of its own, and nobody above notices.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from struct import Struct, iter_unpack

from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.wire.packets import MAX_DATAGRAM_BYTES

SWITCH = "CURVECP_TX_OFFLOAD"
"""Name of the environment variable that forbids runs if it is ``0``."""

RECEIVE_BYTES = MAX_DATAGRAM_BYTES + 1
"""One more than any packet has, so that a longer one is seen to be too long."""

MAX_SEGMENTS = 64
"""Datagrams in a run. Every kernel that knows of runs takes so many."""

MAX_RUN_BYTES = 65000
"""Bytes in a run. With its headers it has to pass for one IP packet."""

MAX_PAUSE = 1024
"""Runs that go datagram by datagram after many refusals, until a run is tried
again: a path with a small MTU, or a device, need not be there for ever."""

# Linux values, which the socket module does not name.
_UDP_SEGMENT = 103
_UDP_GRO = 104
_ANCILLARY_BYTES = 64
_SEGMENT_BYTES = Struct("=H")

_LARGEST_READ = 1 << 16
# A plain integer: the operators of enumerations cost as much as a system call.
_INCOMPLETE = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)

_NOTHING_THERE = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})

_REFUSED = frozenset(
    {
        errno.EINVAL,
        errno.EIO,
        errno.EMSGSIZE,
        errno.ENOPROTOOPT,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
    }
)
"""What says that this run cannot be sent as one, though its datagrams may."""

Receive = Callable[[int], Sequence[Datagram]]
"""Reads what waits, and stops at a number of datagrams."""

Send = Callable[[Sequence[Datagram]], None]
"""Sends datagrams; what the kernel does not take is lost and counted."""


def receiver(sock: socket.socket, counters: Counters) -> Receive:
    """Give the best way to read from a socket. Nothing else may read from it."""
    if _grants(sock, _UDP_GRO, 1):
        return _RunReceiver(sock, counters).receive
    return _SingleReceiver(sock, counters).receive


def sender(sock: socket.socket, counters: Counters) -> Send:
    """Give the best way to send over a socket."""
    # Older kernels would take no notice, and send a run as one datagram.
    if _grants(sock, _UDP_SEGMENT, 0):
        return _RunSender(sock, counters).send
    return _SingleSender(sock, counters).send


def _grants(sock: socket.socket, option: int, value: int) -> bool:
    """Set an option of UDP, and tell whether there is such a thing."""
    if sys.platform != "linux" or os.environ.get(SWITCH) == "0":
        return False
    try:
        sock.setsockopt(socket.IPPROTO_UDP, option, value)
    except OSError:
        return False
    return True


class _SingleReceiver:
    """Reads datagram by datagram."""

    def __init__(self, sock: socket.socket, counters: Counters) -> None:
        self._socket = sock
        self._counters = counters

    def receive(self, limit: int) -> Sequence[Datagram]:
        """Read at most ``limit`` datagrams."""
        batch: list[Datagram] = []
        receive = self._socket.recvfrom
        try:
            while len(batch) < limit:
                batch.append(receive(RECEIVE_BYTES))
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                self._counters.lost_receive_error += 1
        return batch


class _Buffer(threading.local):
    """What runs are read into; one will do, for nothing stays in it."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_LARGEST_READ))


_buffer = _Buffer()


class _RunReceiver:
    """Reads run by run."""

    def __init__(self, sock: socket.socket, counters: Counters) -> None:
        self._socket = sock
        self._counters = counters

    def receive(self, limit: int) -> Sequence[Datagram]:
        """Read until one more run like the last would exceed ``limit``.

        So there can be more than that, by one run, if a long one follows short ones.
        """
        batch: list[Datagram] = []
        receive = self._socket.recvmsg_into
        view = _buffer.view
        # No slice of this is longer than need be.
        beginning = view[:RECEIVE_BYTES]
        buffers = [view]
        try:
            for _ in range(limit):
                size, ancillary, flags, address = receive(buffers, _ANCILLARY_BYTES)
                before = len(batch)
                if flags & _INCOMPLETE:
                    self._counters.dropped_bad_size += 1
                elif ancillary and 0 < (segment := _segment(ancillary)) < size:
                    whole = size - size % segment
                    pieces = iter_unpack(f"{segment}s", view[:whole])
                    batch += [(piece, address) for (piece,) in pieces]
                    if whole < size:
                        batch.append((view[whole:size].tobytes(), address))
                else:
                    batch.append((beginning[:size].tobytes(), address))
                if 2 * len(batch) - before > limit:
                    break
        except OSError as error:
            if error.errno not in _NOTHING_THERE:
                self._counters.lost_receive_error += 1
        return batch


def _segment(ancillary: Iterable[tuple[int, int, bytes]]) -> int:
    """Find the size of a run's datagrams; 0 if this is no run."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_UDP and kind == _UDP_GRO:
            return int.from_bytes(data, sys.byteorder)
    return 0


class _SingleSender:
    """Sends datagram by datagram."""

    def __init__(self, sock: socket.socket, counters: Counters) -> None:
        self._socket = sock
        self._counters = counters

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send datagrams."""
        send = self._socket.sendto
        sent = 0
        for datagram, address in datagrams:
            try:
                send(datagram, address)
                sent += 1
            except OSError:
                self._counters.lost_send_error += 1
        self._counters.datagrams_sent += sent


class _RunSender(_SingleSender):
    """Sends run by run."""

    def __init__(self, sock: socket.socket, counters: Counters) -> None:
        super().__init__(sock, counters)
        self._pause = 0
        self._left = 0

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send datagrams, in order."""
        if len(datagrams) == 1:
            super().send(datagrams)
            return
        for address, group in groupby(datagrams, itemgetter(1)):
            packets = [packet for packet, _ in group]
            start, end = 0, len(packets)
            while start < end:
                stop = run_end(packets, start)
                self._send_run(packets[start:stop], address)
                start = stop

    def _send_run(self, run: list[bytes], address: Address) -> None:
        if len(run) > 1:
            if self._left:
                self._left -= 1
            elif self._sent_at_once(run, address):
                return
        super().send([(packet, address) for packet in run])

    def _sent_at_once(self, run: list[bytes], address: Address) -> bool:
        """Tell whether the run has met its fate; else each datagram is to go alone."""
        size = _SEGMENT_BYTES.pack(len(run[0]))
        control = [(socket.IPPROTO_UDP, _UDP_SEGMENT, size)]
        try:
            self._socket.sendmsg(run, control, 0, address)
        except OSError as error:
            if error.errno in _REFUSED:
                self._left = self._pause = min(2 * self._pause or 1, MAX_PAUSE)
                return False
            self._counters.lost_send_error += len(run)
        else:
            self._counters.datagrams_sent += len(run)
            self._pause = 0
        return True


def run_end(packets: Sequence[bytes], start: int) -> int:
    """Find where the run ends that begins at ``start``."""
    size = len(packets[start])
    stop = start + 1
    if size:
        end = min(len(packets), start + min(MAX_SEGMENTS, MAX_RUN_BYTES // size))
        while stop < end and len(packets[stop]) == size:
            stop += 1
        # An empty piece at the end would be none.
        if stop < end and 0 < len(packets[stop]) < size:
            stop += 1
    return stop
