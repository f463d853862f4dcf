"""Whether to use runs of datagrams, and sending them."""

from __future__ import annotations

import errno
import os
import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.offload import (
    MAX_PAUSE,
    MAX_RUN_BYTES,
    MAX_SEGMENTS,
    SWITCH,
    run_end,
)
from tests.net.fake_socket import (
    PEER,
    Arrival,
    FakeSocketTestCase,
    error,
    pieces,
    run_of,
    to_peer,
)

OTHER = ("192.0.2.10", 4433)
LIMIT = 64

REFUSALS = (
    errno.EINVAL,
    errno.EIO,
    errno.EMSGSIZE,
    errno.ENOPROTOOPT,
    errno.EOPNOTSUPP,
)
LOSSES = (
    errno.EAGAIN,
    errno.EINTR,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EPERM,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ECONNREFUSED,
    errno.EBADF,
)


class RunEndTests(SynchronousTestCase):
    """Where one run ends and the next begins."""

    def lengths(self, *sizes: int) -> list[int]:
        """Give how many datagrams there are in each run."""
        packets = [bytes(size) for size in sizes]
        found, start = [], 0
        while start < len(packets):
            stop = run_end(packets, start)
            found.append(stop - start)
            start = stop
        return found

    def test_one_size(self) -> None:
        """Datagrams of one size are a run."""
        self.assertEqual(self.lengths(9), [1])
        self.assertEqual(self.lengths(9, 9, 9), [3])

    def test_shorter(self) -> None:
        """One that is shorter ends the run that it belongs to."""
        self.assertEqual(self.lengths(9, 9, 5), [3])
        self.assertEqual(self.lengths(9, 5, 5, 5), [2, 2])
        self.assertEqual(self.lengths(9, 5, 9), [2, 1])

    def test_longer(self) -> None:
        """One that is longer begins a new run."""
        self.assertEqual(self.lengths(5, 9, 9), [1, 2])

    def test_empty(self) -> None:
        """An empty datagram has no place in a run."""
        self.assertEqual(self.lengths(0, 0), [1, 1])
        self.assertEqual(self.lengths(9, 9, 0, 9), [2, 1, 1])

    def test_segments(self) -> None:
        """A run has a limited number of datagrams."""
        sizes = [16] * (2 * MAX_SEGMENTS + 1)
        self.assertEqual(self.lengths(*sizes), [MAX_SEGMENTS, MAX_SEGMENTS, 1])
        self.assertEqual(self.lengths(*[16] * MAX_SEGMENTS, 9), [MAX_SEGMENTS, 1])

    def test_bytes(self) -> None:
        """A run has a limited number of bytes."""
        most = MAX_RUN_BYTES // 1184
        self.assertEqual(self.lengths(*[1184] * (most + 2)), [most, 2])
        self.assertEqual(self.lengths(40_000, 40_000), [1, 1])
        self.assertEqual(self.lengths(65_507, 65_507), [1, 1])

    @given(
        st.lists(
            st.tuples(
                st.sampled_from((0, 1, 80, 1152, 1184, 30_000, 65_507)),
                st.integers(1, 70),
            ),
            max_size=6,
        )
    )
    def test_every_run_is_legal(self, groups: list[tuple[int, int]]) -> None:
        """Whatever there is to send, each run is one that the kernel takes."""
        packets = [bytes(size) for size, count in groups for _ in range(count)]
        start = 0
        while start < len(packets):
            stop = run_end(packets, start)
            sizes = [len(packet) for packet in packets[start:stop]]
            self.assertGreaterEqual(len(sizes), 1)
            if len(sizes) > 1:
                self.assertLessEqual(len(sizes), MAX_SEGMENTS)
                self.assertLessEqual(sum(sizes), MAX_RUN_BYTES)
                self.assertEqual(set(sizes[:-1]), {sizes[0]})
                self.assertTrue(0 < sizes[-1] <= sizes[0])
            start = stop
        self.assertEqual(start, len(packets))


class ChoiceTests(FakeSocketTestCase):
    """When runs are made use of."""

    def assertRuns(self, runs: bool) -> None:
        """Check how datagrams go out and come in."""
        self.open()
        self.send(to_peer(pieces(3, 16)))
        self.assertEqual(self.socket.calls, [3] if runs else [1, 1, 1])
        self.assertEqual(self.socket.sent, to_peer(pieces(3, 16)))
        self.assertEqual(self.counters.datagrams_sent, 3)
        self.socket.arriving.append(Arrival(b"aabb", PEER, run_of(2)))
        expected = to_peer([b"aa", b"bb"] if runs else [b"aabb"])
        self.assertEqual(self.receive(LIMIT), expected)

    def test_offered(self) -> None:
        """They are where the system knows of them."""
        for value in (None, "1", ""):
            environment = {} if value is None else {SWITCH: value}
            self.patch(os, "environ", environment)
            self.setUp()
            self.assertRuns(True)

    def test_unknown(self) -> None:
        """They are not where the system says that there is no such option."""
        self.socket.runs = False
        self.assertRuns(False)

    def test_switched_off(self) -> None:
        """They are not if the environment forbids it."""
        self.patch(os, "environ", {SWITCH: "0"})
        self.assertRuns(False)

    def test_elsewhere(self) -> None:
        """Another system's options of these numbers are left alone."""
        self.patch(sys, "platform", "freebsd14")
        self.patch(os, "environ", {})
        self.socket.setsockopt = (  # type: ignore[method-assign]
            lambda *arguments: self.fail("an option was set")
        )
        self.assertRuns(False)


