"""One server and many clients: any coming and going, any restart, any replay."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.paths import Address
from curvecp_tx.testing import Conditions
from tests.faults.figures import OURS, note
from tests.model.actions import SIZES, Abort, Action, Close, HalfClose, Write
from tests.model.network import GOOD, Fate
from tests.model.playing import RUNS, play
from tests.model.test_two_endpoints import FATES, KINDS, SIDES
from tests.model.town import CLIENTS, VICTIMS, Town

WHICH = st.integers(0, CLIENTS - 1)
ACTIONS = st.sampled_from(
    (Write(1), Write(700), Write(5000), Write(60_000), HalfClose(), Close(), Abort())
)
PAUSES = st.sampled_from((0.01, 0.1, 1.0, 5.0, 31.0, 61.0, 125.0))
DISGUISES = st.none() | st.sampled_from(VICTIMS)
SOURCES = st.none() | st.sampled_from((*VICTIMS, ("198.51.100.1", 49152)))


class ManyClients(RuleBasedStateMachine):
    """What may happen, in any order."""

    town: Town

    @initialize(
        seed=st.integers(0, 2**16),
        limit=st.integers(1, CLIENTS),
        bind_address=st.booleans(),
        clients=st.integers(0, 4),
    )
    def begin(self, seed: int, limit: int, bind_address: bool, clients: int) -> None:
        """Start a server, and let the first clients come."""
        self.town = Town(
            seed=seed, limits=Limits(clients=limit), bindAddress=bind_address
        )
        for _ in range(clients):
            self.town.arrive()
        self.town.run(0.5)

    @rule(seconds=PAUSES)
    def pass_time(self, seconds: float) -> None:
        """Some time passes, and minute keys with it."""
        self.town.run(seconds)

    # The clients.

    @precondition(lambda self: len(self.town.clients) < CLIENTS)
    @rule(disguise=DISGUISES)
    def arrive(self, disguise: Address | None) -> None:
        """A client dials."""
        self.town.arrive(disguise)

    @rule(which=WHICH)
    def vanish(self, which: int) -> None:
        """A client is gone without a word."""
        self.town.vanish(which)

    @rule(which=WHICH, side=SIDES, action=ACTIONS)
    def act(self, which: int, side: str, action: Action) -> None:
        """One end of a connection does something."""
        self.town.act(which, side, action)

    @rule(which=WHICH)
    def move(self, which: int) -> None:
        """A client gets another address."""
        self.town.move(which)

    @rule(which=WHICH, disguise=DISGUISES)
    def disguise(self, which: int, disguise: Address | None) -> None:
        """A client's packets bear somebody else's address, or its own again."""
        self.town.disguise(which, disguise)

    @rule(which=WHICH, victim=st.sampled_from(VICTIMS), size=SIZES)
    def spoof(self, which: int, victim: Address, size: int) -> None:
        """A client asks for much in somebody else's name."""
        self.town.spoof(which, victim, size)

    # The server.

    @rule()
    def refuse(self) -> None:
        """The server lets nobody new in."""
        self.town.refuse()

    @rule()
    def leave(self) -> None:
        """The server takes its leave."""
        self.town.leave()

    @precondition(lambda self: self.town.port is not None)
    @rule()
    def stop(self) -> None:
        """The server stops."""
        self.town.stop()

    @precondition(lambda self: self.town.port is not None)
    @rule()
    def crash(self) -> None:
        """The server is gone without a word."""
        self.town.crash()

    @precondition(lambda self: self.town.port is None)
    @rule()
    def start(self) -> None:
        """The server comes back."""
        self.town.start()

    @precondition(lambda self: self.town.port is not None)
    @rule(seconds=PAUSES, timers_first=st.booleans())
    def hold(self, seconds: float, timers_first: bool) -> None:
        """The server's event loop stands still for some time."""
        self.town.server.hold()
        self.town.run(seconds)
        self.town.server.release(timers_first=timers_first)

    # The network, and attackers.

    @rule(share=st.sampled_from((0.1, 0.3)), delay=st.sampled_from((0.0, 0.1, 0.7)))
    def worsen(self, share: float, delay: float) -> None:
        """The network gets bad."""
        self.town.network.conditions = Conditions(share, share, share, delay, delay)

    @rule()
    def recover(self) -> None:
        """The network gets good."""
        self.town.network.conditions = GOOD

    @rule(fates=st.lists(FATES, min_size=1, max_size=4))
    def treat(self, fates: list[Fate]) -> None:
        """The next few packets suffer something in particular."""
        self.town.network.fates.extend(fates)

    @rule(
        which=st.lists(st.integers(0, 999), min_size=1, max_size=8),
        source=SOURCES,
        kind=KINDS,
    )
    def replay(self, which: list[int], source: Address | None, kind: bytes) -> None:
        """Somebody repeats what was sent before."""
        for number in which:
            self.town.replay(number, source, kind)

    # The end.

    @invariant()
    def holds(self) -> None:
        """The rules hold."""
        if hasattr(self, "town"):
            self.town.check()

    def teardown(self) -> None:
        """Come to an end."""
        if not hasattr(self, "town"):
            return
        town = self.town
        try:
            if town.judge.content:
                town.end()
        finally:
            held = town.judge.content
            town.close()
        if held:
            town.judge.check()


class ManyClientsTests(SynchronousTestCase):
    """Whatever happens to a server."""

    def test_any_course(self) -> None:
        """The rules hold in any course of events."""
        play(ManyClients)
        note("G3", OURS, RUNS)
