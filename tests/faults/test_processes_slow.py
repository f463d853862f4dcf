"""Programs that do not read, or not fast enough, and what that costs the others."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from curvecp_tx import CurveCPClientEndpoint
from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES
from tests.faults.figures import OURS as OURS_BOTH
from tests.faults.figures import note
from tests.interop.processes import EXTENSION, HANDLER, HOST, NAME, OURS, Server
from tests.interop.rawclient import RawClient, RawClientTestCase, message
from tests.interop.streaming import MEBIBYTE, StreamTestCase, digest, shell
from tests.interop.test_streams_memory import resident

FLOOD = 300
PACE = 8
OTHERS = 20
GREATEST_GROWTH = 512
"""Kibibytes."""

CLIENTS = 10
SECONDS = 3.0
SLOW = "while dd bs=8192 count=1 of=/dev/null 2>/dev/null; do sleep .15; done"
"""What waits for a reader depends on its speed; this one hardly gets more than one
that does not read."""

FOR_SLOW_READER = 1024
"""Kibibytes for each stream: a window in the stream, another before the pipe."""

PIECE = bytes(65536)
LEAST_SHARE = 0.2
"""Of the mean; congestion control needs longer than a test lasts to be fair."""


def percentile(values: list[float], share: float) -> float:
    """Give the value below which a share of all lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class StalledProgramTests(RawClientTestCase):
    """A program that is stopped, while its client sends and others come."""

    async def flood(self, server: Server, client: RawClient) -> None:
        """Send more than the pipe of a program holds."""
        for number in range(FLOOD):
            client.send(message(f"flood {number}", MAX_MESSAGE_BYTES))
            if number % PACE == 0:
                await self.until_handled(server)

    async def test_others(self) -> None:
        """Others come in as usual, and memory does not grow with what is sent."""
        server = await self.serve(OURS, HANDLER)
        stalled = await self.connect(server, "echo")
        os.kill(await self.only_child(server.process), signal.SIGSTOP)
        await self.flood(server, stalled)
        before = resident(server.process.pid)
        handshakes = []
        for number in range(OTHERS):
            await self.flood_once(stalled)
            started = time.monotonic()
            await self.until_cookie(self.raw_client(server))
            handshakes.append(time.monotonic() - started)
            if number % PACE == 0:
                other = await self.connect(server, "echo")
                await self.exchange(other, "as if nothing were")
        await self.flood(server, stalled)
        growth = resident(server.process.pid) - before
        self.assertLess(growth, GREATEST_GROWTH)
        worst = percentile(handshakes, 0.95) * 1000
        note("D7", OURS_BOTH, f"handshake p95 {worst:.0f} ms; memory +{growth} KiB")

    async def flood_once(self, client: RawClient) -> None:
        """Send a few messages more."""
        for number in range(PACE):
            client.send(message(f"more {number}", MAX_MESSAGE_BYTES))


class Writer(Protocol):
    """Writes all the time, as fast as the transport takes it."""

    transport: Any

    def __init__(self) -> None:
        self.written = 0

    def connectionMade(self) -> None:
        """Begin."""
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Write more."""
        self.written += len(PIECE)
        self.transport.write(PIECE)

    def stopProducing(self) -> None:
        """Write no more."""


class SlowProgramTests(StreamTestCase):
    """Programs that read slowly, or not at all for a while."""

    async def test_stopped_program(self) -> None:
        """A stream waits for a program that is stopped, and is complete in the end."""
        data = random.Random(8).randbytes(2 * MEBIBYTE)
        self.write("data", data)
        server = await self.serve(OURS, shell("exec cat >got"), options=("--stream",))
        script = "head -c 100000 data >&7; until test -e go; do sleep .05; done; "
        script += "tail -c +100001 data >&7"
        client = self.call(OURS, server, shell(script), options=("--stream",))
        await self.until(lambda: len(self.read("got")) == 100000, "the beginning")
        pid = await self.only_child(server.process, "cat")
        os.kill(pid, signal.SIGSTOP)
        before = resident(server.process.pid)
        self.write("go", b"")
        await deferLater(reactor, 1.0)
        growth = resident(server.process.pid) - before
        self.assertIsNone(client.status)
        self.assertLess(growth, GREATEST_GROWTH)
        os.kill(pid, signal.SIGCONT)
        await self.succeed(client)
        self.assertEqual(digest(self.read("got")), digest(data))
        note("D7", OURS_BOTH, f"stream to a stopped program: +{growth} KiB, complete")

    async def test_fast_senders(self) -> None:
        """Ten clients that send too fast: memory is bounded, and nobody starves."""
        server = await self.serve(OURS, shell(SLOW), options=("--stream",))
        endpoint = CurveCPClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=server.key,
            serverName=NAME,
            serverExtension=EXTENSION,
            hosts=[HOST],
            port=server.port,
        )
        before = resident(server.process.pid)
        writers: list[Any] = await gatherResults(
            endpoint.connect(Factory.forProtocol(Writer)) for _ in range(CLIENTS)
        )
        await deferLater(reactor, SECONDS / 3)
        begun = [writer.written for writer in writers]
        await deferLater(reactor, SECONDS)
        shares = [
            writer.written - start for writer, start in zip(writers, begun, strict=True)
        ]
        growth = (resident(server.process.pid) - before) // CLIENTS
        ends = [writer.transport.whenOver for writer in writers]
        for writer in writers:
            writer.transport.abortConnection()
        await gatherResults(ends)
        mean = sum(shares) / CLIENTS
        self.assertGreater(min(shares), LEAST_SHARE * mean, shares)
        self.assertLess(growth, FOR_SLOW_READER)
        low, high = min(shares) / mean, max(shares) / mean
        text = f"shares {low:.0%} to {high:.0%} of the mean; +{growth} KiB for each"
        note("D8", OURS_BOTH, text)
