"""Real programs on streams: what their tools say, and what has really arrived."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from twisted.internet import reactor
from twisted.internet.task import deferLater

from curvecp_tx.wire.messages import FAILURE, SUCCESS, decode_message, encode_message
from tests.faults.figures import OUR_CLIENT, OUR_SERVER, OURS, note
from tests.faults.impairment import CLEAR, Deed, Link, Q
from tests.faults.scenario import FaultTestCase, noise, together
from tests.interop.processes import (
    MODULES,
    PROGRAMS,
    REFERENCE,
    Process,
    Server,
)
from tests.interop.processes import (
    OURS as OUR_TOOLS,
)
from tests.interop.rawclient import RawClientTestCase
from tests.interop.streaming import (
    CLIENT_FIRST,
    KIBIBYTE,
    MEBIBYTE,
    carrier,
    digest,
    shell,
)

STREAM = ("--stream",)
FAILED = 111
IMPATIENT = os.path.join(PROGRAMS, "impatient.py")
IMPATIENCE = 3
"""Seconds after which a peer is given up in tests that wait for it."""

THIN = Link(rate=64e3, delay=0.015, queue=25)
FAR = Link(delay=1.0)
SIZE = 32 * KIBIBYTE

IDLE = 4.5
"""Longer than the impatient wait for an answer."""


def impatient(name: str) -> tuple[str, ...]:
    """Give the command of a tool of ours that gives its peer up soon."""
    return (sys.executable, IMPATIENT, str(IMPATIENCE), MODULES[name])


class ProgramTestCase(FaultTestCase):
    """A test with programs behind our tools."""

    def call_impatient(self, server: Server, program: Sequence[str]) -> Process:
        """Start a client of ours that gives its peer up soon."""
        command = impatient("curvecpclient")
        return self.launch((*command, *STREAM, *server.operands(), *program))


class TruncationTests(ProgramTestCase):
    """Programs that exit as soon as they have written."""

    async def test_thin_and_long_links(self) -> None:
        """A client that ends with 0 has delivered, or has got, every byte."""
        data = noise(SIZE, "data")
        self.write("data", data)
        servers = {
            (OURS, "up"): await self.serve(
                OUR_TOOLS, shell("cat >$$.part; mv $$.part $$.up"), options=STREAM
            ),
            (OURS, "down"): await self.serve(
                OUR_TOOLS, shell("cat data"), options=STREAM
            ),
            (OUR_CLIENT, "up"): await self.serve(
                REFERENCE, carrier(REFERENCE, "cat >$$.part; mv $$.part $$.up")
            ),
        }
        scripts = {"up": "cat data >&7", "down": "cat <&6 >{}.down"}
        clients: dict[tuple[str, str, str], Process] = {}
        for (pair, way), direct in servers.items():
            for name, link in (("64 kbit/s", THIN), ("RTT 2 s", FAR)):
                server = self.behind(direct, link)
                script = scripts[way].format(len(clients))
                clients[pair, way, name] = self.call(
                    OUR_TOOLS, server, shell(script), options=STREAM
                )
        for (pair, way, name), client in clients.items():
            status = await self.finish(client)
            self.assertEqual(status, 0, (pair, way, name, client.errors))
        # A program may still be writing down what its tool has got.
        uploads = [key for key in clients if key[1] == "up"]
        await self.until(
            lambda: len(self.names(".up")) == len(uploads), "all uploads are there"
        )
        arrived = [*self.names(".up"), *self.names(".down")]
        self.assertEqual(len(arrived), len(clients))
        for name in arrived:
            self.assertEqual(digest(self.read(name)), digest(data))
        for pair in (OURS, OUR_CLIENT):
            ways = " and ".join(way for other, way in servers if other == pair)
            note(
                "B9",
                pair,
                f"{SIZE >> 10} KiB {ways}, 64 kbit/s and RTT 2 s, programs that exit"
                " at once: all whole, exit 0",
            )

    def names(self, ending: str) -> list[str]:
        """Give the files that end so."""
        return [name for name in os.listdir(self.directory) if name.endswith(ending)]

    async def test_cut_off(self) -> None:
        """A client whose upload is cut off does not end with 0."""
        data = noise(SIZE, "data")
        self.write("data", data)
        direct = await self.serve(OUR_TOOLS, shell("cat >got"), options=STREAM)
        server = self.behind(direct, THIN)
        client = self.call_impatient(server, shell("cat data >&7 || :"))
        await self.until(lambda: self.read("got"), "something arrives")
        self.proxy.out = True
        self.assertEqual(await self.finish(client), FAILED)
        self.assertIn("fatal", client.errors)
        self.assertLess(len(self.read("got")), SIZE)


class HalfCloseTests(ProgramTestCase):
    """One direction ends long before the other."""

    async def test_client_first(self) -> None:
        """Ten mebibytes come back to a client that has ended its stream."""
        data = noise(10 * MEBIBYTE, "data")
        little = data[:MEBIBYTE]
        self.write("data", data)
        self.write("little", little)
        script = "echo {0} >&7; exec 7>&-; cat <&6 >{0}.got"
        program = 'read what; cat >rest; cat "$what"'
        ours = await self.serve(OUR_TOOLS, shell(program), options=STREAM)
        theirs = await self.serve(REFERENCE, carrier(REFERENCE, program))
        clients = [
            self.call(OUR_TOOLS, ours, shell(script.format("data")), options=STREAM),
            self.call(
                REFERENCE,
                ours,
                carrier(REFERENCE, "ln little a;" + script.format("a"), CLIENT_FIRST),
            ),
            self.call(
                OUR_TOOLS,
                theirs,
                shell("ln little b;" + script.format("b")),
                options=STREAM,
            ),
        ]
        await self.succeed(*clients)
        await self.assert_arrives("data.got", data)
        await self.assert_arrives("a.got", little)
        await self.assert_arrives("b.got", little)
        for pair, size in ((OURS, 10), (OUR_SERVER, 1), (OUR_CLIENT, 1)):
            note("B11", pair, f"client ends first, {size} MiB come back whole")

    async def test_writer_that_is_cut_short(self) -> None:
        """An endless program whose reader has enough ends, and so do all."""
        server = await self.serve(
            OUR_TOOLS, shell("yes | head -n 2000"), options=STREAM
        )
        client = self.call(OUR_TOOLS, server, shell("cat <&6 >got"), options=STREAM)
        await self.succeed(client)
        self.assertEqual(self.read("got"), b"y\n" * 2000)


class SignalTests(ProgramTestCase):
    """A signal ends a program."""

    async def test_exit_status(self) -> None:
        """The client fails, whichever end's program it was."""
        mortal = shell("head -c 100000 /dev/zero; kill -9 $$")
        server = await self.serve(OUR_TOOLS, mortal, options=STREAM)
        client = self.call(OUR_TOOLS, server, shell("cat <&6 >got"), options=STREAM)
        self.assertEqual(await self.finish(client), FAILED)
        self.assertIn("failure", client.errors)
        server = await self.serve(OUR_TOOLS, shell("cat"), options=STREAM)
        client = self.call(
            OUR_TOOLS, server, shell("echo >&7; kill -9 $$"), options=STREAM
        )
        self.assertEqual(await self.finish(client), FAILED)
        note("B14", OURS, "program killed by a signal: client exits with 111")


