"""The reference at both ends, in the cases that streams of ours are tried in.

No part of the suite: ``python -m tests.faults`` runs it, for comparison. Nothing is
asked of the reference; what it does within a hundred seconds is noted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from tests.faults.figures import OUR_CLIENT, OUR_SERVER, note
from tests.faults.figures import REFERENCE as BOTH
from tests.faults.impairment import CLEAR, Deed, Link, Q
from tests.faults.scenario import FaultTestCase, noise
from tests.interop.processes import PATIENCE, REFERENCE, Process, Server
from tests.interop.streaming import CLIENT_FIRST, KIBIBYTE, MEBIBYTE, carrier

CAP = 100.0
GLANCE = 0.05

THIN = Link(rate=64e3, delay=0.015, queue=25)
FAR = Link(delay=1.0)


class ControlTestCase(FaultTestCase):
    """A try of the reference, bounded in time."""

    timeout = CAP + 2 * PATIENCE

    async def within(self, condition: Callable[[], object], cap: float = CAP) -> float:
        """Wait until something is so, or until it is enough; give the seconds."""
        began = time.monotonic()
        while not condition() and time.monotonic() < began + cap:
            await deferLater(reactor, GLANCE)
        return time.monotonic() - began

    async def run_tools(
        self,
        program: str,
        client: str,
        link: Link = CLEAR,
        options: Sequence[str] = (CLIENT_FIRST,),
    ) -> tuple[Server, Process]:
        """Start a server and a client of the reference with scripts behind them."""
        direct = await self.serve(REFERENCE, carrier(REFERENCE, program))
        server = self.behind(direct, link)
        command = carrier(REFERENCE, client, *options)
        return direct, self.call(REFERENCE, server, command)

    async def end(self, client: Process, cap: float = CAP) -> str:
        """Say in words how a client ends."""
        seconds = await self.within(lambda: client.status is not None, cap)
        if client.status is None:
            return f"hangs for over {seconds:.0f} s"
        return f"exit {client.status} after {seconds:.1f} s"

    def size(self, name: str) -> int:
        """Tell how much is in a file by now."""
        path = os.path.join(self.directory, name)
        return os.path.getsize(path) if os.path.exists(path) else 0


class LossControls(ControlTestCase):
    """A tenth of the packets lost, with the reference at one end or both."""

    async def upload(self, pair: str) -> None:
        """Note how long half a mebibyte takes."""
        data = noise(512 * KIBIBYTE)
        transfer = await self.begin(pair, data, there=replace(Q, loss=0.1))
        seconds = await self.within(lambda: transfer.arrived() >= len(data))
        arrived = transfer.arrived()
        fate = f"{seconds:.1f} s"
        if arrived < len(data):
            fate = f"{arrived / len(data):.0%} after {fate}"
        note("B2", pair, f"512 KiB, 10 % lost: {fate}")

    async def test_ten_percent_lost(self) -> None:
        """All pairs at once."""
        pairs = (BOTH, OUR_CLIENT, OUR_SERVER)
        await gatherResults([Deferred.fromCoroutine(self.upload(p)) for p in pairs])


class OutageControls(ControlTestCase):
    """The network is out, for a while or for good."""

    async def interrupt(self, seconds: float) -> None:
        """Have an outage, and note when something new comes."""
        transfer = await self.begin(
            BOTH, noise(MEBIBYTE), there=Q, label=f"{seconds:g}"
        )
        await self.within(lambda: transfer.arrived() > 100 * KIBIBYTE)
        transfer.proxy.out = True
        await deferLater(reactor, seconds)
        before = transfer.arrived()
        transfer.proxy.out = False
        waited = await self.within(
            lambda: transfer.arrived() > before, CAP - seconds - 10.0
        )
        came = transfer.arrived() > before
        what = f"first new byte after {waited:.1f} s"
        if not came:
            what = f"nothing new for over {waited:.0f} s"
        note("B7", BOTH, f"outage {seconds:g} s: {what}")

    async def test_outages(self) -> None:
        """Of ten and thirty seconds, at once."""
        await gatherResults(
            [Deferred.fromCoroutine(self.interrupt(s)) for s in (10.0, 30.0)]
        )

    async def test_for_good(self) -> None:
        """The network does not return."""
        self.write("up", noise(MEBIBYTE))
        _, client = await self.run_tools("cat >got", "cat up >&7", Q)
        await self.within(lambda: self.size("got") > 100 * KIBIBYTE)
        self.proxy.out = True
        note("B8", BOTH, f"network gone for good: client {await self.end(client)}")

    async def test_restart(self) -> None:
        """The server is killed, and started again on the same port."""
        self.write("up", noise(MEBIBYTE))
        direct, client = await self.run_tools("cat >got", "cat up >&7", Q)
        await self.within(lambda: self.size("got") > 100 * KIBIBYTE)
        direct.process.kill()
        await self.serve(REFERENCE, carrier(REFERENCE, "cat"), port=direct.port)
        note("B17", BOTH, f"client {await self.end(client)}")


class EndControls(ControlTestCase):
    """Exit statuses, and what has arrived."""

    async def test_truncation(self) -> None:
        """A program uploads 150 KiB and exits at once, over a thin or a long link."""
        data = noise(150 * KIBIBYTE)
        self.write("up", data)
        for number, (name, link) in enumerate((("64 kbit/s", THIN), ("RTT 2 s", FAR))):
            got = f"got{number}"
            _, client = await self.run_tools(f"cat >{got}", "cat up >&7", link)
            end = await self.end(client)
            await deferLater(reactor, 2.0)
            share = self.size(got) / len(data)
            note("B9", BOTH, f"{name}: client {end}, {share:.0%} delivered")

    async def test_last_answers_lost(self) -> None:
        """Five answers get lost when all has come."""
        data = noise(100 * KIBIBYTE)
        self.write("up", data)
        _, client = await self.run_tools("cat >got", "cat up >&7", Q)
        left = 5

        def watch(forward: bool, datagram: bytes) -> bool:
            nonlocal left
            if forward or not left or self.size("got") < len(data):
                return True
            left -= 1
            return False

        self.proxy.watch = watch
        await self.within(lambda: self.size("got") >= len(data))
        end = await self.end(client)
        note("B10", BOTH, f"last 5 answers lost: once all has come, client {end}")

    async def test_early_end_of_input(self) -> None:
        """A server's program closes its input while the client uploads."""
        self.write("up", noise(MEBIBYTE))
        script = "cat up >&7; exec 7>&-; cat <&6 >got"
        _, client = await self.run_tools("exec 0<&-; echo done", script)
        note("B11", BOTH, f"program closes its input: client {await self.end(client)}")

    async def test_writes_before_it_reads(self) -> None:
        """A program writes a mebibyte while 400 KiB come."""
        self.write("up", noise(400 * KIBIBYTE))
        self.write("down", noise(MEBIBYTE))
        script = "cat up >&7 & exec 7>&-; cat <&6 >down.got; wait"
        _, client = await self.run_tools("cat down; cat >up.got", script, Q)
        end = await self.end(client, 60.0)
        up, down = self.size("up.got") >> 10, self.size("down.got") >> 10
        note(
            "B12",
            BOTH,
            f"1 MiB down before 400 KiB up: client {end}, {down} and {up} KiB arrived",
        )

    async def test_signal(self) -> None:
        """A server's program is killed after it has written."""
        script = "head -c 100000 /dev/zero; kill -9 $$"
        _, client = await self.run_tools(script, "exec 7>&-; cat <&6 >got")
        end = await self.end(client, 30.0)
        note("B14", BOTH, f"client {end}, {self.size('got')} of 100000 bytes")


