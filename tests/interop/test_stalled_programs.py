"""A program that does not read loses messages, and disturbs nobody else."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios

from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES
from tests.interop.processes import HANDLER, OURS, Server
from tests.interop.rawclient import RawClient, RawClientTestCase, message

FLOOD = 200
"""Messages of the greatest size: three times what a pipe holds."""

PACE = 8
"""Messages sent in one go: more might not fit into the server's socket."""


def waiting_in(pid: int, descriptor: int) -> int:
    """Tell how many bytes wait in the pipe that a process reads from."""
    pipe = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    finally:
        os.close(pipe)
    return int(size)


class StalledProgramTests(RawClientTestCase):
    """One program stands still while others have work to do."""

    async def flood(self, server: Server, client: RawClient, pid: int) -> None:
        """Send more to a program than its pipe can hold."""
        for n in range(FLOOD):
            client.send(message(f"flood {n}", MAX_MESSAGE_BYTES))
            if n % PACE == 0:
                await self.until_handled(server)
        await self.until_handled(server)
        waiting = waiting_in(pid, 8)
        self.assertGreater(waiting, 0)
        client.send(message("one too many", MAX_MESSAGE_BYTES))
        await self.until_handled(server)
        self.assertEqual(waiting_in(pid, 8), waiting)

    async def test_a_program_that_never_reads_disturbs_nobody(self) -> None:
        """Others are served while a program leaves its full pipe unread."""
        server = await self.serve(OURS, HANDLER)
        stalled = await self.connect(server, "stall")
        pid = await self.only_child(server.process)
        await self.flood(server, stalled, pid)
        other = await self.connect(server, "echo")
        await self.exchange(other, "as if nothing were")

    async def test_a_stopped_program_disturbs_nobody(self) -> None:
        """Others are served while a program is stopped; it can go on afterwards."""
        server = await self.serve(OURS, HANDLER)
        stopped = await self.connect(server, "echo")
        pid = await self.only_child(server.process)
        os.kill(pid, signal.SIGSTOP)
        await self.flood(server, stopped, pid)
        other = await self.connect(server, "echo")
        await self.exchange(other, "as if nothing were")
        os.kill(pid, signal.SIGCONT)
        await self.until(
            lambda: (
                stopped.step()
                and message("flood 9", MAX_MESSAGE_BYTES) in stopped.messages
            ),
            "the program goes on",
        )
        await self.until(lambda: waiting_in(pid, 8) == 0, "it empties its pipe")
        await self.exchange(stopped, "here again")
