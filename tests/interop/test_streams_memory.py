"""A slow reader holds back its peer's program, whatever there is to be sent."""

from __future__ import annotations

import os

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.interop.processes import OURS
from tests.interop.streaming import CLIENT_FIRST, StreamTestCase, carrier, shell

GREATEST_GROWTH = 768
"""Kibibytes: a window of 128 at either end, and what the allocator makes of that."""

SAMPLES = 5
INTERVAL = 0.5

SENDER = """for n in $(seq 60); do head -c 65536 /dev/zero >&7; sleep .01; done
until test -e go; do sleep .05; done
head -c 131072 /dev/zero >&7; : >begun
head -c 67108864 /dev/zero >&7; : >written"""
"""Gets everything going, by pieces that fit into the smallest window, so that it stays
as it is; and on a sign writes 64 MiB."""

READER = """head -c 3932160 >/dev/null; : >warm
while sleep 1; do dd bs=1024 count=1 of=/dev/null 2>/dev/null; done"""
"""Reads all that gets things going; from then on, a kibibyte a second."""


def resident(pid: int) -> int:
    """Give the resident memory of a process in kibibytes."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        [line] = [line for line in file if line.startswith("VmRSS:")]
    return int(line.split()[1])


class SlowReaderTests(StreamTestCase):
    """A program writes 64 MiB to one that reads hardly anything."""

    def exists(self, name: str) -> bool:
        """Tell whether a program has made this file."""
        return os.path.exists(os.path.join(self.directory, name))

    async def assert_bounded(self, *pids: int) -> None:
        """Check that no process grows while the writer is held back."""
        await self.until(lambda: self.exists("warm"), "the programs talk")
        idle = list(map(resident, pids))
        self.write("go", b"")
        greatest = idle
        for _ in range(SAMPLES):
            await deferLater(reactor, INTERVAL)
            greatest = list(map(max, greatest, map(resident, pids)))
        growth = [most - before for most, before in zip(greatest, idle, strict=True)]
        self.assertLessEqual(max(growth), GREATEST_GROWTH, growth)
        self.assertTrue(self.exists("begun"))
        self.assertFalse(self.exists("written"))

    async def test_plain_programs(self) -> None:
        """Server and client with the stream inside keep no more than a window."""
        server = await self.serve(OURS, shell(READER), options=("--stream",))
        client = self.call(OURS, server, shell(SENDER), options=("--stream",))
        await self.assert_bounded(server.process.pid, client.pid)

    async def test_message_tools(self) -> None:
        """So do message tools, and what they run under."""
        server = await self.serve(OURS, carrier(OURS, READER))
        client = self.call(OURS, server, carrier(OURS, SENDER, CLIENT_FIRST))
        pids = [server.process.pid, client.pid]
        for process in (server.process, client):
            pids.append(await self.only_child(process))
        await self.assert_bounded(*pids)
