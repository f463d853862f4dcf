"""A client, a router and a server in network namespaces of their own."""

from __future__ import annotations

import os
import shutil
import subprocess

from twisted.trial.unittest import SkipTest

from tests.interop.processes import OURS, Process, Server, tool
from tests.interop.streaming import StreamTestCase, shell

CLIENT, ROUTER, SERVER = "client", "router", "server"

CLIENT_HOST, CLIENT_NEXT_HOST, CLIENT_ROUTER = "10.99.1.2", "10.99.1.3", "10.99.1.1"
SERVER_HOST, SERVER_ROUTER = "10.99.2.2", "10.99.2.1"
NET = "24"

TO_CLIENT, TO_SERVER, LINK = "toclient", "toserver", "uplink"
"""Names of interfaces: two at the router, and one at each end."""


class NamespaceTestCase(StreamTestCase):
    """A test on a network of its own: client - router - server."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            raise SkipTest("to make network namespaces needs root")
        if shutil.which("ip") is None:
            raise SkipTest("to make network namespaces needs the command ip")
        for place in (CLIENT, ROUTER, SERVER):
            self.add_namespace(place)
        for place, interface in ((CLIENT, TO_CLIENT), (SERVER, TO_SERVER)):
            self.ip(
                ROUTER,
                *f"link add {interface} type veth peer name {LINK}".split(),
                *("netns", self.namespace(place)),
            )
        self.configure(CLIENT, LINK, CLIENT_HOST)
        self.configure(SERVER, LINK, SERVER_HOST)
        self.configure(ROUTER, TO_CLIENT, CLIENT_ROUTER)
        self.configure(ROUTER, TO_SERVER, SERVER_ROUTER)
        self.add_routes()
        forward = "echo 1 >/proc/sys/net/ipv4/ip_forward"
        self.command(*self.within(ROUTER), "sh", "-c", forward)

    def add_namespace(self, place: str) -> None:
        """Make a namespace for the length of the test."""
        name = self.namespace(place)
        made = subprocess.run(
            ("ip", "netns", "add", name), capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise SkipTest(f"no network namespaces here: {made.stderr.strip()}")
        self.addCleanup(self.command, "ip", "netns", "delete", name)

    def add_routes(self) -> None:
        """Lead both ends to the router; to be repeated after a link was down."""
        self.ip(CLIENT, "route", "replace", "default", "via", CLIENT_ROUTER)
        self.ip(SERVER, "route", "replace", "default", "via", SERVER_ROUTER)

    def configure(self, place: str, interface: str, host: str) -> None:
        """Give an interface its address, and start it."""
        self.ip(place, "address", "add", f"{host}/{NET}", "dev", interface)
        self.ip(place, "link", "set", interface, "up")

    def namespace(self, place: str) -> str:
        """Give the name of a namespace, which no other test has."""
        return f"curvecp-{os.getpid()}-{place}"

    def within(self, place: str) -> tuple[str, ...]:
        """Give what runs a command in a namespace."""
        return ("ip", "netns", "exec", self.namespace(place))

    def ip(self, place: str, *arguments: str) -> None:
        """Change the network of a namespace."""
        self.command("ip", "-n", self.namespace(place), *arguments)

    def command(self, *command: str) -> str:
        """Run a command, which has to succeed; give its output."""
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, (command, done.stderr))
        return done.stdout

    def counted(self, place: str, protocol: str, what: str) -> int:
        """Give one of the kernel's counts in a namespace."""
        table = self.command(*self.within(place), "cat", "/proc/net/snmp")
        names, values = (
            line.split()[1:]
            for line in table.splitlines()
            if line.startswith(f"{protocol}:")
        )
        return int(dict(zip(names, values, strict=True))[what])

    async def serve_within(
        self, script: str, *, wrapper: tuple[str, ...] | None = None
    ) -> Server:
        """Start a server in its namespace, with a script on each stream."""
        command = wrapper or tool(OURS, "curvecpserver")
        return await self.serve(
            OURS,
            shell(script),
            options=("--stream", "-v"),
            wrapper=(*self.within(SERVER), *command),
            host=SERVER_HOST,
        )

    def call_within(self, server: Server, script: str) -> Process:
        """Start a client in its namespace, with a script on its stream."""
        return self.launch(
            (
                *self.within(CLIENT),
                *tool(OURS, "curvecpclient"),
                "--stream",
                *server.operands(),
                *shell(script),
            )
        )
