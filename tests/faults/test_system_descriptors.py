"""A server none of whose descriptors is free."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from curvecp_tx import CurveCPClientEndpoint, Identity
from tests.faults.figures import OURS as OURS_BOTH
from tests.faults.figures import note
from tests.interop.processes import EXTENSION, HOST, NAME, OURS, Server, tool
from tests.interop.streaming import Echo, StreamTestCase

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
LIMITED = (sys.executable, os.path.join(PROGRAMS, "limited.py"))

DESCRIPTORS = 16
CLIENTS = 12
STAYS, GOES = (Identity.from_secret(bytes([number]) * 32) for number in (1, 2))


def descriptors_of(server: Server) -> int:
    """Count the open descriptors of a server."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


class Staying(Protocol):
    """Says something, and stays until it is told to end.

    :ivar answered: fires when it has been answered, or the connection has failed.
    """

    transport: Any

    def __init__(self) -> None:
        self.answered: Deferred[Staying | None] = Deferred()

    def connectionMade(self) -> None:
        """Speak."""
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        """Note the answer."""
        self.answered.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that there will be none."""
        if not self.answered.called:
            self.answered.callback(None)

    def end(self) -> Deferred[object]:
        """End, and wait until that is done."""
        self.transport.abortConnection()
        over: Deferred[object] = self.transport.whenOver
        return over


class FullForwarderTests(StreamTestCase):
    """A server that forwards, one descriptor for each client, until all are taken."""

    def authorize(self, *clients: Identity) -> str:
        """Write the file of authorized keys; give its path."""
        lines = [f"{client.keys.public.hex()}\n" for client in clients]
        self.write("keys", "".join(lines).encode())
        return os.path.join(self.directory, "keys")

    async def connect(self, server: Server) -> Staying | None:
        """Connect to a server; ``None`` if it has no room."""
        endpoint = CurveCPClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=server.key,
            serverName=NAME,
            serverExtension=EXTENSION,
            hosts=[HOST],
            port=server.port,
            identity=STAYS,
        )
        try:
            staying: Any = await endpoint.connect(Factory.forProtocol(Staying))
        except ConnectionLost:
            return None
        self.addCleanup(staying.end)
        found: Staying = await staying.answered
        return found

    async def test_keys_are_read_again(self) -> None:
        """Whoever takes every descriptor cannot keep a key from being withdrawn."""
        echoes: Any = Factory.forProtocol(Echo)
        there: Any = IReactorTCP(reactor).listenTCP(0, echoes, interface=HOST)
        self.addCleanup(lambda: maybeDeferred(there.stopListening))
        wrapper = (*LIMITED, str(DESCRIPTORS), *tool(OURS, "curvecpserver"))
        target = f"tcp:{HOST}:{there.getHost().port}"
        keys = self.authorize(STAYS, GOES)
        options = ("-v", "--authorized-keys", keys, "--forward", target)
        server = await self.serve(OURS, (), options=options, wrapper=wrapper)
        before = descriptors_of(server)
        found = [await self.connect(server) for _ in range(CLIENTS)]
        served = [staying for staying in found if staying is not None]
        self.assertEqual(len(served), DESCRIPTORS - before)
        self.assertEqual(descriptors_of(server), DESCRIPTORS)
        self.assertEqual(server.process.errors.count(os.strerror(errno.EMFILE)), 1)
        self.authorize(STAYS)
        server.process.signal(signal.SIGHUP)
        await self.until(
            lambda: "authorized keys: 1" in server.process.errors, "the file is read"
        )
        self.assertEqual(descriptors_of(server), DESCRIPTORS)
        for staying in served:
            await staying.end()
        await self.until(lambda: descriptors_of(server) == before, "nothing leaks")
        self.assertIsNotNone(await self.connect(server))
        self.assertNotIn("Traceback", server.process.errors)
        text = f"{len(served)} of {CLIENTS} fit; keys are read again with the reserve"
        note("E4", OURS_BOTH, text)
