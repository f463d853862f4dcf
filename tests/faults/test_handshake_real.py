"""Handshakes on bad networks between real sockets, with the reference as well."""

from __future__ import annotations

import os
import random
import socket

from twisted.internet import reactor
from twisted.internet.task import LoopingCall, deferLater

from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.wire.packets import COOKIE_BYTES, COOKIE_MAGIC
from tests.faults.crowd import FEW, SERVER_SCRIPT, CrowdTestCase
from tests.faults.figures import OUR_CLIENT, OUR_SERVER, OURS, note
from tests.faults.impairment import CLEAR, Deed, Kind, Link
from tests.faults.scenario import FaultTestCase, Sampled, noise
from tests.faults.virtual import quantiles
from tests.interop.processes import (
    EXTENSION,
    HANDLER,
    HOST,
    NAME,
    REFERENCE,
    Server,
    free_port,
    tool,
)
from tests.interop.processes import OURS as OUR_TOOLS
from tests.interop.streaming import CLIENT_FIRST, KIBIBYTE, carrier

LOSSY = Link(loss=0.3, burst=3, delay=0.015)
CORRUPT = Link(corrupt=0.3, delay=0.015)
TWICE = Link(duplicate=1.0, delay=0.015)
CROWD = 50
FLOOD = 10_000
"""Forged packets in a second."""

DEAD_HOST = "127.0.0.50"
FAILURE = 111


class LossTests(CrowdTestCase):
    """Three packets in ten are lost, each way."""

    async def test_ours(self) -> None:
        """Fifty clients at once all get through, and each starts one handler."""
        note("A1", OURS, await self.pair_of_ours(LOSSY, CROWD))
        self.assertGreater(self.deeds(Deed.LOST), CROWD)

    async def test_reference_server(self) -> None:
        """Ours get through to a server of the reference."""
        note("A1", OUR_CLIENT, await self.our_clients(LOSSY, FEW))

    async def test_reference_clients(self) -> None:
        """The reference's clients get through to us."""
        note("A1", OUR_SERVER, await self.our_server(LOSSY, FEW))


class CorruptionTests(CrowdTestCase):
    """Three packets in ten have one bit flipped, each way."""

    async def test_ours(self) -> None:
        """Fifty clients at once all get through, and each starts one handler."""
        note("A2", OURS, await self.pair_of_ours(CORRUPT, CROWD))
        self.assertGreater(self.deeds(Deed.CORRUPTED), CROWD)

    async def test_reference_server(self) -> None:
        """Ours get through to a server of the reference."""
        note("A2", OUR_CLIENT, await self.our_clients(CORRUPT, FEW))

    async def test_reference_clients(self) -> None:
        """The reference's clients get through to us."""
        note("A2", OUR_SERVER, await self.our_server(CORRUPT, FEW))


class RepetitionTests(CrowdTestCase):
    """Every packet comes twice."""

    async def test_ours(self) -> None:
        """Each client starts one handler; there is a Cookie for a Hello, no more."""
        note("A8", OURS, await self.pair_of_ours(TWICE, FEW))
        cookies = sum(
            proxy.back.counts.of(Deed.SEEN, Kind.COOKIE) for proxy in self.proxies
        )
        self.assertLessEqual(cookies, self.deeds(Deed.PASSED, Kind.HELLO))

    async def test_reference_server(self) -> None:
        """With a server of the reference, too."""
        note("A8", OUR_CLIENT, await self.our_clients(TWICE, FEW))

    async def test_reference_clients(self) -> None:
        """With clients of the reference, too."""
        note("A8", OUR_SERVER, await self.our_server(TWICE, FEW))


class DelayTests(FaultTestCase):
    """A long way between ours and the reference's."""

    async def travel(self, pair: str, trip: float) -> None:
        """Send a little each way, with one handler."""
        started = await self.begin(
            pair, noise(8 * KIBIBYTE), noise(KIBIBYTE), there=Link(delay=trip / 2)
        )
        seconds = await started.finish()
        self.assertEqual(started.started(), 1)
        note("A3", pair, f"RTT {trip} s: 9 KB in {seconds:.1f} s")

    async def test_reference_server(self) -> None:
        """At 1.5 s for a round trip, our client gets through, to one handler."""
        await self.travel(OUR_CLIENT, 1.5)

    async def test_reference_client(self) -> None:
        """The reference's client gets through, and starts one handler."""
        await self.travel(OUR_SERVER, 1.5)


