"""One server, many clients that come and go, and attackers with a tape."""

from __future__ import annotations

from typing import Any

from curvecp_tx.net.endpoints import MessagePort
from curvecp_tx.secure.admission import Limits
from tests.model.actions import Action, Close, HalfClose, Write
from tests.model.applications import Application, Careful
from tests.model.hosts import Host
from tests.model.world import RECOVERY, SERVER_ADDRESS, SILENCE, Dial, World

CLIENTS = 8
"""Clients at once at the most."""

VICTIMS = (("203.0.113.66", 4433), ("203.0.113.67", 53))
"""Somebody who has nothing to do with any of this."""

LAST_WORDS = 5000
"""Bytes that the last client sends, to see that the server has survived it all."""


class Town(World):
    """A server and its clients.

    :param limits: of the server.
    :ivar port: the server's port, while it runs.
    :ivar accepting: whether it lets anybody in.
    """

    def __init__(
        self, *, seed: int = 1, limits: Limits | None = None, **options: Any
    ) -> None:
        super().__init__(seed=seed)
        self.judge.tolerated = ("are refused", "have to wait")
        self.limits = limits or Limits()
        self.dials: list[Dial] = []
        self.port: MessagePort | None = None
        self._options = options
        self._arrivals = 0
        self.start()

    # The server.

    def start(self) -> None:
        """Start the server, with the keys that it had before."""
        self.accepting = True
        self.server = Host(self.network, "server", SERVER_ADDRESS)
        self.port = self.listen(
            self.server, self._make_server, limits=self.limits, **self._options
        )

    def refuse(self) -> None:
        """Have the server let nobody new in."""
        if self.port is not None:
            self.accepting = False
            self.port.listener.stopAccepting()

    def leave(self) -> None:
        """Have the server take its leave of everybody."""
        if self.port is not None:
            self.accepting = False
            for application in self._served:
                application.evicted = True
            self.port.listener.leave("shutting down")

    def stop(self) -> None:
        """Stop the server in an orderly way."""
        if self.port is not None:
            for application in self._served:
                application.evicted = True
            self.port.stopListening()
            if self.server.held:
                self.server.release()
            # What is left to be told takes one turn of the event loop.
            self.server.reactor.advance(0)
            self._power_off()

    def crash(self) -> None:
        """Let the server lose power."""
        if self.port is not None:
            for application in self.pairs.made:
                if application.side == "server" and not application.over:
                    application.gone = True
            self._power_off()

    def _power_off(self) -> None:
        self.port = None
        self.server.vanish()

    @property
    def _served(self) -> list[Application]:
        return [one for one in self.pairs.alive if one.side == "server"]

    def _make_server(self) -> Application:
        return Careful("server", self.server, self.judge)

    # The clients.

    @property
    def clients(self) -> list[Dial]:
        """Those who are here: connected, or about to be."""
        return [
            dial
            for dial in self.dials
            if dial.application.alive or (dial.pending and not dial.application.gone)
        ]

    def arrive(self, disguise: tuple[str, int] | None = None) -> Dial:
        """Let one more client dial, under a false address maybe."""
        self._arrivals += 1
        high, low = divmod(self._arrivals, 200)
        host = Host(
            self.network,
            f"client {self._arrivals}",
            (f"198.51.{100 + high}.{1 + low}", 49152),
            [SERVER_ADDRESS[0]],
        )
        host.disguise = disguise
        dial = self.dial(host, Careful("client", host, self.judge))
        self.dials.append(dial)
        return dial

    def client(self, which: int) -> Dial | None:
        """Give one of those who are here."""
        clients = self.clients
        return clients[which % len(clients)] if clients else None

    def vanish(self, which: int) -> None:
        """Let a client lose power."""
        dial = self.client(which)
        if dial is not None:
            dial.application.gone = True
            dial.application.host.vanish()

    def move(self, which: int) -> None:
        """Give a client another address."""
        dial = self.client(which)
        if dial is not None:
            self._arrivals += 1
            dial.application.host.move(("192.0.2.200", 1024 + self._arrivals))

    def disguise(self, which: int, address: tuple[str, int] | None) -> None:
        """Let a client send under a false address, or under its own again."""
        dial = self.client(which)
        if dial is not None:
            dial.application.host.disguise = address

    def spoof(self, which: int, victim: tuple[str, int], size: int) -> None:
        """Let a client ask for much in somebody else's name."""
        self.disguise(which, victim)
        self.act(which, "client", Write(1))
        self.run(0.1)
        self.act(which, "server", Write(size))
        self.run(1.0)

    def act(self, which: int, side: str, action: Action) -> None:
        """Let one end of a client's connection act."""
        dial = self.client(which)
        if dial is not None:
            for pair in self.pairs:
                if dial.application in pair.ends:
                    for end in pair.ends:
                        if end.side == side and not end.host.held:
                            end.do(action)

    # The rules.

    def check(self) -> None:
        """Check what holds at any time."""
        if self.port is not None:
            connections = self.port.listener.connections
            self.judge.demand(
                connections <= self.limits.clients,
                f"{connections} connections, limit {self.limits.clients}",
            )
        super().check()

    def end(self) -> None:
        """Let everything end, and see that the server is still of use."""
        self.network.heal()
        if self.server.held:
            self.server.release()
        self.replay_everything()
        self._end_lonely()
        for application in self.pairs.alive:
            application.do(Close())
        self.run(5.0)
        self.replay_everything()
        self.run(SILENCE)
        self.check()
        self.judge.demand(not self.pairs.alive, f"{self.pairs.alive} do not end")
        for dial in self.dials:
            undecided = dial.pending and not dial.application.gone
            self.judge.demand(not undecided, "a client dials for ever")
        self._end_with_one_more()
        self.pairs.check_ends()
        self.stop()
        self.run(1.0)
        self.check_empty()
        self.check()

    def _end_lonely(self) -> None:
        """Wait until everybody has gone whose peer is gone, and nobody else."""
        recovered = self.now
        together = [pair for pair in self.pairs if pair.well and not pair.closing]
        self.run(SILENCE)
        for pair in together:
            self.judge.demand(
                pair.well or pair.clean or pair.parted(recovered + RECOVERY),
                f"{pair.ends} do not stay together",
            )
        for pair in self.pairs:
            if len(pair.ends) < 2 or any(end.gone for end in pair.ends):
                for end in pair.ends:
                    self.judge.demand(not end.alive, f"{end} waits for a peer")

    def _end_with_one_more(self) -> None:
        """Ask that a newcomer be served well."""
        if self.port is None or not self.accepting:
            self.stop()
            self.start()
        last = self.arrive()
        self.run(5.0)
        last.application.do(Write(LAST_WORDS))
        last.application.do(HalfClose())
        self.run(1.0)
        for application in self._served:
            application.do(Close())
        self.run(SILENCE)
        self.judge.demand(last.application.clean, "a newcomer is not served well")

    def close(self) -> None:
        """End the world."""
        self.dials.clear()
        self.port = None
        super().close()
