"""One established connection."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import NONCE_LIMIT, NonceCounter, ReplayWindow
from curvecp_tx.secure.paths import Address, Path
from curvecp_tx.secure.session import CLIENT, SERVER, Session
from curvecp_tx.wire.packets import client_message_head, server_message_head
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_EXTENSION,
    CLIENT_KEYS,
    ELSEWHERE,
    SERVER_ADDRESS,
    SERVER_EXTENSION,
    SERVER_KEYS,
    dropped,
    flip,
    message,
)

KEY = b"K" * 32
SHORT = b"C" * 32
OTHER_PORT: Address = (CLIENT_ADDRESS[0], CLIENT_ADDRESS[1] + 1)


class SessionCase(SynchronousTestCase):
    """Both ends of one connection."""

    def setUp(self) -> None:
        """Set up the ends; both have seen no nonce from 100 on."""
        self.extension = CLIENT_EXTENSION
        self.server = self.server_end()
        self.client = Session(
            role=CLIENT,
            peer_key=SERVER_KEYS.public,
            short_term_key=SHORT,
            shared_key=KEY,
            counter=NonceCounter(100),
            window=ReplayWindow(99),
            path=Path(SERVER_ADDRESS, SERVER_EXTENSION, validated=True),
            head=lambda peer: client_message_head(peer, self.extension, SHORT),
            counters=Counters(),
        )

    def server_end(self, *, start: int = 100, validated: bool = True) -> Session:
        """Make the server's end."""
        self.counters = Counters()
        return Session(
            role=SERVER,
            peer_key=CLIENT_KEYS.public,
            short_term_key=SHORT,
            shared_key=KEY,
            counter=NonceCounter(start),
            window=ReplayWindow(99),
            path=Path(CLIENT_ADDRESS, CLIENT_EXTENSION, validated=validated),
            head=partial(server_message_head, server_extension=SERVER_EXTENSION),
            counters=self.counters,
        )

    def sealed(self, *messages: bytes) -> list[bytes]:
        """Let the client seal messages."""
        return [datagram for datagram, _ in self.client.seal(messages)]


class MessageTests(SessionCase):
    """Messages there and back."""

    def test_both_ways(self) -> None:
        """What one end seals, the other opens; the sizes are those of the tables."""
        for size in range(16, 1089, 16):
            ((datagram, address),) = self.client.seal([message(size, size)])
            self.assertEqual(address, SERVER_ADDRESS)
            self.assertEqual(len(datagram), 96 + size)
            opened = self.server.open(datagram, CLIENT_ADDRESS)
            self.assertEqual(opened, message(size, size))

            ((datagram, address),) = self.server.seal([message(size, size)])
            self.assertEqual(address, CLIENT_ADDRESS)
            self.assertEqual(len(datagram), 64 + size)
            opened = self.client.open(datagram, SERVER_ADDRESS)
            self.assertEqual(opened, message(size, size))
        self.assertEqual(self.counters.messages_received, 68)
        self.assertEqual(self.counters.messages_sent, 68)

    def test_nonces_ascend(self) -> None:
        """Each datagram has the next nonce, over all batches."""
        datagrams = self.sealed(message(1), message(2)) + self.sealed(message(3))
        nonces = [int.from_bytes(datagram[72:80], "little") for datagram in datagrams]
        self.assertEqual(nonces, [100, 101, 102])

    def test_reflection(self) -> None:
        """What an end has sent does not open at that same end."""
        ((datagram, _),) = self.server.seal([message(1, 96)])
        head = client_message_head(SERVER_EXTENSION, CLIENT_EXTENSION, SHORT)
        reflected = head + datagram[40:]
        self.assertIsNone(self.server.open(reflected, CLIENT_ADDRESS))
        self.assertEqual(dropped(self.counters), {"dropped_bad_box": 1})

    def test_replay(self) -> None:
        """A copy of a datagram is dropped and counted."""
        (datagram,) = self.sealed(message(1))
        self.assertEqual(self.server.open(datagram, CLIENT_ADDRESS), message(1))
        self.assertIsNone(self.server.open(datagram, CLIENT_ADDRESS))
        self.assertIsNone(self.server.open(datagram, ELSEWHERE))
        self.assertEqual(dropped(self.counters), {"dropped_replay": 2})
        self.assertEqual(self.server.path.address, CLIENT_ADDRESS)

    @given(st.permutations(range(12)))
    def test_any_order(self, order: list[int]) -> None:
        """Datagrams count in any order, once each."""
        self.setUp()
        datagrams = self.sealed(*(message(number) for number in range(12)))
        for number in order + order:
            self.server.open(datagrams[number], CLIENT_ADDRESS)
        self.assertEqual(self.counters.messages_received, 12)
        self.assertEqual(dropped(self.counters), {"dropped_replay": 12})

    def test_forgery_changes_nothing(self) -> None:
        """A bad box with the greatest nonce leaves nonces and path alone."""
        (genuine,) = self.sealed(message(1))
        top = NONCE_LIMIT.to_bytes(8, "little")
        forged = genuine[:24] + b"another-ext-here" + genuine[40:72] + top
        forged += genuine[80:]
        self.assertIsNone(self.server.open(forged, ELSEWHERE))
        self.assertEqual(dropped(self.counters), {"dropped_bad_box": 1})
        self.assertEqual(self.server.path.address, CLIENT_ADDRESS)
        self.assertEqual(self.server.path.extension, CLIENT_EXTENSION)
        self.assertEqual(self.server.open(genuine, CLIENT_ADDRESS), message(1))

    def test_forgery_does_not_use_up_nonce(self) -> None:
        """After a damaged copy the genuine datagram still counts."""
        (genuine,) = self.sealed(message(1))
        for bit in (8 * 80, 8 * 100, 8 * len(genuine) - 1):
            damaged = flip(genuine, bit)
            self.assertIsNone(self.server.open(damaged, CLIENT_ADDRESS))
        self.assertEqual(self.server.open(genuine, CLIENT_ADDRESS), message(1))


