"""Acknowledgments by somebody who has not received anything."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import StreamBroken
from curvecp_tx.stream.chicago import MAX_TIMEOUT, MIN_VARIANCE, SECOND, Chicago
from curvecp_tx.stream.stream import GIVE_UP, KEEPALIVE, Stream
from curvecp_tx.wire.messages import Range, decode_message, encode_message
from tests.faults.figures import note

DATA = bytes(200_000)
LEAST_TIMEOUT = MIN_VARIANCE / SECOND
GREATEST_TIMEOUT = MAX_TIMEOUT / SECOND
UNKNOWN = 0x0BADF00D
FIRST_TIMEOUT = 1.0


class FalseAcknowledgmentCase(SynchronousTestCase):
    """A stream that sends a lot.

    :ivar sent: the IDs of what has left, and where each block ends.
    """

    def setUp(self) -> None:
        self.now = 0.0
        self.congestion = Chicago(random_bytes=Random(2).randbytes, now=0.0)
        self.stream = Stream(
            random_bytes=Random(1).randbytes,
            now=0.0,
            client=False,
            congestion=self.congestion,
        )
        self.sent: list[tuple[int, int]] = []
        self.stream.write(DATA)
        self.send()

    def send(self) -> None:
        """Send what may leave."""
        for encoded in self.stream.messages_to_send(self.now):
            message = decode_message(encoded)
            assert message is not None
            assert message.block is not None
            if message.message_id:
                end = message.position + len(message.block)
                self.sent.append((message.message_id, end))

    def hear(self, named: int, *ranges: Range) -> None:
        """Have an acknowledgment arrive."""
        encoded = encode_message(acknowledged_id=named, ranges=ranges)
        self.stream.receive([encoded], self.now)
        self.send()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while True:
            deadline = self.stream.next_deadline(self.now)
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.stream.handle_timer(self.now)
            self.send()
        self.now = until

    def assert_time_out_in_bounds(self) -> None:
        """Check the time-out for retransmissions."""
        self.assertGreaterEqual(self.congestion.timeout, LEAST_TIMEOUT)
        self.assertLessEqual(self.congestion.timeout, GREATEST_TIMEOUT)


class BlindTests(FalseAcknowledgmentCase):
    """Somebody who does not see what is sent."""

    def test_unknown_id(self) -> None:
        """An acknowledgment with an ID that was never sent counts for nothing."""
        buffered = self.stream.buffered
        for ranges in ((), ((0, 1024),), ((0, 10**9),), ((0, 2**60 - 1),)):
            self.hear(UNKNOWN, *ranges)
            self.assertEqual(self.stream.buffered, buffered)
            self.assertEqual(self.congestion.rtt, 0)
            self.assertIsNone(self.stream.failure)
        self.assertEqual(self.congestion.timeout, FIRST_TIMEOUT)

    def test_guesses(self) -> None:
        """Of many guesses at a random ID none counts."""
        dice = Random(8)
        known = {number for number, _ in self.sent}
        buffered = self.stream.buffered
        for _ in range(20_000):
            guess = dice.randrange(1, 2**32)
            if guess not in known:
                self.hear(guess, (0, self.sent[-1][1]))
        self.assertEqual(self.stream.buffered, buffered)

    def test_no_id(self) -> None:
        """Ranges without an ID count for no block that was sent only once."""
        self.hear(0, (0, self.sent[-1][1]))
        self.assertEqual(self.stream.buffered, len(DATA))


class OptimisticTests(FalseAcknowledgmentCase):
    """A peer that acknowledges more than it has, in order to be sent more."""

    def test_beyond(self) -> None:
        """Who acknowledges what was never sent ends the stream."""
        number, end = self.sent[-1]
        self.hear(number, (0, end + 1))
        self.assertIsInstance(self.stream.failure, StreamBroken)

    def test_later_range_beyond(self) -> None:
        """The same in a later range."""
        number, end = self.sent[-1]
        self.hear(number, (end + 5, end + 6))
        self.assertIsInstance(self.stream.failure, StreamBroken)

    def test_repeated(self) -> None:
        """An acknowledgment that comes again and again acknowledges nothing new."""
        number, end = self.sent[0]
        self.now += 0.05
        self.hear(number, (0, end))
        buffered = self.stream.buffered
        for _ in range(1000):
            self.now += 0.05
            self.hear(number, (0, end))
            self.assertEqual(self.stream.buffered, buffered)
            self.assert_time_out_in_bounds()
        self.assertIsNone(self.stream.failure)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("unknown", "none", "first", "latest", "any")),
                st.floats(0, 1),
                st.floats(0, 1),
                st.one_of(st.floats(0, 0.2), st.floats(0, 90)),
            ),
            max_size=40,
        )
    )
    def test_any_course(self, course: list[tuple[str, float, float, float]]) -> None:
        """Whatever is acknowledged and when: time-outs stay in bounds, nobody waits."""
        self.setUp()
        for kind, where, start, pause in course:
            place = {"first": 0, "latest": len(self.sent) - 1}.get(
                kind, int(where * (len(self.sent) - 1))
            )
            number, _ = self.sent[place]
            number = {"unknown": UNKNOWN, "none": 0}.get(kind, number)
            highest = max(end for _, end in self.sent)
            first, last = sorted((int(start * highest), int(where * highest)))
            self.hear(number, (first if start < 0.5 else 0, last + 1))
            self.wait(pause)
            self.assert_time_out_in_bounds()
            if self.stream.over or self.stream.failure is not None:
                break
            deadline = self.stream.next_deadline(self.now)
            assert deadline is not None
            self.assertLessEqual(deadline - self.now, GIVE_UP + KEEPALIVE)

    def test_long_ago(self) -> None:
        """The ID of a message of a minute ago is no reason to wait for minutes."""
        number, end = self.sent[0]
        self.now += 100.0
        self.hear(number, (0, end))
        self.assert_time_out_in_bounds()
        self.assertLessEqual(self.congestion.rtt, GREATEST_TIMEOUT)
        note(
            "C6",
            "TT",
            f"time-out within {LEAST_TIMEOUT:g} s and {GREATEST_TIMEOUT:g} s",
        )
