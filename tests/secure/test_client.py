"""What a client does until it is connected."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import (
    ConnectTimedOut,
    LowOrderKey,
    NoncesExhausted,
)
from curvecp_tx.secure.boxes import RandomBytes
from curvecp_tx.secure.client import (
    FIRST_FLIGHT,
    FRESH_START_AFTER,
    MAX_HELLO_WAIT,
    MAX_INITIATE_WAIT,
    Client,
    Phase,
)
from curvecp_tx.secure.nonces import LongTermNonces
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.secure.server import Received
from curvecp_tx.wire.packets import Hello
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    ELSEWHERE,
    LOW_ORDER_KEYS,
    SERVER_ADDRESS,
    connect,
    dropped,
    make_client,
    make_server,
    message,
    to_client,
    to_server,
)

SECOND_ADDRESS: Address = ("192.0.2.2", 7001)


def fixed_stretch(quarter: int) -> RandomBytes:
    """Give randomness in which each wait is stretched by 1 + quarter / 4."""
    dice = Random(8).randbytes
    return lambda size: (
        (quarter << 30).to_bytes(4, "little") if size == 4 else dice(size)
    )


class ClientCase(SynchronousTestCase):
    """A server, and clients of it."""

    def setUp(self) -> None:
        """Set up the server."""
        self.server = make_server()

    def run_timers(self, client: Client, until: float) -> list[tuple[float, Datagram]]:
        """Let time pass without an answer; give what was sent, and when."""
        sent = [(0.0, datagram) for datagram in client.take_datagrams()]
        while (due := client.next_deadline()) is not None and due <= until:
            client.handle_timer(due)
            sent += [(due, datagram) for datagram in client.take_datagrams()]
        return sent

    def greeted(self, client: Client, now: float = 0.0) -> Client:
        """Bring a client its Cookie."""
        to_client(client, to_server(self.server, client, now).replies, now)
        self.assertIs(client.phase, Phase.INITIATE)
        return client


class HelloTests(ClientCase):
    """Saying Hello."""

    def test_first(self) -> None:
        """A client says Hello at once, to the first address."""
        client = make_client(addresses=(SERVER_ADDRESS, SECOND_ADDRESS))
        ((hello, address),) = client.take_datagrams()
        self.assertEqual((len(hello), address), (224, SERVER_ADDRESS))
        self.assertIs(client.phase, Phase.HELLO)
        self.assertEqual(client.path, SERVER_ADDRESS)
        self.assertEqual(client.take_datagrams(), [])

    def test_schedule(self) -> None:
        """Waits begin at 1 s and grow by half, up to a limit; chance stretches each."""
        for quarter in range(4):
            client = make_client(timeout=None, random_bytes=fixed_stretch(quarter))
            sent = self.run_timers(client, until=300.0)
            times = [when for when, _ in sent]
            waits = [after - before for before, after in pairwise(times)]
            stretch = 1 + quarter / 4
            for number, wait in enumerate(waits):
                expected = stretch * min(1.5**number, MAX_HELLO_WAIT)
                self.assertAlmostEqual(wait, expected)
            self.assertGreater(len(waits), 10)

    def test_stretch(self) -> None:
        """The stretch is random, and always in [1, 2)."""
        first = [
            make_client(random_bytes=Random(seed).randbytes).next_deadline() or 0.0
            for seed in range(200)
        ]
        self.assertGreater(len(set(first)), 190)
        self.assertTrue(all(1.0 <= wait < 2.0 for wait in first))
        self.assertGreater(max(first) - min(first), 0.9)

    def test_nonces(self) -> None:
        """All Hellos have one C', and each the next nonce."""
        client = make_client()
        sent = self.run_timers(client, until=30.0)
        hellos = [hello for _, (d, _) in sent if (hello := Hello.parse(d))]
        self.assertEqual(len(hellos), len(sent))
        self.assertEqual(len({hello.short_term_key for hello in hellos}), 1)
        start = hellos[0].nonce
        self.assertLess(start, 2**48)
        expected = list(range(start, start + len(hellos)))
        self.assertEqual([hello.nonce for hello in hellos], expected)

    def test_round_the_addresses(self) -> None:
        """Addresses are tried in order, round and round."""
        addresses = [(f"192.0.2.{number}", 7001) for number in range(3)]
        client = make_client(addresses=addresses, timeout=None)
        sent = self.run_timers(client, until=60.0)
        tried = [address for _, (_, address) in sent]
        expected = [addresses[number % 3] for number in range(len(tried))]
        self.assertEqual(tried, expected)
        self.assertGreater(len(tried), 5)

    def test_early_timer(self) -> None:
        """A timer that fires too early does nothing."""
        client = make_client()
        client.take_datagrams()
        client.handle_timer(0.5)
        self.assertEqual(client.take_datagrams(), [])

    def test_low_order_server_key(self) -> None:
        """A server key of low order is an error right away."""
        for key in LOW_ORDER_KEYS:
            self.assertRaises(LowOrderKey, make_client, server_key=key)


