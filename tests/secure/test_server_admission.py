"""Whom a server lets in: limits of slots, addresses, keys and rates."""

from __future__ import annotations

from curvecp_tx.secure import admission, server
from curvecp_tx.secure.admission import PROGRAM_START_RATE, START_BURST, Limits
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.paths import Address
from curvecp_tx.secure.session import Session
from tests.faults.figures import note
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_KEYS,
    ELSEWHERE,
    RawClient,
    dropped,
    make_server,
    message,
)
from tests.secure.test_server import ServerCase

OTHER_KEYS = KeyPair.from_secret(b"\x34" * 32)
ALICE = AuthorizedClient(CLIENT_KEYS.public, "alice", limit=2)


def numbered_secret(number: int) -> bytes:
    """Make a secret key; X25519 ignores some bits, but none of the middle ones."""
    return number.to_bytes(16, "big") + bytes(16)


class AdmissionCase(ServerCase):
    """A server, and as many clients as one likes."""

    def setUp(self) -> None:
        """Count the clients."""
        super().setUp()
        self.clients = 0

    def serve(
        self, limits: Limits | None = None, authorized: AuthorizedKeys | None = None
    ) -> None:
        """Take a server with other limits."""
        self.server = make_server(limits=limits, authorized=authorized)

    def newcomer(
        self,
        keys: KeyPair = CLIENT_KEYS,
        now: float = 0.0,
        address: Address = CLIENT_ADDRESS,
    ) -> RawClient:
        """Make a client with a Cookie."""
        self.clients += 1
        client = RawClient(keys=keys, secret=numbered_secret(self.clients))
        return client.greet(self.server, now, address)

    def come(
        self,
        keys: KeyPair = CLIENT_KEYS,
        now: float = 0.0,
        address: Address = CLIENT_ADDRESS,
    ) -> Session | None:
        """Play a whole handshake; give the connection, if there is one."""
        initiate = self.newcomer(keys, now, address).initiate()
        received = self.receive(initiate, now=now, address=address)
        return received.opened[0] if received.opened else None

    def assert_refused(self, **counts: int) -> None:
        """Check the counts of what was refused, by the end of their names."""
        expected = {f"refused_{name}": count for name, count in counts.items()}
        self.assertEqual(dropped(self.server.counters), expected)


class CrowdTests(AdmissionCase):
    """Two hundred genuine handshakes, by one who wants more than is due."""

    def crowd(self, *, one_key: bool = False, one_address: bool = False) -> int:
        """Come two hundred times; count the connections."""
        came_in = 0
        for number in range(1, 201):
            keys = CLIENT_KEYS
            if not one_key:
                keys = KeyPair.from_secret(numbered_secret(1000 + number))
            address = CLIENT_ADDRESS if one_address else (f"192.0.2.{number}", 9)
            came_in += self.come(keys, address=address) is not None
        return came_in

    def test_one_address(self) -> None:
        """An address gets its number of connections; the others find room."""
        self.serve(Limits(per_ip=10))
        self.assertEqual(self.crowd(one_address=True), 10)
        self.assert_refused(per_ip=190)
        self.assertIsNotNone(self.come(address=ELSEWHERE))
        note("D4", "TT", "200 from one address, at most 10 allowed: 10 came in")

    def test_one_key(self) -> None:
        """A key gets its number of connections; the others find room."""
        self.serve(Limits(per_key=5))
        self.assertEqual(self.crowd(one_key=True), 5)
        self.assert_refused(per_key=195)
        self.assertIsNotNone(self.come(OTHER_KEYS))
        note("D4", "TT", "200 with one key, at most 5 allowed: 5 came in")

    def test_start_rate(self) -> None:
        """Connections start at their rate; who is in is served all the same."""
        self.serve(Limits(clients=1000, start_rate=PROGRAM_START_RATE))
        first = self.newcomer()
        (session,) = self.receive(first.initiate()).opened
        self.assertEqual(self.crowd(), START_BURST - 1)
        self.assert_refused(start_rate=201 - int(START_BURST))
        received = self.receive(first.message(message(2), nonce=9))
        self.assertEqual(received.messages, {session: [message(2)]})
        came_in = sum(self.come(now=1.0) is not None for _ in range(100))
        self.assertEqual(came_in, PROGRAM_START_RATE)
        note("D4", "TT", "200 at once at 50/s: 100 started, 50 more in the next second")

    def test_network(self) -> None:
        """The addresses of an IPv6 network count as one."""
        self.serve(Limits(per_ip=3))
        came_in = [
            self.come(address=(f"2001:db8::{number}", 9, 0, 0)) for number in range(9)
        ]
        self.assertEqual(sum(session is not None for session in came_in), 3)
        self.assertIsNotNone(self.come(address=("2001:db8:0:1::", 9, 0, 0)))


