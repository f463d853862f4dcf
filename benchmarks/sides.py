"""Servers of ours and of the reference, as processes, and the keys they use."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from curvecp_tx import KeyDirectory, make_key_directory

NAME = "benchmark.example"
ADDRESS = "127.0.0.1"
EXTENSION = "31415926535897932384626433832795"
REFERENCE = "/usr/bin"
FIRST_PORT = 20000
PATIENCE = 300.0

_ports = iter(range(FIRST_PORT + os.getpid() % 5000 * 4, 65535))


class Keys:
    """A key directory for one run."""

    def __init__(self, path: str) -> None:
        make_key_directory(path)
        self.path = path
        self.public = KeyDirectory.load(path).keys.public


@contextmanager
def keys() -> Iterator[Keys]:
    """Make a key directory, and remove it in the end."""
    with tempfile.TemporaryDirectory(prefix="curvecp-bench-") as directory:
        yield Keys(os.path.join(directory, "keys"))


def has_reference() -> bool:
    """Tell whether the reference tools are installed."""
    return os.access(os.path.join(REFERENCE, "curvecpserver"), os.X_OK)


def reference(tool: str) -> str:
    """Give the path of one of the reference's tools."""
    return os.path.join(REFERENCE, tool)


def python(*arguments: str) -> list[str]:
    """Give a command that runs Python as we do."""
    return [sys.executable, *arguments]


@contextmanager
def server(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # The reference's message handlers complain when their server ends.
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)


def reference_server(keydir: str, port: int, *program: str) -> list[str]:
    """Give the command of a reference server whose clients talk to a program."""
    return [
        reference("curvecpserver"),
        NAME,
        keydir,
        ADDRESS,
        str(port),
        EXTENSION,
        reference("curvecpmessage"),
        *program,
    ]


def reference_client(public: bytes, port: int, *program: str) -> list[str]:
    """Give the command of a reference client that runs a program on 6 and 7."""
    return [
        reference("curvecpclient"),
        NAME,
        public.hex(),
        ADDRESS,
        str(port),
        EXTENSION,
        reference("curvecpmessage"),
        "-C",
        *program,
    ]


def our_peer(role: str, *arguments: str) -> list[str]:
    """Give the command of one end of ours; see :mod:`benchmarks.peer`."""
    return python("-m", "benchmarks.peer", role, *arguments)


def next_port() -> int:
    """Give a port that no benchmark has used yet."""
    return next(_ports)


def wait_bound(port: int) -> None:
    """Wait until somebody has bound a UDP port of the loopback interface."""
    wanted = f":{port:04X} "
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with open("/proc/net/udp") as table:
            if any(wanted in line for line in table):
                return
        time.sleep(0.01)
    raise TimeoutError(f"nobody has bound port {port}")


def cpu_seconds(pid: int) -> float:
    """Tell how much processor time a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
