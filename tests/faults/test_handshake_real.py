"""Handshakes on bad networks between real sockets, with the reference as well."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import LoopingCall, deferLater

from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.wire.packets import COOKIE_BYTES, COOKIE_MAGIC
from tests.faults.crowd import FEW, Crowd, CrowdTestCase
from tests.faults.figures import OUR_CLIENT, OUR_SERVER, OURS, note
from tests.faults.impairment import Deed, Kind, Link
from tests.faults.scenario import FaultTestCase, noise, together
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


@dataclass(frozen=True)
class Trouble:
    """What one row does to the network.

    :ivar deed: what the proxies must have done.
    :ivar many: whether it takes many clients to see enough of it.
    """

    row: str
    link: Link
    deed: Deed
    many: bool = True


TROUBLES = (
    Trouble("A1", LOSSY, Deed.LOST),
    Trouble("A2", CORRUPT, Deed.CORRUPTED),
    Trouble("A8", TWICE, Deed.DUPLICATED, many=False),
)

Attempt = Coroutine[Any, Any, str]
FLOOD = 10_000
"""Forged packets in a second."""

DEAD_HOST = "127.0.0.50"
FAILURE = 111


class TroubleTests(CrowdTestCase):
    """Networks that lose, damage or repeat packets each way, all at once."""

    def crowds(self, many: int) -> list[Crowd]:
        """Give a crowd for each trouble, of so many clients where that tells more."""
        return [
            Crowd(self, trouble.link, many if trouble.many else FEW, name=trouble.row)
            for trouble in TROUBLES
        ]

    async def survive(
        self, pair: str, crowds: list[Crowd], attempt: Callable[[Crowd], Attempt]
    ) -> None:
        """Have all crowds try, and see that they were in trouble."""
        results = await together(map(attempt, crowds))
        for trouble, crowd, result in zip(TROUBLES, crowds, results, strict=True):
            note(trouble.row, pair, result)
            self.assertGreater(crowd.deeds(trouble.deed), 0)

    async def test_ours(self) -> None:
        """All get through, each to one handler; a Hello has one Cookie, no more."""
        crowds = self.crowds(CROWD)
        await self.survive(OURS, crowds, Crowd.pair_of_ours)
        for trouble, crowd in zip(TROUBLES, crowds, strict=True):
            self.assertGreater(crowd.deeds(trouble.deed), crowd.count)
        twice = crowds[-1]
        self.assertLessEqual(twice.cookies(), twice.deeds(Deed.PASSED, Kind.HELLO))

    async def test_reference_server(self) -> None:
        """Ours get through to servers of the reference."""
        await self.survive(OUR_CLIENT, self.crowds(FEW), Crowd.our_clients)

    async def test_reference_clients(self) -> None:
        """The reference's clients get through to us."""
        await self.survive(OUR_SERVER, self.crowds(FEW), Crowd.our_server)


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
        crowd = Crowd(self, count=1)
        self.addCleanup(crowd.abort)
        crowd.dial(port)
        await deferLater(reactor, 0.5)
        self.assertEqual(crowd.failures, [])
        await self.listen(crowd.build, port=port)
        await crowd.wait_for(crowd.clients, self.down)
        note("A4", OURS, "a server that comes later is found")

    async def test_nobody(self) -> None:
        """The tool exits with 111 at its time-out, and says why in one line."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
            mute.bind((HOST, 0))
            clients = []
            for port in (free_port(), mute.getsockname()[1]):
                operands = (NAME, self.key.hex(), HOST, str(port), EXTENSION.hex())
                command = (*tool(OUR_TOOLS, "curvecpclient"), "-t", "2", *operands)
                clients.append(self.launch((*command, "false")))
            for client in clients:
                self.assertEqual(await self.finish(client), FAILURE)
                (line,) = client.errors.splitlines()
                self.assertIn("no response from server", line)

    async def test_one_of_two_addresses(self) -> None:
        """Ours find the reference's server, and its clients find ours."""
        hosts = f"{DEAD_HOST},{HOST}"
        crowd = Crowd(self, name="ours", hosts=hosts)
        await crowd.serve_reference()
        times = await crowd.call_ours()
        note("A5", OUR_CLIENT, f"{FEW} of {FEW}; {quantiles(times)}")
        crowd = Crowd(self, name="theirs", hosts=hosts)
        await crowd.serve_ours()
        crowd.launch_reference()
        times = await crowd.wait_for_reference()
        await crowd.check_servers()
        note("A5", OUR_SERVER, f"{FEW} of {FEW}; {quantiles(times)}")


class ForgeryTests(CrowdTestCase):
    """Somebody else sends Cookies in the server's name."""

    async def test_a_flood(self) -> None:
        """The handshake completes among ten thousand forged Cookies a second."""
        crowd = Crowd(self, Link(hold=((Kind.COOKIE, 1.0),)), 1)
        await crowd.serve_ours()
        head = COOKIE_MAGIC + bytes(16) + EXTENSION
        fakes = random.Random(9)
        sent = 0

        def forge() -> None:
            nonlocal sent
            for _ in range(FLOOD // 100):
                rest = COOKIE_BYTES - len(head)
                sent += crowd.proxies[0].inject(head + fakes.randbytes(rest))

        flood = LoopingCall(forge)
        over = flood.start(0.01, now=False)
        try:
            (seconds,) = await crowd.call_ours()
        finally:
            flood.stop()
        await over
        await crowd.check_servers()
        self.assertGreater(sent, FLOOD // 10)
        note("A9", OURS, f"connected and done in {seconds:.2f} s, 1 s of it delay")


class StrangerTests(CrowdTestCase):
    """Clients that have another idea of the server."""

    async def refuse(self, server: Server, kind: str) -> None:
        """See clients fail, each with one wrong detail."""
        right = (NAME, server.key.hex(), EXTENSION.hex())
        clients = []
        for name, key, extension in (
            ("other.example", *right[1:]),
            (right[0], KeyPair.generate(os.urandom).public.hex(), right[2]),
            (*right[:2], bytes(16).hex()),
        ):
            operands = (name, key, HOST, str(server.port), extension)
            program = carrier(OUR_TOOLS, "echo never; : >&7", CLIENT_FIRST)
            clients.append(
                self.launch(
                    (*tool(OUR_TOOLS, "curvecpclient"), "-t", "2", *operands, *program)
                )
            )
        for client in clients:
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
