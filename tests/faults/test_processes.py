"""Programs that break the rules, that end in all ways, and that are stopped."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.faults.figures import OURS as OURS_BOTH
from tests.faults.figures import note
from tests.faults.scenario import together
from tests.interop.processes import (
    HANDLER,
    OURS,
    Process,
    Server,
    is_alive,
    state_of,
)
from tests.interop.rawclient import RawClientTestCase
from tests.interop.streaming import (
    KIBIBYTE,
    MEBIBYTE,
    StreamTestCase,
    digest,
    shell,
)

FAILURE = 111
STUBBORN = "trap '' TERM HUP INT; "
FOR_EVER = "while :; do sleep 1; done"
PREFIX = r"printf '\001abcdefghijklmnop' >&9; "
"""A good message."""

GARBAGE = {
    "length byte": (r"printf '\000' >&9", r"printf '\105' >&9", r"printf '\377' >&9"),
    "inside a message": (r"printf '\104abc' >&9; exec 9>&-",),
    "640": (r"(printf '\051'; head -c 656 /dev/zero) >&9",),
}
"""What a client's program may do wrong, and a word of the reason."""

ENDS = {"exit 0": 0, "exit 7": 7, "kill -KILL $$": FAILURE, "kill -TERM $$": FAILURE}
"""How a program ends, and the exit status that its client is to have."""

STOPPED = 3.0
FIRST_PART = 500_000
STOPPED_CLIENT = (
    "cat <&6 7>&- >got.{0} & head -c {1} data >&7; until test -e {0}; do sleep .05;"
    " done; tail -c +{2} data >&7; exec 7>&-; wait"
)


def buried(process: Process) -> bool:
    """Tell whether a process has no child left, not even a dead one."""
    states = [state_of(int(pid)) for pid in os.listdir("/proc") if pid.isdigit()]
    return not any(state and state[1] == process.pid for state in states)


class FaultyProgramTests(RawClientTestCase):
    """Garbage on descriptor 9, from programs that do not want to end."""

    async def break_rule(self, server: Server, script: str, reason: str) -> None:
        """Have a client's program do something wrong."""
        program = shell(f"{STUBBORN}{PREFIX}{script}; {FOR_EVER}")
        client = self.call(OURS, server, program)
        pid = await self.only_child(client)
        self.assertEqual(await self.finish(client), FAILURE, client.errors)
        [line] = client.errors.splitlines()
        self.assertIn(reason, line)
        self.assertFalse(is_alive(pid))

    async def test_client(self) -> None:
        """The client ends with 111 and one line, and its program with it."""
        server = await self.serve(OURS, HANDLER)
        await together(
            self.break_rule(server, script, reason)
            for reason, scripts in GARBAGE.items()
            for script in scripts
        )
        note("E1", OURS_BOTH, "client: 111 and a reason for each of 5 kinds")

    async def test_client_byte_by_byte(self) -> None:
        """A client's program may write its frames in single bytes."""
        server = await self.serve(OURS, HANDLER)
        pieces = r"for c in '\001' e c h o '\000' a b c d e f g h i j k"
        script = f'{pieces}; do printf "$c" >&9; done; sleep .2; head -c 17 <&8 >got'
        waiting = script.replace("head", "until test -s got; do sleep .05; head")
        client = self.call(OURS, server, shell(f"{waiting} 2>/dev/null; done"))
        self.assertEqual(await self.finish(client), 0, client.errors)
        self.assertEqual(self.read("got"), b"\x01echo\0abcdefghijk")

    async def test_others(self) -> None:
        """A program's fault ends its own connection, and nobody else's."""
        server = await self.serve(OURS, HANDLER)
        others = [await self.connect(server, "echo") for _ in range(3)]
        before = set(server.process.children())
        for fault in ("write 00", "write 45", "write ff", "cut 01616263"):
            await self.request(server, fault)
        await self.until(
            lambda: server.process.errors.count("curvecpserver: pid ") == 4, "4 faults"
        )
        await self.until(
            lambda: set(server.process.children()) == before, "the faulty ones end"
        )
        for other in others:
            await self.exchange(other, "still here")
        self.assertNotIn("Traceback", server.process.errors)
        note("E1", OURS_BOTH, "server: 4 faulty programs end, 3 others go on")


