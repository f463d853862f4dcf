"""Several clients at once behind bad networks, of ours and of the reference."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure

from curvecp_tx.net.reasons import Aborted, PeerSilent
from tests.faults.impairment import CLEAR, Deed, Kind, Link
from tests.faults.proxy import Proxy
from tests.faults.scenario import FaultTestCase, Sampled, noise
from tests.faults.virtual import quantiles
from tests.interop.processes import EXTENSION, HOST, NAME, REFERENCE, tool
from tests.interop.streaming import CLIENT_FIRST, KIBIBYTE, carrier

FEW = 10

CLIENT_SCRIPT = "cat up >&7; exec 7>&-; cat <&6 >{name}.part; mv {name}.part {name}.got"
SERVER_SCRIPT = "cat >{name}.$$.part; mv {name}.$$.part {name}.$$.up; cat down"


class Crowd:
    """Clients that exchange a little with a server, each through a proxy of its own.

    So what becomes of a client's first packets depends on the seed alone, and not
    on the others. Some clients of the reference would give up otherwise.

    :param name: what its files are named after, where a test has several crowds.
    :ivar hosts: where clients look for the server.
    :ivar servers: our server's ends.
    :ivar failures: why ours could not connect.
    :ivar without_last_word: how many of ours have not learnt that all has arrived.
    """

    def __init__(
        self,
        case: CrowdTestCase,
        link: Link = CLEAR,
        count: int = FEW,
        *,
        name: str = "crowd",
        hosts: str = HOST,
    ) -> None:
        self.link = link
        self.count = count
        self.hosts = hosts
        self.servers: list[Sampled] = []
        self.clients: list[Sampled] = []
        self.proxies: list[Proxy] = []
        self.ports: list[int] = []
        self.failures: list[Failure] = []
        self.without_last_word = 0
        self._case = case
        self._name = name
        self._ends_last = False
        self._began = time.monotonic()

    def at(self, port: int) -> None:
        """Put the proxies in front of a server."""
        for seed in range(self.count):
            self.proxies.append(self._case.put_proxy(port, self.link, seed=seed))
            self.ports.append(self._case.port)
        # Before the proxies and our server go.
        self._case.addCleanup(self.abort)
        self._began = time.monotonic()

    async def serve_ours(self) -> None:
        """Serve in this process."""
        self.at(await self._case.listen(self.build))

    async def serve_reference(self) -> None:
        """Serve with the reference."""
        script = SERVER_SCRIPT.format(name=self._name)
        server = await self._case.serve(REFERENCE, carrier(REFERENCE, script))
        self.at(server.port)

    def build(self) -> Sampled:
        """Make one of our server's ends.

        Clients of the reference have to wait for it, as they forget what is under
        way when their program ends.
        """
        down = self._case.down
        end = Sampled(b"", down) if self._ends_last else Sampled(down)
        end.over.addErrback(self._unanswered)
        self.servers.append(end)
        return end

    async def call_ours(self) -> list[float]:
        """Have our clients connect; give the times until each had all."""
        for port in self.ports:
            self.dial(port)
        return await self.wait_for(self.clients, self._case.down)

    def dial(self, port: int) -> None:
        """Have one of our clients connect."""
        client = Sampled(self._case.up)
        client.over.addErrback(self._unanswered)
        self.clients.append(client)
        connecting = self._case.dial(port, client, hosts=self.hosts.split(","))
        connecting.addErrback(self.failures.append)

    def launch_reference(self) -> None:
        """Start clients of the reference."""
        client = tool(REFERENCE, "curvecpclient")
        self._ends_last = True
        key = self._case.key.hex()
        for n, port in enumerate(self.ports):
            operands = (NAME, key, self.hosts, str(port), EXTENSION.hex())
            script = CLIENT_SCRIPT.format(name=f"{self._name}.{n}")
            program = carrier(REFERENCE, script, CLIENT_FIRST)
            self._case.launch((*client, *operands, *program))

    async def wait_for(self, ends: list[Sampled], data: bytes) -> list[float]:
        """Wait until each of our ends has all; give the times."""
        times: list[float] = []
        left = list(ends)

        def look() -> bool:
            self._case.assertEqual(self.failures, [])
            for end in tuple(left):
                if end.arrived >= len(data):
                    left.remove(end)
                    times.append(time.monotonic() - self._began)
            return not left

        await self._case.until(look, "all have all")
        self._case.assertEqual([end.received for end in ends], [data] * len(ends))
        return times

    async def wait_for_reference(self, times: list[float] | None = None) -> list[float]:
        """Wait until each of its clients has all; give the times.

        :param times: where to keep them, so that some are there if others fail.
        """
        times = [] if times is None else times
        left = set(self._downloads())

        def look() -> bool:
            for name in tuple(left):
                if self._case.read(name):
                    left.remove(name)
                    times.append(time.monotonic() - self._began)
            return not left

        await self._case.until(look, "all clients have all")
        for name in self._downloads():
            self._case.assertEqual(self._case.read(name), self._case.down)
        return times

    def deeds(self, deed: Deed, kind: Kind | None = None) -> int:
        """Tell how often something has happened on the way there."""
        return sum(proxy.there.counts.of(deed, kind) for proxy in self.proxies)

    def cookies(self) -> int:
        """Tell how many Cookies the server has sent."""
        return sum(
            proxy.back.counts.of(Deed.SEEN, Kind.COOKIE) for proxy in self.proxies
        )

    async def check_servers(self) -> None:
        """Check what our server's ends have, and that there is one for each client."""
        await self.wait_for(self.servers, self._case.up)
        self._case.assertEqual(len(self.servers), self.count)

    async def check_files(self) -> None:
        """The same of the reference's."""

        def ups() -> list[str]:
            names = os.listdir(self._case.directory)
            return [
                name
                for name in names
                if name.startswith(f"{self._name}.") and name.endswith(".up")
            ]

        await self._case.until(lambda: len(ups()) >= self.count, "all uploads")
        self._case.assertEqual(len(ups()), self.count)
        for name in ups():
            self._case.assertEqual(self._case.read(name), self._case.up)

    async def pair_of_ours(self) -> str:
        """Try both ends of ours, which have to end well; give the times."""
        await self.serve_ours()
        times = await self.call_ours()
        await self.check_servers()
        for end in self.servers + self.clients:
            await end.over
        self._case.assertEqual(self.without_last_word, 0)
        return f"{self.count} of {self.count} intact; {quantiles(times)}"

    async def our_clients(self) -> str:
        """Try our clients and the reference's server; give the times."""
        await self.serve_reference()
        times = await self.call_ours()
        await self.check_files()
        return f"{self.count} of {self.count} intact; {quantiles(times)}"

    async def our_server(self) -> str:
        """Try the reference's clients and our server; give the times."""
        await self.serve_ours()
        self.launch_reference()
        times = await self.wait_for_reference()
        await self.check_servers()
        return f"{self.count} of {self.count} intact; {quantiles(times)}"

    async def reference(self) -> str:
        """Try the reference at both ends; give the times of those who made it."""
        await self.serve_reference()
        self.launch_reference()
        times: list[float] = []
        with contextlib.suppress(self._case.failureException):
            await self.wait_for_reference(times)
        read, down = self._case.read, self._case.down
        done = [name for name in self._downloads() if read(name) == down]
        patience = f"{self._case.patience:.0f} s"
        result = f"{len(done)} of {self.count} within {patience}"
        return f"{result}; {quantiles(times)}" if times else result

    def abort(self) -> Deferred[Any]:
        """End what is still waiting for the reference; fires when all has ended."""
        waiting = []
        for end in self.servers + self.clients:
            if end.transport is None:
                continue
            if not end.over.called:
                end.transport.abortConnection()
                end.over.addErrback(lambda reason: reason.trap(ConnectionAborted))
            waiting.append(end.over)
        return gatherResults(waiting)

    def _downloads(self) -> list[str]:
        return [f"{self._name}.{n}.got" for n in range(self.count)]

    def _unanswered(self, reason: Failure) -> None:
        """Take it that the reference went before we had its last word.

        It does not stay to repeat an acknowledgment that was lost; so the end cannot
        know that all has arrived, and must not say so.
        """
        reason.trap(PeerSilent, Aborted)
        self.without_last_word += 1


class CrowdTestCase(FaultTestCase):
    """A test in which crowds exchange a little with servers."""

    timeout = 240.0
    patience = 120.0

    def setUp(self) -> None:
        super().setUp()
        self.up, self.down = noise(KIBIBYTE, "up"), noise(KIBIBYTE, "down")
        self.write("up", self.up)
        self.write("down", self.down)
