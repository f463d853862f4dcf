"""Whom a server lets in, and for how long: real clients, and files that change."""

from __future__ import annotations

import ast
import os
import random
import signal
import time

from curvecp_tx.net.keydir import read_public_key
from curvecp_tx.secure.admission import START_BURST
from curvecp_tx.wire.packets import CLIENT_MESSAGE_MAGIC, HELLO_MAGIC, INITIATE_MAGIC
from tests.faults.figures import OUR_SERVER, note
from tests.faults.figures import OURS as BOTH_OURS
from tests.interop.processes import (
    CALLER,
    EXTENSION,
    HANDLER,
    OURS,
    REFERENCE,
    TWISTD,
    Process,
    Server,
    is_alive,
)
from tests.interop.rawclient import RawClient, RawClientTestCase, message
from tests.interop.streaming import CLIENT_FIRST, SERVER_FIRST, carrier, shell
from tests.interop.test_stopping import NOTING

PLACES = 3
IDLE = 2.0
CROWD = 200
PER_ADDRESS = 10
OTHER_HOST = "127.0.0.2"
BAD_PACKETS = 10_000
REASONS = ("dropped_", "refused_")
SECRET_NOISE = b"confidential"
FAILURE = 111


class SilentClientTests(RawClientTestCase):
    """A server that gives silent clients up."""

    async def assert_reclaimed(self, kind: str) -> float:
        """Let all places be taken by clients that vanish; give the seconds it took."""
        server = await self.serve(
            OURS,
            (*NOTING, noted := f"noted by {kind}"),
            options=("-v", "-c", str(PLACES), "--idle-timeout", str(IDLE)),
        )
        caller = shell("printf '\\001hello, server...' >&9; exec sleep 1000")
        clients = [self.call(kind, server, caller) for _ in range(PLACES)]
        await self.until(
            lambda: self.read(noted).count(b"up") == PLACES, "all places are taken"
        )
        children = server.process.children()
        began = time.monotonic()
        for client in clients:
            client.kill()
        await self.until(
            lambda: "status: 0/" in server.process.errors, "all places are free"
        )
        seconds = time.monotonic() - began
        late = self.call(kind, server, (*CALLER, "hello"))
        self.assertEqual(await self.finish(late), 0, late.errors)
        for pid in children:
            await self.until_dead(pid)
        words = self.read(noted).split()
        self.assertGreaterEqual(words.count(b"term"), PLACES)
        self.assertLess(words.index(b"eof"), words.index(b"term"))
        self.assertIn("silent for 2 s: 127.0.0.1:", server.process.errors)
        return seconds

    async def test_vanished_clients(self) -> None:
        """Clients that are killed leave no program and hold no place for long."""
        for kind, pair in ((OURS, BOTH_OURS), (REFERENCE, OUR_SERVER)):
            seconds = await self.assert_reclaimed(kind)
            note(
                "D6", pair, f"{PLACES} of {PLACES} free after {seconds:.1f} s (limit 2)"
            )