class OrderTests(AdmissionCase):
    """What is looked at first, and what it costs."""

    def test_forged_cookies_are_not_refusals(self) -> None:
        """What has no cookie of ours is no client that found the house full."""
        self.serve(Limits(clients=0, per_ip=0, start_rate=0.01))
        client = self.newcomer()
        client.cookie = bytes(96)
        self.receive(client.initiate())
        self.assertEqual(dropped(self.server.counters), {"dropped_bad_cookie": 1})

    def test_replays_are_not_refusals(self) -> None:
        """A used key is dropped as such, whatever else speaks against it."""
        client = self.newcomer()
        (session,) = self.receive(client.initiate()).opened
        self.server.close(session)
        self.server.accepting = False
        self.server.allow(Limits(clients=0), None, 0.0)
        self.receive(client.initiate())
        self.assertEqual(dropped(self.server.counters), {"dropped_used_key": 1})

    def test_draining_comes_before_the_cookie(self) -> None:
        """A server that is about to stop opens no cookies."""
        client = self.newcomer()
        client.cookie = bytes(96)
        self.server.accepting = False
        self.receive(client.initiate())
        self.assert_refused(draining=1)

    def test_full_house_computes_nothing(self) -> None:
        """Who is refused for want of room costs no curve operation."""
        self.serve(Limits(clients=1, per_ip=1, start_rate=0.001))
        self.assertIsNotNone(self.come())
        client = self.newcomer()
        self.patch(server, "shared_key", None)
        self.receive(client.initiate())
        self.server.allow(Limits(per_ip=1, start_rate=0.001), None, 0.0)
        self.receive(client.initiate())
        self.assert_refused(limit=1, per_ip=1)

    def test_bad_boxes_have_a_rate(self) -> None:
        """A cookie is no licence to make the server compute."""
        self.serve(Limits(hello_rate=10.0))
        client = self.newcomer()
        client.session_key = bytes(32)
        self.receive(*[client.initiate()] * 100)
        expected = {"dropped_bad_initiate": 20, "refused_initiate_rate": 80}
        self.assertEqual(dropped(self.server.counters), expected)
        self.assertIsNotNone(self.come(address=ELSEWHERE))
        self.server.rotate(60.0)
        self.assertEqual(len(self.server._admission._initiates), 0)

    def test_bad_boxes_take_no_starts(self) -> None:
        """An Initiate that proves nothing takes no connection from another."""
        self.patch(admission, "START_BURST", 1.0)
        self.serve(Limits(start_rate=1.0))
        client = self.newcomer()
        session_key, client.session_key = client.session_key, bytes(32)
        self.receive(*[client.initiate()] * 5)
        client.session_key = session_key
        self.assertEqual(len(self.receive(client.initiate()).opened), 1)

    def test_refused_may_come_again(self) -> None:
        """Who was refused is not remembered: the same Initiate may succeed later."""
        self.serve(Limits(per_key=1))
        session = self.come()
        client = self.newcomer()
        self.assertEqual(self.receive(client.initiate()).opened, [])
        assert session is not None
        self.server.close(session)
        self.assertEqual(len(self.receive(client.initiate()).opened), 1)


class AccountTests(AdmissionCase):
    """Whose account a connection is on."""

    def test_close(self) -> None:
        """A connection is taken off once, however often it is closed."""
        self.serve(Limits(per_ip=2, per_key=2))
        first, second = self.come(), self.come()
        assert first is not None
        assert second is not None
        for forget in (False, True, False):
            self.server.close(first, forget=forget)
        self.assertIsNotNone(self.come())
        self.assertIsNone(self.come())
        self.assert_refused(per_ip=1)

    def test_moved_client(self) -> None:
        """A client that moves stays on the account of where it came in from."""
        self.serve(Limits(per_ip=1))
        client = self.newcomer()
        (session,) = self.receive(client.initiate()).opened
        self.receive(client.message(message(2), nonce=9), address=ELSEWHERE)
        self.assertEqual(session.path.address, ELSEWHERE)
        self.assertIsNotNone(self.come(address=ELSEWHERE))
        self.assertIsNone(self.come())
        self.server.close(session)
        self.assertIsNotNone(self.come())
        self.assertIsNone(self.come(address=ELSEWHERE))


class KnownKeyTests(AdmissionCase):
    """A list of authorized keys."""

    def test_only_those(self) -> None:
        """Who is on the list comes in under its name; nobody else does."""
        self.serve(authorized=AuthorizedKeys(ALICE))
        session = self.come()
        assert session is not None
        self.assertEqual(session.peer_name, "alice")
        self.assertIsNone(self.come(OTHER_KEYS))
        self.assert_refused(unauthorized=1)

    def test_without_list(self) -> None:
        """Without a list everybody comes in, and nobody has a name."""
        session = self.come()
        assert session is not None
        self.assertIsNone(session.peer_name)

    def test_limit_of_its_own(self) -> None:
        """The list's limit for a key goes before the one for all."""
        self.serve(Limits(per_key=1), AuthorizedKeys(ALICE))
        self.assertEqual([self.come() is None for _ in range(3)], [False, False, True])
        self.assert_refused(per_key=1)

    def test_unproved_key(self) -> None:
        """A key that is only claimed is not looked up."""
        self.serve(authorized=AuthorizedKeys(ALICE))
        thief = self.newcomer(OTHER_KEYS)
        self.receive(thief.initiate(client_key=ALICE.key))
        self.assertEqual(dropped(self.server.counters), {"dropped_bad_vouch": 1})

    def test_replaced(self) -> None:
        """Limits and list can be replaced at any time, for newcomers only."""
        client = self.newcomer()
        (session,) = self.receive(client.initiate()).opened
        limits = Limits(clients=2, per_key=1)
        self.server.allow(limits, AuthorizedKeys(ALICE), 0.0)
        self.assertEqual(self.server.limits, limits)
        self.assertIsNone(self.come(OTHER_KEYS))
        second = self.come()
        assert second is not None
        self.assertEqual(second.peer_name, "alice")
        self.server.allow(Limits(clients=1), AuthorizedKeys(), 0.0)
        self.assertEqual(self.server.connections, 2)
        received = self.receive(client.message(message(2), nonce=9))
        self.assertEqual(received.messages, {session: [message(2)]})
        self.assertIsNone(self.come())
        self.server.allow(Limits(), None, 0.0)
        self.assertIsNotNone(self.come(OTHER_KEYS))
        self.assert_refused(unauthorized=1, limit=1)
