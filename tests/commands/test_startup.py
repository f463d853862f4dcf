"""Tests for the commands as processes: how they start, serve and fail."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import (
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
)
from curvecp_tx.net.client_endpoint import MessageClientEndpoint
from curvecp_tx.net.keydir import read_public_key
from tests.commands.running import (
    EXTENSION,
    TIMEOUT,
    TWISTD,
    new_key_directory,
    read_line,
    run_python,
    run_tool,
)

ECHO = """
import os, select
for descriptor in range(3):
    os.fstat(descriptor)
while True:
    select.select([8], [], [])
    data = os.read(8, 65536)
    if not data:
        break
    os.write(9, data)
"""
"""A message handler that sends each message back, if 0, 1 and 2 are open."""

GARBAGE = """
import os, select
select.select([8], [], [])
os.write(9, os.read(8, 65536) + b"\\xff")
"""
"""A message handler that answers and breaks the framing, in one breath."""


def handler(script: str) -> list[str]:
    """Give the command of a handler written in Python."""
    return [sys.executable, "-S", "-E", "-c", script]


@implementer(IMessageProtocol, IMessageProtocolFactory)
class Ping:
    """Sends one message, and waits for one."""

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def buildProtocol(self, address: CurveCPAddress) -> Ping:
        """Be the protocol of the only connection."""
        return self

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Send."""
        self.transport = transport
        transport.sendMessages([b"are you there?.."])

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Take the answer."""
        if not self.answer.called:
            self.answer.callback(messages[0])

    def connectionLost(self, reason: Failure) -> None:
        """Take note of the end."""
        self.lost.callback(None)


class ServingTests(TestCase):
    """A server process serves whatever its standard descriptors are."""

    timeout = TIMEOUT

    def setUp(self) -> None:
        """Make a key directory."""
        self.keydir = new_key_directory(self)

    def start(
        self, *options: str, redirection: str = "", script: str = ECHO
    ) -> subprocess.Popen[bytes]:
        """Start a server that prints its port, under a shell's redirection."""
        command = f'exec "$@" {redirection}'
        command_line = ("-m", "curvecp_tx.commands.server", "-1", "--grace", "0.1")
        server = (sys.executable, *command_line, *options)
        operands = ("name", self.keydir, "127.0.0.1", "0", EXTENSION)
        process = subprocess.Popen(
            ["sh", "-c", command, "sh", *server, *operands, *handler(script)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

        def end() -> None:
            process.kill()
            process.communicate(timeout=TIMEOUT)

        self.addCleanup(end)
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """Ask a server to end; give its exit code and what it said."""
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=TIMEOUT)
        return process.returncode, err.decode()

    async def ping(self, port: str) -> bytes:
        """Send a message through the server's program, and give the answer."""
        ping = Ping()
        endpoint = MessageClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=read_public_key(self.keydir),
            serverName="name",
            hosts=["127.0.0.1"],
            port=int(port),
            serverExtension=bytes.fromhex(EXTENSION),
        )
        await endpoint.connect(ping)
        answer = await ping.answer
        ping.transport.loseConnection()
        await ping.lost
        return answer

    async def test_verbose(self) -> None:
        """With ``-v`` it serves, tells of the client, and ends with 0."""
        process = self.start("-v")
        self.assertEqual(await self.ping(read_line(process)), b"are you there?..")
        code, err = self.stop(process)
        self.assertEqual(code, 0)
        self.assertIn("from 127.0.0.1:", err)
        lines = err.splitlines()
        self.assertEqual(
            [line for line in lines if not line.startswith("curvecpserver: ")], []
        )

    async def test_default_says_nothing(self) -> None:
        """Without an error there is nothing to read on standard error."""
        process = self.start()
        self.assertEqual(await self.ping(read_line(process)), b"are you there?..")
        self.assertEqual(self.stop(process), (0, ""))

    async def test_stderr_closed(self) -> None:
        """With standard error closed it serves like any other."""
        process = self.start("-v", redirection="2>&-")
        port = read_line(process)
        for _ in range(2):
            self.assertEqual(await self.ping(port), b"are you there?..")
        self.assertEqual(self.stop(process), (0, ""))

    async def test_stderr_full(self) -> None:
        """With standard error on a full device it serves, too."""
        if not os.path.exists("/dev/full"):
            raise SkipTest("the system has no /dev/full")
        process = self.start("-v", redirection="2>/dev/full")
        port = read_line(process)
        for _ in range(2):
            self.assertEqual(await self.ping(port), b"are you there?..")
        self.assertEqual(self.stop(process)[0], 0)

    async def test_stdin_and_stderr_closed(self) -> None:
        """A program whose standard descriptors were closed can still run."""
        process = self.start(redirection="<&- 2>&-")
        self.assertEqual(await self.ping(read_line(process)), b"are you there?..")
        self.assertEqual(self.stop(process)[0], 0)

    def test_stdout_full(self) -> None:
        """A port that cannot be printed is 111, with the reason."""
        if not os.path.exists("/dev/full"):
            raise SkipTest("the system has no /dev/full")
        process = self.start(redirection=">/dev/full")
        _, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 111)
        self.assertEqual(
            err.decode(),
            "curvecpserver: fatal: unable to write output: no space left on device\n",
        )

    async def test_quiet_about_a_broken_program(self) -> None:
        """``-q`` is silent even about a program that breaks the framing."""
        said = []
        for options in ([], ["-q"]):
            process = self.start(*options, script=GARBAGE)
            await self.ping(read_line(process))
            code, err = self.stop(process)
            self.assertEqual(code, 0)
            said.append(err)
        self.assertRegex(said[0], r"\Acurvecpserver: pid \d+: .*length byte.*\n\Z")
        self.assertEqual(said[1], "")


