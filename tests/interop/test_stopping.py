"""How servers and clients stop: what finishes, what is told, and what is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from tests.faults.figures import OUR_SERVER, note
from tests.faults.figures import OURS as BOTH_OURS
from tests.interop.processes import (
    HANDLER,
    OURS,
    PROGRAMS,
    REFERENCE,
    TWISTD,
    Process,
    ProcessTestCase,
    Server,
    is_alive,
    tool,
)
from tests.interop.rawclient import RawClientTestCase
from tests.interop.streaming import SERVER_FIRST, carrier, shell

NOTING = (sys.executable, "-I", "-S", os.path.join(PROGRAMS, "noting.py"))
"""A message handler that notes how it ends, in the file that is its argument."""

FAILURE = 111
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SLOW = "head -c 100000 /dev/zero; sleep 1; head -c 200000 /dev/zero"
STUCK = "echo up; exec sleep 1000"
LISTENING = "echo up; exec cat"


class StoppingCase(ProcessTestCase):
    """A test that stops something."""

    async def stop(self, process: Process, number: int = signal.SIGTERM) -> float:
        """Send a signal; give the seconds until the end, which has to be a good one."""
        began = time.monotonic()
        process.signal(number)
        self.assertEqual(await self.finish(process), 0, process.errors)
        return time.monotonic() - began

    async def until_said(self, process: Process, words: str) -> None:
        """Wait for words on standard error."""
        await self.until(lambda: words in process.errors, f"it says {words!r}")

    async def until_written(self, name: str, size: int = 1) -> None:
        """Wait until a file has some bytes."""
        await self.until(
            lambda: len(self.read(name)) >= size, f"{size} bytes in {name}"
        )

    def call_stream(self, server: Server, script: str) -> Process:
        """Start a client of ours with a plain program."""
        return self.call(OURS, server, shell(script), options=("--stream",))


class DrainTests(StoppingCase):
    """A server that is to stop, while clients are there."""

    async def assert_finishes(self, kind: str, *wrapper: str) -> float:
        """Stop a server in the middle of a transfer, which has to be finished."""
        server = await self.serve(
            OURS,
            carrier(REFERENCE, SLOW),
            options=("-v",),
            wrapper=wrapper or None,
        )
        client = self.call(
            kind, server, carrier(REFERENCE, "cat <&6 >got", SERVER_FIRST)
        )
        await self.until_written("got")
        began = time.monotonic()
        server.process.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(client), 0, client.errors)
        self.assertEqual(len(self.read("got")), 300_000)
        self.write("got", b"")
        expected = -signal.SIGTERM if wrapper else 0
        self.assertEqual(await self.finish(server.process), expected)
        return time.monotonic() - began

    async def test_a_transfer_is_finished(self) -> None:
        """What is under way at SIGTERM goes on to its end; then the server ends."""
        for kind, pair in ((OURS, BOTH_OURS), (REFERENCE, OUR_SERVER)):
            seconds = await self.assert_finishes(kind)
            note("E11", pair, f"transfer finished, server gone {seconds:.1f} s later")

    async def test_under_twistd(self) -> None:
        """The same goes for twistd, which ends by the signal as it does."""
        pidfile = os.path.join(self.directory, "pid")
        await self.assert_finishes(
            OURS, *TWISTD, "--nodaemon", f"--pidfile={pidfile}", "curvecpserver"
        )

    async def test_nobody_new(self) -> None:
        """While it waits for those who are in, nobody else gets in."""
        server = await self.serve(
            OURS, shell(STUCK), options=("-v", "--stream", "--grace", "30")
        )
        self.call_stream(server, "cat <&6 >got")
        await self.until_written("got")
        server.process.signal(signal.SIGTERM)
        await self.until_said(server.process, "stopping: 1 clients may go on for 30 s")
        late = self.call(OURS, server, ("true",), options=("-t", "1", "--stream"))
        self.assertEqual(await self.finish(late), FAILURE)
        self.assertEqual(server.programs_started, 1)
        await self.stop(server.process)

    async def assert_told(self, server: Server) -> None:
        """Stop a server in the middle of a dialogue; its client learns of a failure."""
        client = self.call_stream(server, "cat <&6 >got; echo ended >>got")
        await self.until_written("got")
        children = server.process.children()
        seconds = await self.stop(server.process)
        self.assertEqual(await self.finish(client), FAILURE)
        self.assertIn("peer reports a failure", client.errors)
        self.assertEqual([pid for pid in children if is_alive(pid)], [])
        note("E11", BOTH_OURS, f"grace 0.3 s: told and gone after {seconds:.1f} s")
        self.write("got", b"")

    async def test_a_client_is_told(self) -> None:
        """When the time is over, streams end as failures, and their clients know."""
        grace = ("--grace", "0.3")
        await self.assert_told(
            await self.serve(OURS, shell(STUCK), options=("--stream", *grace))
        )

    async def test_a_message_tool_tells(self) -> None:
        """So does a stream that our message tool has under our server."""
        await self.assert_told(
            await self.serve(
                OURS,
                (*tool(OURS, "curvecpmessage"), *shell(STUCK)),
                options=("--grace", "0.3"),
            )
        )

    async def test_a_tunnel_tells(self) -> None:
        """And one that is forwarded; the target hears of its end."""
        server = await self.serve(OURS, shell(STUCK), options=("--stream", "--grace=0"))
        # By a short name: such addresses have a hundred bytes.
        target = "unix:target"
        inner = self.launch(
            (
                *tool(OURS, "curvecpclient"),
                *("--listen", target, *server.operands()),
            )
        )
        await self.until(
            lambda: os.path.exists(os.path.join(self.directory, "target")), "it listens"
        )
        outer = await self.serve(
            OURS, (), options=("--forward", target, "--grace", "0.3"), keydir=None
        )
        await self.assert_told(outer)
        await self.stop(inner)
        await self.stop(server.process)


class ProgramTests(RawClientTestCase, StoppingCase):
    """What programs are told."""

    async def assert_noted(self, *words: str) -> None:
        """Wait for what a program notes."""
        expected = "".join(f"{word}\n" for word in words).encode()
        await self.until(lambda: self.read("noted") == expected, f"{words} are noted")

    async def until_waiting(self, process: Process) -> None:
        """Wait until a server waits for its clients; twistd says so in its output."""
        words = "may go on for 1000 s"
        await self.until(
            lambda: words in process.errors + process.output, "the server waits"
        )

    async def test_end_of_input_then_sigterm(self) -> None:
        """A program first gets the end of its input, then SIGTERM."""
        server = await self.serve(
            OURS, (*NOTING, "noted"), options=("-v", "--grace", "0.2")
        )
        await self.connect(server, "hello")
        seconds = await self.stop(server.process)
        await self.assert_noted("up", "eof", "term")
        note("E11", BOTH_OURS, f"EOF, SIGTERM, exit 0 after {seconds:.1f} s")

    async def test_second_signal(self) -> None:
        """A second signal ends it at once, whatever time clients and programs have."""
        pidfile = os.path.join(self.directory, "pid")
        twistd = (*TWISTD, "--nodaemon", f"--pidfile={pidfile}", "curvecpserver")
        for wrapper, status in ((None, 0), (twistd, -signal.SIGTERM)):
            server = await self.serve(
                OURS, HANDLER, options=("-v", "--grace", "1000"), wrapper=wrapper
            )
            await self.connect(server, "stubborn")
            pid = await self.only_child(server.process)
            server.process.signal(signal.SIGTERM)
            await self.until_waiting(server.process)
            began = time.monotonic()
            server.process.signal(signal.SIGINT)
            self.assertEqual(await self.finish(server.process), status)
            seconds = time.monotonic() - began
            self.assertFalse(is_alive(pid))
            said = server.process.errors + server.process.output
            self.assertNotIn("Traceback", said)
            note("E11", BOTH_OURS, f"second signal: gone after {seconds:.2f} s")

    async def test_closing_terminal(self) -> None:
        """SIGHUP is SIGTERM to a server without a file to read again."""
        server = await self.serve(OURS, (*NOTING, "noted"), options=("--grace", "0"))
        await self.connect(server, "hello")
        await self.stop(server.process, signal.SIGHUP)
        await self.assert_noted("up", "eof", "term")


class ClientTests(StoppingCase):
    """Clients that are told to stop."""

    async def start(self, *options: str, program: Sequence[str] = ()) -> Process:
        """Start a client of a server that speaks first and never ends."""
        self.server = await self.serve(
            OURS, shell(LISTENING), options=("-v", "--stream", "--grace", "0")
        )
        return self.call(OURS, self.server, program, options=options)

    async def assert_gone(self, client: Process, number: int, mode: str) -> None:
        """Stop a client; its program ends, and the server's learns of a failure."""
        children = client.children()
        began = time.monotonic()
        client.signal(number)
        status = await self.finish(client)
        seconds = time.monotonic() - began
        self.assertEqual(status, FAILURE, client.errors)
        self.assertEqual([pid for pid in children if is_alive(pid)], [])
        await self.until_said(self.server.process, ": end ")
        self.assertNotIn("Traceback", client.errors)
        note("E12", BOTH_OURS, f"{mode}, signal {number}: gone after {seconds:.2f} s")

    async def test_stream(self) -> None:
        """A plain program's client ends with it, and tells the server."""
        for number in SIGNALS:
            client = await self.start("--stream", program=shell("cat <&6 >got"))
            await self.until_written("got")
            await self.assert_gone(client, number, "--stream")
            self.write("got", b"")

    async def test_message_tool(self) -> None:
        """So does one with our message tool."""
        program = (
            *tool(OURS, "curvecpmessage"),
            *("-c", *shell("trap '' TERM; cat <&6 >got; sleep 1000")),
        )
        for number in SIGNALS:
            client = await self.start(program=program)
            await self.until_written("got")
            await self.assert_gone(client, number, "curvecpmessage")
            self.write("got", b"")

    async def test_stdio(self) -> None:
        """So does one on standard input and output."""
        for number in SIGNALS:
            server = await self.serve(
                OURS, shell(LISTENING), options=("-v", "--stream", "--grace", "0")
            )
            self.server = server
            command = f"{sys.executable} -m curvecp_tx.commands.client --stdio"
            client = self.launch(
                shell(
                    "test -p in || mkfifo in; sleep 1000 >in & "
                    f"exec {command} {' '.join(server.operands())} <in >got"
                )
            )
            await self.until_written("got")
            client.signal(number)
            self.assertEqual(await self.finish(client), FAILURE, client.errors)
            await self.until_said(server.process, ": end ")
            self.write("got", b"")

    async def test_sigpipe(self) -> None:
        """SIGPIPE is nothing to die of."""
        client = await self.start("--stream", program=shell("cat <&6 >got"))
        await self.until_written("got")
        client.signal(signal.SIGPIPE)
        await deferLater(reactor, 0.1)
        self.assertIsNone(client.status)
        await self.assert_gone(client, signal.SIGTERM, "after SIGPIPE")


