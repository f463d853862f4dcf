"""Reading runs of datagrams, from a socket whose calls a test lines up."""

from __future__ import annotations

import errno
import os
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from curvecp_tx.net.offload import MAX_SEGMENTS, RECEIVE_BYTES
from curvecp_tx.secure.paths import Datagram
from curvecp_tx.wire.packets import MAX_DATAGRAM_BYTES
from tests.net.fake_socket import (
    PEER,
    UDP_SEGMENT,
    Ancillary,
    Arrival,
    FakeSocketTestCase,
    error,
    pieces,
    run_of,
    to_peer,
)

OTHER = ("192.0.2.10", 4433)
LIMIT = 64


class ReceiveTests(FakeSocketTestCase):
    """Reading runs."""

    def setUp(self) -> None:
        """Open a socket that knows of runs."""
        super().setUp()
        self.patch(os, "environ", {})
        self.open()

    def arrive(self, count: int, size: int = 16, tail: bytes = b"") -> list[Datagram]:
        """Have a run arrive; give what is to come of it."""
        packets = pieces(count, size)
        whole = b"".join(packets) + tail
        self.socket.arriving.append(Arrival(whole, PEER, run_of(size)))
        return to_peer([*packets, tail] if tail else packets)

    def test_pieces(self) -> None:
        """A run comes apart into its datagrams, all from one address."""
        expected = self.arrive(3)
        received = self.receive(LIMIT)
        self.assertEqual(received, expected)
        self.assertEqual({type(data) for data, _ in received}, {bytes})

    def test_shorter(self) -> None:
        """The last datagram of a run may be shorter."""
        expected = self.arrive(3, tail=b"end")
        self.assertEqual(self.receive(LIMIT), expected)

    def test_order(self) -> None:
        """Runs and single datagrams are handed on as they came."""
        expected = self.arrive(2)
        self.socket.arriving.append((b"single", OTHER))
        self.socket.arriving.append((b"", OTHER))
        expected += to_peer([b"single", b""], OTHER)
        expected += self.arrive(2, 32, b"end")
        self.assertEqual(self.receive(LIMIT), expected)

    def test_nothing_overwritten(self) -> None:
        """What was handed on stays as it is when more is read."""
        expected = self.arrive(2)
        first = self.receive(LIMIT)
        self.socket.arriving.append((b"X" * 100, OTHER))
        self.receive(LIMIT)
        self.assertEqual(first, expected)

    def test_no_run(self) -> None:
        """Whatever else the kernel tells, a datagram is a datagram."""
        nonsense: tuple[Ancillary, ...] = (
            [],
            run_of(0),
            run_of(-5),
            run_of(4),
            run_of(1 << 30),
            [(socket.IPPROTO_IP, 104, struct.pack("=i", 2))],
            [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=i", 2))],
        )
        for ancillary in nonsense:
            self.socket.arriving.append(Arrival(b"data", PEER, ancillary))
            self.assertEqual(self.receive(LIMIT), to_peer([b"data"]))

    def test_not_the_only_word(self) -> None:
        """A run's size is found among other things."""
        other = (socket.IPPROTO_IP, 8, bytes(12))
        ancillary = [other, *run_of(2), other]
        self.socket.arriving.append(Arrival(b"aabb", PEER, ancillary))
        self.assertEqual(self.receive(LIMIT), to_peer([b"aa", b"bb"]))

    def test_incomplete(self) -> None:
        """What is cut off, or comes without its size, is dropped and counted."""
        for count, flags in enumerate((socket.MSG_TRUNC, socket.MSG_CTRUNC), 1):
            self.socket.arriving.append(Arrival(b"aabb", PEER, (), flags))
            self.socket.arriving.append((b"next", PEER))
            self.assertEqual(self.receive(LIMIT), to_peer([b"next"]))
            self.assertEqual(self.counters.dropped_bad_size, count)

    def test_too_long(self) -> None:
        """Of a longer datagram enough is kept to see that it is too long."""
        for size in (MAX_DATAGRAM_BYTES, RECEIVE_BYTES, 65_507):
            self.socket.arriving.append((bytes(size), PEER))
            [(data, _)] = self.receive(LIMIT)
            self.assertEqual(len(data), min(size, RECEIVE_BYTES))

    def reads(self) -> tuple[int, int]:
        """Read once; give how many calls that took, and what they brought."""
        self.socket.reads = 0
        return len(self.receive(LIMIT)), self.socket.reads

    def test_bounds(self) -> None:
        """No call is made that might bring more than the limit."""
        for count, expected in ((1, (64, 64)), (16, (64, 4)), (55, (55, 1))):
            self.socket.arriving.clear()
            for _ in range(LIMIT + 1):
                if count == 1:
                    self.socket.arriving.append((b"one", PEER))
                else:
                    self.arrive(count)
            self.assertEqual(self.reads(), expected)

    def test_worst_case(self) -> None:
        """A run after single datagrams makes it one run too many at the most."""
        self.socket.arriving.extend([(b"one", PEER)] * (LIMIT - 1))
        self.arrive(MAX_SEGMENTS)
        self.arrive(MAX_SEGMENTS)
        self.assertEqual(self.reads(), (LIMIT - 1 + MAX_SEGMENTS, LIMIT))

    def test_nothing_but_rubbish(self) -> None:
        """Reading ends even if nothing comes of it."""
        rubbish = Arrival(b"aabb", PEER, (), socket.MSG_CTRUNC)
        self.socket.arriving.extend([rubbish] * 2 * LIMIT)
        self.assertEqual(self.reads(), (0, LIMIT))

    def test_error_after_run(self) -> None:
        """What was read before an error is handed on."""
        expected = self.arrive(2)
        self.socket.arriving.append(error(errno.ENOMEM))
        self.assertEqual(self.receive(LIMIT), expected)
        self.assertEqual(self.counters.lost_receive_error, 1)

    @given(
        st.binary(max_size=200),
        st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-1, 220),
    )
    def test_every_byte_once(self, data: bytes, size: int) -> None:
        """Whatever size the kernel names, each byte is handed on once, in order."""
        self.socket.arriving.append(Arrival(data, PEER, run_of(size)))
        received = self.receive(LIMIT)
        self.assertEqual(b"".join(piece for piece, _ in received), data)
        if 0 < size < len(data):
            self.assertEqual({len(piece) for piece, _ in received[:-1]}, {size})
        else:
            self.assertEqual(len(received), 1)