class FlagTests(RawClientTestCase):
    """What a peer sees that knows messages only."""

    async def test_on_the_wire(self) -> None:
        """The end of a killed program's stream is a failure in the packet."""
        program = shell("kill -9 $$")
        server = await self.serve(OUR_TOOLS, program, options=STREAM)
        client = self.raw_client(server)
        client.send(encode_message(message_id=7))

        def flags() -> set[int]:
            client.step()
            decoded = map(decode_message, client.messages)
            return {m.ending for m in decoded if m is not None and m.ending}

        await self.until(flags, "the stream ends")
        self.assertEqual(flags(), {FAILURE})
        self.assertNotIn(SUCCESS, flags())
        note("B14", OUR_SERVER, "the flag 4096 is on the wire")


class RestartTests(ProgramTestCase):
    """A server is killed, and started again on the same port."""

    async def restart(self, kind: str) -> None:
        """Kill and replace a server while a client of ours is sending."""
        program = f"cat >got.{kind}"
        options = STREAM if kind == OUR_TOOLS else ()
        command = shell(program) if kind == OUR_TOOLS else carrier(REFERENCE, program)
        direct = await self.serve(kind, command, options=options)
        server = self.behind(direct, Q)
        proxy = self.proxy
        client = self.call_impatient(server, shell("cat data >&7 || :"))
        await self.until(partial(self.read, f"got.{kind}"), "something arrives")
        direct.process.kill()
        await self.serve(kind, command, options=options, port=direct.port)
        # What the old one has sent is through by then.
        await deferLater(reactor, 0.1)
        sent = proxy.back.counts.of(Deed.SEEN)
        heard = proxy.there.counts.of(Deed.SEEN)
        self.assertEqual(await self.finish(client), FAILED)
        self.assertIn("fatal", client.errors)
        self.assertGreater(proxy.there.counts.of(Deed.SEEN), heard)
        self.assertEqual(proxy.back.counts.of(Deed.SEEN), sent)

    async def test_mid_transfer(self) -> None:
        """Our client fails; the new server sends nothing, ours or the reference's."""
        self.write("data", noise(4 * MEBIBYTE))
        await together(self.restart(kind) for kind in (OUR_TOOLS, REFERENCE))
        for pair in (OURS, OUR_CLIENT):
            note(
                "B17",
                pair,
                "client exits with 111 when it gives up; the new server is silent",
            )

    async def test_killed(self) -> None:
        """A client whose server has been killed fails when it gives up."""
        direct = await self.serve(OUR_TOOLS, shell("cat"), options=STREAM)
        server = self.behind(direct, CLEAR)
        client = self.call_impatient(server, shell("echo >&7; cat <&6 >got"))
        await self.until(lambda: self.read("got"), "the echo arrives")
        direct.process.signal(signal.SIGKILL)
        self.assertEqual(await self.finish(client), FAILED)
        note("B8", OURS, "server killed with -9: client exits with 111")