class StandardDescriptorTests(StoppingCase):
    """Clients whose surroundings go away."""

    async def run_client(self, options: str, redirection: str) -> Process:
        """Run a client in a shell to its end."""
        server = await self.serve(OURS, shell("echo hello"), options=("--stream",))
        client = f"{sys.executable} -m curvecp_tx.commands.client {options}"
        script = f"{client} {' '.join(server.operands())} {redirection}"
        process = self.launch(("bash", "-o", "pipefail", "-c", script))
        await self.finish(process)
        return process

    async def test_closed_standard_input(self) -> None:
        """The end of standard input is the end of what is sent, and no error."""
        for redirection in ("</dev/null", "<&-", "< <(sleep 0.2)"):
            process = await self.run_client("--stdio", redirection)
            self.assertEqual((process.status, process.output), (0, "hello\n"))

    async def test_closed_standard_error(self) -> None:
        """With nowhere to write its log, a client does its work all the same."""
        program = "sh -c 'cat <&6 >got'"
        for redirection in ("2>&-", "2>/dev/full", ">/dev/full 2>&1"):
            if "full" in redirection and not os.path.exists("/dev/full"):
                raise SkipTest("the system has no /dev/full")
            process = await self.run_client("-v --stream", f"{program} {redirection}")
            self.assertEqual(process.status, 0, redirection)
            self.assertEqual(self.read("got"), b"hello\n")
            self.write("got", b"")

    async def test_closed_standard_output(self) -> None:
        """Output that cannot be written is a failure, and not a hang."""
        process = await self.run_client("--stdio", "</dev/null | sleep 0.1")
        self.assertNotIn("Traceback", process.errors)
        process = await self.run_client("--stdio", "</dev/null >/dev/full")
        self.assertEqual(process.status, FAILURE)
        self.assertIn("unable to write output", process.errors)
