"""A client and a server: any network, any applications, any attacks."""

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

from curvecp_tx.secure.paths import Address
from curvecp_tx.testing import Conditions
from tests.faults.figures import OURS, note
from tests.model.actions import (
    ACTIONS,
    CALLBACKS,
    FLOW,
    LARGE_WRITES,
    PLANNED,
    PRODUCING,
    WRITES,
    Action,
)
from tests.model.duo import CLIENT_HOST, MAGICS, OTHER_HOSTS, VICTIM, Duo
from tests.model.judge import Mischief
from tests.model.network import GOOD, Fate
from tests.model.playing import RUNS, play

SIDES = st.sampled_from(("client", "server"))
SHARES = st.sampled_from((0.0, 0.0, 0.1, 0.3, 0.6))
CONDITIONS = st.builds(
    Conditions,
    loss=SHARES,
    duplicate=SHARES,
    corrupt=SHARES,
    delay=st.sampled_from((0.0, 0.001, 0.05, 0.7)),
    jitter=st.sampled_from((0.0, 0.0, 0.02, 1.0)),
)
FATES = st.builds(
    Fate,
    copies=st.sampled_from((0, 0, 1, 2, 3)),
    delay=st.sampled_from((0.0, 0.0, 0.3, 5.0)),
    cut=st.sampled_from((0, 0, 1, 16, 64, 2000)),
    more=st.sampled_from((0, 0, 16)),
    flip=st.none() | st.integers(0, 9000),
)
PAUSES = st.sampled_from((0.0, 0.001, 0.01, 0.1, 1.0, 3.0, 10.0, 28.0, 61.0, 119.0))
SLEEPS = st.sampled_from((0.5, 2.0, 30.0, 130.0))
SOURCES = st.none() | st.sampled_from((VICTIM, (CLIENT_HOST, 1), (VICTIM[0], 0)))
KINDS = st.sampled_from((b"", b"", *MAGICS))
NONCES = st.sampled_from((bytes(8), b"\xff" * 8, b"\xfe" + b"\xff" * 7))


class TwoEndpoints(RuleBasedStateMachine):
    """What may happen, in any order."""

    world: Duo

    @initialize(
        seed=st.integers(0, 2**16),
        uptime=st.sampled_from((0.0, 1e7)),
        careful=st.tuples(st.booleans(), st.booleans()),
        bind_address=st.booleans(),
        greeting=st.lists(WRITES | LARGE_WRITES, max_size=1),
        head_start=st.sampled_from((1.0, 1.0, 0.1, 0.0)),
        ends_well=st.booleans(),
    )
    def begin(
        self,
        seed: int,
        uptime: float,
        careful: tuple[bool, bool],
        bind_address: bool,
        greeting: list[Action],
        head_start: float,
        ends_well: bool,
    ) -> None:
        """Make a world, and let the client dial, in peace at first."""
        self.world = Duo(
            seed=seed, uptime=uptime, careful=careful, bind_address=bind_address
        )
        self.world.plan_server("made", greeting)
        self.ends_well = ends_well
        self.world.call()
        self.world.run(head_start)

    @rule(seconds=PAUSES)
    def pass_time(self, seconds: float) -> None:
        """Some time passes."""
        self.world.run(seconds)

    # The network.

    @rule(conditions=CONDITIONS)
    def change_conditions(self, conditions: Conditions) -> None:
        """The network gets better or worse."""
        self.world.network.conditions = conditions

    @rule()
    def recover(self) -> None:
        """The network gets good."""
        self.world.network.conditions = GOOD
        self.world.network.dark.clear()

    @rule(fates=st.lists(FATES, min_size=1, max_size=6))
    def treat(self, fates: list[Fate]) -> None:
        """The next few packets suffer something in particular."""
        self.world.network.fates.extend(fates)

    @rule(sides=st.sets(SIDES))
    def darken(self, sides: set[str]) -> None:
        """Nothing comes through from here, from there, or from both."""
        self.world.network.dark = set(sides)

    @rule(
        host=st.sampled_from((CLIENT_HOST, *OTHER_HOSTS)), port=st.integers(1024, 1027)
    )
    def move_client(self, host: str, port: int) -> None:
        """The client gets another port, or another address."""
        self.world.client.move((host, port))

    # The hosts.

    @precondition(lambda self: self.world.idle)
    @rule(patience=st.sampled_from((None, 0.0, 0.03, 2.0, 40.0)))
    def dial(self, patience: float | None) -> None:
        """The client dials again."""
        self.world.call(patience)

    @rule(side=SIDES)
    def hold(self, side: str) -> None:
        """A host's event loop stops."""
        if not self.world.hosts[side].held:
            self.world.hosts[side].hold()

    @rule(side=SIDES, timers_first=st.booleans())
    def release(self, side: str, timers_first: bool) -> None:
        """A host's event loop goes on."""
        if self.world.hosts[side].held:
            self.world.hosts[side].release(timers_first=timers_first)

    @rule(side=SIDES, seconds=SLEEPS, timers_first=st.booleans())
    def sleep(self, side: str, seconds: float, timers_first: bool) -> None:
        """A host's event loop stands still for some time."""
        host = self.world.hosts[side]
        if not host.held:
            host.hold()
            self.world.run(seconds)
            host.release(timers_first=timers_first)

    @rule(seconds=st.sampled_from((-30 * 86400.0, -3600.0, 3600.0, 30 * 86400.0)))
    def set_wall_clock(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.world.wall_clock += seconds

    # The applications.

    @rule(side=SIDES, action=WRITES | FLOW | PRODUCING)
    def go_on(self, side: str, action: Action) -> None:
        """An application does one of the usual things."""
        if not self.world.hosts[side].held:
            self.world.do(side, action)

    @rule(side=SIDES, action=LARGE_WRITES | ACTIONS)
    def act(self, side: str, action: Action) -> None:
        """An application does anything."""
        if not self.world.hosts[side].held:
            self.world.do(side, action)

    @rule(side=SIDES, when=st.sampled_from(CALLBACKS[1:]), action=PLANNED)
    def plan(self, side: str, when: str, action: Action) -> None:
        """An application will do something when it is called."""
        self.world.plan(side, when, action)

    # The attackers.

    @rule(which=st.integers(0, 999), source=SOURCES, kind=KINDS)
    def replay(self, which: int, source: Address | None, kind: bytes) -> None:
        """Somebody repeats what was sent before."""
        self.world.replay(which, source, kind)

    @rule(which=st.integers(0, 999), nonce=NONCES, source=SOURCES)
    def forge(self, which: int, nonce: bytes, source: Address | None) -> None:
        """Somebody sends packets that look right, but for the box."""
        self.world.forge(which, nonce, source)

    @rule(
        magic=st.sampled_from(MAGICS),
        rest=st.binary(max_size=200),
        size=st.integers(0, 1300),
        side=SIDES,
    )
    def junk(self, magic: bytes, rest: bytes, size: int, side: str) -> None:
        """Somebody sends nonsense."""
        self.world.junk(magic, bytes(32) + rest + bytes(size), side, VICTIM)

    # The end.

    @invariant()
    def holds(self) -> None:
        """The rules hold."""
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        """Come to an end."""
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            if world.judge.content:
                world.end_well() if self.ends_well else world.end_in_silence()
        finally:
            held = world.judge.content
            world.close()
        if held:
            world.judge.check()


class TwoEndpointsTests(SynchronousTestCase):
    """Whatever happens between two ends."""

    def test_any_course(self) -> None:
        """The rules hold in any course of events."""
        play(TwoEndpoints)
        note("G3", OURS, RUNS)
        self.flushLoggedErrors(Mischief)