NOT_FOR_A_PLAIN_CLIENT = {
    "curvecp_tx.net.listener",
    "curvecp_tx.net.programs",
    "curvecp_tx.net.shared_table",
    "curvecp_tx.net.streams",
    "curvecp_tx.secure.admission",
    "curvecp_tx.secure.server",
    "curvecp_tx.service.tunnel",
    "curvecp_tx.stream.bbr",
    "curvecp_tx.stream.stream",
    "twisted.internet.endpoints",
    "twisted.internet.stdio",
}
"""Modules that would slow down its start for nothing."""

LOADED = """
import sys
from curvecp_tx.commands.client import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules)
"""
"""The client, which tells in the end what it has loaded."""


class LightnessTests(SynchronousTestCase):
    """The client loads no more than it needs."""

    def test_plain_client(self) -> None:
        """A client with a message handler loads no server, no stream, no tunnel."""
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as mute:
            mute.bind(("127.0.0.1", 0))
            port = str(mute.getsockname()[1])
            operands = ("name", "ab" * 32, "127.0.0.1", port, EXTENSION, "true")
            finished = run_python("-c", LOADED, "-q", "-t", "0.2", *operands)
            hello = mute.recv(2000, socket.MSG_DONTWAIT)
        self.assertEqual((finished.code, finished.err, len(hello)), (111, "", 224))
        loaded = set(finished.out.split())
        self.assertIn("curvecp_tx.net.dialer", loaded)
        self.assertEqual(loaded & NOT_FOR_A_PLAIN_CLIENT, set())

    def test_names(self) -> None:
        """Each name that must not be loaded is that of a module."""
        for name in NOT_FOR_A_PLAIN_CLIENT:
            self.assertIsNotNone(find_spec(name), name)


class FailingTests(SynchronousTestCase):
    """What cannot be served is 111 at the start, with one line that says why."""

    def server(self, keydir: str, *, port: int = 0, program: str = "true") -> list[str]:
        """Give a command line of the server."""
        return ["name", keydir, "127.0.0.1", str(port), EXTENSION, program]

    def assert_fails(self, arguments: Sequence[str], reason: str) -> None:
        """Check the server by itself, with ``-q``, and under twistd."""
        expected = f"curvecpserver: fatal: {reason}\n"
        finished = run_tool("server", *arguments)
        self.assertEqual(
            (finished.code, finished.out, finished.err), (111, "", expected)
        )
        finished = run_tool("server", "-q", *arguments)
        self.assertEqual((finished.code, finished.out, finished.err), (111, "", ""))
        directory = self.mktemp()
        os.mkdir(directory)
        finished = run_python(*TWISTD, "-n", "curvecpserver", *arguments, cwd=directory)
        self.assertEqual((finished.code, finished.err), (111, expected))
        self.assertEqual(os.listdir(directory), [])

    def test_unusable_key_directory(self) -> None:
        """A key directory with a flaw is named, down to the file."""
        keydir = new_key_directory(self)
        counter = os.path.join(keydir, ".expertsonly", "noncecounter")
        os.unlink(counter)
        self.assert_fails(
            self.server(keydir),
            f"unusable key directory: {counter}: no such file or directory",
        )

    def test_program_not_found(self) -> None:
        """A program that is not there is found missing before any client comes."""
        keydir = new_key_directory(self)
        self.assert_fails(
            self.server(keydir, program="no-such-program"),
            "unable to find program: no-such-program",
        )

    def test_port_in_use(self) -> None:
        """A port that another process has is named with the reason."""
        keydir = new_key_directory(self)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            self.assert_fails(
                self.server(keydir, port=port),
                f"unable to bind 127.0.0.1 port {port}: address already in use",
            )

    def test_address_of_another_host(self) -> None:
        """An address that this host does not have cannot be bound."""
        keydir = new_key_directory(self)
        finished = run_tool(
            "server", "name", keydir, "192.0.2.1", "0", EXTENSION, "true"
        )
        self.assertEqual(finished.code, 111)
        self.assertEqual(
            finished.err,
            "curvecpserver: fatal: unable to bind 192.0.2.1 port 0: "
            "cannot assign requested address\n",
        )

    def test_client(self) -> None:
        """The client fails alike, before it sends a packet."""
        keydir = new_key_directory(self)
        secret = os.path.join(keydir, ".expertsonly", "secretkey")
        os.truncate(secret, 31)
        operands = ["name", "ab" * 32, "127.0.0.1", "9", EXTENSION]
        for arguments, reason in (
            (
                ["-c", keydir, *operands, "true"],
                f"unusable key directory: {secret}: must have 32 bytes, has 31",
            ),
            (
                [*operands, "no-such-program"],
                "unable to find program: no-such-program",
            ),
        ):
            finished = run_tool("client", *arguments)
            self.assertEqual(
                (finished.code, finished.out, finished.err),
                (111, "", f"curvecpclient: fatal: {reason}\n"),
            )
            finished = run_tool("client", "-q", *arguments)
            self.assertEqual((finished.code, finished.err), (111, ""))

    def test_client_without_server(self) -> None:
        """A client that nobody answers ends with 111 and says so."""
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as mute:
            mute.bind(("127.0.0.1", 0))
            port = str(mute.getsockname()[1])
            finished = run_tool(
                *("client", "-t", "0.2", "name", "ab" * 32),
                *("127.0.0.1", port, EXTENSION, "true"),
            )
            hello = mute.recv(2000, socket.MSG_DONTWAIT)
        self.assertEqual((finished.code, len(hello)), (111, 224))
        self.assertTrue(
            finished.last.startswith(
                "curvecpclient: fatal: no connection within the time allowed"
            ),
            finished.err,
        )
