"""Clocks that are set, and processes for which time stands still."""

from __future__ import annotations

import os
import random
import sys
import time

from twisted.internet import reactor
from twisted.internet.task import deferLater

from curvecp_tx.secure.client import Phase
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.wire.packets import INITIATE_MAGIC
from tests.faults.figures import OURS as OURS_BOTH
from tests.faults.figures import note
from tests.interop.processes import HANDLER, MODULES, OURS
from tests.interop.rawclient import RawClientTestCase, message
from tests.interop.streaming import KIBIBYTE, digest, shell
from tests.interop.test_streams_trouble import BadNetworkTestCase
from tests.net.recording import (
    Catcher,
    Recorders,
    WorldCase,
    greeting,
)
from tests.net.recording import message as numbered

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
JUMPING = (sys.executable, os.path.join(PROGRAMS, "jumping.py"))
PAUSE = 1.0
"""Seconds, in which the clock is set ten times."""


BACK, FORTH = "-1", "1"


def jumping(direction: str, command: str) -> tuple[str, ...]:
    """Give one of our commands, under a clock that jumps."""
    return (*JUMPING, direction, MODULES[command])


class WallClockTests(BadNetworkTestCase):
    """Server and client whose wall clock jumps by hours and months."""

    async def transfer(self, direction: str) -> None:
        """Have handshake, transfer and idle time go on as if nothing happened."""
        data = random.Random(3).randbytes(150 * KIBIBYTE)
        self.write("data", data)
        server = self.put_proxy(
            await self.serve(
                OURS,
                shell("cat"),
                options=("--stream",),
                wrapper=jumping(direction, "curvecpserver"),
            ),
            loss=0.05,
        )
        script = (
            f"cat <&6 7>&- >got & cat data >&7; sleep {PAUSE}; cat data >&7;"
            " exec 7>&-; wait"
        )
        command = (*jumping(direction, "curvecpclient"), "--stream")
        started = time.monotonic()
        await self.run_to_end(*command, *server.operands(), *shell(script))
        took = time.monotonic() - started
        self.assertEqual(digest(self.read("got")), digest(2 * data))
        self.assertEqual(server.process.errors, "")
        note("E9", OURS_BOTH, f"jumps {direction}: 300 KB each way in {took:.1f} s")

    async def test_back(self) -> None:
        """A clock that is set back, again and again, delays nothing."""
        await self.transfer(BACK)

    async def test_forth(self) -> None:
        """A clock that is put forward, again and again, ends nothing."""
        await self.transfer(FORTH)


class MinuteKeyTests(RawClientTestCase):
    """Cookies, and a clock that jumps over their end."""

    async def cookie(self, direction: str) -> None:
        """Return a cookie after many jumps."""
        wrapper = jumping(direction, "curvecpserver")
        server = await self.serve(OURS, HANDLER, wrapper=wrapper)
        client = self.raw_client(server)
        await self.until_cookie(client)
        await deferLater(reactor, PAUSE)
        client.send(message("echo"))
        await self.until(lambda: client.phase is Phase.OPEN, "the cookie opens")
        await self.exchange(client, "still here")
        self.assertEqual(server.process.errors, "")

    async def test_cookies(self) -> None:
        """A cookie stays good, wherever the wall clock of its server goes."""
        await self.cookie(BACK)
        await self.cookie(FORTH)


class RotationTests(WorldCase):
    """Minute keys in virtual time."""

    def delivered_after(self, seconds: float) -> int:
        """Hold back an Initiate, and tell how many connections it opens."""
        self.build_world()
        server = Recorders()
        listener = self.serve(server)
        self.network.watch = catcher = Catcher(INITIATE_MAGIC)
        self.dial(Recorders(greeting(numbered(1))))
        self.reactor.advance(0)
        self.reactor.run(0.1)
        datagram, source = catcher.caught[0]
        self.reactor.run(seconds, step=0.5)
        listener.datagramsReceived([(datagram, source)])
        self.close_world()
        return len(server.built)

    def test_rotation(self) -> None:
        """A cookie is good for one to two minutes of monotonic time, no longer."""
        self.assertEqual(self.delivered_after(MINUTE / 2), 1)
        self.assertEqual(self.delivered_after(2 * MINUTE - 1.0), 1)
        self.assertEqual(self.delivered_after(2 * MINUTE + 1.0), 0)
