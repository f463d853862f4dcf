"""How a stream ends well, and what its reader has to do with it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.sender import WINDOW_BYTES
from curvecp_tx.stream.stream import GIVE_UP, MAX_LINGER, MIN_LINGER
from curvecp_tx.wire.messages import MAX_BLOCK_BYTES, SUCCESS
from tests.stream.talking import StreamTestCase
from tests.stream.wire_between import Network, Wire, data_of, ending_of


class EndTests(StreamTestCase):
    """How it ends well, seen from one side."""

    def both_ended(self) -> None:
        """Get to where both streams are complete."""
        self.stream.write(b"x")
        self.stream.finish()
        end = self.only()
        self.assertEqual(end.ending, SUCCESS)
        self.now += 0.05
        self.hear(1, 0, b"y", SUCCESS, named=end.message_id, ranges=((0, 2),))
        self.assertTrue(self.stream.complete)
        self.assertTrue(self.stream.acknowledged)
        self.assertFalse(self.stream.over)

    def last_ping(self) -> int:
        """Give the ID of the last ping."""
        pings = [m for m in self.pass_time(1.0) if m.message_id]
        for ping in pings:
            self.assertEqual((ping.position, ping.block, ping.ending), (2, b"", 0))
            self.assertEqual(ping.ranges, [(0, 2)])
        return pings[0].message_id

    def test_peer_ended(self) -> None:
        """The peer's end shows when all before it was read."""
        self.hear(1, 0, b"y", SUCCESS)
        self.assertFalse(self.stream.peer_ended)
        self.stream.read()
        self.assertTrue(self.stream.peer_ended)
        self.assertFalse(self.stream.complete)

    def test_answered(self) -> None:
        """Who gets an answer to the last ping is done."""
        self.both_ended()
        self.hear(named=self.last_ping(), ranges=((0, 2),))
        self.assertTrue(self.stream.over)
        self.assertTrue(self.stream.complete)
        self.assertEqual(self.said(), [])

    def test_earlier_answer(self) -> None:
        """A late answer to something earlier is no answer to the last ping."""
        self.stream.write(b"x")
        self.stream.finish()
        first, again = [m for m in self.pass_time(1.5) if m.ending][:2]
        self.hear(1, 0, b"y", SUCCESS, named=first.message_id, ranges=((0, 2),))
        self.last_ping()
        self.hear(named=again.message_id, ranges=((0, 2),))
        self.assertFalse(self.stream.over)

    def test_their_last_ping(self) -> None:
        """Who gets the other side's last ping answers it, and is done."""
        self.both_ended()
        self.said()
        self.hear(2, 2, ranges=((0, 2),))
        self.assertTrue(self.stream.over)
        self.assertEqual(self.only().acknowledged_id, 2)
        self.assertEqual(self.said(), [])

    def test_last_ping_acknowledges(self) -> None:
        """The other side's last ping is enough if all acknowledgments were lost."""
        self.stream.write(b"x")
        self.stream.finish()
        self.only()
        self.hear(1, 0, b"y", SUCCESS)
        self.said()
        self.assertFalse(self.stream.acknowledged)
        self.hear(2, 2, ranges=((0, 2),))
        self.assertTrue(self.stream.over)
        self.assertTrue(self.stream.complete)
        self.assertEqual(self.only().acknowledged_id, 2)

    def test_ping_before_the_last(self) -> None:
        """A peer that has not got all of ours has only said that it is there."""
        self.stream.write(b"x")
        self.stream.finish()
        end = self.only()
        self.hear(1, 0, b"y", SUCCESS)
        self.hear(2, 2)
        self.said()
        self.assertFalse(self.stream.complete)
        self.hear(named=end.message_id, ranges=((0, 2),))
        self.assertTrue(self.stream.complete)
        self.assertFalse(self.stream.over)

    def test_ping_at_the_end(self) -> None:
        """An empty message at the end, not after it, is an ordinary ping."""
        self.both_ended()
        self.hear(2, 1, ranges=((0, 2),))
        self.assertFalse(self.stream.over)

    def test_lingering(self) -> None:
        """If nobody answers, we ask a few times, and are done as well."""
        self.both_ended()
        begin = self.now
        sent = self.pass_time(MIN_LINGER - 0.1)
        self.assertFalse(self.stream.over)
        self.assertGreaterEqual(len(sent), 5)
        self.assertLess(len(sent), 20)
        sent += self.pass_time(MAX_LINGER)
        self.assertTrue(self.stream.over)
        self.assertTrue(self.stream.complete)
        self.assertLess(self.now, begin + GIVE_UP)

    def test_lingering_answers(self) -> None:
        """While we linger, we acknowledge again."""
        self.both_ended()
        self.said()
        self.hear(2, 0, b"y", SUCCESS)
        message = self.said()[-1]
        self.assertEqual((message.acknowledged_id, message.ranges), (2, [(0, 2)]))

    def test_abort_too_late(self) -> None:
        """What is complete does not fail any more; there is just no lingering."""
        self.both_ended()
        self.stream.abort(self.now)
        self.assertTrue(self.stream.complete)
        self.assertTrue(self.stream.over)
        self.stream.abort(self.now)
        self.assertIsNone(self.stream.failure)

    def test_end_resent(self) -> None:
        """An end without bytes that got lost is sent again."""
        self.stream.write(b"x")
        self.hear(named=self.only().message_id, ranges=((0, 1),))
        self.stream.finish()
        sent = self.pass_time(10.0)
        self.assertGreater(len(sent), 2)
        self.assertEqual(
            {(m.position, m.block, m.ending) for m in sent}, {(1, b"", SUCCESS)}
        )
        self.hear(named=sent[-1].message_id, ranges=((0, 1),))
        self.assertFalse(self.stream.acknowledged)
        self.hear(named=sent[-1].message_id, ranges=((0, 2),))
        self.assertTrue(self.stream.acknowledged)


