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

from twisted.application.service import IServiceMaker
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import CannotListenError
from twisted.plugin import getPlugins
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import BadName, ProgramNotFound
from curvecp_tx.interfaces import (
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
)
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.endpoints import MessageClientEndpoint
from curvecp_tx.net.keydir import SERVER_RESERVATION, Identity, read_public_key
from curvecp_tx.service import server
from curvecp_tx.service.server import CurveCPServerService, Options, makeService
from tests.commands.running import (
    EXTENSION,
    TWISTD,
    new_key_directory,
    run_here,
    run_python,
)

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
        endpoint = MessageClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=self.identity.keys.public,
            serverName="name",
            hosts=["127.0.0.1"],
            port=port,
        )
        await endpoint.connect(visitor)
        await visitor.answered
        return visitor

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


class MakeServiceTests(SynchronousTestCase):
    """Tests for ``makeService``."""

    def setUp(self) -> None:
        """Leave the clock of the reactor that runs the tests alone."""
        self.adjusted: list[object] = []
        self.patch(server, "make_monotonic", self.adjusted.append)
        self.shown: list[str] = []
        self.keydir = new_key_directory(self)

    def options(self, *arguments: str, **changes: str) -> Options:
        """Parse a command line that is good but for some changes."""
        operands = {
            "name": "www.example.org",
            "keydir": self.keydir,
            "ip": "127.0.0.1",
            "port": "0",
            "ext": EXTENSION,
            "prog": "true",
            **changes,
        }
        options = Options()
        options.parseOptions([*arguments, *operands.values()])
        return options

    def make(self, *arguments: str, **changes: str) -> CurveCPServerService:
        """Make a service from a command line."""
        service = makeService(self.options(*arguments, **changes), self.shown.append)
        self.addCleanup(service.stopService)
        return service

    def refusal(self, *arguments: str, **changes: str) -> tuple[int, str, str]:
        """Fail to make a service: exit code, output and error output."""
        options = self.options(*arguments, **changes)
        finished = run_here(self, lambda _: [makeService(options)].clear())
        return finished.code, finished.out, finished.err

    def test_bound_before_start(self) -> None:
        """The port is bound at once: before a daemon, and before it can fail."""
        service = self.make()
        self.assertFalse(service.running)
        self.assertTrue(is_bound(service.bind()))

    def test_print_port(self) -> None:
        """``-1`` shows the port that was bound, and nothing else shows it."""
        self.make()
        self.assertEqual(self.shown, [])
        service = self.make("-1")
        self.assertEqual(self.shown, [str(service.bind())])

    def test_arguments_arrive(self) -> None:
        """The service is what the command line asked for."""
        service = self.make("-c", "7", prog="cat")
        host = service.listener.getHost()
        self.assertEqual(host.key, read_public_key(self.keydir))
        self.assertEqual(host.name, "www.example.org")
        self.assertEqual(host.extension, bytes.fromhex(EXTENSION))
        assert isinstance(service.handlers, HandlerProgramFactory)
        self.assertEqual(service.handlers.arguments, ["cat"])

    def test_nonces_reserved(self) -> None:
        """The nonces are set aside now: later the files may be out of reach."""
        self.make()
        with open(os.path.join(self.keydir, ".expertsonly/noncecounter"), "rb") as file:
            self.assertEqual(int.from_bytes(file.read(), "little"), SERVER_RESERVATION)

    def test_monotonic_clock(self) -> None:
        """The reactor is put on a clock that nobody can set back."""
        self.make()
        self.assertEqual(self.adjusted, [reactor])

    def test_ipv6(self) -> None:
        """An IPv6 address can be bound."""
        try:
            with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
                sock.bind(("::1", 0))
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from error
        service = self.make(ip="::1")
        self.assertGreater(service.bind(), 0)

    def test_failures(self) -> None:
        """Each way to fail is 111 with one line, or with none under ``-q``."""
        taken = self.make().bind()
        for changes, reason in (
            (
                {"keydir": "no/such"},
                "unusable key directory: no/such: no such file or directory",
            ),
            ({"prog": "no-such-program"}, "unable to find program: no-such-program"),
            (
                {"port": str(taken)},
                f"unable to bind 127.0.0.1 port {taken}: address already in use",
            ),
        ):
            expected = f"curvecpserver: fatal: {reason}\n"
            self.assertEqual(self.refusal(**changes), (111, "", expected))
            self.assertEqual(self.refusal("-q", **changes), (111, "", ""))

    def test_output_full(self) -> None:
        """A port that cannot be shown is 111, too."""

        def full(text: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        options = self.options("-1")
        finished = run_here(self, lambda _: [makeService(options, full)].clear())
        self.assertEqual(finished.code, 111)
        self.assertEqual(
            finished.last,
            "curvecpserver: fatal: unable to write output: no space left on device",
        )


class PluginTests(SynchronousTestCase):
    """Tests for what twistd sees of this package."""

    def test_service_maker(self) -> None:
        """The plugin is a service maker by that name."""
        (plugin,) = (
            plugin
            for plugin in getPlugins(IServiceMaker)
            if plugin.tapname == "curvecpserver"
        )
        self.assertTrue(verifyObject(IServiceMaker, plugin))
        self.assertIs(plugin.options, Options)
        self.assertIs(plugin.makeService, makeService)

    def test_twistd_help(self) -> None:
        """``twistd --help`` lists the server without loading any of it."""
        finished = run_python("-X", "importtime", *TWISTD, "--help")
        self.assertEqual(finished.code, 0)
        self.assertRegex(finished.out, r"(?m)^ +curvecpserver +A CurveCP superserver")
        self.assertIn("twisted.application.service", finished.err)
        self.assertNotIn("nacl", finished.err)
        for layer in ("wire", "secure", "stream", "service"):
            self.assertNotIn(f"curvecp_tx.{layer}", finished.err)

    def test_twistd_command_help(self) -> None:
        """``twistd curvecpserver --help`` shows the operands and the options."""
        finished = run_python(*TWISTD, "curvecpserver", "--help")
        self.assertEqual((finished.code, finished.err), (0, ""))
        self.assertIn("sname keydir ip port ext prog [args...]", finished.out)
        self.assertIn("--print-port", finished.out)