class LimitTests(RawClientTestCase):
    """Servers that are full, for everybody or for some."""

    async def test_full_server(self) -> None:
        """Who finds no place gets one as soon as there is one; the log says it once."""
        for kind, pair in ((OURS, BOTH_OURS), (REFERENCE, OUR_SERVER)):
            self.write("got", b"")
            server = await self.serve(
                OURS, carrier(REFERENCE, "echo up; cat"), options=("-c", "1")
            )
            script = "cat <&6 >>got"
            self.call(kind, server, carrier(REFERENCE, script, SERVER_FIRST))
            await self.until(lambda: self.read("got"), "the first is in")
            (child,) = server.process.children()
            script = "echo hello >&7; exec 7>&-; cat <&6"
            second = self.call(kind, server, carrier(REFERENCE, script, CLIENT_FIRST))
            await self.until_refused(server.process)
            self.assertEqual(server.process.children(), [child])
            began = time.monotonic()
            os.kill(child, signal.SIGKILL)
            self.assertEqual(await self.finish(second), 0, second.errors)
            seconds = time.monotonic() - began
            self.assertEqual(second.output, "up\nhello\n")
            self.assertEqual(server.process.errors.count("refused"), 1)
            note("A7", pair, f"one log line, no child; served after {seconds:.1f} s")

    async def until_refused(self, process: Process) -> None:
        """Wait until a server of one client says that it is full."""
        words = "the limit of 1 clients is reached"
        await self.until(lambda: words in process.errors, "somebody is refused")

    def raw_clients(
        self, server: Server, count: int, host: str = "127.0.0.1"
    ) -> list[RawClient]:
        """Give clients at an address, each with a key of its own."""
        clients = []
        for _ in range(count):
            client = RawClient(server.port, server.key, own_host=host)
            self.addCleanup(client.socket.close)
            client.send(message("echo"))
            clients.append(client)
        return clients

    async def test_one_address(self) -> None:
        """An address that wants everything gets its share; others are served."""
        server = await self.serve(
            OURS, HANDLER, options=("-v", "-c", "50", "--max-per-ip", str(PER_ADDRESS))
        )
        crowd = self.raw_clients(server, CROWD)

        def served() -> int:
            return sum(client.step() > 0 for client in crowd)

        await self.until(lambda: served() == PER_ADDRESS, "some of them are served")
        began = time.monotonic()
        (other,) = self.raw_clients(server, 1, OTHER_HOST)
        await self.until(other.step, "somebody else is served")
        seconds = time.monotonic() - began
        await self.until(
            lambda: served() and "--max-per-ip" in server.process.errors, "it is told"
        )
        self.assertEqual(len(server.process.children()), PER_ADDRESS + 1)
        self.assertEqual(server.programs_started, PER_ADDRESS + 1)
        self.assertEqual(server.process.errors.count("--max-per-ip"), 1)
        text = f"{CROWD} from one address: {PER_ADDRESS} programs; other in"
        note("D4", BOTH_OURS, f"{text} after {seconds * 1000:.0f} ms")

    async def test_one_key(self) -> None:
        """A key has as many connections as it may, from wherever."""
        server = await self.serve(OURS, HANDLER, options=("--max-per-key", "2"))
        keydir = self.key_directory("client.key")
        program = shell("printf '\\001echo............' >&9; exec sleep 1000")
        for _ in range(4):
            self.call(OURS, server, program, options=("-c", keydir))
        await self.until(
            lambda: "--max-per-key" in server.process.errors, "somebody is refused"
        )
        await self.until(lambda: len(server.process.children()) == 2, "two get in")
        other = self.call(OURS, server, (*CALLER, "echo"))
        self.assertEqual(await self.finish(other), 0, other.errors)
        self.assertEqual(len(server.process.children()), 3)

    async def test_start_rate(self) -> None:
        """Programs start so fast and no faster; who has to wait gets in later."""
        count = int(START_BURST) + 6
        server = await self.serve(
            OURS, HANDLER, options=("-v", "-c", "300", "--start-rate", "0.5")
        )
        crowd = self.raw_clients(server, count)
        await self.until(
            lambda: sum(client.step() > 0 for client in crowd) == count,
            "all of them are served",
        )
        self.assertEqual(server.programs_started, count)
        self.assertEqual(server.process.errors.count("--start-rate"), 1)


class LogTests(RawClientTestCase):
    """What strangers can have written into the log."""

    async def test_bad_packets(self) -> None:
        """Ten thousand bad packets make a few lines, which tell nothing of them."""
        server = await self.serve(OURS, HANDLER, options=("-v",))
        good = await self.connect(server, "echo")
        before = len(server.process.errors.splitlines())
        sock = self.raw_socket(server)
        noise = random.Random(1)
        magics = (HELLO_MAGIC, INITIATE_MAGIC, CLIENT_MESSAGE_MAGIC, b"QvnQ5XlX")
        sizes = (224, 736, 1184, 112, 96, 100, 40, 0)
        for number in range(BAD_PACKETS):
            magic, size = noise.choice(magics), noise.choice(sizes)
            body = SECRET_NOISE * 100
            sock.send((magic + EXTENSION + body)[:size])
            if number % 100 == 99:
                await self.exchange(good, f"{number}")
        lines = server.process.errors.splitlines()[before:]
        self.assertLessEqual(len(lines), 10)
        self.assertNotIn("Traceback", server.process.errors)
        server.process.signal(signal.SIGTERM)
        server.process.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(server.process), 0)
        said = server.process.errors
        self.assertNotIn(SECRET_NOISE.decode(), said)
        self.assertNotIn(SECRET_NOISE.hex(), said)
        with open(
            os.path.join(self.key_directory(), ".expertsonly", "secretkey"), "rb"
        ) as file:
            self.assertNotIn(file.read().hex(), said)
        counted = ast.literal_eval(said.partition("counters: ")[2])
        for kind in ("hello", "magic", "cookie", "size"):
            self.assertIn(f"dropped_bad_{kind}", counted)
        dropped = [n for name, n in counted.items() if name.startswith(REASONS)]
        # The good client may have said something twice.
        twice = counted.get("dropped_replay", 0)
        self.assertEqual(sum(dropped) - twice, BAD_PACKETS)
        note("D9", BOTH_OURS, f"{BAD_PACKETS} bad packets: {len(lines)} log lines")


