"""Two hosts, a network, and attackers: the world of one run of the model test."""

from __future__ import annotations

import gc
import random
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import IMessageProtocolFactory
from curvecp_tx.net.client_endpoint import MessageClientEndpoint
from curvecp_tx.net.endpoints import MessagePort, MessageServerEndpoint
from curvecp_tx.net.extension import ExtensionFile
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.secure.nonces import LongTermNonces
from curvecp_tx.secure.paths import Address
from curvecp_tx.stream.stream import GIVE_UP, KEEPALIVE, MAX_LINGER
from tests.model.applications import Application, MakeApplication, session_of
from tests.model.boxes import Ledger
from tests.model.hosts import Host
from tests.model.judge import Judge
from tests.model.network import HostileNetwork, Packet
from tests.model.pairs import Pairs

NAME = "server.example"
SERVER_ADDRESS = ("192.0.2.1", 11000)
NO_FILE = "/nonexistent/curvecpextension"
EPOCH = 1_700_000_000.0

RECOVERY = KEEPALIVE + 35.0
"""Seconds in which two ends find each other again when the network has recovered:
a keepalive, and the probes that a stranger's address is good for."""

SILENCE = GIVE_UP + KEEPALIVE + MAX_LINGER + 10.0
"""Seconds after which nobody can still be waiting for a peer that is gone."""

NONCES = 1 << 20
"""Long-term nonces that a server reserves at each start."""


