"""The message handler as a service: two of them, back to back, in this process."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from curvecp_tx.errors import ProgramNotFound
from curvecp_tx.net.descriptors import StreamMode
from curvecp_tx.net.pipes import open_pipe
from curvecp_tx.service import message
from curvecp_tx.service.message import CurveCPMessageService
from tests.net.recording import logged

reactor: Any = installed_reactor


class MessageServiceTests(TestCase):
    """Tests for ``CurveCPMessageService``."""

    timeout = 60.0

    def setUp(self) -> None:
        """Open two pipes, from each side to the other."""
        self.to_server, self.to_client = open_pipe(), open_pipe()

    def make(self, mode: StreamMode, script: str) -> CurveCPMessageService:
        """Make one side, on other descriptors than 8 and 9."""
        if mode is StreamMode.SERVER:
            ends = self.to_server[0], self.to_client[1]
        else:
            ends = self.to_client[0], self.to_server[1]
        self.patch(message, "MESSAGES_IN", ends[0])
        self.patch(message, "MESSAGES_OUT", ends[1])
        return CurveCPMessageService(reactor, ["/bin/sh", "-c", script], mode=mode)

    async def run_both(
        self, client: str, server: str, mode: StreamMode = StreamMode.CLIENT
    ) -> list[int]:
        """Run two programs against each other; give their exit codes."""
        sides = [self.make(mode, client), self.make(StreamMode.SERVER, server)]
        for side in sides:
            side.startService()
        codes = await gatherResults([side.ended for side in sides])
        for side in sides:
            await side.stopService()
        return list(codes)

    async def test_both_ways(self) -> None:
        """Bytes go both ways; the client's program has its stream on 6 and 7."""
        place = os.path.abspath(self.mktemp())
        script = f"head -c 100000 /dev/zero >&7; exec 7>&-; wc -c <&6 >{place}"
        for mode in (StreamMode.CLIENT, StreamMode.CLIENT_FIRST):
            with self.subTest(mode=mode):
                self.assertEqual(await self.run_both(script, "cat", mode), [0, 0])
                with open(place, encoding="ascii") as file:
                    self.assertEqual(int(file.read()), 100_000)
                self.setUp()
        for descriptor in (*self.to_server, *self.to_client):
            os.close(descriptor)

    async def test_statuses(self) -> None:
        """Each ends with the status of its program."""
        codes = await self.run_both(
            "cat <&6 >/dev/null; exec 7>&-; exit 3", "echo; exit 4"
        )
        self.assertEqual(codes, [3, 4])

    async def test_failure(self) -> None:
        """A program that a signal kills is a failure at both ends, with reasons."""
        with logged() as lines:
            codes = await self.run_both("cat <&6; exec 7>&-", "kill -KILL $$")
        self.assertEqual(codes, [111, 111])
        self.assertEqual(len(lines("fatal: ")), 2)

    async def test_peer_gone(self) -> None:
        """Descriptors that end before the stream does are one as well."""
        side = self.make(StreamMode.SERVER, "cat")
        side.startService()
        os.close(self.to_server[1])
        os.close(self.to_client[0])
        with logged() as lines:
            self.assertEqual(await side.ended, 111)
        self.assertEqual(len(lines("fatal: ")), 1)
        await side.stopService()

    async def test_stopped(self) -> None:
        """Who is stopped ends the program, and the other side hears of a failure."""
        sides = [
            self.make(StreamMode.CLIENT_FIRST, "echo up >&7; exec sleep 60"),
            self.make(StreamMode.SERVER, "head -n 1 >&2; exec cat"),
        ]
        with logged() as lines:
            for side in sides:
                side.startService()
            await sides[0].stopService()
            codes = [await side.ended for side in sides]
        self.assertEqual(codes, [111, 111])
        self.assertTrue(lines("fatal: "))
        await sides[1].stopService()

    async def test_killed(self) -> None:
        """Who is not to be waited for is killed, whatever it would rather do."""
        side = self.make(StreamMode.SERVER, "trap '' TERM; while :; do sleep 1; done")
        side.startService()
        stopped = side.stopService()
        side.kill()
        await stopped
        self.assertEqual(await side.ended, 111)
        os.close(self.to_server[1])
        os.close(self.to_client[0])

    def test_not_open(self) -> None:
        """Descriptors that are not open are an error at once."""
        for descriptor in (*self.to_server, *self.to_client):
            os.close(descriptor)
        self.assertRaises(OSError, self.make, StreamMode.SERVER, "cat")

    def test_no_program(self) -> None:
        """So is a program that is not there."""
        self.assertRaises(
            ProgramNotFound,
            CurveCPMessageService,
            reactor,
            ["/nonexistent/program"],
            mode=StreamMode.SERVER,
        )
        for descriptor in (*self.to_server, *self.to_client):
            os.close(descriptor)
