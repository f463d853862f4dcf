"""Streams on networks that fail, between programs that behave badly."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.interop.processes import (
    MODULES,
    OURS,
    PROGRAMS,
    REFERENCE,
    Process,
    Server,
)
from tests.interop.proxy import Proxy
from tests.interop.streaming import (
    CLIENT_FIRST,
    KIBIBYTE,
    MEBIBYTE,
    SERVER_FIRST,
    StreamTestCase,
    carrier,
    noting,
    shell,
)

OUTAGE = 14.0
UPLOAD = 150 * KIBIBYTE
LOSS = 0.1

IMPATIENT = os.path.join(PROGRAMS, "impatient.py")
IMPATIENCE = 3
"""Seconds after which a peer is given up in tests that wait for it."""


class BadNetworkTestCase(StreamTestCase):
    """A test with a proxy in front of the server."""

    def put_proxy(self, server: Server, *, seed: int = 1, loss: float = 0.0) -> Server:
        """Start a proxy; give the server as its clients are to see it."""
        self.proxy = proxy = Proxy(server.port, seed=seed, loss=loss)
        self.addCleanup(proxy.stop)
        return replace(server, port=proxy.start())

    async def until_file(self, name: str) -> None:
        """Wait for a file."""
        path = os.path.join(self.directory, name)
        await self.until(lambda: os.path.exists(path), f"{name} is there")


class LossTests(BadNetworkTestCase):
    """Datagrams vanish at random."""

    async def test_loss(self) -> None:
        """All arrives, both ways, though a tenth of the datagrams does not."""
        data = random.Random(1).randbytes(UPLOAD)
        self.write("data", data)
        server = await self.serve(OURS, shell("cat"), options=("--stream",))
        server = self.put_proxy(server, loss=LOSS)
        script = "cat <&6 7>&- >got & cat data >&7; exec 7>&-; wait"
        client = self.call(OURS, server, shell(script), options=("--stream",))
        await self.succeed(client)
        await self.assert_arrives("got", data)


class OutageTests(BadNetworkTestCase):
    """The network is out just when a program has written all, and ends."""

    upload = (
        "echo go >&7; until test -e out; do sleep .1; done; cat data >&7",
        "read go; : >up.{name}; cat >got.{name}",
    )
    download = (
        "echo go >&7; cat <&6 >got.{name}",
        "read go; : >up.{name}; until test -e out; do sleep .1; done; cat data",
    )
    """Programs of a client and of a server."""

    def setUp(self) -> None:
        super().setUp()
        self.data = random.Random(2).randbytes(UPLOAD)
        self.write("data", self.data)
        self.proxies: list[Proxy] = []
        self.clients: list[Process] = []

    async def begin(
        self, name: str, server: tuple[str, ...], client: tuple[str, ...]
    ) -> None:
        """Start a server and a client with a proxy between them."""
        direct = await self.serve(OURS, server)
        at = self.put_proxy(direct)
        self.proxies.append(self.proxy)
        self.clients.append(self.call(OURS, at, client))
        await self.until_file(f"up.{name}")

    def begin_outage(self) -> None:
        """Let nothing pass any more, and then let the programs write."""
        for proxy in self.proxies:
            proxy.out = True
        self.write("out", b"")

    async def test_outage(self) -> None:
        """When it returns, every byte arrives, and all ends are content."""
        for name, kind, (client, server) in (
            ("up", OURS, self.upload),
            ("up.reference", REFERENCE, self.upload),
            ("down", OURS, self.download),
        ):
            receiver = carrier(kind, server.format(name=name))
            if kind == OURS:
                receiver = noting(receiver)
            sender = carrier(OURS, client.format(name=name), CLIENT_FIRST)
            await self.begin(name, receiver, sender)
        self.begin_outage()
        passed = [proxy.passed for proxy in self.proxies]
        await deferLater(reactor, OUTAGE)
        self.assertEqual([proxy.passed for proxy in self.proxies], passed)
        self.assertEqual([client.status for client in self.clients], [None] * 3)
        for proxy in self.proxies:
            proxy.out = False
        await self.succeed(*self.clients)
        for name in ("up", "up.reference", "down"):
            await self.assert_arrives(f"got.{name}", self.data)
        self.assertEqual(await self.statuses(2), [0, 0])

    async def test_no_return(self) -> None:
        """When it does not return, both ends say that they have failed."""
        module = MODULES["curvecpmessage"]
        impatient = (sys.executable, IMPATIENT, str(IMPATIENCE), module)
        for name, (client, server) in (("up", self.upload), ("down", self.download)):
            await self.begin(
                name,
                noting((*impatient, *shell(server.format(name=name)))),
                (*impatient, CLIENT_FIRST, *shell(client.format(name=name))),
            )
        self.begin_outage()
        for process in self.clients:
            self.assertEqual(await self.finish(process), 111)
            self.assertIn("fatal", process.errors)
        self.assertEqual(await self.statuses(2), [111, 111])
        for name in ("up", "down"):
            self.assertLess(len(self.read(f"got.{name}")), UPLOAD)


class ProgramTests(StreamTestCase):
    """Programs that do not read, or not yet."""

    def start(
        self, server: Server, script: str, *, first: str = CLIENT_FIRST
    ) -> Process:
        """Start a client with the message tool."""
        return self.call(OURS, server, carrier(OURS, script, first))

    async def test_a_program_that_writes_before_it_reads(self) -> None:
        """Acknowledgments are taken while nobody reads what else there is."""
        noise = random.Random(3).randbytes
        up, down = noise(MEBIBYTE), noise(400 * KIBIBYTE)
        self.write("up", up)
        self.write("down", down)
        patient = "cat down & cat >up.got; wait"
        server = await self.serve(OURS, noting(carrier(OURS, patient)))
        hasty = "cat up >&7; exec 7>&-; : >written; cat <&6 >down.got"
        await self.succeed(self.start(server, hasty))
        await self.assert_arrives("up.got", up)
        await self.assert_arrives("down.got", down)
        self.assertEqual(await self.statuses(1), [0])

    async def test_a_server_program_that_does_not_read(self) -> None:
        """What nobody reads any more is taken all the same; the way back works."""
        up, down = random.Random(4).randbytes(MEBIBYTE), b"done"
        self.write("up", up)
        self.write("down", down)
        server = await self.serve(OURS, carrier(OURS, "exec 0<&-; cat down"))
        kinds = (OURS, REFERENCE)
        clients = []
        for kind in kinds:
            script = f"cat up >&7; exec 7>&-; cat <&6 >got.{kind}"
            program = carrier(kind, script, CLIENT_FIRST)
            clients.append(self.call(kind, server, program))
        await self.succeed(*clients)
        for kind in kinds:
            await self.assert_arrives(f"got.{kind}", down)

    async def test_a_client_program_that_does_not_read(self) -> None:
        """The same with the ends exchanged."""
        down = random.Random(5).randbytes(MEBIBYTE)
        self.write("down", down)
        server = await self.serve(OURS, noting(carrier(OURS, "cat down; cat >up.got")))
        deaf = "exec 6<&-; sleep .5; echo done >&7"
        await self.succeed(self.start(server, deaf, first=SERVER_FIRST))
        await self.assert_arrives("up.got", b"done\n")
        self.assertEqual(await self.statuses(1), [0])