class ReaderTests(SynchronousTestCase):
    """Applications that do not read, or do not want to."""

    def test_never_reads(self) -> None:
        """Who does not read holds the peer back, and neither fails nor is deaf."""
        size = 600_000
        network = Network(limits=False)
        wire = Wire(network, data_of(size, 1), data_of(size, 2))
        wire.server.reading = False
        wire.run(20.0)
        self.assertEqual(len(wire.client.received), size)
        self.assertTrue(wire.server.stream.acknowledged)
        taken = size - wire.client.stream.buffered
        self.assertLessEqual(taken, RECEIVE_WINDOW)
        self.assertGreater(taken, RECEIVE_WINDOW - MAX_BLOCK_BYTES)
        unsent = wire.client.stream.unsent
        self.assertEqual(unsent, size - taken - WINDOW_BYTES)
        wire.run(1000.0)
        self.assertEqual(wire.client.stream.unsent, unsent)
        self.assertEqual([side.stream.failure for side in wire.sides], [None, None])
        wire.server.reading = True
        wire.read(wire.server)
        wire.run(2000.0)
        self.assertEqual(len(wire.server.received), size)
        self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)

    def test_discards(self) -> None:
        """Who discards lets the peer finish, and everything is acknowledged."""
        wire = Wire(Network(loss=0.02), data_of(600_000, 1), b"short")
        wire.server.stream.discard()
        wire.run(200.0)
        self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)
        self.assertEqual((wire.client.received, wire.server.received), (b"short", b""))

    def test_half_closed(self) -> None:
        """One direction may end long before the other goes on."""
        wire = Wire(Network(loss=0.02), b"", finish=False)
        wire.client.stream.finish()
        wire.run(300.0)
        self.assertTrue(wire.server.stream.peer_ended)
        self.assertEqual([side.stream.failure for side in wire.sides], [None, None])
        wire.server.data = data_of(200_000)
        wire.server.stream.write(wire.server.data)
        wire.server.stream.finish()
        wire.run(500.0)
        self.assertEqual(len(wire.client.received), 200_000)
        self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)


class GoneTests(SynchronousTestCase):
    """Peers that leave without a last word."""

    def test_lingers(self) -> None:
        """Both ends are complete though one left early, after a bounded time."""
        network = Network(outages=[(0.08, 1e9)], one_way=True)
        wire = Wire(network, b"x", b"y")
        wire.run(500)
        for side in wire.sides:
            assert side.over_at is not None
            self.assertLessEqual(side.over_at, MAX_LINGER + 1)
            self.assertEqual(ending_of(side), "complete")

    def test_no_linger(self) -> None:
        """Two ends of ours are done a few round trips after their last bytes."""
        for sizes in ((0, 0), (0, 5), (5, 0), (5, 5)):
            wire = Wire(Network(), data_of(sizes[0]), data_of(sizes[1], 1))
            wire.run(500)
            self.assertEqual([ending_of(s) for s in wire.sides], ["complete"] * 2)
            self.assertLess(wire.now, 5 * 0.03)
