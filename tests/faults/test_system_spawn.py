"""Programs that the system does not start, for want of one thing or another."""

from __future__ import annotations

import errno
import os
import signal
import sys

from twisted.trial.unittest import SkipTest

from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.wire.frames import encode_frame
from tests.faults.figures import OURS as OURS_BOTH
from tests.faults.figures import note
from tests.interop.processes import HANDLER, MODULES, OURS, Server, is_alive, tool
from tests.interop.rawclient import RawClient, RawClientTestCase, message
from tests.interop.streaming import StreamTestCase, shell
from tests.net.recording import (
    Recorders,
    WorldCase,
    greeting,
    logged,
    open_descriptors,
)
from tests.net.recording import message as numbered

PROGRAMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "programs")
LIMITED = (sys.executable, os.path.join(PROGRAMS, "limited.py"))
UNPRIVILEGED = (sys.executable, os.path.join(PROGRAMS, "unprivileged.py"))

SPAWN_ERRORS = (errno.EAGAIN, errno.ENOMEM, errno.ENOENT, errno.EACCES, errno.EMFILE)
COMPLAINT = "unable to start message handler"
SLEEP = ("sleep", "1000")
FIRST_USER = 30000
"""Users that no account has, a different one for each run: the system counts the
processes of a user, whoever started them."""

DESCRIPTORS = 20
CLIENTS = 8
FAILURE = 111


class SpawnErrorTests(WorldCase):
    """Each error that starting a program may meet, in virtual time."""

    def test_each_error(self) -> None:
        """It is logged once, frees its slot, and the same Initiate tries again."""
        for number in SPAWN_ERRORS:
            self.build_world()
            before = open_descriptors()
            factory = HandlerProgramFactory(self.reactor, ["true"], report=self.report)
            listener = self.serve(factory)
            self.reactor.spawnError = OSError(number, os.strerror(number))
            client = Recorders(greeting(numbered(3)))
            with logged() as lines:
                self.dial(client)
                self.reactor.run(10.0)
            [line] = lines(COMPLAINT)
            self.assertIn(os.strerror(number), line)
            self.assertGreater(listener.counters.refused_handler, 1)
            self.assertEqual((listener.connections, len(factory.running)), (0, 0))
            self.assertEqual(open_descriptors(), before)
            self.reactor.spawnError = None
            self.reactor.run(10.0)
            [process] = self.reactor.processes
            os.write(process.descriptors[9], encode_frame(numbered(4)))
            self.reactor.run(0.1)
            self.assertEqual(client.built[0].messages, [numbered(4)])
            process.exit()
            self.reactor.advance(0)
            self.close_world()


class MissingProgramTests(RawClientTestCase):
    """A program that was there when the server started."""

    async def assert_refused_for_now(self, reason: str) -> None:
        """Check that a server outlives what happens, and goes on afterwards."""
        path = os.path.join(self.directory, "program")
        hidden = os.path.join(self.directory, "hidden")
        self.write("program", b"#!/bin/sh\nexec sleep 1000\n")
        os.chmod(path, 0o755)
        server = await self.serve(OURS, (path,), options=("-c", "1"))
        if reason == os.strerror(errno.EACCES):
            os.chmod(path, 0o644)
        else:
            os.rename(path, hidden)
        client = await self.request(server, "hello")
        await self.until(
            lambda: (client.step(), COMPLAINT in server.process.errors)[1], "an error"
        )
        await self.until(lambda: (client.step(), len(client.initiates) > 2)[1], "more")
        await self.until_handled(server)
        [line] = server.process.errors.splitlines()
        self.assertIn(reason, line)
        if reason == os.strerror(errno.EACCES):
            os.chmod(path, 0o755)
        else:
            os.rename(hidden, path)
        await self.until(
            lambda: (client.step(), server.process.children())[1], "it starts"
        )
        [line] = server.process.errors.splitlines()

    async def test_gone(self) -> None:
        """ENOENT is logged once; a repeated Initiate starts what is back."""
        await self.assert_refused_for_now(os.strerror(errno.ENOENT))

    async def test_not_executable(self) -> None:
        """EACCES is logged once; a repeated Initiate starts what is allowed again."""
        await self.assert_refused_for_now(os.strerror(errno.EACCES))