class SendTests(FakeSocketTestCase):
    """Sending runs."""

    def setUp(self) -> None:
        """Open a socket that knows of runs."""
        super().setUp()
        self.patch(os, "environ", {})
        self.open()

    def test_order(self) -> None:
        """Datagrams go out in order, with a call for each change of address or size."""
        batch = [
            *to_peer(pieces(3, 16)),
            *to_peer(pieces(2, 32)),
            *to_peer(pieces(1, 16), OTHER),
            *to_peer(pieces(2, 16)),
            *to_peer(pieces(1, 8)),
        ]
        self.send(batch)
        self.assertEqual(self.socket.sent, batch)
        self.assertEqual(self.socket.calls, [3, 2, 1, 3])
        self.assertEqual(self.counters.datagrams_sent, len(batch))

    def test_nothing(self) -> None:
        """An empty batch needs no call."""
        self.send([])
        self.assertEqual(self.socket.calls, [])

    def test_alone(self) -> None:
        """A single datagram is sent as ever."""
        self.send(to_peer([b"alone"]))
        self.assertEqual(self.socket.calls, [1])
        self.assertEqual(self.counters.datagrams_sent, 1)

    def test_losses(self) -> None:
        """A run that fails is lost, and counted in datagrams; the next one goes."""
        run = to_peer(pieces(5, 16))
        for count, number in enumerate(LOSSES, 1):
            self.socket.fates.append(error(number))
            self.send([*run, *to_peer(pieces(4, 16), OTHER)])
            self.assertEqual(self.counters.lost_send_error, 5 * count)
            self.assertEqual(self.counters.datagrams_sent, 4 * count)
        self.assertEqual(self.socket.calls, [5, 4] * len(LOSSES))

    def test_refusals(self) -> None:
        """A run that is refused goes datagram by datagram, and nothing is lost."""
        for number in REFUSALS:
            super().setUp()
            self.open()
            self.socket.fates.append(error(number))
            run = to_peer(pieces(3, 16))
            self.send(run)
            self.assertEqual(self.socket.sent, run)
            self.assertEqual(self.socket.calls, [3, 1, 1, 1])
            self.assertEqual(self.counters.datagrams_sent, 3)
            self.assertEqual(self.counters.lost_send_error, 0)

    def test_refused_and_lost(self) -> None:
        """Of a refused run's datagrams, those that fail alone are lost."""
        self.socket.fates.extend([error(errno.EINVAL), None, error(errno.EMSGSIZE)])
        self.send(to_peer(pieces(3, 16)))
        self.assertEqual(self.counters.datagrams_sent, 2)
        self.assertEqual(self.counters.lost_send_error, 1)

    def runs_until_tried(self) -> int:
        """Send runs until one is tried at once; give how many were not."""
        run = to_peer(pieces(2, 16))
        count = 0
        while True:
            del self.socket.calls[:]
            self.send(run)
            if self.socket.calls[0] == 2:
                return count
            count += 1
            self.assertLess(count, 2 * MAX_PAUSE)

    def test_remembered(self) -> None:
        """The more often runs are refused, the less often they are tried."""
        self.socket.refusal = error(errno.EIO)
        pauses = [self.runs_until_tried() for _ in range(14)]
        self.assertEqual(pauses[:5], [0, 1, 2, 4, 8])
        self.assertEqual(pauses[-2:], [MAX_PAUSE, MAX_PAUSE])
        sent = 2 * (14 + sum(pauses))
        self.assertEqual(self.counters.datagrams_sent, sent)
        self.assertEqual(len(self.socket.sent), sent)

    def test_forgiven(self) -> None:
        """A run that is taken ends the pauses."""
        self.socket.refusal = error(errno.EIO)
        for _ in range(5):
            self.runs_until_tried()
        self.socket.refusal = None
        self.assertEqual(self.runs_until_tried(), 16)
        self.assertEqual(self.runs_until_tried(), 0)
        self.socket.refusal = error(errno.EIO)
        self.assertEqual([self.runs_until_tried() for _ in range(2)], [0, 1])

    def test_loss_is_no_refusal(self) -> None:
        """An error that has nothing to do with runs makes for no pause."""
        for number in LOSSES:
            self.socket.fates.append(error(number))
            self.send(to_peer(pieces(2, 16)))
            self.assertEqual(self.runs_until_tried(), 0)
