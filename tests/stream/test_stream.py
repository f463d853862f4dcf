"""A stream with both directions: how it begins, waits and fails."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

from curvecp_tx.errors import (
    PeerFailed,
    StreamAborted,
    StreamBroken,
    StreamTimedOut,
)
from curvecp_tx.stream.stream import (
    ANSWERED_LINGER,
    EXPECTING,
    GIVE_UP,
    KEEPALIVE,
    MAX_LINGER,
    MIN_LINGER,
    Stream,
)
from curvecp_tx.wire.messages import FAILURE, SUCCESS
from tests.stream.sending import Freely
from tests.stream.talking import StreamTestCase
from tests.stream.wire_between import Network, Wire, data_of, ending_of


class BeginningTests(StreamTestCase):
    """The first messages."""

    client = True

    def test_small_blocks(self) -> None:
        """A client's blocks are small until the peer has answered."""
        self.stream.write(bytes(512 * 40))
        sent = self.pass_time(1.0)
        self.assertEqual({len(m.block or b"") for m in sent}, {512})
        self.hear(named=sent[9].message_id, ranges=((0, 5120),))
        self.assertIn(1024, [len(m.block or b"") for m in self.pass_time(1.0)])

    def test_ping(self) -> None:
        """A ping makes us known, once, if there is nothing to say."""
        self.assertFalse(self.stream.has_sent)
        self.stream.ping()
        message = self.only()
        self.assertEqual((message.block, message.position), (b"", 0))
        self.assertNotEqual(message.message_id, 0)
        self.assertTrue(self.stream.has_sent)
        self.hear(named=message.message_id)
        self.assertEqual(self.pass_time(20), [])

    def test_other_congestion_control(self) -> None:
        """Something else may decide on the speed."""
        self.stream = Stream(
            random_bytes=random.Random(1).randbytes,
            now=self.now,
            client=True,
            congestion=Freely(10),
        )
        self.stream.write(bytes(100_000))
        self.assertEqual(len(self.said()), 10)

    def test_ids(self) -> None:
        """IDs are not to be guessed: they are neither small nor successive."""
        self.stream.write(bytes(100_000))
        ids = [m.message_id for m in self.pass_time(60)]
        self.assertGreater(len(ids), 10)
        self.assertEqual(len(set(ids)), len(ids))
        self.assertGreater(min(abs(a - b) for a, b in pairwise(ids)), 1)

    def test_ids_taken(self) -> None:
        """A random ID that is in use is not used again."""
        pool = [5, 5, 5, 6, *range(7, 35)]
        self.stream = Stream(
            random_bytes=lambda size: struct.pack("32I", *pool)[:size],
            now=self.now,
            client=False,
        )
        self.stream.write(bytes(2048))
        self.assertEqual([m.message_id for m in self.pass_time(1)][:2], [5, 6])


