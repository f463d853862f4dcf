"""The same between real sockets, and with the reference at either end.

How long it takes depends on the machine; it is noted, and nothing depends on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from unittest import mock

from twisted.internet import reactor
from twisted.internet.task import deferLater

from curvecp_tx.errors import StreamTimedOut
from curvecp_tx.stream.stream import Stream
from tests.faults.figures import OUR_CLIENT, OUR_SERVER, OURS, note
from tests.faults.impairment import Deed, Kind
from tests.faults.scenario import (
    FaultTestCase,
    Link,
    Q,
    Rebinding,
    Sampled,
    Transfer,
    noise,
    together,
)
from tests.interop.processes import REFERENCE, Process
from tests.interop.streaming import KIBIBYTE, carrier

IMPATIENCE = 3.0
"""Seconds until a peer is given up where a test waits for that."""


@dataclass(frozen=True)
class Trouble:
    """What one row does to the link.

    :ivar deed: what the proxy must have done.
    :ivar size: KiB that are sent to the server.
    """

    row: str
    name: str
    link: Link
    deed: Deed | None = None
    size: int = 512


OUTAGES = replace(Q, outages=((0.2, 0.5),), period=0.8)

TROUBLES = (
    Trouble("B1", "clean", Q),
    Trouble("B1", "2 % lost", replace(Q, loss=0.02), Deed.LOST, size=256),
    Trouble("B2", "10 % lost", replace(Q, loss=0.1), Deed.LOST, size=128),
    Trouble("B3", "10 % early", replace(Q, reorder=0.1), Deed.HURRIED, size=256),
    Trouble("B3", "jitter of 10 ms", replace(Q, jitter=0.01), size=256),
    Trouble("B4", "30 % twice", replace(Q, duplicate=0.3), Deed.DUPLICATED),
    Trouble("B5", "2 % damaged", replace(Q, corrupt=0.02), Deed.CORRUPTED, size=256),
    Trouble("B6", "0.5 s on, 0.3 s off", OUTAGES, Deed.OUT, size=1024),
)


class RealTestCase(FaultTestCase):
    """Several transfers at once, each over a link of its own.

    The reference sends slowly after losses, once in a while very slowly.
    """

    patience = 110.0
    timeout = 2 * patience


class TroubleTests(RealTestCase):
    """All that links can do, at once."""

    async def survive(self, pair: str) -> None:
        """Have all troubles at once, with one pair of ends."""
        transfers = []
        for number, trouble in enumerate(TROUBLES):
            transfers.append(
                await self.begin(
                    pair,
                    noise(trouble.size * KIBIBYTE, number),
                    noise(20 * KIBIBYTE, number),
                    there=trouble.link,
                    label=str(number),
                )
            )
        times = await together(one.finish() for one in transfers)
        for trouble, transfer, seconds in zip(TROUBLES, transfers, times, strict=True):
            note(
                trouble.row,
                pair,
                f"{trouble.size} KiB, {trouble.name}: {seconds:.1f} s",
            )
            counts = transfer.proxy.there.counts
            self.assertGreater(counts.of(Deed.PASSED), trouble.size / 2)
            if trouble.deed is not None:
                self.assertGreater(counts.of(trouble.deed), 0)

    async def test_ours(self) -> None:
        """Between ends of ours, all arrives."""
        await self.survive(OURS)

    async def test_our_client(self) -> None:
        """So it does with the reference's server."""
        await self.survive(OUR_CLIENT)

    async def test_our_server(self) -> None:
        """So it does with the reference's client."""
        await self.survive(OUR_SERVER)


class OutageTests(RealTestCase):
    """The network is out for a second in the middle of a transfer."""

    outage = 1.0

    async def interrupt(self, transfer: Transfer) -> tuple[float, float]:
        """Have an outage.

        :return: the seconds from its end to the first new byte, and those that the
            whole transfer took.
        """
        await transfer.until_arrived(100 * KIBIBYTE)
        transfer.proxy.out = True
        await deferLater(reactor, self.outage)
        before = transfer.arrived()
        self.assertLess(before, len(transfer.up))
        transfer.proxy.out = False
        restored = transfer.seconds()
        waited = await transfer.until_arrived(before + 1) - restored
        return waited, await transfer.finish()

    async def test_all_pairs(self) -> None:
        """All arrives, whoever plays client and server."""
        pairs = (OURS, OUR_CLIENT, OUR_SERVER)
        transfers = [
            await self.begin(pair, noise(256 * KIBIBYTE, pair), there=Q)
            for pair in pairs
        ]
        times = await together(self.interrupt(one) for one in transfers)
        for pair, (wait, seconds) in zip(pairs, times, strict=True):
            note(
                "B7",
                pair,
                f"outage {self.outage:g} s, 256 KiB: first new byte after {wait:.1f} s,"
                f" all in {seconds:.1f} s",
            )


