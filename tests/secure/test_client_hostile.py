"""What a client does with datagrams that are not its server's: nothing."""

from __future__ import annotations

from random import Random

from curvecp_tx.secure.boxes import COOKIE_NONCE, KeyPair, seal, shared_key
from curvecp_tx.secure.client import Client, Phase
from curvecp_tx.secure.paths import Address
from curvecp_tx.wire.packets import Cookie, CookieContents
from tests.secure.scripted import (
    CLIENT_EXTENSION,
    ELSEWHERE,
    LOW_ORDER_KEYS,
    SERVER_ADDRESS,
    SERVER_EXTENSION,
    SERVER_KEYS,
    connect,
    dropped,
    flip,
    make_client,
    make_server,
    message,
    to_client,
    to_server,
)
from tests.secure.test_client import ClientCase

HEAD = CLIENT_EXTENSION + SERVER_EXTENSION


class HostileCase(ClientCase):
    """Checks that datagrams leave no trace but a count."""

    def assert_ignored(
        self,
        client: Client,
        datagram: bytes,
        *,
        reason: str | None = None,
        address: Address = SERVER_ADDRESS,
    ) -> None:
        """Let a datagram arrive; it must be dropped, for the reason if one is given."""
        before = dropped(client.counters)
        phase, path, deadline = client.phase, client.path, client.next_deadline()
        client.receive([(datagram, address)], 0.5)
        after = dropped(client.counters)
        self.assertEqual(sum(after.values()), sum(before.values()) + 1)
        if reason is not None:
            self.assertEqual(after.get(reason, 0), before.get(reason, 0) + 1)
        self.assertEqual(client.take_datagrams(), [])
        self.assertEqual(client.take_messages(), [])
        self.assertIs(client.phase, phase)
        self.assertEqual((client.path, client.next_deadline()), (path, deadline))

    def with_cookie(self) -> tuple[Client, bytes]:
        """Give a client that has said Hello, and its Cookie."""
        self.server = make_server()
        client = make_client()
        ((cookie, _),) = to_server(self.server, client, 0.0).replies
        return client, cookie

    def with_answer(self) -> tuple[Client, bytes]:
        """Give a client that has sent an Initiate, and the server's first Message."""
        self.server = make_server()
        client = self.greeted(make_client())
        client.send([message(1)])
        (session,) = to_server(self.server, client, 0.0).opened
        ((answer, _),) = session.seal([message(2, 320)])
        return client, answer

    def with_message(self) -> tuple[Client, bytes]:
        """Give a client that is connected, and a Message for it."""
        self.server = make_server()
        client = make_client()
        session = connect(self.server, client)
        ((datagram, _),) = session.seal([message(3, 320)])
        return client, datagram


class ForgeryTests(HostileCase):
    """Datagrams that somebody else has made."""

    def test_wrong_extensions(self) -> None:
        """Both extensions of a packet must be ours and the server's."""
        for scene in (self.with_cookie, self.with_answer, self.with_message):
            client, genuine = scene()
            for bit in (8 * 8, 8 * 24 - 1, 8 * 24, 8 * 40 - 1):
                self.assert_ignored(
                    client, flip(genuine, bit), reason="dropped_wrong_extension"
                )

    def test_port_zero(self) -> None:
        """A packet from port 0 is dropped."""
        for scene in (self.with_cookie, self.with_answer, self.with_message):
            client, genuine = scene()
            self.assert_ignored(
                client,
                genuine,
                reason="dropped_bad_source",
                address=(SERVER_ADDRESS[0], 0),
            )

    def test_other_server(self) -> None:
        """A Cookie by another key is dropped."""
        self.server = make_server(keys=KeyPair.from_secret(b"\x12" * 32))
        other = make_client(server_key=KeyPair.from_secret(b"\x12" * 32).public)
        replies = to_server(self.server, other, 0.0).replies
        client = make_client()
        client.take_datagrams()
        self.assert_ignored(client, replies[0][0], reason="dropped_bad_box")

    def test_other_clients_cookie(self) -> None:
        """A Cookie for another short-term key is dropped."""
        other = make_client(random_bytes=Random(99).randbytes)
        replies = to_server(self.server, other, 0.0).replies
        client = make_client()
        client.take_datagrams()
        self.assert_ignored(client, replies[0][0], reason="dropped_bad_box")

    def test_junk_cookies(self) -> None:
        """Junk in the form of a Cookie does not keep out the genuine one."""
        client, genuine = self.with_cookie()
        dice = Random(14)
        for _ in range(300):
            junk = b"RL3aNMXK" + HEAD + dice.randbytes(160)
            self.assert_ignored(client, junk, reason="dropped_bad_box")
        client.receive([(genuine, SERVER_ADDRESS)], 0.5)
        self.assertIs(client.phase, Phase.INITIATE)

    def test_junk_messages(self) -> None:
        """Junk in the form of a Message neither opens nor moves a connection."""
        dice = Random(15)
        for scene in (self.with_answer, self.with_message):
            client, genuine = scene()
            for _ in range(300):
                junk = b"RL3aNMXM" + HEAD + dice.randbytes(8 + 16 + 64)
                self.assert_ignored(
                    client, junk, reason="dropped_bad_box", address=ELSEWHERE
                )
            client.receive([(genuine, SERVER_ADDRESS)], 0.5)
            self.assertEqual(len(client.take_messages()), 1)

    def test_low_order_short_term_key(self) -> None:
        """A server that picks a low-order S' is not talked to."""
        client = make_client()
        ((hello, _),) = client.take_datagrams()
        key = shared_key(hello[40:72], SERVER_KEYS.secret)
        assert key is not None
        for number, public in enumerate(LOW_ORDER_KEYS):
            nonce = bytes([number]) * 16
            contents = CookieContents(public, bytes(96)).encode()
            cookie = Cookie(
                client_extension=CLIENT_EXTENSION,
                server_extension=SERVER_EXTENSION,
                nonce=nonce,
                box=seal(contents, COOKIE_NONCE + nonce, key),
            )
            self.assert_ignored(client, cookie.encode(), reason="dropped_low_order_key")

    def test_replay(self) -> None:
        """A Message counts once, from wherever its copies come."""
        client, genuine = self.with_message()
        to_client(client, [(genuine, SERVER_ADDRESS)], 0.5)
        self.assertEqual(client.take_messages(), [message(3, 320)])
        for address in (SERVER_ADDRESS, ELSEWHERE):
            self.assert_ignored(
                client, genuine, reason="dropped_replay", address=address
            )

    def test_message_as_long_as_a_cookie(self) -> None:
        """An authentic Message of 200 bytes is dropped: no message has 136."""
        self.server = make_server()
        client = make_client()
        session = connect(self.server, client)
        ((datagram, _),) = session.seal([message(3, 136)])
        self.assertEqual(len(datagram), 200)
        self.assert_ignored(client, datagram)

    def test_unexpected(self) -> None:
        """A Message before the Cookie and a Cookie after it are dropped."""
        _, answer = self.with_answer()
        client, cookie = self.with_cookie()
        self.assert_ignored(client, answer, reason="dropped_unexpected")
        client.receive([(cookie, SERVER_ADDRESS)], 0.5)
        self.assert_ignored(client, cookie, reason="dropped_unexpected")
        client, _ = self.with_message()
        self.assert_ignored(client, cookie, reason="dropped_unexpected")
