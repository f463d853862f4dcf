"""A client as a service: a program on messages, and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import fail
from twisted.internet.error import DNSLookupError
from twisted.trial.unittest import TestCase

from curvecp_tx.errors import ProgramNotFound
from curvecp_tx.net import client_endpoint
from curvecp_tx.net.endpoints import MessageServerEndpoint
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.service.client import CurveCPClientService
from tests.net.recording import NAME, SERVER_IDENTITY, Recorders, echo, logged

reactor: Any = installed_reactor

FRAME = b"\x01hello, server..."

ASKER = f"""
import os, select
os.write(9, {FRAME!r})
select.select([8], [], [])
raise SystemExit(os.read(8, 100) != {FRAME!r})
"""
"""Sends a message, and is content if it comes back."""

PYTHON = (sys.executable, "-I", "-S", "-c")


class ClientServiceTests(TestCase):
    """Tests for ``CurveCPClientService``."""

    timeout = 60.0

    async def serve(self) -> int:
        """Serve whoever comes, sending all messages back; give the port."""
        endpoint = MessageServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface="127.0.0.1"
        )
        port: Any = await endpoint.listen(Recorders(received=echo))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def make(self, port: int, *command: str, **options: Any) -> CurveCPClientService:
        """Make a service that runs a program."""
        return CurveCPClientService(
            reactor,
            command,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=port,
            serverExtension=bytes(16),
            **options,
        )

    def shell(self, port: int, script: str, **options: Any) -> CurveCPClientService:
        """Make a service that runs a script."""
        return self.make(port, "/bin/sh", "-c", script, **options)

    async def run_shell(self, script: str) -> int:
        """Run a script on a connection; give the exit code."""
        service = self.shell(await self.serve(), script)
        service.startService()
        code = await service.ended
        await service.stopService()
        return code

    async def until_running(self, service: CurveCPClientService) -> None:
        """Start a service whose program writes a line, and wait for its start."""
        service.startService()
        assert service._connecting is not None
        await service._connecting
        self.assertEqual(len(list(service.programs.running)), 1)

    async def test_exit_code(self) -> None:
        """The program's status is the service's."""
        self.assertEqual(await self.run_shell("exit 7"), 7)

    async def test_messages(self) -> None:
        """What the program writes reaches the server, and the answer the program."""
        service = self.make(await self.serve(), *PYTHON, ASKER)
        service.startService()
        self.assertEqual(await service.ended, 0)
        await service.stopService()

    async def test_signal(self) -> None:
        """A program that a signal kills is 111."""
        self.assertEqual(await self.run_shell("kill -KILL $$"), 111)

    async def test_bad_framing(self) -> None:
        """So is one that breaks the framing; the reason is logged."""
        with logged() as lines:
            code = await self.run_shell("printf x >&9; exec sleep 60")
        self.assertEqual(code, 111)
        self.assertEqual(len(lines("length byte that is not 1 to 68: 120")), 1)

    async def test_nobody_there(self) -> None:
        """No connection is 111, with a reason, and without a program."""
        service = self.shell(1, "exit 0", timeout=0.2)
        with logged() as lines:
            service.startService()
            self.assertEqual(await service.ended, 111)
        self.assertIn("no response from server", lines("fatal: ")[0])
        await service.stopService()

    async def test_no_such_host(self) -> None:
        """A host that cannot be had is a reason as well."""
        service = self.shell(1, "exit 0")
        problem = DNSLookupError("no address for host.invalid")
        self.patch(client_endpoint, "resolve_hosts", lambda *_: fail(problem))
        with logged() as lines:
            service.startService()
            self.assertEqual(await service.ended, 111)
        self.assertIn("host.invalid", lines("fatal: ")[0])
        await service.stopService()

    async def test_quiet(self) -> None:
        """Whoever wants no errors gets the exit code only."""
        report = Report(Verbosity.SILENT)
        service = self.shell(1, "exit 0", timeout=0.1, report=report)
        with logged() as lines:
            service.startService()
            self.assertEqual(await service.ended, 111)
        self.assertEqual(lines("fatal"), [])
        await service.stopService()

    async def test_stopped_while_dialling(self) -> None:
        """A service that is stopped before there is an answer gives up, in silence."""
        service = self.shell(1, "exit 0")
        with logged() as lines:
            service.startService()
            await service.stopService()
            self.assertEqual(await service.ended, 111)
        self.assertEqual(lines("fatal"), [])

    async def test_stopped_before_start(self) -> None:
        """One that never started has nothing to stop."""
        service = self.shell(1, "exit 0")
        stopped: Any = service.stopService()
        self.assertIsNone(await stopped)

    async def test_stopped(self) -> None:
        """One that is stopped later ends its program first."""
        service = self.shell(await self.serve(), "exec sleep 60")
        await self.until_running(service)
        await service.stopService()
        self.assertEqual(list(service.programs.running), [])
        self.assertEqual(await service.ended, 111)

    async def test_killed(self) -> None:
        """One that is not to be waited for is killed, whatever it would rather do."""
        script = "trap '' TERM; while :; do sleep 1; done"
        service = self.shell(await self.serve(), script)
        await self.until_running(service)
        stopped = service.stopService()
        service.kill()
        await stopped
        self.assertEqual(await service.ended, 111)

    def test_no_program(self) -> None:
        """A program that is not there is found out at once."""
        command: Sequence[str] = ["/nonexistent/program"]
        self.assertRaises(ProgramNotFound, self.make, 1, *command)
