"""What floods of Hellos cost a server, and what they bring their sender."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from time import perf_counter

from curvecp_tx.secure.admission import HELLO_RATE, MAX_HELLO_RATE
from curvecp_tx.secure.buckets import MAX_TABLE
from curvecp_tx.secure.paths import Datagram
from curvecp_tx.wire.packets import COOKIE_BYTES, HELLO_BYTES
from tests.faults.figures import note
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    ELSEWHERE,
    RawClient,
    dropped,
    flip,
    message,
)
from tests.secure.test_server import ServerCase

BATCH = 64
BURST = int(2 * HELLO_RATE)
KILOBYTE = 1024


def growth(act: Callable[[], None]) -> int:
    """Give the bytes that Python holds after an act and did not before it."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        act()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


class FloodCase(ServerCase):
    """A server under a flood of Hellos."""

    def setUp(self) -> None:
        """Prepare a Hello."""
        super().setUp()
        self.hello = self.client.hello()

    def flood(self, datagrams: list[Datagram], rate: float, now: float = 0.0) -> int:
        """Let datagrams arrive at a rate, in batches; count the answers."""
        answers = 0
        for start in range(0, len(datagrams), BATCH):
            batch = datagrams[start : start + BATCH]
            answers += len(self.server.receive(batch, now + start / rate).replies)
        return answers


class AnswerTests(FloodCase):
    """What comes back."""

    def test_amplification(self) -> None:
        """At most one Cookie for a Hello, of 0.893 of its size; else nothing."""
        genuine = [RawClient(secret=bytes([n]) * 32).hello() for n in range(1, 40)]
        forged = [flip(hello, 8 * (HELLO_BYTES - 1)) for hello in genuine]
        cut = [hello[:-16] for hello in genuine]
        for hellos, expected in ((genuine, len(genuine)), (forged, 0), (cut, 0)):
            replies = self.receive(*hellos).replies
            self.assertEqual(len(replies), expected)
            sent = sum(len(cookie) for cookie, _ in replies)
            self.assertLessEqual(sent, 0.893 * sum(map(len, hellos)))
        ratio = COOKIE_BYTES / HELLO_BYTES
        note("C12", "TT", f"{ratio:.3f} bytes out for each byte in; 0 for a bad box")

    def test_copies(self) -> None:
        """Each copy of a Hello gets one Cookie at most, and all leave no trace."""
        copies: list[Datagram] = [(self.hello, CLIENT_ADDRESS)] * 1000
        self.flood(copies[:BATCH], rate=100.0)
        answers = []

        def replay() -> None:
            answers.append(self.flood(copies, rate=100.0, now=10.0))

        left = growth(replay)
        self.assertEqual(answers, [1000])
        self.assertLess(left, 4 * KILOBYTE)
        note("C1", "TT", f"1000 of 1000 at 100/s answered once; {left} bytes left")

    def test_copies_at_once(self) -> None:
        """Of a thousand copies at once, those beyond a burst get no answer."""
        replies = self.receive(*[self.hello] * 1000).replies
        self.assertEqual(len(replies), BURST)
        expected = {"refused_hello_rate": 1000 - BURST}
        self.assertEqual(dropped(self.server.counters), expected)
        note("C1", "TT", f"{BURST} of 1000 at once answered")

    def test_others_are_answered(self) -> None:
        """While one address floods, others shake hands as ever."""
        self.flood([(self.hello, CLIENT_ADDRESS)] * 15_000, rate=5000.0)
        for number in range(20):
            client = RawClient(secret=bytes([100 + number]) * 32)
            client.greet(self.server, now=3.0, address=ELSEWHERE)
            received = self.receive(client.initiate(), now=3.0, address=ELSEWHERE)
            self.assertEqual(len(received.opened), 1)

    def test_bad_boxes_count_too(self) -> None:
        """Hellos with bad boxes cost as much, and so have the same rate."""
        forged = flip(self.hello, 8 * (HELLO_BYTES - 1))
        self.receive(*[forged] * 1000)
        expected = {
            "dropped_bad_hello": BURST,
            "refused_hello_rate": 1000 - BURST,
        }
        self.assertEqual(dropped(self.server.counters), expected)

    def test_only_real_hellos_count(self) -> None:
        """What has not a Hello's size takes nothing from the rate."""
        self.receive(*[self.hello + bytes(16)] * 1000)
        self.assertEqual(dropped(self.server.counters), {"dropped_bad_size": 1000})
        self.assertEqual(len(self.receive(*[self.hello] * 1000).replies), BURST)

    def test_cost(self) -> None:
        """A Hello beyond the rate is counted, and nothing else is done about it."""
        self.receive(*[self.hello] * 1000)
        hellos = self.server.counters.hellos
        batch: list[Datagram] = [(self.hello, CLIENT_ADDRESS)] * BATCH
        best = float("inf")
        for _ in range(100):
            start = perf_counter()
            self.server.receive(batch, 0.0)
            best = min(best, perf_counter() - start)
        self.assertEqual(self.server.counters.hellos, hellos)
        counters = self.server.counters
        self.assertEqual(counters.refused_hello_rate, 1000 - BURST + 100 * BATCH)
        note("D1", "TT", f"a rate-limited Hello costs {best / BATCH * 1e6:.2f} us")


class MemoryTests(FloodCase):
    """What is left behind."""

    def test_many_hellos(self) -> None:
        """20,000 Hellos from 200 addresses leave less than a megabyte."""
        addresses = [(f"198.51.100.{number}", 40000) for number in range(200)]
        hellos: list[Datagram] = [
            (self.hello, addresses[number % 200]) for number in range(20_000)
        ]
        self.flood(hellos[:BATCH], rate=5000.0)
        left = growth(lambda: self.assertGreater(self.flood(hellos, 5000.0), 5000))
        self.assertLess(left, KILOBYTE**2)
        note("D3", "TT", f"{left / KILOBYTE:.0f} KB left by 20000 Hellos")

    def test_forged_addresses(self) -> None:
        """20,000 addresses leave a bounded table, and who is in notices nothing."""
        self.client.greet(self.server, address=ELSEWHERE)
        (session,) = self.receive(self.client.initiate(), address=ELSEWHERE).opened
        hellos: list[Datagram] = [
            (self.hello, (f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}", 9))
            for number in range(20_000)
        ]
        answers = 0
        for number in range(20):
            now = number / 20
            answers += self.flood(hellos[number * 1000 :][:1000], 20_000.0, now)
            datagram = self.client.message(message(2), nonce=10 + number)
            messages = self.receive(datagram, now=now, address=ELSEWHERE).messages
            self.assertEqual(messages, {session: [message(2)]})
        self.assertLessEqual(answers, 2 * MAX_HELLO_RATE)
        entries = len(self.server._admission._hellos)
        self.assertLessEqual(entries, answers + 1)
        self.assertLessEqual(entries, MAX_TABLE)
        note("D2", "TT", f"{entries} entries after Hellos from 20000 addresses")
        self.server.rotate(60.0)
        self.assertEqual(len(self.server._admission._hellos), 0)
