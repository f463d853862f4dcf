"""What a server does with datagrams that are not well meant: nothing."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from curvecp_tx.secure.boxes import COOKIE_NONCE, KeyPair, unseal
from curvecp_tx.secure.paths import Address
from curvecp_tx.secure.server import Received
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import Cookie, Hello, Initiate
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    ELSEWHERE,
    LOW_ORDER_KEYS,
    SERVER_EXTENSION,
    RawClient,
    dropped,
    flip,
    make_server,
    message,
)
from tests.secure.test_server import ServerCase


class HostileCase(ServerCase):
    """Checks that datagrams leave no trace but a count."""

    def assert_ignored(
        self,
        *datagrams: bytes,
        reason: str,
        now: float = 0.0,
        address: Address = CLIENT_ADDRESS,
    ) -> None:
        """Let datagrams arrive; each must be dropped for the reason."""
        counters = self.server.counters
        before = dropped(counters).get(reason, 0)
        all_before = sum(dropped(counters).values())
        connections = self.server.connections
        received = self.receive(*datagrams, now=now, address=address)
        self.assertEqual(received, Received())
        self.assertEqual(dropped(counters).get(reason, 0) - before, len(datagrams))
        self.assertEqual(sum(dropped(counters).values()) - all_before, len(datagrams))
        self.assertEqual(self.server.connections, connections)


class BadHelloTests(HostileCase):
    """Hellos that get no Cookie."""

    def test_low_order_keys(self) -> None:
        """No encoding of a low-order point as C' gets an answer."""
        hello = Hello.parse(self.client.hello())
        for key in LOW_ORDER_KEYS:
            assert hello is not None
            forged = replace(hello, short_term_key=key).encode()
            self.assert_ignored(forged, reason="dropped_low_order_key")

    def test_other_server_key(self) -> None:
        """A Hello for another key gets no answer."""
        other = KeyPair.from_secret(b"\x12" * 32)
        hello = RawClient(server_key=other.public).hello()
        self.assert_ignored(hello, reason="dropped_bad_hello")

    def test_other_nonce(self) -> None:
        """The nonce in the clear is the nonce of the box."""
        hello = Hello.parse(self.client.hello(nonce=1))
        assert hello is not None
        for nonce in (0, 2, 2**64 - 1):
            forged = replace(hello, nonce=nonce).encode()
            self.assert_ignored(forged, reason="dropped_bad_hello")


class BadInitiateTests(HostileCase):
    """Initiates that open nothing."""

    def setUp(self) -> None:
        """Get a Cookie."""
        super().setUp()
        self.client.greet(self.server)

    def test_wrong_name(self) -> None:
        """Another name is refused: other case, no name, bytes in the padding."""
        name = encode_server_name("this.machine.name")
        for other in (
            encode_server_name("this.machine.name2"),
            encode_server_name("This.machine.name"),
            bytes(256),
            name[:-1] + b"\1",
        ):
            forged = self.client.initiate(server_name=other)
            self.assert_ignored(forged, reason="dropped_wrong_name")

    def test_wrong_vouch(self) -> None:
        """A vouch by another key, for another nonce, or damaged, is refused."""
        other = RawClient(keys=KeyPair.from_secret(b"\x34" * 32))
        genuine = self.client.contents(message(1))
        for changed in (
            replace(genuine, client_key=other.keys.public),
            replace(genuine, vouch=other.contents(message(1)).vouch),
            replace(genuine, vouch_nonce=bytes(16)),
            replace(genuine, vouch=flip(genuine.vouch, 0)),
        ):
            forged = self.client.initiate(contents=changed)
            self.assert_ignored(forged, reason="dropped_bad_vouch")

    def test_vouch_for_other_key(self) -> None:
        """A genuine vouch for another short-term key is refused."""
        other = RawClient(secret=b"\x45" * 32)
        forged = self.client.initiate(contents=other.contents(message(1)))
        self.assert_ignored(forged, reason="dropped_bad_vouch")

    def test_low_order_client_key(self) -> None:
        """A low-order long-term key is refused."""
        for key in LOW_ORDER_KEYS:
            forged = self.client.initiate(client_key=key)
            self.assert_ignored(forged, reason="dropped_low_order_key")

    def test_low_order_short_term_key(self) -> None:
        """A genuine cookie for a low-order C' still opens nothing."""
        for key in LOW_ORDER_KEYS:
            cookie = self.server._jar.seal(
                client_key=key,
                server_secret=b"\x22" * 32,
                host=CLIENT_ADDRESS[0],
                nonce=bytes(16),
            )
            initiate = Initiate.parse(self.client.initiate())
            assert initiate is not None
            forged = replace(initiate, short_term_key=key, cookie=cookie).encode()
            self.assert_ignored(forged, reason="dropped_low_order_key")

    def test_foreign_cookie(self) -> None:
        """A cookie of another client, or of another server, is refused."""
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        elsewhere = RawClient().greet(make_server(random_bytes=Random(7).randbytes))
        for cookie in (other.cookie, elsewhere.cookie, bytes(96)):
            self.client.cookie = cookie
            forged = self.client.initiate()
            self.assert_ignored(forged, reason="dropped_bad_cookie")

    def test_other_session_key(self) -> None:
        """A genuine cookie with a box under another key is refused."""
        self.client.session_key = bytes(32)
        self.assert_ignored(self.client.initiate(), reason="dropped_bad_initiate")