class IdleTests(ProgramTestCase):
    """Nobody has anything to say."""

    async def test_reference_answers(self) -> None:
        """The reference answers empty messages, and so is known to be there."""
        quiet = f"echo a >&7; sleep {IDLE:g}; echo b >&7; exec 7>&-; cat <&6 >{{}}"
        theirs = self.behind(
            await self.serve(REFERENCE, carrier(REFERENCE, "cat")), CLEAR
        )
        to_theirs = self.proxy
        ours = self.behind(
            await self.serve(
                OUR_TOOLS,
                shell("cat"),
                options=STREAM,
                wrapper=impatient("curvecpserver"),
            ),
            CLEAR,
        )
        to_ours = self.proxy
        mine = self.call_impatient(theirs, shell(quiet.format("mine")))
        other = self.call(
            REFERENCE, ours, carrier(REFERENCE, quiet.format("other"), CLIENT_FIRST)
        )
        await self.succeed(mine, other)
        await self.assert_arrives("mine", b"a\nb\n")
        await self.assert_arrives("other", b"a\nb\n")
        # At one ping and one answer a half second; the talk itself needs fewer.
        for proxy in (to_theirs, to_ours):
            for way in (proxy.there, proxy.back):
                self.assertGreater(way.counts.of(Deed.SEEN), IDLE)
        for pair in (OUR_CLIENT, OUR_SERVER):
            note(
                "B18",
                pair,
                f"idle for {IDLE:g} s, one ping every half second: all answered",
            )
