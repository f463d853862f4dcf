"""The programs in docs/examples, and what the documentation says in code."""

from __future__ import annotations

import ast
import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from inspect import signature

from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.address import CurveCPAddress, handler_environment
from curvecp_tx.net import reasons
from curvecp_tx.net.endpoint_strings import _client, _server
from curvecp_tx.net.keydir import make_key_directory, read_public_key
from curvecp_tx.secure.counters import Counters
from curvecp_tx.service.options import ClientOptions, MessageOptions
from curvecp_tx.service.server_options import ServerOptions
from curvecp_tx.wire.messages import MAX_BLOCK_BYTES, encode_message

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ECHO = os.path.join(ROOT, "docs", "examples", "message_echo.py")
HANDLER = os.path.join(ROOT, "docs", "examples", "handler.py")

NAME = "server.example"
EXTENSION = "31415926535897932384626433832795"
PATIENCE = 60.0

SMALL_PIPE = 4096

ON_8_AND_9 = """
import os, sys
os.dup2(int(sys.argv[1]), 8)
os.dup2(int(sys.argv[2]), 9)
os.execv(sys.executable, [sys.executable, *sys.argv[3:]])
"""
"""Starts a Python program with two of our descriptors as 8 and 9."""

CALLER = """
import os, select
sizes = [16, 320, 640]
wanted = {n * n.to_bytes(2, "little") for n in (8, 160, 320)}
pending = b""
while wanted:
    for message in wanted:
        os.write(9, bytes([len(message) // 16]) + message)
    if select.select([8], [], [], 0.5)[0]:
        pending += os.read(8, 65536)
    while pending and len(pending) > 16 * pending[0]:
        end = 1 + 16 * pending[0]
        wanted.discard(pending[1:end])
        pending = pending[end:]
print("all came back")
"""
"""A client's program: repeats three messages until each has come back."""


