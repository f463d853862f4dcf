"""Tests for the superserver as a service."""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import BadName, ProgramNotFound
from curvecp_tx.interfaces import (
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
)
from curvecp_tx.net.authorized_file import AuthorizedKeysFile
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.client_endpoint import MessageClientEndpoint
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.service.server import (
    CurveCPServerService,
)
from tests.net.recording import logged

PROGRAM = """
import os, select
while True:
    select.select([8], [], [])
    data = os.read(8, 65536)
    if not data:
        break
    os.write(9, data)
"""
"""Sends messages back until its input ends."""


def is_bound(port: int) -> bool:
    """Tell whether a UDP port of the loopback interface is taken."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return True
    return False


@implementer(IMessageProtocol, IMessageProtocolFactory)
class Visitor:
    """A client that says hello and stays."""

    def __init__(self) -> None:
        self.answered: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def buildProtocol(self, address: CurveCPAddress) -> Visitor:
        """Be the protocol of the only connection."""
        return self

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Say hello."""
        self.transport = transport
        transport.sendMessages([bytes(16)])

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Take the answer."""
        if not self.answered.called:
            self.answered.callback(None)

    def connectionLost(self, reason: Failure) -> None:
        """Take note of the end."""
        self.lost.callback(None)


class ServiceTests(TestCase):
    """Tests for ``CurveCPServerService``."""

    timeout = 60.0

    def setUp(self) -> None:
        """Make a service on a port of the system's choice."""
        self.identity = Identity.ephemeral()
        self.service = self.make()

    def make(self, **options: Any) -> CurveCPServerService:
        """Make a service, with some arguments of its own."""
        arguments: dict[str, Any] = {
            "identity": self.identity,
            "serverName": "name",
            "extension": bytes(16),
            "interface": "127.0.0.1",
            "port": 0,
            "grace": 0.0,
            **options,
        }
        command = [sys.executable, "-S", "-E", "-c", PROGRAM]
        self.handlers = HandlerProgramFactory(
            reactor,  # type: ignore[arg-type]
            arguments.pop("command", command),
        )
        service = CurveCPServerService(
            reactor,  # type: ignore[arg-type]
            self.handlers,
            **arguments,
        )
        self.addCleanup(service.stopService)
        return service

    async def visit(self, port: int) -> Visitor:
        """Connect, and wait for the program's answer."""
        visitor = Visitor()
        await self.endpoint(port).connect(visitor)
        await visitor.answered
        return visitor

    def endpoint(self, port: int, **options: Any) -> MessageClientEndpoint:
        """Give an endpoint for the service."""
        return MessageClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=self.identity.keys.public,
            serverName="name",
            hosts=["127.0.0.1"],
            port=port,
            **options,
        )

    async def leave(self, visitor: Visitor) -> None:
        """End a connection from the client's side."""
        visitor.transport.loseConnection()
        await visitor.lost

    def test_made_without_a_port(self) -> None:
        """A new service has not bound anything."""
        taken = self.make().bind()
        self.make(port=taken)
        self.assertTrue(is_bound(taken))

    def test_bind(self) -> None:
        """Binding gives the port's number, the same each time."""
        port = self.service.bind()
        self.assertTrue(is_bound(port))
        self.assertEqual(self.service.bind(), port)

    def test_bind_taken(self) -> None:
        """A port that is taken is an error of Twisted's."""
        port = self.service.bind()
        other = self.make(port=port)
        error = self.assertRaises(CannotListenError, other.bind)
        self.assertEqual((error.interface, error.port), ("127.0.0.1", port))

    def test_privileged_start_binds(self) -> None:
        """The port is bound while that is still allowed."""
        port = self.free_port()
        service = self.make(port=port)
        service.privilegedStartService()
        self.assertTrue(is_bound(port))
        service.startService()
        self.assertEqual(service.bind(), port)

    def test_start_binds(self) -> None:
        """Where nobody calls ``privilegedStartService``, the start binds."""
        port = self.free_port()
        service = self.make(port=port)
        service.startService()
        self.assertTrue(is_bound(port))

    def free_port(self) -> int:
        """Find a port that is free at the moment."""
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
            return port

    async def test_serves(self) -> None:
        """A started service runs the program for a client."""
        self.service.startService()
        visitor = await self.visit(self.service.bind())
        self.assertEqual(len(self.handlers.running), 1)
        self.assertEqual(self.service.counters.connections, 1)
        await self.leave(visitor)

    async def test_stop_ends_programs(self) -> None:
        """A stop is done when all programs have ended and the port is closed."""
        self.service.startService()
        port = self.service.bind()
        visitors = [await self.visit(port) for _ in range(3)]
        self.assertEqual(len(self.handlers.running), 3)
        await self.service.stopService()
        self.assertEqual(len(self.handlers.running), 0)
        self.assertEqual(self.service.listener.connections, 0)
        self.assertFalse(is_bound(port))
        for visitor in visitors:
            await self.leave(visitor)

    async def test_stop_lets_clients_finish(self) -> None:
        """For a time those who are in go on, and nobody else gets in."""
        service = self.make(grace=60.0)
        service.startService()
        visitor = await self.visit(service.bind())
        stopped = service.stopService()
        visitor.answered = Deferred()
        visitor.transport.sendMessages([bytes(16)])
        await visitor.answered
        late = Visitor()
        await self.endpoint(service.bind(), timeout=0.3).connect(late)
        await late.lost
        self.assertEqual(service.counters.refused_draining, 1)
        self.assertFalse(stopped.called)
        for program in self.handlers.running:
            program.kill()
        await stopped
        await self.leave(visitor)

    async def test_kill(self) -> None:
        """Who is told to stop at once does so, whatever time there is."""
        service = self.make(grace=60.0)
        service.startService()
        port = service.bind()
        visitor = await self.visit(port)
        stopped = service.stopService()
        service.kill()
        await stopped
        self.assertFalse(is_bound(port))
        self.assertEqual(len(self.handlers.running), 0)
        await self.leave(visitor)

    def test_reload(self) -> None:
        """The file of authorized keys is read again; a bad one changes nothing."""
        self.assertIsNone(self.service.reload)
        path = os.path.abspath(self.mktemp())
        self.write(path, "")
        report = Report(Verbosity.INFORMATION)
        service = self.make(authorized=AuthorizedKeysFile(path), report=report)
        assert service.reload is not None
        admission = service.listener._server._admission
        with logged() as lines:
            self.write(path, f"{bytes(32).hex()} zero\n")
            service.reload()
            keys = admission.authorized
            assert keys is not None
            self.assertEqual(len(keys), 1)
            self.write(path, "zero\n")
            service.reload()
            self.assertIs(admission.authorized, keys)
            good, bad = lines("keys")
        self.assertEqual(good, "authorized keys: 1")
        self.assertIn(f"unusable authorized-keys file: {path}: line 1: ", bad)
        self.assertIn("stay in force", bad)

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        with open(path, "w") as file:
            file.write(text)

    async def test_restart(self) -> None:
        """A service that was stopped can be started again, and serves again."""
        service = self.make(port=self.free_port())
        for _ in range(2):
            service.privilegedStartService()
            service.startService()
            visitor = await self.visit(service.bind())
            await service.stopService()
            self.assertFalse(is_bound(visitor.transport.getPeer().port))
            await self.leave(visitor)
        self.assertEqual(service.counters.connections, 2)

    @inlineCallbacks
    def test_stop_before_start(self):  # type: ignore[no-untyped-def]
        """A port that was bound and never served is closed by the stop."""
        port = self.service.bind()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield self.service.stopService()
            self.assertFalse(is_bound(port))
        self.assertEqual([str(warning.message) for warning in caught], [])

    async def test_stop_twice(self) -> None:
        """A second stop finds nothing to do."""
        self.service.startService()
        await self.service.stopService()
        await self.service.stopService()
        self.assertFalse(self.service.running)

    def test_bad_arguments(self) -> None:
        """What cannot work is refused when the service is made."""
        self.assertRaises(ProgramNotFound, self.make, command=["no-such-program"])
        self.assertRaises(BadName, self.make, serverName="a" * 64)
        self.assertRaises(ValueError, self.make, extension=bytes(15))