class PaceControls(ControlTestCase):
    """Readers that are slow, ends that move, and ends that are silent."""

    seconds = 20.0

    async def sip(self, pair: str) -> None:
        """Have the server read slowly; note how much is sent for that."""
        got = f"{pair}.read"
        script = f"while sleep 1; do dd bs=1024 count=1 >>{got} 2>>errors; done"
        direct = await self.serve(REFERENCE, carrier(REFERENCE, script))
        server = self.behind(direct, Q)
        proxy = self.proxy
        self.write("up", noise(MEBIBYTE))
        writer: Any = ("cat up >&7",)
        if pair == BOTH:
            command = carrier(REFERENCE, *writer, CLIENT_FIRST)
            client = self.call(REFERENCE, server, command)
        else:
            client = self.call(
                "ours", server, ("sh", "-c", *writer), options=("--stream",)
            )
        # The pipe and the window fill first.
        await deferLater(reactor, 5.0)
        before = proxy.there.counts.of(Deed.SEEN), self.size(got)
        await deferLater(reactor, self.seconds)
        sent = proxy.there.counts.of(Deed.SEEN) - before[0]
        taken = (self.size(got) - before[1]) / KIBIBYTE
        client.kill()
        note(
            "B15",
            pair,
            f"the reference reads {taken:.0f} KiB in {self.seconds:.0f} s, and tells"
            f" no limit: {sent} packets sent to it",
        )

    async def test_slow_reader(self) -> None:
        """A program of the reference's reads a kibibyte a second."""
        for pair in (BOTH, OUR_CLIENT):
            await self.sip(pair)

    async def test_silence(self) -> None:
        """Nobody has anything to say."""
        _, client = await self.run_tools("cat", "echo >&7; sleep 60", CLEAR)
        await deferLater(reactor, 5.0)
        before = self.proxy.there.counts.of(Deed.SEEN)
        await deferLater(reactor, 40.0)
        sent = self.proxy.there.counts.of(Deed.SEEN) - before
        client.kill()
        note("B18", BOTH, f"idle for 40 s: {sent} packets from the client")

    async def test_sizes(self) -> None:
        """Sizes around the limits of blocks and windows come back."""
        sizes = (0, 1, 512, 513, 640, 1023, 1024, 1025, 65537, 131073)
        clients = []
        for number, size in enumerate(sizes):
            self.write(f"up{number}", noise(size))
            script = f"cat up{number} >&7 & exec 7>&-; cat <&6 >got{number}; wait"
            clients.append((await self.run_tools("cat", script))[1])
        ends = [await self.end(client, 60.0) for client in clients]
        good = sum(
            self.read(f"got{number}") == noise(size) and end.startswith("exit 0")
            for number, (size, end) in enumerate(zip(sizes, ends, strict=True))
        )
        note("B13", BOTH, f"{good} of {len(sizes)} sizes come back whole")
