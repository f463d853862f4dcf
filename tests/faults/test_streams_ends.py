"""How streams end on bad networks: with all of their bytes, or with an error."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

from curvecp_tx.stream.stream import GIVE_UP, KEEPALIVE, MIN_LINGER
from curvecp_tx.wire.messages import SUCCESS
from tests.faults.course import CourseCase, Party
from tests.faults.impairment import CLEAR, Deed, Kind, Link, Q
from tests.faults.scenario import noise
from tests.interop.streaming import KIBIBYTE
from tests.stream.talking import StreamTestCase

UPLOAD = noise(150 * KIBIBYTE, "upload")
LITTLE = noise(3000, "little")

THIN = Link(rate=64e3, delay=0.015, queue=25)
FAR = Link(delay=1.0)
OUTAGE = 14.0
SEEDS = range(20)

TIMEOUTS = 3
LEAST_TIMEOUT = 0.5
"""Seconds. A time-out on this link, with eight times the pause between blocks."""


class TruncationTests(CourseCase):
    """Whoever says that all is well has delivered every byte."""

    def conditions(self, seed: int) -> Link:
        """Give one of four bad networks, different each time."""
        chance = random.Random(seed)
        begin = chance.uniform(0.02, 0.6)
        kinds = (
            THIN,
            FAR,
            replace(Q, outages=((begin, begin + OUTAGE),)),
            replace(
                Q,
                loss=chance.uniform(0.05, 0.3),
                outages=((begin, begin + 10 * GIVE_UP),)
                if chance.random() < 0.5
                else (),
            ),
        )
        return kinds[seed % len(kinds)]

    def assert_honest(self) -> bool:
        """Check both ends against what arrived; tell whether all did."""
        for party, peer in (self.parties, self.parties[::-1]):
            self.assertNotEqual(party.ending, "going on")
            if party.problem is None:
                self.assertEqual(bytes(peer.received), party.data)
                self.assertEqual(bytes(party.received), peer.data)
            else:
                self.assertIn("peer has not answered", str(party.problem))
            self.assertEqual(bytes(party.received), peer.data[: len(party.received)])
        return self.near.problem is self.far.problem is None

    def transfer(self, seed: int, up: bytes, down: bytes) -> bool:
        """Send something; both ends write, end, and see how it goes."""
        self.go(up, down, there=self.conditions(seed), seed=seed)
        self.until(lambda: all(party.over_at is not None for party in self.parties))
        return self.assert_honest()

    def test_any_way_to_fail(self) -> None:
        """On thin, long and broken networks, ends that are content have all."""
        ends = {
            (seed, way): self.transfer(seed, *data)
            for seed in SEEDS
            for way, data in (("up", (UPLOAD, b"")), ("down", (b"", UPLOAD)))
        }
        well = sum(ends.values())
        self.figure("B9", f"{len(ends)} transfers: {well} whole, the others failed")
        # Only those whose network never returns may fail.
        for (seed, way), whole in ends.items():
            if seed % 4 != 3:
                self.assertTrue(whole, (seed, way))
        self.assertLess(well, len(ends))

    def test_close_at_once(self) -> None:
        """Who writes and closes at once has delivered all when told so."""

        class Hasty(Party):
            def connectionMade(self) -> None:
                self.transport.whenOver.addCallback(self._over)
                self.transport.write(self.data)
                self.transport.loseConnection()

        for link in (THIN, FAR, replace(Q, outages=((0.2, 0.2 + OUTAGE),))):
            self.go(there=link, near=lambda: Hasty(self.reactor, UPLOAD))
            self.finish()
            self.go(there=link, far=lambda: Hasty(self.reactor, UPLOAD))
            self.finish()


class LastAcknowledgmentTests(CourseCase):
    """The last packets that say that all has arrived get lost."""

    def finish_after_loss(
        self, data: bytes, count: int, *, up: bool
    ) -> tuple[float, float]:
        """Lose the last few packets of the receiver.

        Which ones are the last is known from the same course without loss.

        :return: how long after the last byte the sender knew that all had arrived,
            and how long after that byte both ends had let go.
        """
        sides = (data, b"") if up else (b"", data)
        self.course(*sides, there=Q)
        way = self.network.back if up else self.network.there
        kind = Kind.SERVER_MESSAGE if up else Kind.CLIENT_MESSAGE
        total = way.counts.of(Deed.SEEN, kind)
        numbers = range(max(0, total - count) + 1, total + 1)
        bad = replace(Q, drop=frozenset((kind, number) for number in numbers))
        there, back = (Q, bad) if up else (bad, Q)
        arrived = self.course(*sides, there=there, back=back)
        way = self.network.back if up else self.network.there
        self.assertEqual(way.counts.of(Deed.DROPPED), len(numbers))
        sender = self.near if up else self.far
        assert sender.write_ended_at is not None
        over = max(party.over_at or 0.0 for party in self.parties)
        return sender.write_ended_at - arrived, over - arrived

    def test_both_ways(self) -> None:
        """Up to five of them cost the sender three time-outs at the most.

        Who cannot know what the other one knows stays for two seconds more.
        """
        for up, data in product((True, False), (LITTLE, UPLOAD)):
            delays = []
            for count in range(1, 6):
                known, over = self.finish_after_loss(data, count, up=up)
                delays.append((known, over))
                party = self.near if up else self.far
                timeout = max(LEAST_TIMEOUT, party.stream._congestion.timeout)
                with self.subTest(up=up, size=len(data), lost=count):
                    self.assertLessEqual(known, TIMEOUTS * timeout)
                    self.assertLessEqual(over, MIN_LINGER + TIMEOUTS * timeout)
            known, over = map(max, zip(*delays, strict=True))
            self.figure(
                "B10",
                f"{'upload' if up else 'download'} of {len(data)} bytes, last 1 to 5"
                f" answers lost: sender knows after {known:.2f} s at most,"
                f" both have left after {over:.2f} s",
            )

    def test_no_tail(self) -> None:
        """Where nothing is lost, both ends are done in a few round trips."""
        for data in (b"", LITTLE, UPLOAD):
            arrived = self.course(data, there=Q)
            for party in self.parties:
                self.assertLessEqual((party.over_at or 0.0) - arrived, 10 * 2 * Q.delay)

    def test_all_lost_to_one_who_leaves(self) -> None:
        """A peer that is content and gone leaves the other one content as well."""
        for up in (True, False):
            sides = (LITTLE, b"") if up else (b"", LITTLE)
            self.go(*sides, there=Q)
            self.until_arrived()
            first = self.until(lambda: any(p.over_at for p in self.parties))
            self.network.out = True
            self.until(lambda: all(p.over_at is not None for p in self.parties))
            self.assertEqual([p.ending for p in self.parties], ["complete"] * 2)
            later = max(party.over_at or 0.0 for party in self.parties)
            self.assertLessEqual(later - first, 30.0)


class CleanTests(CourseCase):
    """Nothing at all goes wrong."""

    def test_empty(self) -> None:
        """Two streams without a byte end well at once."""
        self.go(there=CLEAR)
        self.assertLess(self.finish(), 2.0)


class SleeperTests(StreamTestCase):
    """A peer has sent its end, and sleeps over something that got lost."""

    def test_asked(self) -> None:
        """It is asked after a moment, not after a keepalive: that may wake it up."""
        self.hear(1, 0, b"a")
        self.hear(2, 2, b"c", SUCCESS)
        self.said()
        ping, *_ = [m for m in self.pass_time(3.0) if m.message_id]
        self.assertEqual((ping.block, ping.ranges), (b"", [(0, 1), (2, 3)]))

    def test_left_alone(self) -> None:
        """Who has sent all is left alone."""
        self.hear(1, 0, b"abc", SUCCESS)
        self.said()
        self.assertEqual(self.pass_time(KEEPALIVE - 1.0), [])