class CookieTests(ClientCase):
    """Taking Cookies."""

    def cookie_for(self, client: Client) -> bytes:
        """Let the server answer the client's Hello."""
        ((cookie, _),) = to_server(self.server, client, 0.0).replies
        return cookie

    def test_taken(self) -> None:
        """A Cookie ends the Hellos; without a message nothing is sent yet."""
        client = self.greeted(make_client())
        self.assertEqual(client.take_datagrams(), [])
        self.assertEqual(client.counters.cookies, 1)

    def test_any_tried_address(self) -> None:
        """A late Cookie from an address that was tried before is as good."""
        client = make_client(addresses=(SERVER_ADDRESS, SECOND_ADDRESS))
        cookie = self.cookie_for(client)
        client.handle_timer(client.next_deadline() or 0.0)
        self.assertEqual(client.path, SECOND_ADDRESS)
        client.receive([(cookie, SERVER_ADDRESS)], 2.0)
        self.assertIs(client.phase, Phase.INITIATE)
        self.assertEqual(client.path, SERVER_ADDRESS)
        client.take_datagrams()
        client.send([message(1)])
        ((_, address),) = client.take_datagrams()
        self.assertEqual(address, SERVER_ADDRESS)

    def test_untried_address(self) -> None:
        """A Cookie from an address that was not tried, or another port, is dropped."""
        client = make_client(addresses=(SERVER_ADDRESS, SECOND_ADDRESS))
        cookie = self.cookie_for(client)
        for address in (SECOND_ADDRESS, ELSEWHERE, (SERVER_ADDRESS[0], 7002)):
            client.receive([(cookie, address)], 0.0)
            self.assertIs(client.phase, Phase.HELLO)
        self.assertEqual(dropped(client.counters), {"dropped_unexpected": 3})

    def test_second_cookie(self) -> None:
        """Only the first Cookie counts."""
        client = make_client()
        ((hello, _),) = client.take_datagrams()
        replies = self.server.receive([(hello, CLIENT_ADDRESS)] * 2, 0.0).replies
        to_client(client, replies, 0.0)
        self.assertEqual(dropped(client.counters), {"dropped_unexpected": 1})
        client.send([message(1)])
        self.assertEqual(len(to_server(self.server, client, 0.0).opened), 1)

    def test_messages_before_cookie(self) -> None:
        """Messages from before the Cookie wait for it, and go in order."""
        client = make_client()
        client.send([message(1)])
        client.send([message(2), message(3)])
        self.assertEqual(len(client.take_datagrams()), 1)
        client = make_client()
        client.send([message(1)])
        client.send([message(2), message(3)])
        to_client(client, to_server(self.server, client, 0.0).replies, 0.0)
        received = to_server(self.server, client, 0.0)
        (session,) = received.opened
        expected = [message(1), message(2), message(3)]
        self.assertEqual(received.messages, {session: expected})

    def test_first_flight_bound(self) -> None:
        """Before the Cookie only so many messages wait; more are lost and counted."""
        client = make_client()
        client.send([message(number) for number in range(1, FIRST_FLIGHT + 4)])
        self.assertEqual(client.counters.lost_waiting_full, 3)
        to_client(client, to_server(self.server, client, 0.0).replies, 0.0)
        self.assertEqual(len(client.take_datagrams()), FIRST_FLIGHT)

    def test_vouch_nonces_run_out(self) -> None:
        """Without a nonce for the vouch the connection has to end."""
        nonces = LongTermNonces(
            nonce_key=bytes(32), first=0, count=0, random_bytes=bytes
        )
        client = make_client(vouch_nonces=nonces)
        replies = to_server(self.server, client, 0.0).replies
        self.assertRaises(NoncesExhausted, to_client, client, replies, 0.0)
        self.assertIs(client.phase, Phase.HELLO)
        self.assertIsNotNone(client.next_deadline())