class ProgramEndTests(StreamTestCase):
    """A program ends: at the start, in the middle, or after all."""

    def setUp(self) -> None:
        super().setUp()
        self.data = random.Random(4).randbytes(150 * KIBIBYTE)
        self.write("data", self.data)

    async def ends(self, before: str, flushed: bool) -> None:
        """Have clients' programs end in each way; see what their server gets."""
        server = await self.serve(
            OURS, shell("cat >arrived.$$; cat data"), options=("--stream",)
        )
        for end, status in ENDS.items():
            client = self.call(
                OURS, server, shell(f"{before}{end}"), options=("--stream",)
            )
            pid = await self.served(server)
            self.assertEqual(await self.finish(client), status, (end, client.errors))
            await self.until_dead(pid)
            arrived = self.read(f"arrived.{pid}")
            if flushed:
                self.assertEqual(digest(arrived), digest(self.data))
            self.assertTrue(self.data.startswith(arrived))
        await self.until(lambda: buried(server.process), "no zombie is left")
        self.assertNotIn("Traceback", server.process.errors)

    async def served(self, server: Server) -> int:
        """Wait for a new program of the server's."""

        def look() -> int:
            names = os.listdir(self.directory)
            new = [int(n[8:]) for n in names if n.startswith("arrived.")]
            return max((pid for pid in new if pid not in self.seen), default=0)

        self.seen: set[int] = getattr(self, "seen", set())
        pid = await self.until(look, "the server's program runs")
        self.seen.add(pid)
        return pid

    async def test_at_the_start(self) -> None:
        """A client has its program's status, whatever was said before: nothing."""
        await self.ends("", flushed=False)

    async def test_in_the_middle(self) -> None:
        """What a program wrote before its end is all there, if no signal ended it."""
        await self.ends("cat data >&7; ", flushed=False)
        server = await self.serve(OURS, shell("cat >arrived.$$"), options=("--stream",))
        for end in ("exit 0", "exit 7"):
            client = self.call(
                OURS, server, shell(f"cat data >&7; {end}"), options=("--stream",)
            )
            pid = await self.served(server)
            await self.finish(client)
            await self.assert_arrives(f"arrived.{pid}", self.data)

    async def test_after_the_end(self) -> None:
        """When both streams are complete, only the program's status counts."""
        await self.ends("cat data >&7; exec 7>&-; cat <&6 >/dev/null; ", flushed=True)
        note("E2", OURS_BOTH, "12 ends of client programs: status passed on, no zombie")

    async def end_program(self, end: str, expected: int, name: str) -> None:
        """Have a server's program end; see what its client gets, and how it ends."""
        server = await self.serve(
            OURS, shell(f"cat data; {end}"), options=("--stream",)
        )
        client = self.call(
            OURS, server, shell(f"exec 7>&-; cat <&6 >{name}"), options=("--stream",)
        )
        self.assertEqual(await self.finish(client), expected, client.errors)
        got = self.read(name)
        self.assertTrue(self.data.startswith(got))
        if not expected:
            self.assertEqual(digest(got), digest(self.data))
        else:
            self.assertIn("peer reports a failure", client.errors)
        await self.until(partial(buried, server.process), "no zombie is left")

    async def test_server_programs(self) -> None:
        """What a server's program wrote arrives, and a signal is a failure."""
        await together(
            self.end_program(end, FAILURE if status == FAILURE else 0, f"got{number}")
            for number, (end, status) in enumerate(ENDS.items())
        )
        note("E2", OURS_BOTH, "4 ends of server programs: flushed, signals told")


class StoppedTests(StreamTestCase):
    """A tool is stopped in the middle of a transfer, and goes on."""

    def has_come(self, name: str) -> bool:
        """Tell whether the first part is there."""
        return len(self.read(name)) == FIRST_PART

    async def stop(self, name: str, data: bytes) -> float:
        """Stop server or client for a while; give how long it then took."""
        server = await self.serve(OURS, shell(f"tee up.{name}"), options=("--stream",))
        script = STOPPED_CLIENT.format(name, FIRST_PART, FIRST_PART + 1)
        client = self.call(OURS, server, shell(script), options=("--stream",))
        await self.until(partial(self.has_come, f"up.{name}"), "a part")
        stopped = server.process if name == "server" else client
        stopped.signal(signal.SIGSTOP)
        self.write(name, b"")
        await deferLater(reactor, STOPPED)
        stopped.signal(signal.SIGCONT)
        resumed = time.monotonic()
        await self.succeed(client)
        took = time.monotonic() - resumed
        for path in (f"up.{name}", f"got.{name}"):
            self.assertEqual(digest(self.read(path)), digest(data))
        return took

    async def test_stopped(self) -> None:
        """A server and a client stand still for seconds; all arrives."""
        data = random.Random(6).randbytes(MEBIBYTE)
        self.write("data", data)
        names = ("server", "client")
        times = await together(self.stop(name, data) for name in names)
        for name, took in zip(names, times, strict=True):
            note(
                "E10",
                OURS_BOTH,
                f"{name} stopped {STOPPED:g} s: done {took:.1f} s later",
            )