class Dial:
    """A client's attempt to connect.

    :ivar application: what will speak if it succeeds.
    :ivar failure: why it has come to nothing, if so.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.failure: Failure | None = None
        self.dialling: Deferred[Any] | None = None

    @property
    def pending(self) -> bool:
        """Whether it is undecided."""
        return not self.application.made and self.failure is None

    def hang_up(self) -> None:
        """Give up, if it is undecided."""
        if self.pending and self.dialling is not None:
            self.dialling.cancel()

    def fail(self, reason: Failure) -> None:
        """Take note of its end."""
        self.failure = reason


class World:
    """A network and what is on it.

    :param seed: decides all that is random.
    :param uptime: what the clocks show at the beginning, seconds.
    """

    def __init__(self, *, seed: int = 1, uptime: float = 0.0) -> None:
        self.judge = Judge()
        self.ledger = Ledger(self.judge)
        self.network = HostileNetwork(self.judge, self.ledger, seed=seed, now=uptime)
        self.pairs = Pairs(self.judge)
        self.random = random.Random(seed).randbytes
        self.wall_clock = EPOCH
        self._report = Report(seconds=self.network.time.seconds)
        self._keys = Identity.from_secret(self.random(32)).keys
        self._nonce_key = self.random(32)
        self._starts = 0
        self._objects: list[weakref.ref[Any]] = []
        self._patches = ExitStack()
        # So that all objects of this world stay young, and a look at the youngest
        # tells which of them remain: at all objects, it would take much longer.
        gc.collect(0)
        gc.disable()
        self._patches.callback(gc.enable)
        self._patches.enter_context(self.judge)
        self.ledger.open()
        self._patches.callback(self.ledger.close)
        self._patches.callback(setattr, time, "time", time.time)
        time.time = lambda: self.wall_clock + self.now

    @property
    def now(self) -> float:
        """The present."""
        return self.network.time.seconds()

    def run(self, seconds: float) -> None:
        """Let time pass, for all hosts that are not held up."""
        end = self.now + seconds
        while (due := self._next_due()) <= end:
            self._reach(due)
        self._reach(end)

    def run_until(self, reached: Callable[[], bool], limit: float) -> bool:
        """Let time pass until something has come about, or for ``limit`` seconds."""
        end = self.now + limit
        while not reached():
            due = self._next_due()
            if due > end:
                self._reach(end)
                return reached()
            self._reach(due)
        return True

    def check(self) -> None:
        """Check what holds at any time; raise if it does not."""
        self.pairs.check()
        self.judge.check()

    def listen(self, host: Host, make: MakeApplication, **options: Any) -> MessagePort:
        """Start a server; if it is not the first, it has the same keys."""
        first = self._starts * NONCES
        self._starts += 1
        nonces = LongTermNonces(
            nonce_key=self._nonce_key,
            first=first,
            count=NONCES,
            # Without the luck of randomness: the counter alone has to do.
            random_bytes=bytes,
        )
        endpoint = MessageServerEndpoint(
            host.reactor,
            identity=Identity(self._keys, nonces),
            name=NAME,
            interface=host.address[0],
            port=host.address[1],
            openPort=host.open_port,
            report=self._report,
            randomBytes=self.random,
            **options,
        )
        ports: list[MessagePort] = []
        endpoint.listen(_Streams(self, host, make)).addCallback(ports.append)
        self._track(ports[0].listener)
        return ports[0]

    def dial(self, host: Host, application: Application, **options: Any) -> Dial:
        """Let a client try to connect."""
        endpoint = MessageClientEndpoint(
            host.reactor,
            serverKey=self._keys.public,
            serverName=NAME,
            hosts=[SERVER_ADDRESS[0]],
            port=SERVER_ADDRESS[1],
            identity=Identity.ephemeral(self.random),
            openPort=host.open_port,
            extension=ExtensionFile(NO_FILE),
            report=self._report,
            randomBytes=self.random,
            **options,
        )
        dial = Dial(self.pairs.expect(application))
        dial.dialling = endpoint.connect(
            _Streams(self, host, lambda: application, dial)
        )
        dial.dialling.addErrback(dial.fail)
        return dial

    def replay(self, which: int, source: Address | None, magic: bytes = b"") -> None:
        """Let an attacker repeat a packet, in its own name or another.

        :param which: which of those on tape, the latest first.
        :param magic: of which kind.
        """
        tape = [one for one in self.network.tape if one.datagram.startswith(magic)]
        if tape:
            taped = tape[-1 - which % len(tape)]
            self.network.inject(
                Packet(taped.datagram, source or taped.source, taped.destination)
            )

    def replay_everything(self) -> None:
        """Let an attacker repeat all that it has on tape."""
        for packet in tuple(self.network.tape):
            self.network.inject(packet)

    def connect(
        self, host: Host, application: Application, dial: Dial | None
    ) -> StreamConnection:
        """Make the stream of one end."""
        client = dial is not None
        connection: StreamConnection = _CountedConnection(
            self.judge,
            host,
            client=client,
            wait=client,
            accept=lambda connection: application,
            accepted=lambda protocol: self._track(
                connection._stream, connection._messages
            ),
            failed=None if dial is None else dial.fail,
            report=self._report,
            randomBytes=self.random,
        )
        self._track(connection)
        return connection

    def check_empty(self) -> None:
        """Check that nothing is left; call it when everything has been closed."""
        for host in self.network.hosts:
            self.judge.demand(
                not host.reactor.calls, f"{host.name}: timers {host.reactor.calls}"
            )
            open_ports = [port for port in host.ports if port.listening]
            self.judge.demand(not open_ports, f"{host.name}: a port is still open")
        self.judge.demand(not self.network.time.calls, "packets are still under way")

    def close(self) -> None:
        """End the world; no object of its may remain."""
        for host in tuple(self.network.hosts):
            host.vanish()
        self.network.time.calls = []
        self.pairs = Pairs(self.judge)
        gc.collect(0)
        self._patches.close()
        remaining = [found for ref in self._objects if (found := ref()) is not None]
        self.judge.demand(not remaining, f"still there: {remaining}")

    def _track(self, *objects: Any) -> None:
        self._objects += map(weakref.ref, objects)

    def _next_due(self) -> float:
        due = self.network.time.due
        soonest = inf if due is None else due
        for host in self.network.hosts:
            due = host.reactor.due
            if due is not None and due < soonest and not host.held:
                soonest = due
        return soonest

    def _reach(self, time: float) -> None:
        self.network.time.reach(time)
        for host in tuple(self.network.hosts):
            if not host.held:
                host.reactor.reach(time)


class _CountedConnection(StreamConnection):
    """Asks that no message be delivered to it twice."""

    def __init__(self, judge: Judge, host: Host, **options: Any) -> None:
        super().__init__(host.reactor, **options)
        self._rules = judge
        self._machine = host
        self._handed_on = 0

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Count messages."""
        self._handed_on += len(messages)
        packets = self._machine.news[session_of(self)._shared_key]
        self._rules.demand(
            self._handed_on <= packets,
            f"{packets} packets have become {self._handed_on} messages",
        )
        super().messagesReceived(messages)


@implementer(IMessageProtocolFactory)
class _Streams:
    """Puts a stream and an application on each connection."""

    def __init__(
        self, world: World, host: Host, make: MakeApplication, dial: Dial | None = None
    ) -> None:
        self._world = world
        self._host = host
        self._make = make
        self._dial = dial

    def buildProtocol(self, address: CurveCPAddress) -> StreamConnection:
        """Make one more."""
        application = self._make()
        if self._dial is None:
            self._world.pairs.expect(application)
        return self._world.connect(self._host, application, self._dial)