class AuthorizedKeysTests(RawClientTestCase):
    """A server with a list of keys."""

    def setUp(self) -> None:
        super().setUp()
        self.guests = os.path.join(self.directory, "guests")
        self.write("guests", b"# nobody yet\n")
        self.keydir = self.key_directory("alice.key")
        self.entry = f"{read_public_key(self.keydir).hex()} alice max=2\n".encode()

    async def start(self, *wrapper: str) -> Server:
        """Start the server; its programs tell clients their names."""
        script = 'echo "$CURVECPREMOTENAME" >>names; echo "$CURVECPREMOTENAME"; cat'
        return await self.serve(
            OURS,
            shell(script),
            options=("-v", "--stream", "--authorized-keys", self.guests, "--grace=0"),
            wrapper=wrapper or None,
        )

    def visit(self, server: Server, *options: str) -> Process:
        """Start a client with a key on the list, or soon to be there."""
        script = "exec 7>&-; cat <&6 >>heard"
        keydir = ("-c", self.keydir)
        return self.call(
            OURS, server, shell(script), options=("--stream", *keydir, *options)
        )

    def said(self, server: Server) -> str:
        """Give what the server has said; twistd says it on standard output."""
        return server.process.errors + server.process.output

    async def reload(self, server: Server, content: bytes, words: str) -> None:
        """Change the file, tell the server, and wait for its words."""
        before = self.said(server).count(words)
        self.write("guests", content)
        server.process.signal(signal.SIGHUP)
        await self.until(
            lambda: self.said(server).count(words) > before, f"it says {words!r}"
        )

    async def assert_follows(self, server: Server) -> None:
        """Check that a server does what its file says at each moment."""
        refused = self.visit(server, "-t", "1")
        self.assertEqual(await self.finish(refused), FAILURE)
        await self.reload(server, self.entry, "authorized keys: 1")
        client = self.visit(server)
        self.assertEqual(await self.finish(client), 0, client.errors)
        self.assertEqual(self.read("heard"), b"alice\n")
        self.assertEqual(self.read("names"), b"alice\n")
        self.assertIn(" name alice", self.said(server))
        await self.reload(server, self.entry + b"nonsense\n", "line 2: ")
        self.assertEqual(self.said(server).count("line 2: "), 1)
        client = self.visit(server)
        self.assertEqual(await self.finish(client), 0, client.errors)
        os.unlink(self.guests)
        server.process.signal(signal.SIGHUP)
        await self.until(
            lambda: "no such file" in self.said(server), "the missing file is told"
        )
        self.assertIsNone(server.process.status)
        self.assertNotIn("Traceback", self.said(server))

    async def test_reload(self) -> None:
        """The list counts as it is read at SIGHUP; a bad one changes nothing."""
        await self.assert_follows(await self.start())

    async def test_reload_under_twistd(self) -> None:
        """The same under twistd, which gives SIGHUP no meaning itself."""
        pidfile = os.path.join(self.directory, "pid")
        twistd = (*TWISTD, "--nodaemon", f"--pidfile={pidfile}", "curvecpserver")
        server = await self.start(*twistd)
        await self.assert_follows(server)
        server.process.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(server.process), -signal.SIGTERM)

    async def test_nobody_is_dropped(self) -> None:
        """Who is in stays in when his key is struck off, and does not get in again."""
        self.write("guests", self.entry)
        server = await self.start()
        script = "(exec 7>&-; cat <&6 >heard) & read line <in; echo $line >&7; "
        script += "exec 7>&-; wait"
        os.mkfifo(os.path.join(self.directory, "in"))
        client = self.call(
            OURS, server, shell(script), options=("--stream", "-c", self.keydir)
        )
        await self.until(lambda: self.read("heard"), "the client is in")
        await self.reload(server, b"", "authorized keys: 0")
        late = self.visit(server, "-t", "1")
        self.assertEqual(await self.finish(late), FAILURE)
        with open(os.path.join(self.directory, "in"), "wb") as file:
            file.write(b"still here\n")
        self.assertEqual(await self.finish(client), 0, client.errors)
        self.assertEqual(self.read("heard"), b"alice\nstill here\n")
        self.assertEqual(self.read("names"), b"alice\n")
        children = server.process.children()
        self.assertEqual([pid for pid in children if is_alive(pid)], [])

    async def test_limit_of_a_key(self) -> None:
        """An entry may have a limit of its own."""
        self.write("guests", self.entry)
        server = await self.start()
        options = ("--stream", "-c", self.keydir)
        for _ in range(3):
            self.call(OURS, server, shell("exec sleep 1000"), options=options)
        await self.until(
            lambda: "max= among the authorized keys" in self.said(server),
            "the third is refused",
        )
        await self.until(lambda: server.programs_started == 2, "two are served")