class InitiateTests(ClientCase):
    """From the Cookie to the first Message."""

    def test_each_message_goes(self) -> None:
        """Each message is an Initiate of its own, with the next nonce."""
        client = self.greeted(make_client())
        client.send([message(1), message(2)])
        client.send([message(3)])
        datagrams = client.take_datagrams()
        nonces = [int.from_bytes(d[168:176], "little") for d, _ in datagrams]
        self.assertEqual(nonces, list(range(nonces[0], nonces[0] + 3)))
        self.assertEqual({d[:8] for d, _ in datagrams}, {b"QvnQ5XlI"})

    def test_repeats(self) -> None:
        """Without an answer, Initiates are repeated byte for byte, seconds apart."""
        client = self.greeted(make_client(timeout=None))
        client.send([message(1), message(2)])
        first = client.take_datagrams()
        before = 0.0
        rounds = 0
        while (due := client.next_deadline() or 0.0) < FRESH_START_AFTER:
            client.handle_timer(due)
            self.assertEqual(client.take_datagrams(), first)
            self.assertLess(due - before, 2 * MAX_INITIATE_WAIT)
            before, rounds = due, rounds + 1
        self.assertGreaterEqual(rounds, 4)
        self.assertEqual(due, FRESH_START_AFTER)

    def test_schedule(self) -> None:
        """Waits begin at 1 s and grow by half up to 4 s; chance stretches each."""
        dice = fixed_stretch(2)
        client = self.greeted(make_client(timeout=None, random_bytes=dice))
        client.send([message(1)])
        sent = self.run_timers(client, until=FRESH_START_AFTER - 0.001)
        waits = [after - before for (before, _), (after, _) in pairwise(sent)]
        self.assertEqual(waits, [1.5 * wait for wait in (1, 1.5, 2.25, 3.375, 4, 4)])

    def test_repeat_is_not_delivered_twice(self) -> None:
        """A server that has had the Initiate drops the repeat."""
        client = self.greeted(make_client())
        client.send([message(1)])
        self.assertEqual(len(to_server(self.server, client, 0.0).opened), 1)
        client.handle_timer(client.next_deadline() or 0.0)
        self.assertEqual(to_server(self.server, client, 2.0), Received())

    def test_repeats_are_bounded(self) -> None:
        """Messages beyond the first flight go out once and are not kept."""
        client = self.greeted(make_client())
        client.send([message(number) for number in range(FIRST_FLIGHT + 4)])
        self.assertEqual(len(client.take_datagrams()), FIRST_FLIGHT + 4)
        client.handle_timer(client.next_deadline() or 0.0)
        self.assertEqual(len(client.take_datagrams()), FIRST_FLIGHT)

    def test_opens(self) -> None:
        """The server's first Message opens the connection and ends the repeats."""
        client = make_client()
        connect(self.server, client)
        self.assertIs(client.phase, Phase.OPEN)
        self.assertIsNone(client.next_deadline())
        client.handle_timer(1000.0)
        self.assertEqual(client.take_datagrams(), [])
        client.send([message(3)])
        ((datagram, address),) = client.take_datagrams()
        self.assertEqual(datagram[:8], b"QvnQ5XlM")
        self.assertEqual(address, SERVER_ADDRESS)

    def test_reordered_first_messages(self) -> None:
        """A Message that is overtaken by the next still counts."""
        client = self.greeted(make_client())
        client.send([message(1)])
        (session,) = to_server(self.server, client, 0.0).opened
        messages = [message(number) for number in range(2, 6)]
        datagrams = session.seal(messages)
        to_client(client, datagrams[::-1], 0.0)
        self.assertEqual(client.take_messages(), messages[::-1])
        to_client(client, datagrams, 0.0)
        self.assertEqual(client.take_messages(), [])
        self.assertEqual(dropped(client.counters), {"dropped_replay": 4})

    def test_secrets_dropped(self) -> None:
        """Once connected, nothing is left of what the handshake needed."""
        client = make_client()
        connect(self.server, client)
        self.assertEqual(client._short_term.secret, b"")
        keys = client._hello_key, client._vouch_key, client._session_key
        self.assertEqual((*keys, client._cookie, client._vouch), (b"",) * 5)
        self.assertEqual(client._first_flight + client._repeatable, [])


class TimeoutTests(ClientCase):
    """Giving up."""

    def test_no_answer(self) -> None:
        """Without any answer the client fails when its time is up."""
        client = make_client(timeout=60.0, now=5.0)
        self.run_timers(client, until=64.999)
        self.assertIsNone(client.failure)
        self.assertEqual(client.next_deadline(), 65.0)
        client.handle_timer(65.0)
        self.assertIs(client.phase, Phase.FAILED)
        self.assertIsInstance(client.failure, ConnectTimedOut)
        self.assertIn("no response from server", str(client.failure))
        self.assertIsNone(client.next_deadline())

    def test_not_let_in(self) -> None:
        """A server that answers Hellos only is another reason."""
        client = self.greeted(make_client(timeout=60.0))
        client.send([message(1)])
        while client.phase is not Phase.FAILED:
            client.handle_timer(client.next_deadline() or 0.0)
        self.assertIsInstance(client.failure, ConnectTimedOut)
        self.assertIn("does not let us in", str(client.failure))

    def test_no_timeout(self) -> None:
        """Without a time-out a client never gives up."""
        client = make_client(timeout=None)
        sent = self.run_timers(client, until=7200.0)
        self.assertIs(client.phase, Phase.HELLO)
        self.assertGreater(sent[-1][0], 7100.0)

    def test_after_failure(self) -> None:
        """After that, neither Cookies nor timers bring it back."""
        client = make_client(timeout=60.0)
        replies = to_server(self.server, client, 0.0).replies
        client.handle_timer(60.0)
        to_client(client, replies, 61.0)
        client.handle_timer(62.0)
        self.assertIs(client.phase, Phase.FAILED)
        self.assertEqual(client.take_datagrams(), [])
        self.assertEqual(client._short_term.secret, b"")

    def test_connected_in_time(self) -> None:
        """Once connected, the time-out means nothing."""
        client = make_client(timeout=60.0)
        connect(self.server, client)
        client.handle_timer(1e6)
        self.assertIs(client.phase, Phase.OPEN)
