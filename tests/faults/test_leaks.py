"""After any number of connections, nothing is left of them."""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from typing import Any, NamedTuple

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from curvecp_tx.errors import CurveCPError, StreamAborted
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.client_endpoint import MessageClientEndpoint
from curvecp_tx.net.endpoints import MessagePort, MessageServerEndpoint
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint, CurveCPServerEndpoint
from tests.faults.figures import OURS, note
from tests.interop.processes import HANDLER, PATIENCE, state_of
from tests.interop.rawclient import message
from tests.net.recording import (
    NAME,
    SERVER_IDENTITY,
    Recorder,
    Recorders,
    greeting,
    open_descriptors,
)

reactor: Any = installed_reactor

LOOPBACK = "127.0.0.1"
WARM_UP = 5
CONNECTIONS = 1000
PROGRAMS = 100
ABORTED = 10
"""One in so many is aborted."""

EXIT, STAY = "exit 0", "echo"
"""What a program is told."""


class Left(NamedTuple):
    """What a process holds."""

    descriptors: int
    children: int
    calls: int
    objects: Counter[str]


def count_objects() -> Counter[str]:
    """Count the objects of our types, by type."""
    gc.collect()
    types = map(type, gc.get_objects())
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in types
        if str(kind.__module__).startswith("curvecp_tx.")
    )


def children() -> int:
    """Count our children, the dead ones among them."""
    states = [state_of(int(pid)) for pid in os.listdir("/proc") if pid.isdigit()]
    return sum(state is not None and state[1] == os.getpid() for state in states)


def left() -> Left:
    """Take stock."""
    calls = len(reactor.getDelayedCalls())
    return Left(open_descriptors(), children(), calls, count_objects())


class Echo(Protocol):
    """Sends everything back."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        assert self.transport is not None
        self.transport.write(data)


class Caller(Protocol):
    """Says something, and ends when it is answered, in one way or the other."""

    transport: Any
    aborts = False

    def __init__(self) -> None:
        self.over: Deferred[CurveCPError | None] = Deferred()

    def connectionMade(self) -> None:
        """Speak."""
        self.transport.whenOver.addCallback(self.over.callback)
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        """End."""
        if self.aborts:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()


class LeakTestCase(TestCase):
    """A test that takes stock before and after."""

    timeout = 3 * PATIENCE
    port: MessagePort

    async def until_clean(self, before: Left) -> None:
        """Wait until there is no more than there was before."""
        deadline = time.monotonic() + PATIENCE
        while self.port.listener.connections or left() != before:
            if time.monotonic() > deadline:
                self.assertEqual(left(), before)
                self.fail(f"{self.port.listener.connections} connections")
            await deferLater(reactor, 0.2)


class StreamLeakTests(LeakTestCase):
    """Streams over loopback, client and server in this process."""

    async def connect(self, aborts: bool) -> Caller:
        """Make a connection, and wait until it has been used."""
        endpoint = CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=[LOOPBACK],
            port=self.port.getHost().port,
        )
        caller: Any = await endpoint.connect(Factory.forProtocol(Caller))
        caller.aborts = aborts
        if not aborts:
            self.assertIsNone(await caller.over)
        made: Caller = caller
        return made

    async def test_connections(self) -> None:
        """A thousand connections, each tenth aborted, leave nothing behind."""
        server = CurveCPServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface=LOOPBACK
        )
        port: Any = await server.listen(Factory.forProtocol(Echo))
        self.port = port
        self.addCleanup(port.stopListening)
        for _ in range(WARM_UP):
            await self.connect(False)
        await deferLater(reactor, 0.1)
        before = left()
        aborted = []
        for number in range(CONNECTIONS):
            aborts = number % ABORTED == 0
            caller = await self.connect(aborts)
            if aborts:
                aborted.append(caller.over)
        ends = await gatherResults(aborted)
        self.assertTrue(all(isinstance(end, StreamAborted) for end in ends), ends)
        del caller, aborted, ends
        await self.until_clean(before)
        note(
            "E13",
            OURS,
            f"{CONNECTIONS} streams, {CONNECTIONS // ABORTED} aborted: clean",
        )


class ProgramLeakTests(LeakTestCase):
    """Handler programs, started by a server in this process."""

    async def exchange(self, first: str) -> None:
        """Have a program answer, and the connection end."""
        answered: Deferred[None] = Deferred()

        def answer(protocol: Recorder, messages: object) -> None:
            if not answered.called:
                answered.callback(None)

        endpoint = MessageClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=[LOOPBACK],
            port=self.port.getHost().port,
        )
        clients = Recorders(greeting(message(first)), answer)
        await endpoint.connect(clients)
        await answered
        [client] = clients.built
        if first == EXIT:
            client.transport.loseConnection()
        else:
            client.transport.abortConnection()
            self.factory.kill()

    async def test_programs(self) -> None:
        """A hundred programs, each tenth killed, leave nothing behind."""
        self.factory = HandlerProgramFactory(
            reactor, HANDLER, report=Report(Verbosity.SILENT)
        )
        server = MessageServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface=LOOPBACK
        )
        self.port = await server.listen(self.factory)
        self.addCleanup(self.port.stopListening)
        for first in (EXIT, STAY):
            await self.exchange(first)
        await self.factory.running.when_none()
        await deferLater(reactor, 0.1)
        before = left()
        for number in range(PROGRAMS):
            await self.exchange(EXIT if number % ABORTED else STAY)
        await self.factory.running.when_none()
        await self.until_clean(before)
        self.assertEqual(before.children, 0)
        note("E13", OURS, f"{PROGRAMS} programs, {PROGRAMS // ABORTED} killed: clean")
