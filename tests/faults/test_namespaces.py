"""Links that fail and change, with the kernel's own errors, in network namespaces."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sys
import time

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from tests.faults.figures import OURS, note
from tests.faults.namespaces import (
    CLIENT,
    CLIENT_HOST,
    CLIENT_NEXT_HOST,
    LINK,
    NET,
    ROUTER,
    SERVER,
    SERVER_HOST,
    TO_SERVER,
    NamespaceTestCase,
)
from tests.interop.processes import MODULES, Process, Server, is_alive
from tests.interop.streaming import KIBIBYTE, digest

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
SMALL_BUFFERS = (sys.executable, os.path.join(PROGRAMS, "small_buffers.py"))

SIZE = 256 * KIBIBYTE
OUTAGE = 2.0
UNTIL_GO = "until test -e go; do sleep .05; done"

UPLOAD = f"cat begin >&7; {UNTIL_GO}; cat rest >&7; exec 7>&-; cat <&6 >got"
"""A client's program: two parts, with a sign to be waited for between them."""

ECHO = "cat"


class LinkTests(NamespaceTestCase):
    """A transfer in two parts; between them something happens to the network."""

    def setUp(self) -> None:
        super().setUp()
        self.data = random.Random(7).randbytes(2 * SIZE)
        self.write("begin", self.data[:SIZE])
        self.write("rest", self.data[SIZE:])

    async def begin(self) -> tuple[Server, Process]:
        """Start, and wait until the first part is through."""
        server = await self.serve_within(f"tee arrived | {ECHO}")
        client = self.call_within(server, UPLOAD)
        await self.until(lambda: len(self.read("arrived")) == SIZE, "the first part")
        return server, client

    async def finish_all(self, server: Server, client: Process) -> None:
        """Wait for the second part; all has to be there, at both ends."""
        await self.succeed(client)
        self.assertEqual(digest(self.read("arrived")), digest(self.data))
        self.assertEqual(digest(self.read("got")), digest(self.data))
        self.assertEqual(server.programs_started, 1)
        self.assertNotIn("Traceback", server.process.errors)

    async def counters(self, server: Server) -> dict[str, int]:
        """End a server, and give what it has counted."""
        server.process.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(server.process), 0)
        pairs = re.findall(r"'(\w+)': (\d+)", server.process.errors)
        return {name: int(number) for name, number in pairs}

    async def test_link_down(self) -> None:
        """A link that is down for a while is waited for."""
        server, client = await self.begin()
        self.ip(SERVER, "link", "set", LINK, "down")
        self.write("go", b"")
        await deferLater(reactor, OUTAGE)
        self.ip(SERVER, "link", "set", LINK, "up")
        self.add_routes()
        restored = time.monotonic()
        await self.finish_all(server, client)
        took = time.monotonic() - restored
        note(
            "E8", OURS, f"link down {OUTAGE:g} s: all there {took:.1f} s after it is up"
        )

    async def test_own_link_down(self) -> None:
        """ENETUNREACH on each send of a server is counted, and does no harm."""
        server = await self.serve_within(f"cat begin; {UNTIL_GO}; cat rest")
        client = self.call_within(server, "exec 7>&-; cat <&6 >got")
        await self.until(lambda: len(self.read("got")) == SIZE, "the first part")
        self.ip(SERVER, "link", "set", LINK, "down")
        self.write("go", b"")
        await deferLater(reactor, OUTAGE)
        self.ip(SERVER, "link", "set", LINK, "up")
        self.add_routes()
        await self.succeed(client)
        self.assertEqual(digest(self.read("got")), digest(self.data))
        failed = (await self.counters(server))["lost_send_error"]
        self.assertGreater(failed, 0)
        note("E5", OURS, f"real ENETUNREACH: {failed} failed sends, all arrives")

    async def test_full_queue(self) -> None:
        """EAGAIN, because the device does not keep up, is counted, and does no harm."""
        if shutil.which("tc") is None:
            raise SkipTest("to slow down a device needs the command tc")
        queue = "qdisc add dev uplink root tbf rate 4mbit burst 4k limit 1m"
        self.command("tc", "-n", self.namespace(SERVER), *queue.split())
        wrapper = (*SMALL_BUFFERS, MODULES["curvecpserver"])
        server = await self.serve_within("cat begin rest", wrapper=wrapper)
        client = self.call_within(server, "exec 7>&-; cat <&6 >got")
        await self.succeed(client)
        self.assertEqual(digest(self.read("got")), digest(self.data))
        counters = await self.counters(server)
        failed = counters["lost_send_error"]
        self.assertGreater(failed, 0)
        sent = counters["datagrams_sent"]
        note(
            "E5", OURS, f"real EAGAIN: {failed} failed sends, {sent} good; all arrives"
        )

    async def test_address_change(self) -> None:
        """A client that gets another address goes on from there."""
        server, client = await self.begin()
        self.ip(CLIENT, "address", "add", f"{CLIENT_NEXT_HOST}/{NET}", "dev", LINK)
        self.ip(CLIENT, "address", "delete", f"{CLIENT_HOST}/{NET}", "dev", LINK)
        self.ip(CLIENT, "address", "replace", f"{CLIENT_NEXT_HOST}/{NET}", "dev", LINK)
        self.add_routes()
        self.write("go", b"")
        changed = time.monotonic()
        await self.finish_all(server, client)
        took = time.monotonic() - changed
        note("E8", OURS, f"new address: 256 KB each way in {took:.1f} s")

    async def test_small_packets_only(self) -> None:
        """Where packets must be smaller than ours, they travel in fragments."""
        server, client = await self.begin()
        self.ip(ROUTER, "link", "set", TO_SERVER, "mtu", "1000")
        self.ip(SERVER, "link", "set", LINK, "mtu", "1000")
        self.write("go", b"")
        await self.finish_all(server, client)
        for place in (ROUTER, SERVER):
            self.assertGreater(self.counted(place, "Ip", "FragCreates"), 0)
            self.assertEqual(self.counted(place, "Ip", "FragFails"), 0)
        note("E8", OURS, "MTU 1000: all arrives, in fragments, without an ICMP")

    async def test_unreachable(self) -> None:
        """ICMP errors about an established connection change nothing."""
        server, client = await self.begin()
        self.ip(ROUTER, "route", "add", "unreachable", f"{SERVER_HOST}/32")
        self.write("go", b"")
        await self.until(
            lambda: self.counted(CLIENT, "Icmp", "InDestUnreachs"), "an ICMP error"
        )
        await deferLater(reactor, OUTAGE)
        self.assertIsNone(client.status)
        self.ip(ROUTER, "route", "delete", "unreachable", f"{SERVER_HOST}/32")
        await self.finish_all(server, client)
        met = self.counted(CLIENT, "Icmp", "InDestUnreachs")
        note("E7", OURS, f"{met} ICMP errors at the client: no effect")

    async def test_closed_port(self) -> None:
        """ICMP errors about a client that is gone end neither it nor the others."""
        server = await self.serve_within(f"echo; {UNTIL_GO}; cat begin; cat >&2")
        gone = self.call_within(server, "read line <&6; : >here; exec sleep 100")
        await self.until(lambda: os.path.exists(f"{self.directory}/here"), "a stream")
        pid = await self.only_child(server.process)
        gone.kill()
        self.write("go", b"")
        await self.until(
            lambda: self.counted(SERVER, "Icmp", "InDestUnreachs"), "an ICMP error"
        )
        other = self.call_within(server, "exec 7>&-; cat <&6 >got")
        await self.succeed(other)
        self.assertEqual(len(self.read("got")), SIZE + 1)
        self.assertTrue(is_alive(pid))
        self.assertNotIn("Traceback", server.process.errors)
        note("E7", OURS, "ICMP errors at the server: its connections stay")