class ExhaustionTests(SessionCase):
    """The end of the nonces."""

    def test_end(self) -> None:
        """At 2^64 - 1 the connection has to end; no nonce is sent twice."""
        session = self.server_end(start=NONCE_LIMIT - 1)
        ((datagram, _),) = session.seal([message(1)])
        self.assertEqual(datagram[40:48], b"\xfe" + b"\xff" * 7)
        for _ in range(2):
            self.assertRaises(NoncesExhausted, session.seal, [message(2)])

    def test_batch_over_the_end(self) -> None:
        """Of a batch that does not fit, nothing goes out or is counted."""
        session = self.server_end(start=NONCE_LIMIT - 1)
        batch = [message(1), message(2)]
        self.assertRaises(NoncesExhausted, session.seal, batch)
        self.assertEqual(self.counters.messages_sent, 0)
        self.assertRaises(NoncesExhausted, session.seal, [message(3)])


class PathTests(SessionCase):
    """Following the peer."""

    def test_follows_newest(self) -> None:
        """The newest datagram moves the path; answers go there."""
        (datagram,) = self.sealed(message(1))
        self.server.open(datagram, OTHER_PORT)
        ((_, address),) = self.server.seal([message(2)])
        self.assertEqual(address, OTHER_PORT)
        self.assertEqual(self.counters.path_changes, 1)

    def test_older_does_not_move(self) -> None:
        """A late datagram counts as a message, but does not move the path."""
        late, newest = self.sealed(message(1), message(2))
        self.server.open(newest, CLIENT_ADDRESS)
        self.assertEqual(self.server.open(late, ELSEWHERE), message(1))
        self.assertEqual(self.server.path.address, CLIENT_ADDRESS)
        self.assertEqual(self.counters.path_changes, 0)
        self.assertTrue(self.server.path.validated)

    def test_extension(self) -> None:
        """A new extension is answered to; it is no change of path."""
        self.extension = b"another-ext-here"
        self.client.rebuild_head()
        (datagram,) = self.sealed(message(1))
        self.server.open(datagram, CLIENT_ADDRESS)
        ((reply, _),) = self.server.seal([message(2)])
        self.assertEqual(reply[8:24], b"another-ext-here")
        self.assertEqual(self.counters.path_changes, 0)
        self.assertTrue(self.server.path.validated)

    def test_limit_after_move(self) -> None:
        """A new host gets three times its bytes; what is more goes where it was."""
        (datagram,) = self.sealed(message(1, 192))
        self.server.open(datagram, ELSEWHERE)
        batch = [message(number, 192) for number in range(5, 10)]
        datagrams = self.server.seal(batch)
        places = [address for _, address in datagrams]
        self.assertEqual(places.count(ELSEWHERE), 3 * 288 // 256)
        self.assertEqual(places.count(CLIENT_ADDRESS), 2)
        self.assertEqual(self.counters.lost_unvalidated_path, 0)
        self.assertEqual(self.counters.messages_sent, 5)

    def test_lost_message_takes_no_nonce(self) -> None:
        """Nonces of what was not sent are still to be used."""
        session = self.server_end(start=NONCE_LIMIT - 1, validated=False)
        self.assertEqual(session.seal([message(1)] * 3), [])
        self.assertEqual(self.counters.lost_unvalidated_path, 3)

    def test_proof(self) -> None:
        """An answer to a message that went to the new host ends the limit."""
        (datagram,) = self.sealed(message(1, 192))
        self.server.open(datagram, ELSEWHERE)
        self.server.seal([message(5, 192)])
        (answer,) = self.sealed(bytes(4) + (5).to_bytes(4, "little") + bytes(8))
        self.server.open(answer, ELSEWHERE)
        self.assertTrue(self.server.path.validated)
        self.assertEqual(len(self.server.seal([message(6, 1088)] * 20)), 20)

    def test_proof_from_elsewhere(self) -> None:
        """An answer that comes from the old host proves nothing for the new one."""
        first, late = self.sealed(
            message(1, 192), bytes(4) + (5).to_bytes(4, "little") + bytes(8)
        )
        (newest,) = self.sealed(message(2, 192))
        self.server.open(first, ELSEWHERE)
        self.server.seal([message(5, 192)])
        self.server.open(newest, ELSEWHERE)
        self.server.open(late, CLIENT_ADDRESS)
        self.assertEqual(self.server.path.address, ELSEWHERE)
        self.assertFalse(self.server.path.validated)
        self.assertEqual(self.counters.messages_received, 3)

    def test_late_datagram_pays(self) -> None:
        """A late datagram from the new host adds to its budget."""
        late, newest = self.sealed(message(1, 192), message(2, 16))
        self.server.open(newest, ELSEWHERE)
        self.assertEqual(self.sent_elsewhere([message(5, 192)] * 9), 1)
        self.server.open(late, ELSEWHERE)
        self.assertEqual(self.sent_elsewhere([message(6, 192)] * 9), 3)

    def sent_elsewhere(self, messages: list[bytes]) -> int:
        """Have the server send; tell how many go to the new host."""
        places = [address for _, address in self.server.seal(messages)]
        return places.count(ELSEWHERE)

    def test_client_follows(self) -> None:
        """A client follows its server in the same way."""
        ((datagram, _),) = self.server.seal([message(1, 192)])
        self.client.open(datagram, ELSEWHERE)
        ((_, address),) = self.client.seal([message(2, 16)])
        self.assertEqual(address, ELSEWHERE)
        self.assertFalse(self.client.path.validated)
