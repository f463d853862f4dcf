"""Handshakes on networks that lose, damage, repeat and delay, in virtual time."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.reasons import DialTimedOut
from curvecp_tx.secure.client import DEFAULT_TIMEOUT, Phase
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.secure.paths import Address
from curvecp_tx.wire.packets import (
    COOKIE_BYTES,
    COOKIE_MAGIC,
    INITIATE_MAGIC,
    SHORT_TERM_KEY,
)
from tests.faults.figures import OURS, note
from tests.faults.impairment import Deed, Kind, Link, kind_of
from tests.faults.scenario import noise
from tests.faults.virtual import CrowdCase, quantiles
from tests.interop.streaming import KIBIBYTE
from tests.net.recording import (
    SERVER,
    Recorders,
    echo,
    greeting,
    message,
)
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_EXTENSION,
    SERVER_ADDRESS,
    SERVER_EXTENSION,
    dropped,
    make_client,
    make_server,
    to_client,
)

LOSSY = Link(loss=0.3, burst=3, delay=0.015)
CORRUPT = Link(corrupt=0.3, delay=0.015)
CROWD = 50
SEEDS = range(300)
FAKES = 5000

DEAD = "192.0.2.66"

FREE = {
    Kind.HELLO: ((24, 40), (72, 136)),
    Kind.INITIATE: ((24, 40),),
    Kind.CLIENT_MESSAGE: ((24, 40),),
}
"""What of a packet nobody vouches for: the client's extension, a Hello's zeros."""

COOKIE = range(72, 168)
"""Where the cookie is in an Initiate. Nobody looks at it once there is a connection."""


def is_free(kind: Kind, at: int) -> bool:
    """Tell whether a byte of a packet may be anything."""
    return any(begin <= at < end for begin, end in FREE.get(kind, ()))


class LossTests(CrowdCase):
    """Three packets in ten are lost, each way."""

    def test_a_crowd(self) -> None:
        """Fifty clients at once all get through, and each starts one handler."""
        self.impair(LOSSY)
        times = self.run_crowd(CROWD)
        self.assertGreater(self.network.there.counts.of(Deed.LOST), CROWD)
        note("A1", OURS, f"{CROWD} of {CROWD} intact (virtual); {quantiles(times)}")

    def test_many_seeds(self) -> None:
        """One client after the other gets through, and soon enough."""
        times = []
        for seed in SEEDS:
            self.impair(LOSSY, seed=seed)
            times += self.run_crowd(1)
            self.close_world()
        times.sort()
        self.assertLessEqual(times[len(times) // 2], 3.0)
        self.assertLessEqual(times[int(0.95 * len(times))], 15.0)
        self.assertLessEqual(times[-1], 60.0)
        note(
            "A1", OURS, f"{len(times)} seeds, none fails (virtual); {quantiles(times)}"
        )


class CorruptionTests(CrowdCase):
    """Three packets in ten have one bit flipped, each way."""

    def test_a_crowd(self) -> None:
        """All get through; each damaged packet is dropped, and counted once."""
        self.impair(CORRUPT)
        times = self.run_crowd(CROWD)
        self.reactor.run(1.0)
        flips = {**self.network.there.flips, **self.network.back.flips}
        counted = harmless = 0
        opened: set[bytes] = set()
        for datagram, drops in self.network.received:
            # A flip in the first bytes may make one kind of packet another.
            kind = kind_of(datagram)
            client = datagram[SHORT_TERM_KEY]
            known = kind is Kind.INITIATE and client in opened
            if kind is Kind.INITIATE and not drops:
                opened.add(client)
            at = flips.get(datagram)
            if at is None:
                continue
            if is_free(kind, at) or (known and at in COOKIE):
                harmless += 1
                self.assertLessEqual(drops, 1)
            else:
                counted += 1
                self.assertEqual(drops, 1, (datagram[:8], at))
        damaged = sum(
            way.counts.of(Deed.CORRUPTED)
            for way in (self.network.there, self.network.back)
        )
        missed = sum(datagram in flips for datagram in self.network.missed)
        self.assertEqual(counted + harmless + missed, damaged)
        self.assertGreater(counted, CROWD)
        note(
            "A2", OURS, f"{counted} of {counted} counted (virtual); {quantiles(times)}"
        )


class DelayTests(CrowdCase):
    """A long way to the server."""

    def upload(self, trip: float, size: int) -> float:
        """Send bytes to a server; give the virtual time that it takes."""
        self.impair(Link(delay=trip / 2))
        factory = self.open_server()
        call = self.send_client(noise(size))
        self.run_until(lambda: call.over, 180.0)
        (server,) = factory.built
        self.run_until(lambda: server.over.called, 180.0)
        self.assertEqual(self.successResultOf(server.over), noise(size))
        note(
            "A3",
            OURS,
            f"RTT {trip} s: {size} bytes in {self.last_heard:.1f} s (virtual)",
        )
        return self.last_heard

    def test_half_a_mebibyte(self) -> None:
        """At 1.5 s for a round trip, 512 KiB take 25 s at most, with one handler."""
        self.assertLessEqual(self.upload(1.5, 512 * KIBIBYTE), 25.0)

    def test_four_seconds(self) -> None:
        """At 4 s for a round trip, a connection comes about, with one handler."""
        self.assertLessEqual(self.upload(4.0, KIBIBYTE), DEFAULT_TIMEOUT)


class AbsenceTests(CrowdCase):
    """There is nobody, or not everywhere."""

    def test_nobody(self) -> None:
        """Without a server, the attempt fails at the time-out, and says so."""
        self.impair()
        call = self.send_client()
        self.run_until(lambda: call.over, DEFAULT_TIMEOUT + 1.0)
        self.assertGreaterEqual(self.reactor.seconds(), DEFAULT_TIMEOUT - 1.0)
        call.outcome.trap(DialTimedOut)
        (line,) = str(call.outcome.value).splitlines()
        self.assertIn("no response from server", line)
        note(
            "A4", OURS, f"fails after {self.reactor.seconds():.1f} s (virtual): {line}"
        )

    def test_one_of_two_addresses(self) -> None:
        """With one address dead, all are connected within 2.5 s."""
        times = []
        for seed in range(CROWD):
            self.impair(Link(delay=0.015), seed=seed)
            times += self.run_crowd(1, hosts=[DEAD, SERVER[0]])
            self.close_world()
        self.assertLessEqual(max(times), 2.5)
        note("A5", OURS, f"{CROWD} of {CROWD} (virtual); {quantiles(times)}")

    def test_late_cookie(self) -> None:
        """A Cookie from an address that was tried before is as good as another."""
        times = []
        for seed in range(CROWD):
            # A second Hello has gone to the dead address by then.
            self.impair(Link(), Link(hold=((Kind.COOKIE, 2.2),)), seed=seed)
            times += self.run_crowd(1, hosts=[SERVER[0], DEAD])
            self.assertEqual(self.network.there.counts.of(Deed.SEEN, Kind.HELLO), 2)
            self.assertEqual(self.listener.counters.cookies, 1)
            self.close_world()
        note("A5", OURS, f"late Cookie: {CROWD} of {CROWD} (virtual)")


class ExpiryTests(CrowdCase):
    """Initiates that are under way for long."""

    def hold_initiates(self) -> list[tuple[bytes, Address, Address]]:
        """Keep Initiates from now on; give the list of what is kept."""
        kept: list[tuple[bytes, Address, Address]] = []

        def watch(datagram: bytes, source: Address, destination: Address) -> bool:
            if datagram[:8] != INITIATE_MAGIC:
                return True
            kept.append((datagram, source, destination))
            return False

        self.network.watch = watch
        return kept

    def test_one_rotation(self) -> None:
        """A cookie of the minute before opens."""
        self.impair()
        server = Recorders(received=echo)
        listener = self.serve(server)
        self.reactor.advance(MINUTE - 5.0)
        kept = self.hold_initiates()
        client = Recorders(greeting(message(0)))
        self.dial(client)
        self.reactor.run(10.0)
        (first, *_) = kept
        self.network.put(*first)
        self.reactor.run(0.1)
        self.assertEqual(server.built[0].messages, [message(0)])
        self.assertEqual(client.built[0].messages, [message(0)])
        self.assertEqual(dropped(listener.counters), {})

    def test_two_rotations(self) -> None:
        """An older one is refused in silence; the client comes in with a new one."""
        self.impair()
        server = Recorders(received=echo)
        listener = self.serve(server)
        kept = self.hold_initiates()
        client = Recorders(greeting(message(0)))
        dialer = self.dial(client, timeout=None)
        self.reactor.run(2 * MINUTE + 5.0, step=0.1)
        before = self.network.back.counts.of(Deed.SEEN)
        (first, *_) = kept
        self.network.put(*first)
        self.reactor.run(0.1)
        self.assertEqual(listener.counters.dropped_bad_cookie, 1)
        self.assertEqual(self.network.back.counts.of(Deed.SEEN), before)
        self.assertEqual(server.built, [])
        self.network.watch = None
        restored = self.reactor.seconds()
        self.run_until(lambda: client.built[0].messages, restored + 10.0)
        self.assertGreater(dialer.counters.hellos, 1)
        self.assertEqual([one.messages for one in server.built], [[message(0)]])
        took = self.reactor.seconds() - restored
        note("A6", OURS, f"complete {took:.1f} s after the way is free (virtual)")


class ForgeryTests(SynchronousTestCase):
    """Somebody else sends Cookies in the server's name."""

    def test_cost(self) -> None:
        """Each is dropped and counted, and the right one still counts."""
        client, server = make_client(), make_server()
        head = COOKIE_MAGIC + CLIENT_EXTENSION + SERVER_EXTENSION
        fakes = [
            (head + noise(COOKIE_BYTES - len(head), seed), SERVER_ADDRESS)
            for seed in range(FAKES)
        ]
        hellos = [datagram for datagram, _ in client.take_datagrams()]
        began = time.process_time()
        client.receive(fakes, 0.0)
        cost = (time.process_time() - began) / FAKES
        self.assertEqual(dropped(client.counters), {"dropped_bad_box": FAKES})
        replies = server.receive([(hellos[0], CLIENT_ADDRESS)], 0.0).replies
        to_client(client, replies, 0.0)
        self.assertIs(client.phase, Phase.INITIATE)
        note("A9", OURS, f"{1e6 * cost:.1f} µs of processor time for each")


class RepetitionTests(CrowdCase):
    """Every packet comes twice."""

    def test_a_crowd(self) -> None:
        """Each client starts one handler; there is a Cookie for a Hello, no more."""
        self.impair(Link(duplicate=1.0, delay=0.015))
        times = self.run_crowd(CROWD)
        counters, counts = self.listener.counters, self.network.there.counts
        self.assertEqual(counters.connections, CROWD)
        self.assertEqual(counters.cookies, counts.of(Deed.PASSED, Kind.HELLO))
        self.assertEqual(
            self.network.back.counts.of(Deed.SEEN, Kind.COOKIE), counters.cookies
        )
        note("A8", OURS, f"{CROWD} clients, {CROWD} handlers; {quantiles(times)}")
