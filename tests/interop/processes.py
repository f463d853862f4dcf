"""Real processes for tests: our tools, the reference's, and what they start.

Nothing here uses the reactor for more than waiting: the processes are plain
children of the test's process, each in a group of its own, and all of them are
killed when the test is over.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from curvecp_tx.net.keydir import make_key_directory, read_public_key

T = TypeVar("T")

OURS = "ours"
REFERENCE = "reference"

REFERENCE_PLACE = "/usr/bin"
MODULES = {
    "curvecpserver": "curvecp_tx.commands.server",
    "curvecpclient": "curvecp_tx.commands.client",
    "curvecpmakekey": "curvecp_tx.commands.makekey",
    "curvecpprintkey": "curvecp_tx.commands.printkey",
    "curvecpmessage": "curvecp_tx.commands.message",
}
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
TWIST = (sys.executable, "-m", "twisted")

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
HANDLER = (sys.executable, "-I", "-S", os.path.join(PROGRAMS, "handler.py"))
"""A message handler that does what the first message tells it."""
CALLER = (sys.executable, "-I", "-S", os.path.join(PROGRAMS, "caller.py"))
"""A client's message handler: says something, and ends when it is answered."""

NAME = "server.example"
EXTENSION = bytes(range(16))
HOST = "127.0.0.1"

PATIENCE = 60.0
"""Seconds until a wait has failed. Nothing here takes nearly as long."""

POLL = 0.01
ZOMBIE = "Z"


def tool(kind: str, name: str) -> tuple[str, ...]:
    """Give the command that runs one of our tools, or one of the reference's.

    Without the reference, a test is skipped; where that would hide something,
    because the tests run in continuous integration, it fails.
    """
    if kind == OURS:
        return (sys.executable, "-m", MODULES[name])
    path = os.path.join(REFERENCE_PLACE, name)
    if not os.access(path, os.X_OK):
        reason = f"the reference tool {path} is not installed"
        if os.environ.get("CI"):
            raise AssertionError(reason)
        raise SkipTest(reason)
    return (path,)


def state_of(pid: int) -> tuple[str, int] | None:
    """Give a process's state letter and its parent; ``None`` if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], int(fields[1])


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that is only not yet buried does not."""
    state = state_of(pid)
    return state is not None and state[0] != ZOMBIE


def children_of(pid: int) -> list[int]:
    """Give the living children of a process."""
    found = []
    for entry in os.listdir("/proc"):
        state = state_of(int(entry)) if entry.isdigit() else None
        if state is not None and state[0] != ZOMBIE and state[1] == pid:
            found.append(int(entry))
    return found


def command_of(pid: int) -> str:
    """Give the name of what a process executes; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def free_port(host: str = HOST, candidates: Sequence[int] = (0,)) -> int:
    """Find a UDP port that nobody has, for tools that cannot pick one."""
    for candidate in candidates:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock, suppress(OSError):
            sock.bind((host, candidate))
            port: int = sock.getsockname()[1]
            return port
    raise AssertionError("no free port")


def bound_udp_ports() -> set[int]:
    """Give all IPv4 UDP ports in use on this host."""
    return bound_ports("udp")


def bound_ports(kind: str) -> set[int]:
    """Give all IPv4 ports in use on this host, those of ``udp`` or of ``tcp``."""
    with open(f"/proc/net/{kind}", encoding="ascii") as file:
        rows = file.read().splitlines()[1:]
    return {int(row.split()[1].rpartition(":")[2], 16) for row in rows}


class Process:
    """A running process, its output in files."""

    def __init__(
        self,
        command: Sequence[str],
        outputs: str,
        *,
        cwd: str,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._output = f"{outputs}.stdout"
        self._errors = f"{outputs}.stderr"
        environment = dict(os.environ)
        # Users have their output buffered; so have these.
        environment.pop("PYTHONUNBUFFERED", None)
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=cwd,
                env=environment,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        self.command = list(command)
        self.pid = self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit status; ``None`` while it runs, negative after a signal."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What it has written to standard output so far."""
        return _read(self._output)

    @property
    def errors(self) -> str:
        """What it has written to standard error so far."""
        return _read(self._errors)

    def children(self) -> list[int]:
        """Give its living children."""
        return children_of(self.pid)

    def signal(self, number: int) -> None:
        """Send a signal to it, and not to its children."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it and all of its group."""
        kill_group(self.pid)
        self._popen.wait(PATIENCE)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is ready, and what a client must know of it."""

    process: Process
    key: bytes
    port: int
    host: str = HOST

    @property
    def programs_started(self) -> int:
        """How many handlers it has reported to have started; needs ``-v``."""
        return self.process.errors.count("curvecpserver: pid ")

    def operands(self, hosts: str | None = None) -> list[str]:
        """Give the operands of a client that is to find this server."""
        where = self.host if hosts is None else hosts
        return [NAME, self.key.hex(), where, str(self.port), EXTENSION.hex()]


def kill_group(leader: int) -> None:
    """Kill a process group, if there is still one."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


