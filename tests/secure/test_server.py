"""What a server does with well-meant datagrams."""

from __future__ import annotations

import gc
from random import Random
from types import FunctionType, ModuleType

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.secure import cookies
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.nonces import LongTermNonces
from curvecp_tx.secure.paths import Address
from curvecp_tx.secure.server import Received, Server
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_EXTENSION,
    CLIENT_KEYS,
    ELSEWHERE,
    RawClient,
    dropped,
    make_server,
    message,
)


def footprint(server: Server) -> int:
    """Count the items of all containers that a server can reach."""
    found: dict[int, object] = {}
    queue: list[object] = [server]
    while queue:
        item = queue.pop()
        if isinstance(item, (type, FunctionType, ModuleType)) or id(item) in found:
            continue
        found[id(item)] = item
        queue += gc.get_referents(item)
    containers = (dict, list, set, bytearray)
    return sum(len(item) for item in found.values() if isinstance(item, containers))


class ServerCase(SynchronousTestCase):
    """A server and a client by hand."""

    def setUp(self) -> None:
        """Set both up."""
        self.server = make_server()
        self.client = RawClient()

    def receive(
        self, *datagrams: bytes, now: float = 0.0, address: Address = CLIENT_ADDRESS
    ) -> Received:
        """Let datagrams arrive."""
        return self.server.receive([(datagram, address) for datagram in datagrams], now)


class HelloTests(ServerCase):
    """Hello and Cookie."""

    def test_answer(self) -> None:
        """A Hello of 224 bytes gets one Cookie of 200 bytes, and no more."""
        received = self.receive(self.client.hello())
        ((cookie, address),) = received.replies
        self.assertEqual(len(cookie), 200)
        self.assertEqual(address, CLIENT_ADDRESS)
        self.assertEqual(cookie[8:24], CLIENT_EXTENSION)
        self.assertEqual((received.opened, received.messages), ([], {}))
        self.assertEqual(self.server.counters.hellos, 1)
        self.assertEqual(self.server.counters.cookies, 1)

    def test_nothing_remembered(self) -> None:
        """However many Hellos come, the server holds as much as before."""
        self.receive(self.client.hello())
        before = footprint(self.server)
        hellos = [
            RawClient(secret=Random(number).randbytes(32)).hello()
            for number in range(200)
        ]
        self.assertEqual(len(self.receive(*hellos).replies), 200)
        self.assertEqual(footprint(self.server), before)
        self.client.greet(self.server)
        self.receive(self.client.initiate())
        self.assertGreater(footprint(self.server), before)

    def test_repeated_hello(self) -> None:
        """A copy of a Hello gets a Cookie of its own, with new secrets."""
        replies = self.receive(*[self.client.hello()] * 3).replies
        self.assertEqual(len({cookie[40:] for cookie, _ in replies}), 3)

    def test_plaintext_is_free(self) -> None:
        """What is in the box of a Hello does not matter."""
        hello = self.client.hello(plaintext=b"\xff" * 64)
        self.assertEqual(len(self.receive(hello).replies), 1)

    def test_answered_when_full(self) -> None:
        """A server without a free slot answers Hellos all the same."""
        self.server.allow(Limits(clients=0), None, 0.0)
        self.assertEqual(len(self.receive(self.client.hello()).replies), 1)

    def test_nonces_run_out(self) -> None:
        """Without a nonce for the Cookie there is none; the rest goes on."""
        nonces = LongTermNonces(
            nonce_key=bytes(32), first=0, count=1, random_bytes=Random(9).randbytes
        )
        self.server = make_server(cookie_nonces=nonces)
        self.client.greet(self.server)
        self.assertRaises(NoncesExhausted, nonces)
        received = self.receive(self.client.hello(), self.client.initiate())
        self.assertEqual(received.replies, [])
        self.assertEqual(len(received.opened), 1)
        self.assertEqual(dropped(self.server.counters), {"dropped_no_nonce": 1})


