"""Servers of ours and of the reference, as processes, and the keys they use."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle, islice

from curvecp_tx import KeyDirectory, make_key_directory

NAME = "benchmark.example"
ADDRESS = "127.0.0.1"
EXTENSION = "31415926535897932384626433832795"
REFERENCE = "/usr/bin"
FIRST_PORT = 20000
LAST_PORT = 32768
"""Above, the kernel picks ports for clients."""

PATIENCE = 300.0
GRACE = 20.0

REFERENCE_CLIENTS = 100
"""The default of its server, which looks through all places for each packet."""

_ports = islice(
    cycle(range(FIRST_PORT, LAST_PORT)), random.randrange(LAST_PORT - FIRST_PORT), None
)


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
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def reference_server(
    keydir: str, port: int, *program: str, clients: int = REFERENCE_CLIENTS
) -> list[str]:
    """Give the command of a reference server whose clients talk to a program."""
    return [
        reference("curvecpserver"),
        "-c",
        str(clients),
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


def script(name: str) -> str:
    """Give the path of one of our commands, installed beside the Python that runs."""
    return os.path.join(os.path.dirname(sys.executable), name)


def our_peer(role: str, *arguments: str) -> list[str]:
    """Give the command of one end of ours; see :mod:`benchmarks.peer`."""
    return python("-m", "benchmarks.peer", role, *arguments)


def next_port() -> int:
    """Give a port that nobody has bound, and this run has not used lately."""
    for port in _ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("", port))
            except OSError:
                continue
        return port
    raise AssertionError("unreachable: they go round and round")


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
    """Tell how much processor time a process of one thread has used, to the µs."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def tree_cpu_seconds(pid: int) -> float:
    """The same for a process and all that it has started, ended or not."""
    total = 0.0
    for member in tree(pid):
        with suppress(OSError):
            children = _stat(member)[13:15]
            total += cpu_seconds(member)
            total += sum(map(int, children)) / os.sysconf("SC_CLK_TCK")
    return total


def tree(pid: int) -> list[int]:
    """Give a process and all that it has started and that still run."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                parents.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [pid]
    for member in found:
        found += parents.get(member, [])
    return found


def _stat(pid: int) -> list[str]:
    """Give what follows the name in a line of ``/proc``."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()


def resident_kib(pid: int) -> float:
    """Tell how much memory a process keeps, shared or not."""
    return _kib(f"/proc/{pid}/status", "VmRSS:")


def tree_proportional_kib(pid: int) -> float:
    """Tell the memory of a process and all that it has started; what several share
    counts in parts."""
    return sum(_kib(f"/proc/{member}/smaps_rollup", "Pss:") for member in tree(pid))


def _kib(path: str, field: str) -> float:
    with suppress(OSError), open(path) as file:
        for line in file:
            if line.startswith(field):
                return float(line.split()[1])
    return 0.0