class MoveTests(RealTestCase):
    """The server comes to see the client elsewhere, again and again."""

    async def test_moves(self) -> None:
        """Our server follows whichever client to other ports and addresses."""
        hosts = tuple(f"127.0.0.{number}" for number in range(60, 70))
        slow = replace(Q, rate=2e6)
        transfers = []
        for pair in (OURS, OUR_SERVER):
            for what, where in (("port", ()), ("address", hosts)):
                transfers.append(
                    await self.begin(
                        pair,
                        noise(256 * KIBIBYTE, what),
                        noise(256 * KIBIBYTE, pair),
                        there=slow,
                        rebinding=Rebinding(first=0.4, every=0.5, hosts=where),
                        label=what,
                    )
                )
        times = await together(one.finish() for one in transfers)
        for transfer, seconds in zip(transfers, times, strict=True):
            moves = transfer.proxy.moves
            self.assertGreater(moves, 1)
            what = transfer.name.removeprefix(transfer.pair)
            note(
                "B16",
                transfer.pair,
                f"256 KiB each way, new {what}, {moves} times: {seconds:.1f} s",
            )


class LastAcknowledgmentTests(RealTestCase):
    """The last packets that say that all has arrived get lost."""

    lost = 5

    async def lose_last(self, pair: str) -> float:
        """Lose answers once all has come; give the seconds the client then takes."""
        transfer = await self.begin(pair, noise(100 * KIBIBYTE, pair), there=Q)
        left = self.lost

        def watch(forward: bool, datagram: bytes) -> bool:
            nonlocal left
            if forward or not left or transfer.up_arrived() < len(transfer.up):
                return True
            left -= 1
            return False

        transfer.proxy.watch = watch
        arrived = await transfer.until_complete()
        client = transfer.client
        if isinstance(client, Process):
            await self.succeed(client)
        else:
            await client.over
        after = transfer.seconds() - arrived
        await transfer.finish()
        self.assertEqual(left, 0)
        return after

    async def test_repeated(self) -> None:
        """Our server says it again, long after its protocol has gone."""
        pairs = (OURS, OUR_SERVER)
        times = await together(self.lose_last(pair) for pair in pairs)
        for pair, seconds in zip(pairs, times, strict=True):
            note(
                "B10",
                pair,
                f"upload, {self.lost} answers lost once all has come:"
                f" the client ends {seconds:.1f} s later",
            )

    async def test_never_repeated(self) -> None:
        """The reference's leaves; our client says that it cannot know."""
        defaults = Stream.__init__.__kwdefaults__
        patching = mock.patch.dict(defaults, give_up=IMPATIENCE)
        patching.start()
        self.addCleanup(patching.stop)
        client = Sampled(noise(100 * KIBIBYTE))
        server = self.behind(
            await self.serve(REFERENCE, carrier(REFERENCE, "cat >got")), Q
        )
        got = os.path.join(self.directory, "got")

        def watch(forward: bool, datagram: bytes) -> bool:
            there = os.path.getsize(got) if os.path.exists(got) else 0
            return forward or there < 100 * KIBIBYTE

        self.proxy.watch = watch
        await self.dial(server.port, client)
        with self.assertRaises(StreamTimedOut):
            await client.over
        await self.assert_arrives("got", noise(100 * KIBIBYTE))
        note(
            "B10",
            OUR_CLIENT,
            "last answers lost: the reference does not repeat them, our client fails"
            " when it gives up",
        )


class FullDuplexTests(RealTestCase):
    """Half a mebibyte one way while 200 KiB come the other way."""

    async def test_all_pairs(self) -> None:
        """Both ways are complete with the reference, too."""
        transfers = [
            await self.begin(
                pair, noise(200 * KIBIBYTE, pair), noise(512 * KIBIBYTE, pair), there=Q
            )
            for pair in (OURS, OUR_CLIENT, OUR_SERVER)
        ]
        times = await together(one.finish() for one in transfers)
        for transfer, seconds in zip(transfers, times, strict=True):
            sent = transfer.proxy.back.counts.of(Deed.SEEN, Kind.SERVER_MESSAGE)
            self.assertGreaterEqual(sent, 512)
            note("B12", transfer.pair, f"200 KiB up, 512 KiB down: {seconds:.1f} s")