class ReplayTests(HostileCase):
    """An Initiate that was recorded from the wire starts nothing again."""

    def setUp(self) -> None:
        """Open a connection, and record it."""
        super().setUp()
        self.server = make_server(bind_address=False)
        self.client.greet(self.server)
        self.recorded = self.client.initiate()
        (self.session,) = self.receive(self.recorded).opened

    def test_while_open(self) -> None:
        """While the connection is open, a copy is a replayed message."""
        self.assert_ignored(*[self.recorded] * 3, reason="dropped_replay")
        self.assert_ignored(self.recorded, reason="dropped_replay", address=ELSEWHERE)
        self.assertEqual(self.session.path.address, CLIENT_ADDRESS)

    def test_after_close(self) -> None:
        """After its end, the key is known as used, then the cookie is too old."""
        self.server.close(self.session)
        for address in (CLIENT_ADDRESS, ELSEWHERE):
            self.assert_ignored(
                self.recorded, reason="dropped_used_key", address=address
            )
        for now, reason in (
            (59.9, "dropped_used_key"),
            (60.0, "dropped_used_key"),
            (119.9, "dropped_used_key"),
            (120.0, "dropped_bad_cookie"),
            (180.0, "dropped_bad_cookie"),
            (1e6, "dropped_bad_cookie"),
        ):
            self.assert_ignored(self.recorded, reason=reason, now=now)

    def test_after_long_connection(self) -> None:
        """When its key is forgotten at last, the cookie has long been dead."""
        for now in range(0, 600, 30):
            self.assert_ignored(self.recorded, reason="dropped_replay", now=now)
        self.server.close(self.session)
        self.assert_ignored(self.recorded, reason="dropped_bad_cookie", now=600.0)

    def test_late_initiate(self) -> None:
        """A cookie that is used at its very last is covered, too."""
        client = RawClient(secret=b"\x45" * 32).greet(self.server, now=1.0)
        recorded = client.initiate()
        (session,) = self.receive(recorded, now=119.9).opened
        self.server.close(session)
        for now in range(120, 400):
            received = self.receive(recorded, now=now)
            self.assertEqual(received, Received())

    def test_with_new_cookie(self) -> None:
        """A recorded Hello gets a new Cookie, which helps nobody who cannot open it."""
        self.server.close(self.session)
        ((reply, _),) = self.receive(self.client.hello(), now=200.0).replies
        cookie = Cookie.parse(reply)
        initiate = Initiate.parse(self.recorded)
        assert cookie is not None
        assert initiate is not None
        # Even with the new value of K in the clear, the old box has another key.
        nonce = COOKIE_NONCE + cookie.nonce
        opened = unseal(cookie.box, nonce, self.client.hello_key)
        assert opened is not None
        forged = replace(initiate, cookie=opened[32:]).encode()
        self.assert_ignored(forged, reason="dropped_bad_initiate", now=200.0)

    def test_other_server(self) -> None:
        """Another server with the same key and name opens nothing, either."""
        self.server = make_server(bind_address=False, random_bytes=Random(7).randbytes)
        self.assert_ignored(self.recorded, reason="dropped_bad_cookie")


class BadMessageTests(HostileCase):
    """Messages that are none."""

    def setUp(self) -> None:
        """Open a connection."""
        super().setUp()
        self.client.greet(self.server)
        (self.session,) = self.receive(self.client.initiate()).opened

    def test_unknown_key(self) -> None:
        """A Message of no connection gets no answer."""
        stranger = RawClient(secret=b"\x45" * 32)
        stranger.session_key = self.client.session_key
        forged = stranger.message(message(2), nonce=9)
        self.assert_ignored(forged, reason="dropped_unknown_connection")

    def test_junk_with_good_head(self) -> None:
        """Junk for our extension, with any client extension, changes nothing."""
        dice = Random(11)
        for _ in range(200):
            junk = b"QvnQ5XlM" + SERVER_EXTENSION + dice.randbytes(16)
            junk += self.client.short_term.public + dice.randbytes(8 + 32)
            self.assert_ignored(junk, reason="dropped_bad_box", address=ELSEWHERE)
        ((reply, address),) = self.session.seal([message(3)])
        self.assertEqual(address, CLIENT_ADDRESS)
        self.assertEqual(reply[8:24], b"client-extension")


class FilterTests(HostileCase):
    """What is dropped before any cryptography."""

    def genuine(self) -> list[bytes]:
        """Give one datagram of each kind that a client sends."""
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        self.client.greet(self.server)
        self.receive(self.client.initiate())
        return [
            self.client.hello(),
            other.initiate(),
            self.client.message(message(2), nonce=9),
        ]

    def test_wrong_extension(self) -> None:
        """Packets for another extension are not ours."""
        for datagram in self.genuine():
            for bit in (8 * 8, 8 * 24 - 1):
                self.assert_ignored(
                    flip(datagram, bit), reason="dropped_wrong_extension"
                )

    def test_port_zero(self) -> None:
        """Nobody can be answered at port 0."""
        for datagram in self.genuine():
            self.assert_ignored(
                datagram, reason="dropped_bad_source", address=("192.0.2.77", 0)
            )
