"""The server as a plugin of twistd and of twist."""

from __future__ import annotations

import os
import pwd
import signal

from twisted.trial.unittest import SkipTest

from tests.interop.processes import (
    OURS,
    REFERENCE,
    TWIST,
    TWISTD,
    free_port,
    kill_group,
)
from tests.interop.test_pairings import (
    SERVER_FIRST,
    PairingTestCase,
    handler,
    shell,
)

NOBODY = "nobody"
PLUGIN = "curvecpserver"
PRIVILEGED_PORTS = range(1023, 600, -1)


class TwistdTests(PairingTestCase):
    """Servers under twistd and twist; clients ask where and who they are."""

    def setUp(self) -> None:
        super().setUp()
        self.cwd = os.path.join(self.directory, "here")
        os.mkdir(self.cwd)

    def in_foreground(self) -> tuple[str, ...]:
        """Give the command that runs the plugin under twistd, no daemon."""
        pidfile = os.path.join(self.directory, "pid")
        return (*TWISTD, "--nodaemon", f"--pidfile={pidfile}", PLUGIN)

    async def ask(self) -> str:
        """Start a client, and give what the server's program tells it."""
        program = handler(*shell("cat <&6 >told"), options=(SERVER_FIRST,))
        await self.succeed(self.call(REFERENCE, self.server, program))
        return self.read("told").decode().strip()

    async def assert_serves(self, *wrapper: str) -> None:
        """Check that a server works, and starts its programs where it was started."""
        self.server = await self.serve(
            OURS, handler("pwd"), wrapper=wrapper, cwd=self.cwd
        )
        self.assertEqual(await self.ask(), self.cwd)
        process = self.server.process
        process.signal(signal.SIGTERM)
        # Both runners end by the signal itself when they have cleaned up.
        self.assertEqual(await self.finish(process), -signal.SIGTERM)
        self.assertNotIn("Traceback", process.output + process.errors)

    async def test_twistd(self) -> None:
        """``twistd -n curvecpserver`` serves, and ends well at SIGTERM."""
        await self.assert_serves(*self.in_foreground())

    async def test_twist(self) -> None:
        """``twist curvecpserver`` serves, though it knows no privileged start."""
        await self.assert_serves(*TWIST, PLUGIN)

    async def test_a_command_line_that_makes_no_sense(self) -> None:
        """Usage errors have exit code 100 under twistd, too."""
        process = self.launch((*self.in_foreground(), "-c", "0"))
        self.assertEqual(await self.finish(process), 100)

    async def test_a_key_directory_that_is_not_there(self) -> None:
        """What cannot be done is found out before the service starts: 111."""
        keydir = os.path.join(self.directory, "missing")
        operands = ("name", keydir, "127.0.0.1", "0", "0" * 32, "true")
        process = self.launch((*self.in_foreground(), *operands))
        self.assertEqual(await self.finish(process), 111)
        self.assertIn(keydir, process.errors)

    async def start_daemon(
        self, program: tuple[str, ...], *options: str, port: int = 0
    ) -> int:
        """Start a daemon; give its process ID."""
        pidfile = os.path.join(self.directory, "pid")
        logfile = os.path.join(self.directory, "log")
        wrapper = (*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}", *options)
        self.server = await self.serve(
            OURS, program, wrapper=(*wrapper, PLUGIN), cwd=self.cwd, port=port
        )
        process = self.server.process
        self.assertEqual(await self.finish(process), 0, process.errors)
        pid = int(self.read("pid"))
        self.addCleanup(kill_group, os.getpgid(pid))
        return pid

    async def test_daemon(self) -> None:
        """As a daemon, it serves from where it was started, and ends at SIGTERM."""
        pid = await self.start_daemon(handler("pwd"))
        self.assertEqual(await self.ask(), self.cwd)
        os.kill(pid, signal.SIGTERM)
        await self.until_dead(pid)
        self.assertNotIn(b"Traceback", self.read("log"))

    async def test_daemon_without_privileges(self) -> None:
        """Keys are read and the port is bound before privileges are given up."""
        if os.geteuid() != 0:
            raise SkipTest("only root has privileges to give up")
        nobody = pwd.getpwnam(NOBODY)
        options = (f"--uid={nobody.pw_uid}", f"--gid={nobody.pw_gid}")
        port = free_port(candidates=PRIVILEGED_PORTS)
        pid = await self.start_daemon(
            handler(*shell("id -un; pwd")), *options, port=port
        )
        self.assertEqual(await self.ask(), f"{NOBODY}\n{self.cwd}")
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, nobody.pw_uid)
        os.kill(pid, signal.SIGTERM)
        await self.until_dead(pid)
