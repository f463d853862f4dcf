"""Nobody can have a victim flooded by claiming its address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.secure.boxes import CLIENT_MESSAGE_NONCE, seal
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import NonceCounter, ReplayWindow
from curvecp_tx.secure.paths import AMPLIFICATION_LIMIT, Address, Datagram, Path
from curvecp_tx.secure.session import SERVER as SERVER_ROLE
from curvecp_tx.secure.session import Session
from curvecp_tx.testing import Conditions
from curvecp_tx.wire.packets import (
    HELLO_MAGIC,
    client_message_head,
    server_message_head,
)
from tests.faults.figures import note
from tests.net.recording import CLIENT, SERVER
from tests.net.streaming import Counted, StreamCase, Talker

VICTIM = ("203.0.113.5", 53)
VICTIM_TOO = (VICTIM[0], 54)
FLOOD = Random(9).randbytes(500_000)
KEY, SHORT = b"K" * 32, b"C" * 32


class Pushing(Talker):
    """Has a lot to say, whether anybody asks or not."""

    def connectionMade(self) -> None:
        super().connectionMade()
        self.transport.write(FLOOD)


class ReflectionCase(StreamCase):
    """A client whose packets claim to come from somewhere else.

    :ivar claimed: where from; ``None`` tells the truth.
    :ivar heard: bytes that have arrived at the server, by host.
    :ivar sent: bytes that the server has sent, by host.
    """

    def attack(self, *, bind_address: bool) -> None:
        """Put server and attacker up; the attacker says Hello."""
        self.close_world()
        self.build_world(1, Conditions(delay=0.01))
        self.claimed: tuple[str, int] | None = None
        self.from_initiate: tuple[str, int] | None = None
        self.heard: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.network.watch = self.watch
        self.far_factory = Counted(Pushing)
        self.listener = self.serve(
            StreamFactory(self.reactor, self.far_factory, report=self.report),
            bindAddress=bind_address,
        )
        self.handle = self.listener.datagramsReceived
        self.patch(self.listener, "datagramsReceived", self.arrive)
        self.call(Talker, timeout=None).addErrback(lambda failure: None)

    def arrive(self, batch: Sequence[Datagram]) -> None:
        """Count what the server hears."""
        for datagram, address in batch:
            self.heard[address[0]] += len(datagram)
        self.handle(batch)

    def watch(self, datagram: bytes, source: Address, destination: Address) -> bool:
        """Forge the attacker's source, and count what the server sends."""
        if source == SERVER:
            host = destination[0]
            self.sent[host] += len(datagram)
            if host == VICTIM[0]:
                allowed = AMPLIFICATION_LIMIT * self.heard[host]
                self.assertLessEqual(self.sent[host], allowed)
            return True
        claimed = self.claimed
        if self.from_initiate is not None and datagram[:8] != HELLO_MAGIC:
            claimed = self.from_initiate
        if source != CLIENT or claimed is None:
            return True
        self.network.send(datagram, claimed, destination)
        return False


class InitiateTests(ReflectionCase):
    """A Cookie that was got honestly, an Initiate that lies."""

    def test_bound(self) -> None:
        """A cookie opens for no other address: nothing at all goes there."""
        self.attack(bind_address=True)
        self.from_initiate = VICTIM
        self.reactor.run(150.0, step=0.05)
        self.assertGreater(self.heard[VICTIM[0]], 0)
        self.assertEqual(self.sent[VICTIM[0]], 0)
        self.assertEqual(self.listener.counters.connections, 0)
        note("C7", "TT", "reflection by Initiate: 0 bytes, cookie bound")

    def test_not_bound(self) -> None:
        """If cookies are not bound, the victim gets at most three times as much."""
        self.attack(bind_address=False)
        self.from_initiate = VICTIM
        self.reactor.run(150.0, step=0.05)
        self.assertGreater(self.listener.counters.connections, 0)
        self.assertGreater(self.listener.counters.lost_unvalidated_path, 0)
        self.assertGreater(self.sent[VICTIM[0]], 0)
        factor = self.sent[VICTIM[0]] / self.heard[VICTIM[0]]
        note("C7", "TT", f"reflection by Initiate: {factor:.1f} x, cookie not bound")

    def test_honest_without_binding(self) -> None:
        """Who does receive at its address is soon free of the limit."""
        self.attack(bind_address=False)
        self.reactor.run(30.0)
        self.assertEqual(self.near_factory.built[0].received, FLOOD)


