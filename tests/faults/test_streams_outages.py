"""Streams whose network is out for a while, or for good."""

from __future__ import annotations

from curvecp_tx.errors import StreamTimedOut
from curvecp_tx.stream.sender import MAX_PROBE_INTERVAL
from curvecp_tx.stream.stream import GIVE_UP
from tests.faults.course import CourseCase, Party
from tests.faults.impairment import Link, Q
from tests.faults.scenario import noise
from tests.interop.streaming import MEBIBYTE
from tests.stream.wire_between import Network, Wire, data_of, ending_of

ANCHOR = 60.0
TEN_MEBIBYTES = noise(10 * MEBIBYTE, "ten")

LINK = Link(delay=0.015, rate=4e6, queue=25)
"""Slow enough that a transfer is under way for long without being long."""

BEGIN = 12.0
"""When outages begin: the speed has settled."""

SOON = MAX_PROBE_INTERVAL + 1.0
SETTLED = 15.0
SHARE = 0.8
"""Of the speed before, after so many seconds."""

HOUR = 3600.0


class OutageTests(CourseCase):
    """Nothing gets through for a while."""

    def test_again_and_again(self) -> None:
        """Ten mebibytes arrive through five seconds of network and two without."""
        link = Link(
            delay=Q.delay,
            rate=Q.rate,
            queue=Q.queue,
            outages=((5.0, 7.0),),
            period=7.0,
        )
        for way, data in (("up", (TEN_MEBIBYTES, b"")), ("down", (b"", TEN_MEBIBYTES))):
            seconds = self.course(*data, there=link)
            self.figure("B6", f"10 MiB {way} in {seconds:.1f} s")
            self.assertLessEqual(seconds, ANCHOR)

    def outage(self, length: float) -> None:
        """Have an outage in the middle of an upload that is not done after it."""
        self.length = length
        self.restored = BEGIN + length
        self.overheard = self.overhear()
        self.go(noise(24 * MEBIBYTE), there=LINK)
        self.pass_until(BEGIN)
        self.network.out = True
        self.pass_until(self.restored)
        self.network.out = False
        self.pass_until(self.restored + SETTLED)
        self.assertEqual([p.over_at for p in self.parties], [None, None])

    def first_after(self) -> float:
        """Tell how long after the outage the first new byte came."""
        later = [time for time, _ in self.far.arrivals if time > self.restored]
        return later[0] - self.restored

    def assert_lowest_first(self) -> None:
        """What is sent again, and first after the outage, is the lowest missing."""
        stream = self.near.stream
        events = sorted(
            [
                *((at, 0, heard) for at, heard in self.overheard.heard[stream]),
                *((at, 1, said) for at, said in self.overheard.said[stream]),
            ],
            key=lambda event: event[:2],
        )
        acknowledged = highest = 0
        again: list[tuple[float, int, int]] = []
        for at, said, message in events:
            if not said and message.ranges and message.ranges[0][0] == 0:
                acknowledged = max(acknowledged, message.ranges[0][1])
            elif said and message.block and message.position < highest:
                again.append((at, message.position, acknowledged))
            elif said and message.block:
                highest = message.position + len(message.block)
        # Until the first time-out, senders cannot know that anything is wrong.
        probes = [entry for entry in again if BEGIN + 1.0 < entry[0] < self.restored]
        self.assertGreater(len(probes), self.length / MAX_PROBE_INTERVAL - 2)
        first = next(entry for entry in again if entry[0] >= self.restored)
        for _, position, missing in (*probes, first):
            self.assertLessEqual(position, missing)

    def share_after(self) -> float:
        """Tell which share of the old speed there is when all has settled."""
        before = self.far.rate(BEGIN - 5.0, BEGIN)
        end = self.restored + SETTLED
        return self.far.rate(end - 2.0, end) / before

    def check_recovery(self, length: float) -> None:
        """Check what comes after an outage of so many seconds."""
        self.outage(length)
        first, share = self.first_after(), self.share_after()
        self.figure(
            "B7",
            f"outage {length:g} s: first new byte after {first:.2f} s,"
            f" {share:.0%} of the speed after {SETTLED:g} s",
        )
        self.assertLessEqual(first, SOON)
        self.assert_lowest_first()
        self.assertGreaterEqual(share, SHARE)

    def test_five_seconds(self) -> None:
        """After an outage of 5 s, a transfer goes on soon, and as fast as before."""
        self.check_recovery(5.0)

    def test_ten_seconds(self) -> None:
        """After one of 10 s as well."""
        self.check_recovery(10.0)

    def test_half_a_minute(self) -> None:
        """After one of 30 s as well."""
        self.check_recovery(30.0)

    def test_a_minute(self) -> None:
        """After one of 60 s as well."""
        self.check_recovery(60.0)

    def test_an_hour(self) -> None:
        """Whoever waits for hours has a transfer that goes on as soon."""
        outage = (0.2, 0.2 + HOUR)
        wire = Wire(
            Network(outages=[outage]), data_of(3 * MEBIBYTE), give_up=2.0 * HOUR
        )
        wire.run(outage[1])
        probes = len(wire.client.ids)
        before = len(wire.server.received)
        self.assertLess(before, 3 * MEBIBYTE)
        wire.run(outage[1] + SOON)
        first = next(time for time, _ in wire.server.arrivals if time >= outage[1])
        self.assertGreater(len(wire.server.received), before)
        self.assertLess(probes, 3 * MEBIBYTE / 1024 + HOUR / MAX_PROBE_INTERVAL)
        wire.run(2.0 * HOUR)
        self.assertEqual([ending_of(side) for side in wire.sides], ["complete"] * 2)
        self.figure("B7", f"outage 1 h: first new byte after {first - outage[1]:.2f} s")


class NeverBackTests(CourseCase):
    """Nothing gets through any more."""

    def check_failure(self, up: bytes, down: bytes, **options: bool) -> None:
        """Check that both ends fail in time, and that nothing is left of them."""
        self.go(
            near=lambda: Party(self.reactor, up, **options),
            far=lambda: Party(self.reactor, down, **options),
        )
        self.until(lambda: any(len(p.received) > 100_000 for p in self.parties))
        self.network.out = True
        began = self.reactor.seconds()
        self.until(lambda: all(p.over_at is not None for p in self.parties))
        for party in self.parties:
            self.assertIsInstance(party.problem, StreamTimedOut)
            assert party.over_at is not None
            self.assertLess(abs(party.over_at - began - GIVE_UP), GIVE_UP / 10)
            self.figure("B8", f"failed after {party.over_at - began:.1f} s")
        self.assertEqual(self.listener.connections, 0)
        self.assertEqual(self.servers.built, [self.far])
        # The client's port is closed; the listener has its minute key to rotate.
        self.assertLessEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_one_sends(self) -> None:
        """Both ends fail when an upload is cut off."""
        self.check_failure(TEN_MEBIBYTES, b"")

    def test_both_send(self) -> None:
        """Both ends fail when both were sending."""
        self.check_failure(TEN_MEBIBYTES, TEN_MEBIBYTES)

    def test_nobody_has_ended(self) -> None:
        """Both ends fail when neither stream was near its end."""
        self.check_failure(TEN_MEBIBYTES, TEN_MEBIBYTES, ends=False)
