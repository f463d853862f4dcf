"""What a program finds when it starts: descriptors, directory, environment."""

from __future__ import annotations

import os
import signal

from curvecp_tx.net.keydir import read_public_key
from tests.interop.processes import (
    EXTENSION,
    HANDLER,
    HOST,
    NAME,
    OURS,
    Process,
    bound_udp_ports,
)
from tests.interop.rawclient import OWN_EXTENSION, RawClientTestCase

SLEEP = ("sleep", "1000")
"""A program that does nothing to what it was started with."""

OURS_TO_KNOW = ("PROTO", "CURVECP", "REMOTEPK", "TCPREMOTEIP")


def descriptors_of(pid: int) -> list[int]:
    """Give the open descriptors of a process."""
    return sorted(int(entry) for entry in os.listdir(f"/proc/{pid}/fd"))


def flags_of(pid: int, descriptor: int) -> int:
    """Give the status flags of a descriptor of a process."""
    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["flags"], 8)


def ignored_signals(pid: int) -> int:
    """Give the set of signals that a process ignores, bit 0 for number 1."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["SigIgn"], 16)


def environment_of(pid: int) -> dict[str, str]:
    """Give the environment that a process was started with."""
    with open(f"/proc/{pid}/environ", "rb") as file:
        entries = os.fsdecode(file.read()).rstrip("\0").split("\0")
    return dict(entry.split("=", 1) for entry in entries)


class ChildSetupTests(RawClientTestCase):
    """Programs of our server and of our client, looked at from outside."""

    def setUp(self) -> None:
        super().setUp()
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        self.inherited = (reader, writer)
        self.cwd = os.path.join(self.directory, "here")
        os.mkdir(self.cwd)

    async def child_of_server(self) -> tuple[int, dict[str, str]]:
        """Start a server with a connection; give the program and its variables."""
        server = await self.serve(OURS, SLEEP, cwd=self.cwd, pass_fds=self.inherited)
        client = await self.request(server, "hello")
        expected = {
            "PROTO": "CURVECP",
            "CURVECPLOCALIP": HOST,
            "CURVECPLOCALPORT": str(server.port),
            "CURVECPLOCALKEY": server.key.hex(),
            "CURVECPLOCALNAME": NAME,
            "CURVECPLOCALEXTENSION": EXTENSION.hex(),
            "CURVECPREMOTEIP": HOST,
            "CURVECPREMOTEPORT": str(client.socket.port),
            "CURVECPREMOTEKEY": client.keys.public.hex(),
            "CURVECPREMOTEEXTENSION": OWN_EXTENSION.hex(),
            "REMOTEPK": client.keys.public.hex(),
            "TCPREMOTEIP": HOST,
        }
        return await self.child(server.process), expected

    async def child_of_client(self) -> tuple[int, dict[str, str]]:
        """Start a client and its server; give the program and its variables."""
        server = await self.serve(OURS, HANDLER)
        keydir = self.key_directory("client.key")
        before = bound_udp_ports()
        client = self.call(
            OURS,
            server,
            SLEEP,
            options=("-c", keydir),
            cwd=self.cwd,
            pass_fds=self.inherited,
        )
        pid = await self.child(client)
        self.new_ports = bound_udp_ports() - before
        expected = {
            "PROTO": "CURVECP",
            # Its socket is bound to no address in particular.
            "CURVECPLOCALIP": "0.0.0.0",
            "CURVECPLOCALKEY": read_public_key(keydir).hex(),
            "CURVECPLOCALEXTENSION": bytes(16).hex(),
            "CURVECPREMOTEIP": HOST,
            "CURVECPREMOTEPORT": str(server.port),
            "CURVECPREMOTEKEY": server.key.hex(),
            "CURVECPREMOTENAME": NAME,
            "CURVECPREMOTEEXTENSION": EXTENSION.hex(),
            "REMOTEPK": server.key.hex(),
            "TCPREMOTEIP": HOST,
        }
        return pid, expected

    async def child(self, parent: Process) -> int:
        """Give the program that a process has started for its connection."""
        for descriptor in self.inherited:
            self.assertIn(descriptor, descriptors_of(parent.pid))
        return await self.only_child(parent, SLEEP[0])

    def assert_set_up(self, pid: int, expected: dict[str, str]) -> None:
        """Check all that a program may rely on."""
        self.assertEqual(descriptors_of(pid), [0, 1, 2, 8, 9])
        for descriptor, access in ((8, os.O_RDONLY), (9, os.O_WRONLY)):
            flags = flags_of(pid, descriptor)
            self.assertTrue(flags & os.O_NONBLOCK, "non-blocking")
            self.assertEqual(flags & os.O_ACCMODE, access)
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            self.assertTrue(target.startswith("pipe:"), target)
        self.assertEqual(os.readlink(f"/proc/{pid}/cwd"), self.cwd)
        self.assertFalse(ignored_signals(pid) & 1 << signal.SIGPIPE - 1)
        environment = environment_of(pid)
        described = {
            name: value
            for name, value in environment.items()
            if name.startswith(OURS_TO_KNOW)
        }
        self.assertEqual(described, expected)
        self.assertEqual(environment["PATH"], os.environ["PATH"])

    async def test_program_of_a_server(self) -> None:
        """It has 0, 1, 2, 8, 9 and no more, and is told about its connection."""
        pid, expected = await self.child_of_server()
        self.assert_set_up(pid, expected)

    async def test_program_of_a_client(self) -> None:
        """It has 0, 1, 2, 8, 9 and no more, and is told about its connection."""
        pid, expected = await self.child_of_client()
        port = environment_of(pid)["CURVECPLOCALPORT"]
        self.assertIn(int(port), self.new_ports)
        self.assert_set_up(pid, {**expected, "CURVECPLOCALPORT": port})