class MigrationTests(ReflectionCase):
    """A connection that was opened honestly, and then lies."""

    def test_move(self) -> None:
        """After a move to the victim's address, at most three times as much."""
        self.attack(bind_address=True)
        self.reactor.run(1.0)
        self.assertGreater(self.sent[CLIENT[0]], 0)
        self.claimed = VICTIM
        self.reactor.run(150.0, step=0.05)
        self.assertEqual(self.listener.counters.path_changes, 1)
        self.assertGreater(self.sent[VICTIM[0]], 0)
        factor = self.sent[VICTIM[0]] / self.heard[VICTIM[0]]
        note("C7", "TT", f"reflection by migration: {factor:.1f} x")

    def honest_move(self, data: bytes) -> None:
        """Have the client really move, say something from there, and listen."""
        self.attack(bind_address=True)
        self.reactor.run(1.0)
        self.ports[-1].rebind(*VICTIM)
        self.network.watch = None
        self.near_factory.built[0].transport.write(data)
        self.reactor.run(15.0)
        self.assertEqual(self.far_factory.built[0].received, data)
        received = self.near_factory.built[0].received
        self.assertEqual(len(received), len(FLOOD))
        self.assertEqual(received, FLOOD)

    def test_honest_move(self) -> None:
        """Who really moves is believed as soon as an answer proves it."""
        self.honest_move(bytes(4096))

    def test_honest_move_with_few_words(self) -> None:
        """One small packet from a new address is enough to go on in a few seconds."""
        self.honest_move(b"here I am")

    @settings(max_examples=20)
    @given(
        st.lists(
            st.tuples(st.sampled_from((None, VICTIM, VICTIM_TOO)), st.floats(0.01, 2)),
            min_size=1,
            max_size=8,
        ),
        st.booleans(),
    )
    def test_any_course(
        self, course: list[tuple[tuple[str, int] | None, float]], bind_address: bool
    ) -> None:
        """Going to and fro wins nothing: what an ID proves, it proves for one place."""
        self.attack(bind_address=bind_address)
        self.reactor.run(1.0)
        near = self.near_factory.built[0]
        for claimed, seconds in course:
            self.claimed = claimed
            near.transport.write(b"more")
            self.reactor.run(seconds, step=0.02)
        self.assertLessEqual(
            self.sent[VICTIM[0]], AMPLIFICATION_LIMIT * self.heard[VICTIM[0]]
        )


HOME: Address = CLIENT
PLACES: tuple[Address, ...] = (HOME, VICTIM, VICTIM_TOO, ("203.0.113.6", 53))
GUESSES = ("none", "seen", "guessed")


class SessionTests(SynchronousTestCase):
    """A session alone, and an attacker who knows its keys."""

    def setUp(self) -> None:
        """Make the server's end of a connection."""
        self.dice = Random(3)
        self.session = Session(
            role=SERVER_ROLE,
            peer_key=bytes(32),
            short_term_key=SHORT,
            shared_key=KEY,
            counter=NonceCounter(1),
            window=ReplayWindow(0),
            path=Path(HOME, bytes(16), validated=True),
            head=partial(server_message_head, server_extension=bytes(16)),
            counters=Counters(),
        )
        self.nonce = 100
        self.seen: list[bytes] = []
        self.heard: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def hear(self, place: Address, late: bool, guess: str, size: int) -> None:
        """Have a message of the attacker's arrive, with a forged source."""
        self.nonce += 1
        nonce = (self.nonce - (50 if late else 0)).to_bytes(8, "little")
        named = bytes(4)
        if guess == "seen" and self.seen:
            named = self.dice.choice(self.seen)
        elif guess == "guessed":
            named = self.dice.randbytes(4)
        text = self.dice.randbytes(4) + named + bytes(16 * size - 8)
        head = client_message_head(bytes(16), bytes(16), SHORT)
        box = seal(text, CLIENT_MESSAGE_NONCE + nonce, KEY)
        datagram = head + nonce + box
        if self.session.open(datagram, place) is not None:
            self.heard[place[0]] += len(datagram)

    def say(self, count: int, size: int) -> None:
        """Have the server send messages with random IDs."""
        messages = [self.dice.randbytes(16 * size) for _ in range(count)]
        for datagram, address in self.session.seal(messages):
            self.sent[address[0]] += len(datagram)
        if self.session.path.address == HOME:
            self.seen += [message[:4] for message in messages]

    @given(
        st.lists(
            st.one_of(
                st.tuples(
                    st.sampled_from(PLACES),
                    st.booleans(),
                    st.sampled_from(GUESSES),
                    st.integers(1, 68),
                ),
                st.tuples(st.integers(1, 40), st.integers(1, 68)),
            ),
            max_size=60,
        )
    )
    def test_any_course(
        self, course: list[tuple[Address, bool, str, int] | tuple[int, int]]
    ) -> None:
        """No host gets more than three times its bytes before it has answered."""
        self.setUp()
        for step in course:
            if len(step) == 4:
                self.hear(*step)
            else:
                self.say(*step)
            for host in {place[0] for place in PLACES} - {HOME[0]}:
                self.assertLessEqual(
                    self.sent[host], AMPLIFICATION_LIMIT * self.heard[host]
                )

    def test_proof(self) -> None:
        """A host that repeats an ID that was sent there has answered."""
        self.hear(VICTIM, False, "none", 12)
        ((_, address),) = self.session.seal([b"\7\7\7\7" + bytes(188)])
        self.assertEqual(address, VICTIM)
        self.seen = [b"\7\7\7\7"]
        self.hear(VICTIM, False, "seen", 12)
        self.assertEqual(len(self.session.seal([bytes(1088)] * 50)), 50)
