"""How often something is repeated that nobody answers: ever less, and with a bound."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import StreamTimedOut
from curvecp_tx.secure.client import (
    FRESH_START_AFTER,
    HELLO_WAIT,
    HELLO_WAIT_GROWTH,
    INITIATE_WAIT,
    INITIATE_WAIT_GROWTH,
    MAX_HELLO_WAIT,
    MAX_INITIATE_WAIT,
    Client,
)
from curvecp_tx.stream.sender import MAX_PROBE_INTERVAL
from curvecp_tx.stream.stream import GIVE_UP, Stream
from tests.secure.scripted import (
    make_client,
    make_server,
    message,
    to_client,
    to_server,
)

GRAINS = 1e-6
"""Seconds by which floats may be off."""

ROUND_TRIPS = st.lists(st.floats(0, 2.0), max_size=12)


def conversation(seed: int, round_trips: list[float]) -> tuple[Stream, float]:
    """Give a stream that has had these round trips, and the time."""
    random_bytes, now = Random(seed).randbytes, 1000.0
    near = Stream(random_bytes=random_bytes, now=now, client=True)
    far = Stream(random_bytes=random_bytes, now=now, client=False)
    for round_trip in round_trips:
        near.write(b"?")
        now = max(now, near.next_deadline(now) or now)
        near.handle_timer(now)
        asked = near.messages_to_send(now)
        now += round_trip / 2
        far.receive(asked, now)
        # Time for an acknowledgment that waits for company.
        now += 0.01
        answer = far.messages_to_send(now)
        now += round_trip / 2
        near.receive(answer, now)
        near.messages_to_send(now)
    return near, now


def sending_times(stream: Stream, now: float) -> list[float]:
    """Give the times at which a stream sends while nobody answers, to its end.

    They begin with the time at which everything has left once.
    """
    times = []
    while True:
        if stream.messages_to_send(now) and not stream.unsent:
            times.append(now)
        deadline = stream.next_deadline(now)
        if deadline is None:
            return times
        now = max(now, deadline)
        stream.handle_timer(now)


class StreamTests(SynchronousTestCase):
    """A stream whose peer is silent."""

    @given(ROUND_TRIPS, st.integers(1, 1000), st.integers(0, 9))
    def test_probes(self, round_trips: list[float], size: int, seed: int) -> None:
        """Probes never come faster than before, nor slower than one in four seconds."""
        stream, now = conversation(seed, round_trips)
        stream.write(bytes(size))
        times = sending_times(stream, now)
        self.assertGreater(len(times), 20)
        gaps = [after - before for before, after in pairwise(times)]
        for gap, following in pairwise(gaps):
            self.assertGreaterEqual(following, gap - GRAINS)
        self.assertLessEqual(max(gaps), MAX_PROBE_INTERVAL + GRAINS)

    @given(ROUND_TRIPS, st.integers(0, 9))
    def test_first_probe(self, round_trips: list[float], seed: int) -> None:
        """The first one comes in time, whatever was measured before."""
        stream, now = conversation(seed, round_trips)
        stream.write(b"!")
        first, second, *_ = sending_times(stream, now)
        self.assertLessEqual(second - first, MAX_PROBE_INTERVAL + GRAINS)
        self.assertGreater(second, first)

    @given(ROUND_TRIPS, st.integers(0, 9))
    def test_end(self, round_trips: list[float], seed: int) -> None:
        """It ends when the peer has been silent for long enough, and not before."""
        stream, now = conversation(seed, round_trips)
        stream.write(b"!")
        begin = now
        times = sending_times(stream, now)
        self.assertIsInstance(stream.failure, StreamTimedOut)
        self.assertLessEqual(times[-1], times[0] + GIVE_UP + GRAINS)
        self.assertGreaterEqual(
            times[-1], begin + GIVE_UP - MAX_PROBE_INTERVAL - GRAINS
        )


def repeats(client: Client, now: float, until: float) -> list[float]:
    """Give the times at which a client sends while nobody answers."""
    times = [now] if client.take_datagrams() else []
    while (deadline := client.next_deadline()) is not None and deadline <= until:
        client.handle_timer(deadline)
        if client.take_datagrams():
            times.append(deadline)
    return times


class HandshakeTests(SynchronousTestCase):
    """A client whose server is silent."""

    def assert_schedule(
        self, times: list[float], first: float, growth: float, most: float
    ) -> None:
        """Ask that waits grow as they should, each stretched to its double at most."""
        wait = first
        for before, after in pairwise(times):
            self.assertGreaterEqual(after - before, wait - GRAINS)
            self.assertLessEqual(after - before, 2 * wait + GRAINS)
            wait = min(wait * growth, most)

    @given(st.integers(0, 2**32))
    def test_hello(self, seed: int) -> None:
        """Hellos get rarer by half each time, up to a bound, and go on for ever."""
        client = make_client(random_bytes=Random(seed).randbytes, timeout=None)
        times = repeats(client, 0.0, 600.0)
        self.assertGreater(len(times), 18)
        self.assert_schedule(times, HELLO_WAIT, HELLO_WAIT_GROWTH, MAX_HELLO_WAIT)

    @given(st.integers(0, 2**32))
    def test_initiate(self, seed: int) -> None:
        """So do Initiates, until it is time for another Hello."""
        client = make_client(random_bytes=Random(seed).randbytes, timeout=None)
        to_client(client, to_server(make_server(), client, 0.0).replies, 0.0)
        client.send([message(1)])
        times = repeats(client, 0.0, FRESH_START_AFTER - GRAINS)
        self.assertGreater(len(times), 5)
        self.assert_schedule(
            times, INITIATE_WAIT, INITIATE_WAIT_GROWTH, MAX_INITIATE_WAIT
        )