class SilenceTests(StreamTestCase):
    """Peers that say nothing."""

    def test_keepalive(self) -> None:
        """An idle stream pings, and each answer is good for as long again."""
        begin = self.now
        for turn in range(1, 5):
            (ping,) = self.pass_time(KEEPALIVE)
            self.assertEqual((ping.block, ping.ending), (b"", 0))
            self.assertEqual(self.now, begin + turn * KEEPALIVE)
            self.hear(named=ping.message_id)
        self.assertIsNone(self.stream.failure)

    def test_peer_keeps_alive(self) -> None:
        """Whatever the peer says makes a ping of ours needless."""
        for count in range(10):
            self.hear(count + 1)
            answers = self.pass_time(KEEPALIVE - 1)
            self.assertEqual([m.message_id for m in answers], [0])

    def test_no_keepalive(self) -> None:
        """It can be switched off; then an idle stream has nothing to wait for."""
        self.make(keepalive=None)
        self.assertIsNone(self.stream.next_deadline(self.now))
        self.assertEqual(self.pass_time(10_000), [])
        self.assertIsNone(self.stream.failure)

    def test_give_up(self) -> None:
        """A stream whose data nobody acknowledges fails, and not before its time."""
        self.stream.write(b"x")
        self.pass_time(GIVE_UP * 0.9)
        self.assertIsNone(self.stream.failure)
        self.pass_time(GIVE_UP * 0.2)
        self.assertIsInstance(self.stream.failure, StreamTimedOut)
        self.assertTrue(self.stream.over)
        self.assertIsNone(self.stream.next_deadline(self.now))
        self.assertEqual(self.said(), [])

    def test_idle_give_up(self) -> None:
        """A peer that vanishes while nothing is owed is missed as well."""
        self.pass_time(GIVE_UP * 0.9)
        self.assertIsNone(self.stream.failure)
        self.pass_time(GIVE_UP * 0.2)
        self.assertIsInstance(self.stream.failure, StreamTimedOut)

    def test_no_keepalive_give_up(self) -> None:
        """After a long idleness, the time to give up begins with what is owed."""
        self.make(keepalive=None)
        self.pass_time(1000)
        self.stream.write(b"x")
        self.pass_time(GIVE_UP * 0.9)
        self.assertIsNone(self.stream.failure)
        self.pass_time(GIVE_UP * 0.2)
        self.assertIsInstance(self.stream.failure, StreamTimedOut)

    def test_heard(self) -> None:
        """As long as anything comes from the peer, nobody gives up."""
        self.stream.write(b"x")
        for _ in range(50):
            self.pass_time(GIVE_UP * 0.5)
            self.hear()
        self.assertIsNone(self.stream.failure)

    def test_end_follows_the_peer(self) -> None:
        """A peer that moves all the time gets our end in answer to what it says."""
        self.hear(message_id=1)
        self.stream.write(b"all")
        self.stream.finish()
        self.pass_time(22.5)
        self.hear(message_id=2)
        first = self.said()[0]
        self.assertEqual((first.block, first.ending), (b"all", SUCCESS))
        self.assertEqual(first.acknowledged_id, 2)

    def test_waiting_for_the_end(self) -> None:
        """Who has ended, and waits for the peer's end, asks soon once, then seldom."""
        self.hear(message_id=1)
        self.stream.write(b"all")
        self.stream.finish()
        (sent,) = self.said()[:1]
        self.hear(named=sent.message_id, ranges=((0, 4),))
        asked = self.now + EXPECTING
        (ping,) = self.pass_time(EXPECTING)
        self.assertEqual((ping.block, ping.ending, ping.position), (b"", 0, 4))
        self.hear(named=ping.message_id, ranges=((0, 4),))
        self.assertEqual(self.pass_time(KEEPALIVE - 1), [])
        self.assertEqual(len(self.pass_time(1.0)), 1)
        self.assertEqual(self.now, asked + KEEPALIVE)

    def test_own_time(self) -> None:
        """The time to give up is the owner's choice."""
        self.make(give_up=5.0)
        self.stream.write(b"x")
        self.pass_time(5.1)
        self.assertIsInstance(self.stream.failure, StreamTimedOut)
        self.assertIn("5 seconds", str(self.stream.failure))

    def test_short_keepalive(self) -> None:
        """A ping that congestion control holds back keeps nobody busy."""
        self.make(keepalive=0.01)
        self.stream.write(b"x")
        self.hear(named=self.only().message_id, ranges=((0, 1),))
        for _ in range(5):
            self.stream._congestion.timed_out(self.now)
            self.now += 5
        sent = self.said()
        self.now += 0.02
        self.stream.handle_timer(self.now)
        sent += self.said()
        deadline = self.stream.next_deadline(self.now)
        assert deadline is not None
        self.assertGreater(deadline, self.now)