class ProcessTestCase(TestCase):
    """A test with real processes, which it can wait for and leaves none of.

    :ivar directory: where the processes run unless told otherwise.
    """

    timeout = 2 * PATIENCE

    def setUp(self) -> None:
        self.directory = os.path.abspath(self.mktemp())
        os.makedirs(self.directory)
        self._outputs = os.path.abspath(self.mktemp())
        os.makedirs(self._outputs)
        self._processes: list[Process] = []

    async def until(self, condition: Callable[[], T], what: str) -> T:
        """Wait until ``condition()`` is true, and give what it returned."""
        deadline = time.monotonic() + PATIENCE
        while True:
            value = condition()
            if value:
                return value
            if time.monotonic() > deadline:
                self.fail("\n".join((f"in vain: {what}", *self._state())))
            await deferLater(reactor, POLL)

    def launch(
        self,
        command: Sequence[str],
        *,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a process."""
        outputs = os.path.join(self._outputs, str(len(self._processes)))
        process = Process(
            command, outputs, cwd=cwd or self.directory, pass_fds=pass_fds
        )
        self._processes.append(process)
        self.addCleanup(process.kill)
        return process

    async def finish(self, process: Process) -> int:
        """Wait for a process to end, and give its exit status."""
        await self.until(lambda: process.status is not None, "a process ends")
        status = process.status
        assert status is not None
        return status

    async def run_to_end(self, *command: str, cwd: str | None = None) -> Process:
        """Run a process to its end, which has to be a good one."""
        process = self.launch(command, cwd=cwd)
        status = await self.finish(process)
        self.assertEqual(status, 0, process.errors)
        return process

    def key_directory(self, name: str = "server.key") -> str:
        """Give a key directory of that name, made if there is none yet."""
        path = os.path.join(self.directory, name)
        if not os.path.isdir(path):
            make_key_directory(path)
        return path

    async def serve(
        self,
        kind: str,
        program: Sequence[str],
        *,
        options: Sequence[str] = (),
        keydir: str | None = None,
        host: str = HOST,
        port: int = 0,
        wrapper: Sequence[str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Server:
        """Start a server and wait until its port is bound.

        :param wrapper: another command than the tool's to run the service with.
        """
        keydir = keydir or self.key_directory()
        command = tool(kind, "curvecpserver") if wrapper is None else wrapper
        if kind == OURS:
            options = ("-1", *options)
        elif not port:
            port = free_port(host)
        operands = (NAME, keydir, host, str(port), EXTENSION.hex(), *program)
        process = self.launch(
            (*command, *options, *operands), cwd=cwd, pass_fds=pass_fds
        )
        if kind == OURS:
            printed = await self.until_ready(
                process, lambda: _first_line(process.output)
            )
            port = int(printed)
        else:
            await self.until_ready(process, lambda: port in bound_udp_ports())
        return Server(process, read_public_key(keydir), port, host)

    async def until_ready(self, process: Process, sign: Callable[[], T]) -> T:
        """Wait for a sign that a server is ready, as long as it lives."""

        def look() -> T:
            status = process.status
            seen = sign()
            if not seen and status is not None:
                self.fail(f"status {status}: {process.errors}")
            return seen

        return await self.until(look, "the server is ready")

    def call(
        self,
        kind: str,
        server: Server,
        program: Sequence[str],
        *,
        options: Sequence[str] = (),
        hosts: str | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Start a client of a server."""
        return self.launch(
            (
                *tool(kind, "curvecpclient"),
                *options,
                *server.operands(hosts),
                *program,
            ),
            cwd=cwd,
            pass_fds=pass_fds,
        )

    async def only_child(self, process: Process, command: str = "") -> int:
        """Wait until a process has one child, and give its process ID.

        :param command: what the child must have come to execute.
        """

        def find() -> int:
            children = process.children()
            if len(children) != 1 or (command and command_of(children[0]) != command):
                return 0
            return children[0]

        return await self.until(find, "the handler program runs")

    async def until_dead(self, pid: int) -> None:
        """Wait until a process runs no more."""
        await self.until(lambda: not is_alive(pid), f"process {pid} ends")

    def write(self, name: str, content: bytes) -> None:
        """Put a file into the directory in which the processes run."""
        with open(os.path.join(self.directory, name), "wb") as file:
            file.write(content)

    def read(self, name: str) -> bytes:
        """Give the content of a file there; nothing if there is none."""
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def _state(self) -> list[str]:
        return [
            f"{process.command} status {process.status}\n{process.errors}"
            for process in self._processes
        ]


def _first_line(text: str) -> str:
    """Give the first line of a text that is still being written."""
    line, end, _ = text.partition("\n")
    return line if end else ""


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