def frame(message: bytes) -> bytes:
    """Put the length byte before a message."""
    return bytes([len(message) // 16]) + message


def read_text(*path: str) -> str:
    """Read a file of the project."""
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


class ExampleTestCase(SynchronousTestCase):
    """Runs programs as processes, and leaves none behind."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def start(
        self, command: Sequence[str], pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[str]:
        """Start a program; it is killed at the end of the test."""
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
            cwd=self.directory,
            # A shell has what it starts in the background ignore this, for good.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.addCleanup(self.reap, process)
        return process

    def reap(self, process: subprocess.Popen[str]) -> None:
        """Kill a process unless it has ended, and close its pipes."""
        process.kill()
        process.communicate()

    def first_line(self, process: subprocess.Popen[str]) -> str:
        """Wait for the line that a server prints when it is ready."""
        assert process.stdout is not None
        line = process.stdout.readline()
        self.assertTrue(line.endswith("\n"), "the server ended before it was ready")
        return line.strip()

    def run_to_end(self, *command: str) -> tuple[int, str, str]:
        """Run a program; give its exit status and what it wrote."""
        process = self.start(command)
        output, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, output, errors

    def make_keys(self, name: str) -> tuple[str, str]:
        """Make a key directory; give its path and its key in hexadecimal."""
        path = os.path.join(self.directory, name)
        make_key_directory(path)
        return path, read_public_key(path).hex()


class EchoTests(ExampleTestCase):
    """message_echo.py, server and client."""

    def interrupt(self, server: subprocess.Popen[str]) -> dict[str, int]:
        """End a server with SIGINT; give the counts that it then prints."""
        server.send_signal(signal.SIGINT)
        output, errors = server.communicate(timeout=PATIENCE)
        self.assertEqual((server.returncode, errors), (0, ""))
        counts = ast.literal_eval(output)
        self.assertIsInstance(counts, dict)
        return dict(counts)

    def test_words_come_back(self) -> None:
        """The client prints the server's echoes and ends with 0."""
        server = self.start([ECHO, "server", "127.0.0.1"])
        where = self.first_line(server).split()
        ended = self.run_to_end(ECHO, "client", *where, "hello", "wide", "world")
        self.assertEqual(ended, (0, "hello wide world\n", ""))
        self.assertEqual(self.interrupt(server)["connections"], 1)

    def test_guests_only(self) -> None:
        """A policy's Deferred lets in whose key is on the list, and nobody else."""
        keydir, key = self.make_keys("guest")
        server = self.start([ECHO, "server", "127.0.0.1", "--guest", key])
        where = self.first_line(server).split()
        client = (ECHO, "client", "--timeout", "5")
        status, output, errors = self.run_to_end(*client, *where, "hello")
        self.assertEqual((status, output), (1, ""))
        self.assertIn("no connection within the time allowed", errors)
        ended = self.run_to_end(*client, "--keydir", keydir, *where, "hello")
        self.assertEqual(ended, (0, "hello\n", ""))
        counts = self.interrupt(server)
        self.assertGreaterEqual(counts["refused_policy"], 1)

    def test_a_server_with_a_key_directory(self) -> None:
        """The server's key is the one in its directory."""
        keydir, key = self.make_keys("server")
        server = self.start([ECHO, "server", "127.0.0.1", "--keydir", keydir])
        self.assertEqual(self.first_line(server).split()[2], key)


class HandlerTests(ExampleTestCase):
    """handler.py, on pipes that do it no favours, and behind our server."""

    def start_on_pipes(self) -> tuple[subprocess.Popen[str], int, int]:
        """Start the handler; give it, and our ends of descriptors 8 and 9."""
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        fcntl.fcntl(theirs_out, fcntl.F_SETPIPE_SZ, SMALL_PIPE)
        for end in (theirs_in, theirs_out):
            os.set_blocking(end, False)
        ends = (theirs_in, theirs_out)
        arguments = ["-c", ON_8_AND_9, *map(str, ends), HANDLER]
        process = self.start(arguments, pass_fds=ends)
        for end in ends:
            os.close(end)
        return process, ours_out, ours_in

    def assert_echoed(self, ours_in: int, expected: bytes) -> None:
        """Check what comes from descriptor 9."""
        with open(ours_in, "rb", closefd=False) as file:
            self.assertEqual(file.read(len(expected)), expected)

    def finish(self, process: subprocess.Popen[str], *ends: int) -> tuple[int, str]:
        """Close our ends; give the handler's exit status and complaints."""
        for end in ends:
            os.close(end)
        _, errors = process.communicate(timeout=PATIENCE)
        return process.returncode, errors

    def test_frames_in_pieces(self) -> None:
        """A message that arrives byte by byte is answered, and EOF ends it well."""
        process, ours_out, ours_in = self.start_on_pipes()
        data = frame(bytes(range(32))) + frame(b"x" * 16)
        for value in data:
            os.write(ours_out, bytes([value]))
        self.assert_echoed(ours_in, data)
        self.assertEqual(self.finish(process, ours_out, ours_in), (0, ""))

    def test_a_full_pipe(self) -> None:
        """Answers that a full pipe takes in parts arrive whole and in order."""
        process, ours_out, ours_in = self.start_on_pipes()
        data = b"".join(frame(bytes([n]) * 1088) for n in range(40))
        self.assertEqual(os.write(ours_out, data), len(data))
        self.assert_echoed(ours_in, data)
        self.assertEqual(self.finish(process, ours_out, ours_in), (0, ""))

    def test_nobody_takes_the_answers(self) -> None:
        """The end of the connection while answers wait is no error."""
        process, ours_out, ours_in = self.start_on_pipes()
        os.write(ours_out, frame(bytes(1088)) * 40)
        self.assertEqual(self.finish(process, ours_in, ours_out), (0, ""))

    def test_a_frame_that_is_none(self) -> None:
        """A length byte that no frame has ends the handler with a complaint."""
        process, ours_out, ours_in = self.start_on_pipes()
        os.write(ours_out, b"\x45" + bytes(16))
        status, errors = self.finish(process, ours_out, ours_in)
        self.assertEqual(status, 111)
        self.assertIn("length byte 69", errors)

    def test_behind_the_server(self) -> None:
        """Under curvecpserver, it sends back what a curvecpclient's program says."""
        keydir, key = self.make_keys("server")
        serve = ["-m", "curvecp_tx.commands.server", "-1", NAME, keydir]
        where = ["127.0.0.1", "0", EXTENSION]
        server = self.start([*serve, *where, sys.executable, HANDLER])
        port = self.first_line(server)
        dial = ["-m", "curvecp_tx.commands.client", NAME, key, "127.0.0.1", port]
        caller = [EXTENSION, sys.executable, "-c", CALLER]
        ended = self.run_to_end(*dial, *caller)
        self.assertEqual(ended, (0, "all came back\n", ""))
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=PATIENCE)
        self.assertEqual((server.returncode, errors), (0, ""))


class ShownCodeTests(ExampleTestCase):
    """Code that stands in the documentation itself."""

    def test_the_library_page_shows_only_code_that_runs(self) -> None:
        """All Python on the page is taken from the example that is tested here."""
        page = read_text("docs", "library.rst")
        self.assertNotRegex(page, r"code-block::\s*python")
        included = re.findall(r"literalinclude:: (\S+)", page)
        self.assertEqual(set(included), {"examples/message_echo.py"})
        shown = re.findall(r":pyobject: (\S+)", page)
        self.assertEqual(len(shown), len(included))
        names = {
            node.name
            for node in ast.parse(read_text(ECHO)).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        }
        self.assertLessEqual(set(shown), names)

    def test_the_readme_shows_code_that_runs(self) -> None:
        """The program in the README runs, and prints what is claimed there."""
        readme = read_text("README.rst")
        blocks = re.findall(
            r"^\.\. code-block:: python\n((?:\n|   .*\n)+)", readme, re.MULTILINE
        )
        (block,) = blocks
        code = "".join(line[3:] or "\n" for line in block.splitlines(keepends=True))
        path = os.path.join(self.directory, "snippet.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(code)
        status, output, errors = self.run_to_end(path)
        self.assertEqual((status, errors), (0, ""))
        self.assertIn(f"It prints ``{output.strip()}``", readme)


class TableTests(SynchronousTestCase):
    """Tables of the documentation, against the code."""

    def test_limits(self) -> None:
        """Each constant in the table of limits has the value that stands there."""
        page = read_text("docs", "architecture.rst")
        rows = re.findall(r"\* - ``([\w.]+)\.([A-Z_]+)``\n +- ``(.+)``\n", page)
        self.assertGreater(len(rows), 20)
        for module, name, value in rows:
            actual = getattr(import_module(module), name)
            self.assertEqual(repr(actual), value, name)

    def test_counters(self) -> None:
        """The table of counters has them all, and no others."""
        page = read_text("docs", "library.rst")
        table = page.partition(".. _counters:")[2]
        rows = re.findall(r"\* - (``.+)\n", table)
        shown = [name for row in rows for name in re.findall(r"``(\w+)``", row)]
        self.assertEqual(sorted(shown), sorted(Counters().as_dict()))

    def test_size_classes(self) -> None:
        """The table of message sizes has each size, and the blocks that it holds."""
        page = read_text("docs", "protocol.rst")
        rows = re.findall(r"^(\d+) +(\d+) to (\d+)$", page, re.MULTILINE)
        shown = [tuple(map(int, row)) for row in rows]
        expected: list[tuple[int, ...]] = []
        for size in range(MAX_BLOCK_BYTES + 1):
            total = len(encode_message(block=bytes(size)))
            if not expected or expected[-1][0] != total:
                expected.append((total, size, size))
            expected[-1] = (total, expected[-1][1], size)
        self.assertEqual(shown, expected)

    def test_endpoint_strings(self) -> None:
        """The tables of parts have all that the strings take, and no others."""
        page = read_text("docs", "endpoints.rst")
        _, server, client = re.split("part +meaning\n", page)
        for table, parse in ((server, _server), (client, _client)):
            rows = re.findall(r"^``(\w+)``  ", table.partition("\n\n")[0], re.MULTILINE)
            taken = [*signature(parse).parameters][1:]
            self.assertEqual(
                [row.lower() for row in rows], [name.lower() for name in taken]
            )

    def test_reasons(self) -> None:
        """The table of reasons names the errors of Twisted's that ours are."""
        page = read_text("docs", "endpoints.rst")
        rows = re.findall(r"\* - ``(\w+)``\n     - ``(\w+)``\n", page)
        self.assertEqual(len(rows), 5)
        for ours, twisted in rows:
            self.assertTrue(
                issubclass(getattr(reasons, ours), getattr(error, twisted)), ours
            )

    def test_options(self) -> None:
        """The page of commands has every long option of theirs."""
        page = read_text("docs", "commands.rst")
        for options in (ServerOptions(), ClientOptions(), MessageOptions()):
            for name in options.longOpt:
                self.assertIn(f"``--{name.rstrip('=')}", page)

    def test_environment(self) -> None:
        """The table of variables has all that a program can get, and no others."""
        page = read_text("docs", "message-handlers.rst")
        shown = re.findall(r"^``([A-Z]+)``  ", page, re.MULTILINE)
        named = CurveCPAddress(bytes(32), NAME)
        self.assertEqual(set(shown), set(handler_environment(named, named)))