class FailureTests(StreamTestCase):
    """Ends that are no success."""

    def test_abort(self) -> None:
        """The peer is told; we stay until it has heard it."""
        self.stream.write(b"x")
        sent = self.only()
        self.now += 0.05
        self.hear(named=sent.message_id, ranges=((0, 1),))
        self.stream.abort(self.now)
        self.assertIsInstance(self.stream.failure, StreamAborted)
        end = self.pass_time(0.1)[0]
        self.assertEqual((end.position, end.block, end.ending), (1, b"", FAILURE))
        self.assertFalse(self.stream.over)
        self.hear(named=end.message_id, ranges=((0, 2),))
        self.assertTrue(self.stream.over)
        self.assertFalse(self.stream.complete)

    def test_abort_unheard(self) -> None:
        """If the peer does not hear it, we stay for a limited time."""
        self.stream.abort(self.now)
        self.pass_time(MIN_LINGER / 2)
        self.assertFalse(self.stream.over)
        self.pass_time(MAX_LINGER)
        self.assertTrue(self.stream.over)

    def test_abort_in_progress(self) -> None:
        """While the peer answers, we stay longer, but not for ever."""
        self.stream.abort(self.now)
        begin = self.now
        while not self.stream.over:
            self.hear()
            self.pass_time(ANSWERED_LINGER * 0.9)
        self.assertGreaterEqual(self.now, begin + MAX_LINGER)
        self.assertLess(self.now, begin + MAX_LINGER + ANSWERED_LINGER)

    def test_abort_reason(self) -> None:
        """The first reason stays."""
        self.stream.abort(self.now, StreamAborted("first"))
        self.stream.abort(self.now, StreamAborted("second"))
        self.assertIn("first", str(self.stream.failure))

    def test_peer_failed(self) -> None:
        """A failure of the peer's is one, after its bytes; it gets an answer."""
        self.hear(1, 0, b"half", FAILURE)
        self.assertIsInstance(self.stream.failure, PeerFailed)
        self.assertFalse(self.stream.peer_ended)
        self.assertEqual(self.stream.read(), b"half")
        sent = self.said()
        self.assertEqual((sent[0].acknowledged_id, sent[0].ranges), (1, [(0, 5)]))
        self.assertEqual(sent[0].ending, FAILURE)
        self.hear(1, 0, b"half", FAILURE)
        self.assertIsInstance(self.stream.failure, PeerFailed)

    def test_peer_failed_early(self) -> None:
        """A failure counts when everything before it is there."""
        self.hear(1, 4, b"", FAILURE)
        self.assertIsNone(self.stream.failure)
        self.hear(2, 0, b"half")
        self.assertIsInstance(self.stream.failure, PeerFailed)

    def test_contradiction(self) -> None:
        """Two different ends break the stream; what was delivered stays."""
        self.hear(1, 0, b"bytes", SUCCESS)
        self.assertEqual(self.stream.read(), b"bytes")
        self.hear(2, 0, b"byte", SUCCESS)
        self.assertIsInstance(self.stream.failure, StreamBroken)
        self.assertIn(FAILURE, [m.ending for m in self.pass_time(1)])
        self.hear(3, 0, b"b", SUCCESS)
        self.assertIsInstance(self.stream.failure, StreamBroken)

    def test_never_sent(self) -> None:
        """So does an acknowledgment of what was never sent."""
        self.stream.write(b"x")
        self.hear(named=self.only().message_id, ranges=((0, 2),))
        self.assertIsInstance(self.stream.failure, StreamBroken)

    def test_unknown_id(self) -> None:
        """An acknowledgment of an ID that was never sent changes nothing."""
        self.stream.write(b"x")
        self.only()
        self.hear(named=12345, ranges=((0, 1),))
        self.assertEqual(self.stream.buffered, 1)
        self.hear(named=12345, ranges=((0, 2),))
        self.assertIsNone(self.stream.failure)

    def test_between_ours(self) -> None:
        """One end aborts, the other is told, and both are soon done."""
        for seed in range(20):
            network = Network(seed=seed, loss=0.3 if seed else 0.0)
            wire = Wire(network, data_of(1 << 20), finish=False)
            while not wire.client.contiguous:
                wire.run(wire.now + 0.1)
            self.assertLess(len(wire.server.received), 1 << 20)
            wire.client.stream.abort(wire.now)
            wire.run(200)
            self.assertEqual(ending_of(wire.client), "StreamAborted")
            self.assertEqual(ending_of(wire.server), "PeerFailed")
