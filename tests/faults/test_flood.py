"""Floods of Hellos from one address, and everybody else."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx import CurveCPClientEndpoint
from curvecp_tx.net.udp import BATCH_LIMIT
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.client import Phase
from tests.faults.figures import OURS as OURS_BOTH
from tests.faults.figures import note
from tests.faults.test_processes_slow import Writer
from tests.interop.processes import EXTENSION, HOST, MODULES, NAME, OURS, Server
from tests.interop.rawclient import RawClient, RawClientTestCase, message
from tests.interop.streaming import shell
from tests.secure.scripted import RawClient as Scripted
from tests.secure.scripted import make_server

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
LAGGING = (sys.executable, os.path.join(PROGRAMS, "lagging.py"))
FLOODER = (sys.executable, os.path.join(PROGRAMS, "flooder.py"))

RATE = 5000
SECONDS = 3.0
NEWCOMERS = 20
ELSEWHERE = "127.0.0.{}"
REFUSED = 20_000


class FloodTests(RawClientTestCase):
    """Five thousand Hellos a second, from one address."""

    async def serve_stream(self) -> Server:
        """Start a server that tells how late it is."""
        wrapper = (*LAGGING, os.path.join(self.directory, "lag"))
        return await self.serve(
            OURS,
            shell("cat >/dev/null"),
            options=("--stream",),
            wrapper=(*wrapper, MODULES["curvecpserver"]),
        )

    async def begin_transfer(self, server: Server) -> Any:
        """Begin to send, without an end."""
        endpoint = CurveCPClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=server.key,
            serverName=NAME,
            serverExtension=EXTENSION,
            hosts=[HOST],
            port=server.port,
        )
        return await endpoint.connect(Factory.forProtocol(Writer))

    def newcomer(self, server: Server, number: int) -> RawClient:
        """Make a client at an address of its own, which has just said Hello."""
        host = ELSEWHERE.format(10 + number)
        client = RawClient(server.port, server.key, own_host=host)
        self.addCleanup(lambda: client.socket.close())
        client.send(message("", 192))
        return client

    async def flood(self, kind: str) -> None:
        """Flood a server, and see what becomes of the others."""
        server = await self.serve_stream()
        writer = await self.begin_transfer(server)
        await deferLater(reactor, 1.0)
        start = writer.written
        await deferLater(reactor, 1.0)
        usual = writer.written - start
        server.process.signal(signal.SIGUSR1)
        arguments = (
            server.port,
            server.key.hex(),
            EXTENSION.hex(),
            RATE,
            SECONDS,
            kind,
        )
        flooder = self.launch((*FLOODER, *map(str, arguments)))
        start, began = writer.written, time.monotonic()
        newcomers: list[RawClient] = []
        connected: dict[int, float] = {}
        started: dict[int, float] = {}

        def over() -> bool:
            now = time.monotonic()
            number = len(newcomers)
            if number < NEWCOMERS and now - began > number * SECONDS / NEWCOMERS:
                newcomers.append(self.newcomer(server, number))
                started[number] = now
            for index, client in enumerate(newcomers):
                if index not in connected and client.phase is not Phase.HELLO:
                    connected[index] = now - started[index]
            return len(connected) == NEWCOMERS and flooder.status is not None

        await self.until(over, "newcomers are answered, and the flood ends")
        rate = (writer.written - start) / (time.monotonic() - began)
        self.assertGreater(rate, 0)
        server.process.signal(signal.SIGUSR2)
        lag = float(await self.until(lambda: self.read("lag"), "the lag is written"))
        self.assertGreater(int(flooder.output), 0)
        self.assertIsNone(server.process.status)
        self.assertNotIn("Traceback", server.process.errors)
        ended = writer.transport.whenOver
        writer.transport.abortConnection()
        await ended
        soon = sum(seconds <= SECONDS for seconds in connected.values()) / NEWCOMERS
        note(
            "D1",
            OURS_BOTH,
            f"{kind} boxes: {soon:.0%} of handshakes within 3 s, worst"
            f" {max(connected.values()):.2f} s; transfer at {rate / usual:.0%};"
            f" lag p99 {1000 * lag:.0f} ms; {flooder.output.strip()} Hellos",
        )

    async def test_good(self) -> None:
        """Hellos that could be answered: others come in, and go on."""
        await self.flood("good")

    async def test_bad(self) -> None:
        """Hellos whose boxes do not open: others come in, and go on."""
        await self.flood("bad")


class CostTests(SynchronousTestCase):
    """What a Hello costs that is beyond the limit."""

    def test_cost(self) -> None:
        """It is counted, and neither opened nor answered; a read takes 64 at most."""
        server = make_server(limits=Limits(hello_rate=1.0))
        counters = server.counters
        hello = Scripted().hello()
        batch = [(hello, ("192.0.2.7", 7))] * BATCH_LIMIT
        server.receive(batch, 0.0)
        answered = counters.cookies
        began = time.monotonic()
        for _ in range(REFUSED // BATCH_LIMIT):
            self.assertEqual(server.receive(batch, 0.0).replies, [])
        took = time.monotonic() - began
        self.assertEqual(counters.cookies, answered)
        handled = REFUSED // BATCH_LIMIT * BATCH_LIMIT
        self.assertGreaterEqual(counters.refused_hello_rate, handled)
        note("D1", OURS_BOTH, f"a refused Hello costs {took / handled * 1e6:.1f} µs")
