"""One client and one server, what may happen to them, and how it is to end."""

from __future__ import annotations

from collections.abc import Sequence

from curvecp_tx.secure.paths import Address
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    COOKIE_MAGIC,
    HELLO_MAGIC,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
)
from tests.model.actions import Action
from tests.model.applications import Application, Careful, Simple
from tests.model.hosts import Host
from tests.model.network import Packet
from tests.model.pairs import Pair
from tests.model.world import RECOVERY, SERVER_ADDRESS, SILENCE, Dial, World

CLIENT_HOST = "198.51.100.7"
OTHER_HOSTS = ("198.51.100.8", "203.0.113.9")
"""Where the client may move to."""

VICTIM = ("203.0.113.66", 4433)
"""Somebody who has nothing to do with any of this."""

MAGICS = (
    HELLO_MAGIC,
    COOKIE_MAGIC,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
    CLIENT_MESSAGE_MAGIC,
)

DELIVERY = 300.0
"""Seconds for a few hundred kilobytes after that; they start slowly."""

QUIET = 100.0
QUIET_PACKETS = 40
"""Packets that an idle connection may send in that time: keepalives."""


class Duo(World):
    """A client and a server.

    :param careful: whether client and server, in this order, know of half-close.
    :param bind_address: whether cookies open for the address they went to only.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        uptime: float = 0.0,
        careful: tuple[bool, bool] = (True, True),
        bind_address: bool = True,
    ) -> None:
        super().__init__(seed=seed, uptime=uptime)
        self.client = Host(
            self.network, "client", (CLIENT_HOST, 49152), [SERVER_ADDRESS[0]]
        )
        self.server = Host(self.network, "server", SERVER_ADDRESS)
        self.hosts = {"client": self.client, "server": self.server}
        self._kinds = [Careful if one else Simple for one in careful]
        self._server_plans: list[tuple[str, Sequence[Action]]] = []
        self.dials: list[Dial] = []
        self.port = self.listen(
            self.server, self._make_server, bindAddress=bind_address
        )

    # What may happen.

    @property
    def idle(self) -> bool:
        """Whether the client may dial: nothing of an earlier attempt is left."""
        return not any(port.listening for port in self.client.ports)

    def call(self, patience: float | None = None) -> Dial:
        """Let the client dial, and hang up if it has to wait for too long."""
        application = self._kinds[0]("client", self.client, self.judge)
        dial = self.dial(self.client, application)
        self.dials.append(dial)
        if patience is not None:
            self.client.reactor.callLater(patience, dial.hang_up)
        return dial

    def plan_server(self, when: str, actions: Sequence[Action]) -> None:
        """Plan for the servers' protocols that are to come."""
        self._server_plans.append((when, actions))

    def application(self, side: str) -> Application | None:
        """Give the latest application of a side that has a connection."""
        alive = [one for one in self.pairs.alive if one.side == side]
        return alive[-1] if alive else None

    def do(self, side: str, action: Action) -> None:
        """Let an application act."""
        application = self.application(side)
        if application is not None:
            application.do(action)

    def plan(self, side: str, when: str, action: Action) -> None:
        """Let an application act when it is called next."""
        application = self.application(side)
        if application is not None:
            application.plan(when, [action])

    def forge(self, which: int, nonce: bytes, source: Address | None) -> None:
        """Let an attacker send a packet with a true header and a wrong box."""
        if self.network.tape:
            taped = self.network.tape[which % len(self.network.tape)]
            at = {CLIENT_MESSAGE_MAGIC: 72, SERVER_MESSAGE_MAGIC: 40}.get(
                taped.datagram[:8], 168
            )
            forged = taped.datagram[:at] + nonce + taped.datagram[at + 8 :]
            self.network.inject(
                Packet(forged, source or taped.source, taped.destination)
            )

    def junk(self, magic: bytes, rest: bytes, side: str, source: Address) -> None:
        """Let an attacker send nonsense with a magic."""
        destination = self.hosts[side].address
        self.network.inject(Packet(magic + rest, source, destination))

    def close(self) -> None:
        """End the world."""
        self.dials.clear()
        del self.port
        super().close()

    # How it ends.

    def end_well(self) -> None:
        """Let the network recover: whoever has not failed by now ends well."""
        recovered = self._recover()
        survivors = [pair for pair in self.pairs if pair.well]
        for pair in survivors:
            self._settle(pair, recovered)
        self._keep_quiet()
        survivors = [pair for pair in self.pairs if pair.well]
        for application in self.pairs.alive:
            application.do(lambda one: one.half_close())
        self.run(RECOVERY)
        for pair in survivors:
            self.judge.demand(
                pair.clean or pair.parted(recovered + RECOVERY),
                f"{pair.ends} do not end well: {[end.over for end in pair.ends]}",
            )
        self._end()

    def end_in_silence(self) -> None:
        """Let nothing get through any more: everybody gives up in the end."""
        self._recover()
        self.network.dark.update(self.hosts)
        self._end()

    def _recover(self) -> float:
        """Undo what keeps anybody from anything, and give the time."""
        self.network.heal()
        for host in self.hosts.values():
            if host.held:
                host.release()
        for application in self.pairs.alive:
            application.calm_down()
            application.do(lambda one: one.resume())
        return self.now

    def _settle(self, pair: Pair, recovered: float) -> None:
        """Let the two find each other, and everything arrive that was written."""
        demand = self.judge.demand
        in_touch = self.run_until(
            lambda: pair.settled or pair.heard_since(recovered), RECOVERY
        )
        demand(in_touch, f"{pair.ends} do not find each other")
        arrived = self.run_until(lambda: pair.settled, DELIVERY)
        demand(
            arrived, f"{[(end, end.received, end.wrote) for end in pair.ends]}: stuck"
        )
        demand(
            pair.sound or pair.closing or pair.parted(recovered + RECOVERY),
            f"{pair.ends} fail: {[end.lost for end in pair.ends]}",
        )

    def _keep_quiet(self) -> None:
        """Ask that who has nothing to say says next to nothing."""
        self.run(SILENCE)
        before = self.network.traffic.sent
        self.run(QUIET)
        sent = self.network.traffic.sent - before
        self.judge.demand(sent <= QUIET_PACKETS, f"{sent} packets while idle")

    def _end(self) -> None:
        """Close everything, and see that nothing is left of it."""
        for application in self.pairs.alive:
            application.do(lambda one: one.close())
        self.run_until(lambda: self.all_over, SILENCE)
        self.replay_everything()
        self.run(1.0)
        timers = self.client.reactor.calls
        self.judge.demand(not timers, f"timers of the client are left: {timers}")
        self.run(SILENCE)
        self.check()
        self.judge.demand(not self.pairs.alive, f"{self.pairs.alive} do not end")
        for dial in self.dials:
            self.judge.demand(not dial.pending, "a client dials for ever")
        connections = self.port.listener.connections
        self.judge.demand(not connections, f"{connections} sessions are left")
        self.pairs.check_ends()
        self.port.stopListening()
        self.run(1.0)
        self.check_empty()
        self.check()

    @property
    def all_over(self) -> bool:
        """Whether nothing that the client has begun still goes on."""
        undecided = any(dial.pending for dial in self.dials)
        return not undecided and all(one.over for one in self.pairs.made)

    def _make_server(self) -> Application:
        application = self._kinds[1]("server", self.server, self.judge)
        for when, actions in self._server_plans:
            application.plan(when, actions)
        return application
