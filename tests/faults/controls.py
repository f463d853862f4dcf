"""The reference at both ends, for comparison: does it pass what ours have to?

These are no part of the suite. They measure, and fail only if they cannot.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from tests.faults.crowd import FEW, Crowd, CrowdTestCase
from tests.faults.figures import REFERENCE as BOTH
from tests.faults.figures import note
from tests.faults.impairment import CLEAR, Kind, Link, Q
from tests.faults.scenario import FaultTestCase, Rebinding, noise
from tests.faults.test_handshake_real import CORRUPT, DEAD_HOST, LOSSY, TWICE
from tests.interop.processes import EXTENSION, HOST, NAME, REFERENCE, free_port, tool
from tests.interop.streaming import CLIENT_FIRST, KIBIBYTE, MEBIBYTE, carrier

CAP = 60.0
"""Seconds after which the reference is waited for no longer."""

HELD = 125.0


class CrowdControl(CrowdTestCase):
    """Handshakes on bad networks."""

    patience = 90.0

    async def test_loss(self) -> None:
        """Three packets in ten are lost, each way."""
        note("A1", BOTH, await Crowd(self, LOSSY).reference())

    async def test_corruption(self) -> None:
        """Three packets in ten are corrupted, each way."""
        note("A2", BOTH, await Crowd(self, CORRUPT).reference())

    async def test_repetition(self) -> None:
        """Every packet comes twice."""
        note("A8", BOTH, await Crowd(self, TWICE).reference())

    async def test_dead_address(self) -> None:
        """One of two addresses is dead."""
        crowd = Crowd(self, hosts=f"{DEAD_HOST},{HOST}")
        await crowd.serve_reference()
        crowd.launch_reference()
        times = await crowd.wait_for_reference()
        note("A5", BOTH, f"{FEW} of {FEW}; max {max(times):.1f} s")

    async def test_nobody(self) -> None:
        """There is no server."""
        self.patience = 120.0
        operands = (NAME, self.key.hex(), HOST, str(free_port()), EXTENSION.hex())
        command = (*tool(REFERENCE, "curvecpclient"), *operands, "false")
        began = time.monotonic()
        status = await self.finish(self.launch(command))
        seconds = time.monotonic() - began
        note("A4", BOTH, f"{status} after {seconds:.0f} s")


class StreamControl(FaultTestCase):
    """Streams on bad networks."""

    timeout = 240.0
    patience = CAP

    async def measure(
        self, row: str, what: str, up: int, down: int = 0, **options: Any
    ) -> None:
        """Note how long a transfer takes, or how far it comes."""
        started = await self.begin(BOTH, noise(up), noise(down), **options)
        with contextlib.suppress(self.failureException):
            seconds = await started.until_complete()
            note(row, BOTH, f"{what}: {seconds:.1f} s")
            return
        share = started.arrived() / (up + down)
        note(row, BOTH, f"{what}: {share:.0%} after {started.seconds():.0f} s")

    async def test_long_way(self) -> None:
        """A round trip of 1.5 s."""
        link = Link(delay=0.75)
        await self.measure("A3", "RTT 1.5 s, 512 KB", 512 * KIBIBYTE, there=link)

    async def test_clean(self) -> None:
        """Link Q, with nothing else to it."""
        await self.measure("B1", "2 MB clean", 2 * MEBIBYTE, there=Q)

    async def test_loss(self) -> None:
        """2 % are lost."""
        link = Link(delay=0.015, rate=10e6, queue=25, loss=0.02)
        await self.measure("B1", "2 MB, 2 % lost", 2 * MEBIBYTE, there=link)

    async def test_reordering(self) -> None:
        """A tenth comes early."""
        link = Link(delay=0.015, rate=10e6, queue=25, reorder=0.1)
        await self.measure("B3", "512 KB, 10 % early", 512 * KIBIBYTE, there=link)

    async def test_jitter(self) -> None:
        """Delays vary by 10 ms."""
        link = Link(delay=0.015, rate=10e6, queue=25, jitter=0.01)
        await self.measure("B3", "512 KB, jitter 10 ms", 512 * KIBIBYTE, there=link)

    async def test_repetition(self) -> None:
        """30 % come twice."""
        link = Link(delay=0.015, rate=10e6, queue=25, duplicate=0.3)
        await self.measure("B4", "512 KB", 512 * KIBIBYTE, there=link)

    async def test_corruption(self) -> None:
        """2 % are corrupted."""
        link = Link(delay=0.015, rate=10e6, queue=25, corrupt=0.02)
        await self.measure("B5", "512 KB", 512 * KIBIBYTE, there=link)

    async def test_outages(self) -> None:
        """2 s of every 7 there is no network."""
        link = Link(delay=0.015, rate=10e6, queue=25, outages=((5.0, 7.0),), period=7.0)
        await self.measure("B6", "10 MB", 10 * MEBIBYTE, there=link)

    async def test_moves(self) -> None:
        """The client's port changes."""
        self.patience = 30.0
        move = Rebinding(first=1.0, every=5.0)
        await self.measure("B16", "10 MB", 10 * MEBIBYTE, there=Q, rebinding=move)

    async def test_end(self) -> None:
        """The network is fine, but the program ends at once when it has written."""
        data = noise(150 * KIBIBYTE)
        self.write("up", data)
        server = await self.serve(REFERENCE, carrier(REFERENCE, "cat >up.got"))
        server = self.behind(server, Link(delay=0.015))
        client = self.call(
            REFERENCE, server, carrier(REFERENCE, "cat up >&7", CLIENT_FIRST)
        )
        began = time.monotonic()
        status = await self.finish(client)
        seconds = time.monotonic() - began
        share = len(self.read("up.got")) / len(data)
        note("B10", BOTH, f"150 KB: {status} after {seconds:.1f} s, {share:.0%} there")


class HoldControl(CrowdTestCase):
    """Initiates that are held up."""

    patience = 145.0

    async def test_expiry(self) -> None:
        """For 125 s; then the cookie has expired, and the way is free."""
        link = Link(hold=((Kind.INITIATE, HELD),))
        crowd = Crowd(self, link, 1)

        def set_free() -> None:
            for proxy in crowd.proxies:
                proxy.there.link = CLEAR

        free = deferLater(reactor, HELD, set_free)
        free.addErrback(lambda reason: reason.trap(CancelledError) and None)
        self.addCleanup(free.cancel)
        note("A6", BOTH, f"held for {HELD:.0f} s: {await crowd.reference()}")