class InitiateTests(ServerCase):
    """Initiate."""

    def test_opens(self) -> None:
        """An Initiate opens a connection and brings its first message."""
        self.client.greet(self.server)
        received = self.receive(self.client.initiate(message(1, 640)))
        (session,) = received.opened
        self.assertEqual(received.replies, [])
        self.assertEqual(received.messages, {session: [message(1, 640)]})
        self.assertEqual(session.peer_key, CLIENT_KEYS.public)
        self.assertEqual(session.short_term_key, self.client.short_term.public)
        self.assertEqual(session.path.address, CLIENT_ADDRESS)
        self.assertTrue(session.path.validated)
        self.assertEqual(self.server.connections, 1)
        counters = self.server.counters
        found = counters.initiates, counters.connections, counters.messages_received
        self.assertEqual(found, (1, 1, 1))

    def test_answer(self) -> None:
        """The session's messages open at the client."""
        self.client.greet(self.server)
        (session,) = self.receive(self.client.initiate()).opened
        ((datagram, address),) = session.seal([message(7)])
        self.assertEqual(address, CLIENT_ADDRESS)
        self.assertEqual(self.client.open(datagram), message(7))

    def test_batch(self) -> None:
        """Messages of one batch come together, in order of arrival."""
        self.client.greet(self.server)
        received = self.receive(
            self.client.initiate(message(1), nonce=2),
            self.client.initiate(message(2), nonce=3),
            self.client.message(message(3), nonce=5),
            self.client.message(message(4), nonce=4),
        )
        (session,) = received.opened
        expected = [message(number) for number in (1, 2, 3, 4)]
        self.assertEqual(received.messages, {session: expected})

    def test_later_initiate_is_a_message(self) -> None:
        """A second Initiate of a connection brings a message and opens nothing."""
        self.client.greet(self.server)
        (session,) = self.receive(self.client.initiate()).opened
        received = self.receive(self.client.initiate(message(2), nonce=1))
        self.assertEqual(received.opened, [])
        self.assertEqual(received.messages, {session: [message(2)]})
        self.assertEqual(self.server.counters.connections, 1)

    def test_two_clients(self) -> None:
        """Two short-term keys are two connections, even of one key and address."""
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        self.client.greet(self.server)
        received = self.receive(
            self.client.initiate(message(1)), other.initiate(message(2))
        )
        self.assertEqual(len(received.opened), 2)
        received = self.receive(
            other.message(message(4), nonce=9),
            self.client.message(message(3), nonce=9),
        )
        by_key = {s.short_term_key: got for s, got in received.messages.items()}
        self.assertEqual(by_key[other.short_term.public], [message(4)])
        self.assertEqual(by_key[self.client.short_term.public], [message(3)])

    def test_cookie_age(self) -> None:
        """A cookie is good after one rotation, and not after two."""
        initiates = []
        for number in range(2):
            client = RawClient(secret=bytes([number + 1]) * 32)
            initiates.append(client.greet(self.server, now=59.0).initiate())
        self.assertEqual(len(self.receive(initiates[0], now=119.0).opened), 1)
        self.assertEqual(len(self.receive(initiates[1], now=121.0).opened), 0)
        self.assertEqual(dropped(self.server.counters), {"dropped_bad_cookie": 1})

    def test_rotation_without_packets(self) -> None:
        """Minute keys end on time when no packet comes, too."""
        self.client.greet(self.server)
        for now in (60.0, 120.0):
            self.server.rotate(now)
        self.assertEqual(self.receive(self.client.initiate(), now=100.0).opened, [])

    def test_from_elsewhere(self) -> None:
        """A cookie that went to another host does not open; another port may."""
        self.client.greet(self.server)
        initiate = self.client.initiate()
        self.assertEqual(self.receive(initiate, address=ELSEWHERE).opened, [])
        self.assertEqual(dropped(self.server.counters), {"dropped_bad_cookie": 1})
        port: Address = (CLIENT_ADDRESS[0], 50000)
        self.assertEqual(len(self.receive(initiate, address=port).opened), 1)

    def test_unbound_cookie(self) -> None:
        """Where cookies bind no address, the path begins unproven, at three times."""
        self.server = make_server(bind_address=False)
        self.client.greet(self.server)
        initiate = self.client.initiate(message(1, 192))
        (session,) = self.receive(initiate, address=ELSEWHERE).opened
        self.assertFalse(session.path.validated)
        self.assertEqual(len(session.seal([message(5, 192)] * 20)), 3 * 736 // 256)

    def test_vouch_key_kept(self) -> None:
        """A client that comes again costs no new long-term shared key."""
        for number in range(3):
            client = RawClient(secret=bytes([number + 1]) * 32).greet(self.server)
            self.assertEqual(len(self.receive(client.initiate()).opened), 1)
        cache = self.server._vouch_key.cache_info()
        self.assertEqual((cache.hits, cache.misses), (2, 1))


class ConnectionTests(ServerCase):
    """An open connection."""

    def setUp(self) -> None:
        """Open it."""
        super().setUp()
        self.client.greet(self.server)
        (self.session,) = self.receive(self.client.initiate()).opened

    def test_path_follows_newest(self) -> None:
        """Only the newest datagram decides where answers go."""
        self.receive(self.client.message(message(2), nonce=10), address=ELSEWHERE)
        self.assertEqual(self.session.path.address, ELSEWHERE)
        self.receive(self.client.message(message(3), nonce=9))
        self.assertEqual(self.session.path.address, ELSEWHERE)
        self.receive(self.client.message(message(3), nonce=11))
        self.assertEqual(self.session.path.address, CLIENT_ADDRESS)
        self.assertEqual(self.server.counters.path_changes, 2)

    def test_initiate_moves_path(self) -> None:
        """A later Initiate is as good as a Message for that."""
        self.receive(self.client.initiate(nonce=3), address=ELSEWHERE)
        self.assertEqual(self.session.path.address, ELSEWHERE)
        self.assertFalse(self.session.path.validated)

    def test_extension_per_connection(self) -> None:
        """Each connection is answered with the extension that it uses itself."""
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        (second,) = self.receive(other.initiate()).opened
        changed = self.client.message(
            message(2), nonce=9, extension=b"changed-ext-here"
        )
        self.receive(changed)
        ((mine, _),) = self.session.seal([message(3)])
        ((theirs, _),) = second.seal([message(3)])
        self.assertEqual(mine[8:24], b"changed-ext-here")
        self.assertEqual(theirs[8:24], CLIENT_EXTENSION)

    def test_limit(self) -> None:
        """At the limit no one new comes in; a free slot is a slot again."""
        self.server.allow(Limits(clients=1), None, 0.0)
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        self.assertEqual(self.receive(other.initiate()).opened, [])
        self.assertEqual(dropped(self.server.counters), {"refused_limit": 1})
        messages = self.receive(self.client.message(message(2), nonce=9)).messages
        self.assertEqual(messages, {self.session: [message(2)]})
        self.server.close(self.session)
        self.assertEqual(self.server.connections, 0)
        self.assertEqual(len(self.receive(other.initiate()).opened), 1)

    def test_not_accepting(self) -> None:
        """A server that is about to stop serves who is there, and nobody else."""
        self.server.accepting = False
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        self.assertEqual(self.receive(other.initiate()).opened, [])
        self.assertEqual(dropped(self.server.counters), {"refused_draining": 1})
        messages = self.receive(self.client.initiate(message(2), nonce=3)).messages
        self.assertEqual(messages, {self.session: [message(2)]})

    def test_memory_full(self) -> None:
        """When no more used keys can be remembered, nobody comes in this minute."""
        self.patch(cookies, "MAX_USED_KEYS", 1)
        other = RawClient(secret=b"\x45" * 32).greet(self.server)
        self.assertEqual(self.receive(other.initiate()).opened, [])
        self.assertEqual(dropped(self.server.counters), {"refused_start_rate": 1})
        self.assertEqual(len(self.receive(other.initiate(), now=60.0).opened), 1)

    def test_close(self) -> None:
        """A closed connection takes nothing more; closing again does no harm."""
        for _ in range(2):
            self.server.close(self.session)
        received = self.receive(self.client.message(message(2), nonce=9))
        self.assertEqual((received.messages, received.replies), ({}, []))
        expected = {"dropped_unknown_connection": 1}
        self.assertEqual(dropped(self.server.counters), expected)

    def test_forget(self) -> None:
        """After a start that failed, the same Initiate may try again."""
        self.server.close(self.session, forget=True)
        (session,) = self.receive(self.client.initiate()).opened
        self.assertIsNot(session, self.session)

    def test_late_close(self) -> None:
        """Closing a connection that was given up leaves its successor alone."""
        self.server.close(self.session, forget=True)
        (successor,) = self.receive(self.client.initiate()).opened
        for forget in (False, True):
            self.server.close(self.session, forget=forget)
            self.assertEqual(self.server.connections, 1)
        messages = self.receive(self.client.message(message(2), nonce=9)).messages
        self.assertEqual(messages, {successor: [message(2)]})

    def test_other_key_pair(self) -> None:
        """The peer's key is the one that the vouch proves."""
        keys = KeyPair.from_secret(b"\x34" * 32)
        client = RawClient(keys=keys, secret=b"\x45" * 32).greet(self.server)
        (session,) = self.receive(client.initiate()).opened
        self.assertEqual(session.peer_key, keys.public)

    def test_stolen_vouch(self) -> None:
        """A vouch is for one short-term key: another client's does not serve."""
        thief = RawClient(
            keys=KeyPair.from_secret(b"\x34" * 32), secret=b"\x45" * 32
        ).greet(self.server)
        stolen = self.client.contents(message(1))
        self.assertEqual(self.receive(thief.initiate(contents=stolen)).opened, [])
        self.assertEqual(dropped(self.server.counters), {"dropped_bad_vouch": 1})
