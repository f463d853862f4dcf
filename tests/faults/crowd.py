"""Several clients at once behind bad networks, of ours and of the reference."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from curvecp_tx.net.reasons import Aborted, PeerSilent
from tests.faults.impairment import CLEAR, Deed, Kind, Link
from tests.faults.scenario import FaultTestCase, Sampled, noise
from tests.faults.virtual import quantiles
from tests.interop.processes import EXTENSION, HOST, NAME, REFERENCE, tool
from tests.interop.streaming import CLIENT_FIRST, KIBIBYTE, carrier

FEW = 10

CLIENT_SCRIPT = "cat up >&7; exec 7>&-; cat <&6 >{n}.part; mv {n}.part {n}.got"
SERVER_SCRIPT = "cat >$$.part; mv $$.part $$.up; cat down"


class CrowdTestCase(FaultTestCase):
    """A test in which several clients exchange a little with a server."""

    timeout = 240.0
    patience = 120.0

    def setUp(self) -> None:
        super().setUp()
        self.up, self.down = noise(KIBIBYTE, "up"), noise(KIBIBYTE, "down")
        self.write("up", self.up)
        self.write("down", self.down)
        self.servers: list[Sampled] = []
        self.hosts = HOST
        self.ends_last = False
        self.failures: list[Failure] = []
        self.without_last_word = 0
        self.began = time.monotonic()

    def build(self) -> Sampled:
        """Make one of our server's ends.

        Clients of the reference have to wait for it, as they forget what is under
        way when their program ends.
        """
        end = Sampled(b"", self.down) if self.ends_last else Sampled(self.down)
        end.over.addErrback(self.unanswered)
        self.addCleanup(self.abort, end)
        self.servers.append(end)
        return end

    async def call_ours(self) -> list[float]:
        """Have our clients connect; give the times until each had all."""
        self.clients = clients = [Sampled(self.up) for _ in self.ports]
        for client, port in zip(clients, self.ports, strict=True):
            client.over.addErrback(self.unanswered)
            self.addCleanup(self.abort, client)
            connecting = self.dial(port, client, hosts=self.hosts.split(","))
            connecting.addErrback(self.failures.append)
        return await self.wait_for(clients, self.down)

    async def wait_for(self, ends: list[Sampled], data: bytes) -> list[float]:
        """Wait until each of our ends has all; give the times."""
        times: list[float] = []
        left = list(ends)

        def look() -> bool:
            self.assertEqual(self.failures, [])
            for end in tuple(left):
                if end.arrived >= len(data):
                    left.remove(end)
                    times.append(time.monotonic() - self.began)
            return not left

        await self.until(look, "all have all")
        self.assertEqual([end.received for end in ends], [data] * len(ends))
        return times

    def unanswered(self, reason: Failure) -> None:
        """Take it that the reference went before we had its last word.

        It does not stay to repeat an acknowledgment that was lost; so the end cannot
        know that all has arrived, and must not say so.
        """
        reason.trap(PeerSilent, Aborted)
        self.without_last_word += 1

    def abort(self, end: Sampled) -> Deferred[Any]:
        """End what is still waiting for the reference."""
        if end.transport is None:
            return succeed(None)
        if end.over.called:
            return end.over
        end.transport.abortConnection()
        return end.over.addErrback(lambda reason: reason.trap(ConnectionAborted))

    def launch_reference(self) -> None:
        """Start clients of the reference."""
        client = tool(REFERENCE, "curvecpclient")
        self.ends_last = True
        for n, port in enumerate(self.ports):
            operands = (NAME, self.key.hex(), self.hosts, str(port), EXTENSION.hex())
            script = CLIENT_SCRIPT.format(n=n)
            program = carrier(REFERENCE, script, CLIENT_FIRST)
            self.launch((*client, *operands, *program))

    async def wait_for_reference(
        self, count: int, times: list[float] | None = None
    ) -> list[float]:
        """Wait until each of its clients has all; give the times.

        :param times: where to keep them, so that some are there if others fail.
        """
        times = [] if times is None else times
        left = {f"{n}.got" for n in range(count)}

        def look() -> bool:
            for name in tuple(left):
                if self.read(name):
                    left.remove(name)
                    times.append(time.monotonic() - self.began)
            return not left

        await self.until(look, "all clients have all")
        for n in range(count):
            self.assertEqual(self.read(f"{n}.got"), self.down)
        return times

    def at(self, port: int, count: int, link: Link = CLEAR) -> None:
        """Put a proxy for each client in front of a server.

        So what becomes of a client's first packets depends on the seed alone, and
        not on the others. Some clients of the reference would give up otherwise.
        """
        self.proxies, self.ports = [], []
        for seed in range(count):
            self.proxies.append(self.put_proxy(port, link, seed=seed))
            self.ports.append(self.port)
        self.began = time.monotonic()

    async def serve_ours(self, link: Link, count: int) -> None:
        """Serve in this process."""
        self.at(await self.listen(self.build), count, link)

    async def serve_reference(self, link: Link, count: int) -> None:
        """Serve with the reference."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, SERVER_SCRIPT))
        self.at(server.port, count, link)

    def deeds(self, deed: Deed, kind: Kind | None = None) -> int:
        """Tell how often something has happened on the way there."""
        return sum(proxy.there.counts.of(deed, kind) for proxy in self.proxies)

    async def check_servers(self, count: int) -> None:
        """Check what our server's ends have, and how many there are."""
        await self.wait_for(self.servers, self.up)
        self.assertEqual(len(self.servers), count)

    async def check_files(self, count: int) -> None:
        """The same of the reference's."""

        def ups() -> list[str]:
            names = os.listdir(self.directory)
            return [name for name in names if name.endswith(".up")]

        await self.until(lambda: len(ups()) >= count, f"{count} uploads")
        self.assertEqual(len(ups()), count)
        for name in ups():
            self.assertEqual(self.read(name), self.up)

    async def pair_of_ours(self, link: Link, count: int) -> str:
        """Try both ends of ours, which have to end well; give the times."""
        await self.serve_ours(link, count)
        times = await self.call_ours()
        await self.check_servers(count)
        for end in self.servers + self.clients:
            await end.over
        self.assertEqual(self.without_last_word, 0)
        return f"{count} of {count} intact; {quantiles(times)}"

    async def our_clients(self, link: Link, count: int) -> str:
        """Try our clients and the reference's server; give the times."""
        await self.serve_reference(link, count)
        times = await self.call_ours()
        await self.check_files(count)
        return f"{count} of {count} intact; {quantiles(times)}"

    async def our_server(self, link: Link, count: int) -> str:
        """Try the reference's clients and our server; give the times."""
        await self.serve_ours(link, count)
        self.launch_reference()
        times = await self.wait_for_reference(count)
        await self.check_servers(count)
        return f"{count} of {count} intact; {quantiles(times)}"

    async def reference(self, link: Link, count: int) -> str:
        """Try the reference at both ends; give the times of those who made it."""
        await self.serve_reference(link, count)
        self.launch_reference()
        times: list[float] = []
        with contextlib.suppress(self.failureException):
            await self.wait_for_reference(count, times)
        done = [n for n in range(count) if self.read(f"{n}.got") == self.down]
        result = f"{len(done)} of {count} within {self.patience:.0f} s"
        return f"{result}; {quantiles(times)}" if times else result