class AbsenceTests(CrowdTestCase):
    """There is nobody, or not yet, or not everywhere."""

    async def test_a_server_that_comes_late(self) -> None:
        """What ICMP says of a closed port decides nothing."""
        port = free_port()
        client = Sampled(self.up)
        self.addCleanup(self.abort, client)
        self.dial(port, client).addErrback(self.failures.append)
        await deferLater(reactor, 0.5)
        self.assertEqual(self.failures, [])
        await self.listen(self.build, port=port)
        await self.wait_for([client], self.down)
        note("A4", OURS, "a server that comes later is found")

    async def test_nobody(self) -> None:
        """The tool exits with 111 at its time-out, and says why in one line."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind((HOST, 0))
            for port in (free_port(), mute.getsockname()[1]):
                operands = (NAME, self.key.hex(), HOST, str(port), EXTENSION.hex())
                client = self.launch(
                    (*tool(OUR_TOOLS, "curvecpclient"), "-t", "2", *operands, "false")
                )
                self.assertEqual(await self.finish(client), FAILURE)
                (line,) = client.errors.splitlines()
                self.assertIn("no response from server", line)

    async def test_one_of_two_addresses(self) -> None:
        """Ours find the reference's server, and its clients find ours."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, SERVER_SCRIPT))
        self.hosts = f"{DEAD_HOST},{HOST}"
        self.at(server.port, FEW)
        times = await self.call_ours()
        note("A5", OUR_CLIENT, f"{FEW} of {FEW}; {quantiles(times)}")
        await self.serve_ours(CLEAR, FEW)
        self.launch_reference()
        times = await self.wait_for_reference(FEW)
        await self.check_servers(FEW)
        note("A5", OUR_SERVER, f"{FEW} of {FEW}; {quantiles(times)}")


class ForgeryTests(CrowdTestCase):
    """Somebody else sends Cookies in the server's name."""

    async def test_a_flood(self) -> None:
        """The handshake completes among ten thousand forged Cookies a second."""
        await self.serve_ours(Link(hold=((Kind.COOKIE, 1.0),)), 1)
        head = COOKIE_MAGIC + bytes(16) + EXTENSION
        fakes = random.Random(9)
        sent = 0

        def forge() -> None:
            nonlocal sent
            for _ in range(FLOOD // 100):
                rest = COOKIE_BYTES - len(head)
                sent += self.proxies[0].inject(head + fakes.randbytes(rest))

        flood = LoopingCall(forge)
        over = flood.start(0.01, now=False)
        try:
            (seconds,) = await self.call_ours()
        finally:
            flood.stop()
        await over
        await self.check_servers(1)
        self.assertGreater(sent, FLOOD // 10)
        note("A9", OURS, f"connected and done in {seconds:.2f} s, 1 s of it delay")


class StrangerTests(CrowdTestCase):
    """Clients that have another idea of the server."""

    async def refuse(self, server: Server, kind: str) -> None:
        """See a client with one wrong detail after the other fail."""
        right = (NAME, server.key.hex(), EXTENSION.hex())
        for name, key, extension in (
            ("other.example", *right[1:]),
            (right[0], KeyPair.generate(os.urandom).public.hex(), right[2]),
            (*right[:2], bytes(16).hex()),
        ):
            client = self.launch(
                (
                    *tool(OUR_TOOLS, "curvecpclient"),
                    *("-t", "2", name, key, HOST, str(server.port), extension),
                    *carrier(OUR_TOOLS, "echo never; : >&7", CLIENT_FIRST),
                )
            )
            self.assertEqual(await self.finish(client), FAILURE, client.errors)
            self.assertIn("no connection within the time allowed", client.errors)
            self.assertEqual(server.process.children(), [])
        note("A10", kind, "111 for name, key and extension; nothing started")

    async def test_ours(self) -> None:
        """A server of ours starts nothing for them, and they fail with 111."""
        await self.refuse(await self.serve(OUR_TOOLS, HANDLER), OURS)

    async def test_reference_server(self) -> None:
        """They fail likewise at a server of the reference."""
        await self.refuse(await self.serve(REFERENCE, HANDLER), OUR_CLIENT)