class ProcessLimitTests(RawClientTestCase):
    """A server whose user may have only so many processes."""

    async def test_one_program_fits(self) -> None:
        """EAGAIN: the second client waits for the end of the first one's program."""
        if os.geteuid() != 0:
            raise SkipTest("to become another user needs root")
        user = str(FIRST_USER + os.getpid() % FIRST_USER)
        wrapper = (*UNPRIVILEGED, user, "2", MODULES["curvecpserver"])
        server = await self.serve(OURS, SLEEP, wrapper=wrapper)
        await self.request(server, "first")
        pid = await self.only_child(server.process)
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, int(user))
        second = await self.request(server, "second")
        await self.until(
            lambda: (second.step(), COMPLAINT in server.process.errors)[1], "an error"
        )
        self.assertIn(os.strerror(errno.EAGAIN), server.process.errors)
        await self.until(lambda: (second.step(), len(second.initiates) > 2)[1], "more")
        await self.until_handled(server)
        self.assertEqual(server.process.children(), [pid])
        os.kill(pid, signal.SIGKILL)
        await self.until_dead(pid)
        await self.until(
            lambda: (second.step(), server.process.children())[1], "it starts"
        )
        self.assertEqual(len(server.process.errors.splitlines()), 1)
        self.assertIsNone(server.process.status)
        note("E3", OURS_BOTH, "EAGAIN by RLIMIT_NPROC: one log line, served later")


def descriptors_of(server: Server) -> int:
    """Count the open descriptors of a server."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


class DescriptorLimitTests(RawClientTestCase):
    """A server that may have only so many descriptors, and more clients."""

    def end_programs(self, server: Server) -> None:
        """Kill all programs of a server."""
        for pid in server.process.children():
            os.kill(pid, signal.SIGKILL)

    async def all_answered(self, server: Server, clients: list[RawClient]) -> None:
        """Wait until each program has answered its client, and they talk on."""

        def look() -> bool:
            answered = [client for client in clients if client.step()]
            return len(answered) == len(server.process.children()) > 0

        await self.until(look, "all programs have answered")
        for client in clients:
            if client.messages:
                await self.exchange(client, "still here")

    async def test_messages(self) -> None:
        """As many as fit are served; the others when there is room again."""
        wrapper = (*LIMITED, str(DESCRIPTORS), *tool(OURS, "curvecpserver"))
        server = await self.serve(OURS, HANDLER, wrapper=wrapper)
        before = descriptors_of(server)
        clients = [self.raw_client(server) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.send(message(f"echo {number}"))
        await self.until(
            lambda: (
                [client.step() for client in clients]
                and COMPLAINT in server.process.errors
            ),
            "descriptors run out",
        )
        await self.until_handled(server)
        await self.all_answered(server, clients)
        waiting = [client for client in clients if not client.messages]
        fitted = CLIENTS - len(waiting)
        self.assertGreater(fitted, 1)
        self.assertGreater(len(waiting), 0)
        while waiting:
            self.end_programs(server)
            await self.until(
                lambda: any(client.step() for client in waiting),  # noqa: B023
                "there is room for others",
            )
            waiting = [client for client in waiting if not client.messages]
        [line] = server.process.errors.splitlines()
        self.assertIn(os.strerror(errno.EMFILE), line)
        self.end_programs(server)
        await self.until(lambda: descriptors_of(server) == before, "nothing leaks")
        note("E4", OURS_BOTH, f"{fitted} of {CLIENTS} fit, all served in the end")


class DescriptorLimitStreamTests(StreamTestCase):
    """The same with streams, whose clients are told."""

    async def test_streams(self) -> None:
        """Who does not fit hears of a failure; later there is room again."""
        wrapper = (*LIMITED, str(DESCRIPTORS), *tool(OURS, "curvecpserver"))
        server = await self.serve(
            OURS, shell("cat"), options=("--stream",), wrapper=wrapper
        )
        before = descriptors_of(server)
        script = (
            "echo hello >&7; read answer <&6 || exit 0; echo $answer;"
            " until test -e go; do sleep .1; done"
        )
        clients = [
            self.call(OURS, server, shell(script), options=("--stream",))
            for _ in range(CLIENTS)
        ]
        await self.until(
            lambda: all(c.status is not None or c.output for c in clients),
            "each is served or refused",
        )
        refused = [c for c in clients if c.status is not None]
        served = [c for c in clients if c.status is None]
        self.assertGreater(len(served), 1)
        self.assertGreater(len(refused), 0)
        for client in refused:
            self.assertEqual(client.status, FAILURE)
            self.assertIn("peer reports a failure", client.errors)
        self.write("go", b"")
        for client in served:
            self.assertEqual(client.output, "hello\n")
            self.assertEqual(await self.finish(client), 0, client.errors)
        again = self.call(OURS, server, shell(script), options=("--stream",))
        self.assertEqual(await self.finish(again), 0, again.errors)
        [line] = server.process.errors.splitlines()
        self.assertIn(os.strerror(errno.EMFILE), line)
        self.assertTrue(is_alive(server.process.pid))
        await self.until(lambda: descriptors_of(server) == before, "nothing leaks")
        note(
            "E4", OURS_BOTH, f"{len(served)} of {CLIENTS} streams fit; the others told"
        )
