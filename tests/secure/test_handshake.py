"""A client and a server on a network that loses, copies, damages and delays."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure import boxes, client, cookies, server, session
from curvecp_tx.secure.client import Phase
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.secure.session import Session
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    SERVER_ADDRESS,
    flip,
    make_client,
    make_server,
    message,
)

Copy = tuple[float, int | None]
"""A delay in seconds, and the bit that is turned over, if one is."""

USUAL_DELAY = 0.02
END_OF_TIME = 20_000.0

COPIES = st.tuples(
    st.sampled_from([USUAL_DELAY, USUAL_DELAY, 0.5, 1.7, 9.0, 31.0, 70.0, 130.0]),
    st.one_of(st.none(), st.none(), st.integers(0, 2000)),
)
FATES = st.lists(st.lists(COPIES, max_size=3), max_size=40)
"""What becomes of each datagram: its copies. Later ones arrive as they should."""


class SealedOnce:
    """Stands in for ``seal``; notes what was sealed under each key and nonce."""

    def __init__(self) -> None:
        self.sealed: dict[tuple[bytes, bytes], bytes] = {}

    def __call__(self, text: bytes, nonce: bytes, key: bytes) -> bytes:
        """Seal, unless key and nonce have served before."""
        if (key, nonce) in self.sealed:
            raise AssertionError("one nonce, two boxes")
        self.sealed[key, nonce] = text
        return boxes.seal(text, nonce, key)


class Encounter:
    """One client and one server in virtual time, from the first Hello on."""

    def __init__(
        self,
        fates: Sequence[Sequence[Copy]],
        *,
        moves: Sequence[float] = (),
        close_after: int | None = None,
    ) -> None:
        self.fates = iter(fates)
        self.moves = sorted(moves)
        self.close_after = close_after
        self.now = 0.0
        self.server = make_server(random_bytes=Random(21).randbytes)
        self.client = make_client(random_bytes=Random(22).randbytes, timeout=None)
        self.flying: list[tuple[float, int, bool, bytes, Address]] = []
        self.launched = 0
        self.numbers = iter(range(1, 10**9))
        self.client_said: list[bytes] = []
        self.server_said: list[bytes] = []
        self.opened: list[Session] = []
        self.at_server: list[tuple[bytes, bytes]] = []
        self.at_client: list[bytes] = []
        self.next_word = 0.0

    def run(self) -> None:
        """Go on until the client is connected and nothing is on its way."""
        self.launch(self.client.take_datagrams(), to_server=True)
        while self.client.phase is not Phase.OPEN or self.flying:
            due = self.client.next_deadline()
            if self.flying and (due is None or self.flying[0][0] <= due):
                self.now, _, to_server, datagram, address = heappop(self.flying)
                if to_server:
                    self.arrive_at_server(datagram, address)
                else:
                    self.client.receive([(datagram, SERVER_ADDRESS)], self.now)
            elif due is not None:
                self.now = due
                self.client.handle_timer(due)
            if self.now > END_OF_TIME:
                raise AssertionError("never connected")
            self.at_client += self.client.take_messages()
            self.talk()
            self.launch(self.client.take_datagrams(), to_server=True)

    def source(self) -> Address:
        """Tell where the client is now: each move gives it another port."""
        moved = sum(when <= self.now for when in self.moves)
        return (CLIENT_ADDRESS[0], CLIENT_ADDRESS[1] + moved)

    def launch(self, datagrams: Sequence[Datagram], *, to_server: bool) -> None:
        """Let datagrams meet their fates."""
        for datagram, address in datagrams:
            for delay, bit in next(self.fates, [(USUAL_DELAY, None)]):
                damaged = (
                    datagram
                    if bit is None
                    else flip(datagram, bit % (8 * len(datagram)))
                )
                self.launched += 1
                where = self.source() if to_server else address
                arrival = self.now + delay
                heappush(
                    self.flying, (arrival, self.launched, to_server, damaged, where)
                )

    def talk(self) -> None:
        """Let the client say something new each second, for a while."""
        if self.client.phase is Phase.HELLO or len(self.client_said) >= 25:
            return
        if self.now >= self.next_word:
            self.next_word = self.now + 1.0
            word = message(next(self.numbers))
            self.client_said.append(word)
            self.client.send([word])

    def arrive_at_server(self, datagram: bytes, address: Address) -> None:
        """Let the server answer each message with one of its own."""
        received = self.server.receive([(datagram, address)], self.now)
        self.launch(received.replies, to_server=False)
        self.opened += received.opened
        for connection, messages in received.messages.items():
            for text in messages:
                self.at_server.append((connection.short_term_key, text))
                word = message(next(self.numbers))
                self.server_said.append(word)
                self.launch(connection.seal([word]), to_server=False)
        if self.close_after is not None and len(self.at_server) > self.close_after:
            self.close_after = None
            for connection in received.messages:
                self.server.close(connection)


class HandshakeTests(SynchronousTestCase):
    """What holds whatever the network does."""

    def setUp(self) -> None:
        """Watch every box that is sealed."""
        self.seal = SealedOnce()
        modules: list[ModuleType] = [client, cookies, server, session]
        for module in modules:
            self.patch(module, "seal", self.seal)

    def meet(self, encounter: Encounter) -> Encounter:
        """Let them meet, and check what must always hold."""
        self.seal.sealed.clear()
        encounter.run()
        self.assertIs(encounter.client.phase, Phase.OPEN)
        self.assertGreater(len(self.seal.sealed), 4)

        at_server, at_client = encounter.at_server, encounter.at_client
        self.assertEqual(len(set(at_server)), len(at_server))
        self.assertLessEqual({text for _, text in at_server}, {*encounter.client_said})
        self.assertEqual(len(set(at_client)), len(at_client))
        self.assertLessEqual({*at_client}, {*encounter.server_said})

        keys = [opened.short_term_key for opened in encounter.opened]
        self.assertEqual(len(set(keys)), len(keys))
        self.assertLessEqual({key for key, _ in at_server}, {*keys})
        counters = encounter.server.counters
        self.assertEqual(counters.messages_received, len(at_server))
        self.assertEqual(counters.connections, len(keys))
        return encounter

    @given(FATES)
    def test_bad_network(self, fates: list[list[Copy]]) -> None:
        """Each message at most once, one connection per key, and never an error.

        As soon as the network recovers, the connection stands.
        """
        self.meet(Encounter(fates))

    @given(FATES, st.lists(st.floats(0, 40), max_size=4))
    def test_moving_client(self, fates: list[list[Copy]], moves: list[float]) -> None:
        """The same holds for a client whose port changes."""
        encounter = self.meet(Encounter(fates, moves=moves))
        self.assertTrue(all(s.path.validated for s in encounter.opened))

    @given(FATES, st.integers(0, 6))
    def test_closing_server(self, fates: list[list[Copy]], after: int) -> None:
        """The same holds when the server ends a connection: no copy opens it again."""
        encounter = self.meet(Encounter(fates, close_after=after))
        self.assertLessEqual(encounter.server.connections, len(encounter.opened))

    def test_good_network(self) -> None:
        """Where nothing is lost, there is one connection, and all arrives in order."""
        encounter = self.meet(Encounter([]))
        self.assertEqual(len(encounter.opened), 1)
        delivered = [text for _, text in encounter.at_server]
        self.assertEqual(delivered, encounter.client_said)
        self.assertEqual(encounter.at_client, encounter.server_said)
        self.assertLess(encounter.now, 1.0)

    def test_everything_twice(self) -> None:
        """Where every datagram comes twice, there is still one connection."""
        twice: list[Copy] = [(0.02, None), (0.05, None)]
        encounter = self.meet(Encounter([twice] * 200))
        self.assertEqual(len(encounter.opened), 1)
        self.assertLessEqual(encounter.server.counters.cookies, 2)

    def test_dead_then_good(self) -> None:
        """After a long silence the client is still there, and connects."""
        encounter = self.meet(Encounter([[]] * 40))
        self.assertEqual(len(encounter.opened), 1)
        self.assertEqual(encounter.client.counters.hellos, 41)
