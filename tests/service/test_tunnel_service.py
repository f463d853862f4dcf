"""Tunnels as services: how they are made, and how standard input and output end."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from curvecp_tx.net.report import Report
from curvecp_tx.service import tunnel
from curvecp_tx.service.options import ClientOptions
from curvecp_tx.service.tunnel import ListenService, StdioService, make_tunnel
from tests.commands.running import run_here
from tests.net.recording import NAME, logged
from tests.service.test_tunnel import KEY, TunnelCase

reactor: Any = installed_reactor

ANYWHERE = "tcp:0:interface=127.0.0.1"


class StdioServiceTests(TunnelCase):
    """Tests for ``StdioService``, with pipes for standard input and output."""

    def setUp(self) -> None:
        """Open the pipes."""
        self.input, self.type_in = os.pipe()
        self.screen, self.output = os.pipe()
        opened: Deferred[None] = Deferred()
        self.opened = opened
        ours = {"stdin": self.input, "stdout": self.output}

        class StandardIO(tunnel._StandardIO):
            def __init__(self, near: Any, **options: Any) -> None:
                super().__init__(near, **ours, **options)
                opened.callback(None)

        self.patch(tunnel, "_StandardIO", StandardIO)

    def tearDown(self) -> None:
        """Close what is open still."""
        ends = [self.type_in, self.screen]
        if not self.opened.called:
            ends += [self.input, self.output]
        for end in ends:
            if end >= 0:
                os.close(end)

    def make(self, port: int, **options: Any) -> StdioService:
        """Make a service."""
        endpoint = self.endpoint(port, **options)
        return StdioService(reactor, endpoint, report=Report())

    def end_input(self, last: bytes) -> None:
        """Type the last words."""
        os.write(self.type_in, last)
        os.close(self.type_in)
        self.type_in = -1

    async def until_left(self) -> None:
        """Wait until the server has seen the end, and nothing is left to do."""
        await self.served[0].ended

    async def test_both_ways(self) -> None:
        """When both directions are complete, and all is written, all is well."""
        service = self.make(await self.serve(b"answer"))
        service.startService()
        await self.opened
        self.end_input(b"question")
        self.assertEqual(await service.ended, 0)
        self.assertEqual(os.read(self.screen, 100), b"answer")
        await self.until_left()
        self.assertEqual(self.served[0].received, b"question")
        await service.stopService()

    async def test_output_lost(self) -> None:
        """Output that nobody takes is 111, with a reason."""
        service = self.make(await self.serve(b"x" * 300_000))
        os.close(self.screen)
        self.screen = -1
        with logged() as lines:
            service.startService()
            await self.opened
            self.end_input(b"question")
            self.assertEqual(await service.ended, 111)
        self.assertEqual(len(lines("fatal: ")), 1)
        await self.until_left()

    async def test_nobody_there(self) -> None:
        """No connection is 111, with a reason, and the descriptors are left alone."""
        service = self.make(1, timeout=0.2)
        with logged() as lines:
            service.startService()
            self.assertEqual(await service.ended, 111)
        self.assertIn("no response from server", lines("fatal: ")[0])
        self.assertFalse(self.opened.called)

    async def test_stopped_while_dialling(self) -> None:
        """Whoever stops it before there is an answer needs no reason."""
        service = self.make(1)
        with logged() as lines:
            service.startService()
            await service.stopService()
            self.assertEqual(await service.ended, 111)
        self.assertEqual(lines("fatal: "), [])

    async def test_peer_fails(self) -> None:
        """A stream that fails is 111, with a reason."""
        service = self.make(await self.serve(b"begin", ends=False))
        with logged() as lines:
            service.startService()
            await self.opened
            peer: Any = self.served[0].transport
            peer.abortConnection()
            self.assertEqual(await service.ended, 111)
        self.assertEqual(len(lines("fatal: ")), 1)
        await self.until_left()

    async def test_stopped(self) -> None:
        """So is one that is stopped in the middle; the server is told."""
        service = self.make(await self.serve(ends=False))
        service.startService()
        await self.opened
        await service.stopService()
        self.assertEqual(await service.ended, 111)
        await self.until_left()

    async def test_killed(self) -> None:
        """Whoever is in a hurry need not wait for the server to know."""
        service = self.make(await self.serve(ends=False))
        service.startService()
        await self.opened
        stopped = service.stopService()
        service.kill()
        await stopped
        self.assertEqual(await service.ended, 111)
        await self.until_left()


class MakeTunnelTests(TestCase):
    """Tests for how the service of ``--listen`` is made."""

    def options(self, *options: str) -> ClientOptions:
        """Read a command line."""
        parsed = ClientOptions()
        operands = (NAME, KEY, "127.0.0.1", "11000", "0" * 32)
        parsed.parseOptions([*options, *operands])
        return parsed

    async def make(self, *options: str) -> ListenService:
        """Make a service that ends with the test."""
        service = make_tunnel(self.options(*options))
        self.addCleanup(service.stopService)
        return service

    async def test_bound(self) -> None:
        """Its port is bound before the service starts."""
        service: Any = await self.make("--listen", ANYWHERE)
        self.assertGreater(service._port.getHost().port, 0)

    async def test_twistd(self) -> None:
        """Under twistd, it takes over the signals when it starts."""
        service = tunnel.makeService(self.options("--listen", ANYWHERE))
        self.addCleanup(service.stopService)
        self.assertIsNotNone(service.signals)

    def test_without_listen(self) -> None:
        """Without ``--listen`` there is nothing that twistd could run."""
        options = self.options("--stdio")
        finished = run_here(self, lambda _: print(make_tunnel(options)))
        self.assertEqual(finished.code, 100)
        self.assertIn("--listen is needed", finished.last)

    async def test_taken(self) -> None:
        """A port that is taken is 111, with the reason."""
        first: Any = await self.make("--listen", ANYWHERE)
        taken = f"tcp:{first._port.getHost().port}:interface=127.0.0.1"
        options = self.options("--listen", taken)
        finished = run_here(self, lambda _: print(make_tunnel(options)))
        self.assertEqual(finished.code, 111)
        self.assertIn("unable to listen", finished.last)
