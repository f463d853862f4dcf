"""Programs start in less time, and are the same for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.process import Process
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from curvecp_tx.net import spawning
from curvecp_tx.net.ending import ProgramEnd
from curvecp_tx.net.libc_spawn import CLOSE_FROM, find_spawn
from curvecp_tx.net.spawning import QuickProcess, file_actions, start_program
from curvecp_tx.testing import FakeReactor
from tests.net.recording import open_descriptors

reactor: Any = installed_reactor

OUTPUT: Mapping[int, int | str] = {0: 0, 1: "r", 2: 2}

DESCRIPTORS = """
import os
fds = [fd for fd in range(256) if os.path.exists(f"/proc/self/fd/{fd}")]
print(*fds, sep=",")
"""

REACTORS = ("epoll", "poll", "select", "asyncio")

IN_REACTOR = """
import sys
from importlib import import_module
import_module(f"twisted.internet.{sys.argv[1]}reactor").install()
from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol
from curvecp_tx.net.spawning import QuickProcess, start_program

class Cat(ProcessProtocol):
    def connectionMade(self):
        self.transport.write(b"there and back")
    def outReceived(self, data):
        print(data.decode())
        self.transport.closeStdin()
    def processEnded(self, reason):
        print(reason.value.exitCode)
        reactor.stop()

def start():
    pipes = {0: "w", 1: "r", 2: 2}
    cat = start_program(reactor, Cat(), b"/bin/cat", [b"cat"], {}, None, pipes)
    assert isinstance(cat, QuickProcess)

reactor.callWhenRunning(start)
reactor.run()
"""


class Listening(ProcessProtocol):
    """Keeps what a program writes, until it has ended."""

    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[ProgramEnd] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep it."""
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        """Tell how it ended."""
        self.ended.callback(ProgramEnd.of(reason))


class StartCase(TestCase):
    """A test that starts programs."""

    def begin(
        self,
        *command: str | bytes,
        environment: Mapping[bytes, bytes] | None = None,
        directory: str | None = None,
        descriptors: Mapping[int, int | str] = OUTPUT,
    ) -> tuple[Listening, Any]:
        """Start a program."""
        protocol = Listening()
        arguments = [os.fsencode(text) for text in command]
        process = start_program(
            reactor,
            protocol,
            arguments[0],
            arguments,
            {b"LC_ALL": b"C"} if environment is None else environment,
            directory,
            descriptors,
        )
        return protocol, process

    async def output_of(self, *command: str | bytes, **options: Any) -> bytes:
        """Give what a program writes, if it succeeds."""
        protocol, _ = self.begin(*command, **options)
        self.assertEqual(await protocol.ended, ProgramEnd(0, None))
        return protocol.output


class StartTests(StartCase):
    """What a program finds, and what is heard of it."""

    async def test_less_work(self) -> None:
        """Twisted's own way is not taken where there is a shorter one."""
        if find_spawn() is None:
            raise SkipTest("this system cannot close descriptors by itself")

        def ordinary(*arguments: object) -> bool:
            raise AssertionError("the ordinary way")

        self.patch(Process, "_trySpawnInsteadOfFork", ordinary)
        self.assertEqual(await self.output_of("/bin/echo", "well"), b"well\n")

    async def test_descriptors(self) -> None:
        """A program has what it is given, even where we have more to inherit."""
        ends = os.pipe()
        for end in ends:
            self.addCleanup(os.close, end)
        strays = []
        for lowest in (3, 100):
            end = os.dup(ends[0]) if lowest == 3 else os.dup2(ends[0], lowest)
            self.addCleanup(os.close, end)
            os.set_inheritable(end, True)
            strays.append(end)
        highest = max(*ends, *strays)
        command = (sys.executable, "-c", DESCRIPTORS)
        for number in (8, 50, highest + 50):
            output = await self.output_of(
                *command, descriptors={**OUTPUT, number: ends[1]}
            )
            self.assertEqual(output, b"0,1,2,%d\n" % number)
        self.assertEqual(await self.output_of(*command), b"0,1,2\n")

    async def test_not_inheritable(self) -> None:
        """What a program is given it has, be its number the same as ours."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        self.assertFalse(os.get_inheritable(writer))
        await self.output_of(
            sys.executable,
            "-c",
            f"import os; os.write({writer}, b'here')",
            descriptors={**OUTPUT, writer: writer},
        )
        self.assertEqual(os.read(reader, 100), b"here")
        self.assertFalse(os.get_inheritable(writer))

    async def test_swapped(self) -> None:
        """Descriptors may change places."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        await self.output_of(
            sys.executable,
            "-c",
            f"import os; os.write({reader}, b'swapped')",
            descriptors={**OUTPUT, reader: writer, writer: reader},
        )
        self.assertEqual(os.read(reader, 100), b"swapped")

    async def test_signals(self) -> None:
        """A program ignores no signal, whatever we ignore."""
        for number in (signal.SIGPIPE, signal.SIGHUP, signal.SIGRTMIN):
            before = signal.signal(number, signal.SIG_IGN)
            self.addCleanup(signal.signal, number, before)
        output = await self.output_of("/bin/grep", "SigIgn", "/proc/self/status")
        ignored = int(output.split()[1], 16)
        # Below SIGRTMIN are some that the C library keeps to itself.
        known = sum(1 << number - 1 for number in signal.valid_signals())
        self.assertEqual(ignored & known, 0)

    async def test_environment(self) -> None:
        """A program has these variables, of any bytes, and no others."""
        for environment in ({b"A": b"1=2", b"B\xff": b"\xfe", b"C": b""}, {}):
            output = await self.output_of("/usr/bin/env", "-0", environment=environment)
            found = dict(entry.split(b"=", 1) for entry in output.split(b"\0")[:-1])
            self.assertEqual(found, environment)

    async def test_arguments(self) -> None:
        """Arguments are of any bytes, and may be empty."""
        arguments = (b"\xff", b"", b"a b")
        output = await self.output_of("/usr/bin/printf", "<%s>", *arguments)
        self.assertEqual(output, b"<\xff><><a b>")

    async def test_directory(self) -> None:
        """A program starts in a directory, or where we are."""
        path = os.path.realpath(self.mktemp())
        os.mkdir(path)
        for directory, expected in ((path, path), (None, os.getcwd())):
            output = await self.output_of("/bin/pwd", directory=directory)
            self.assertEqual(os.fsdecode(output).rstrip("\n"), expected)

    async def test_end(self) -> None:
        """Its end is told, be it of its own will or of a signal."""
        own, _ = self.begin("/bin/sh", "-c", "exit 7")
        signalled, process = self.begin("/bin/sleep", "1000")
        process.signalProcess("TERM")
        self.assertEqual(await own.ended, ProgramEnd(7, None))
        self.assertEqual(await signalled.ended, ProgramEnd(None, signal.SIGTERM))
        self.assertIsNone(process.pid)

    async def test_many(self) -> None:
        """Many at once are told from each other, and leave nothing open."""
        # The reactor opens some of its own when it begins to run.
        await deferLater(reactor, 0)
        before = open_descriptors()
        started = [self.begin("/bin/echo", str(number)) for number in range(20)]
        ends = await gatherResults([protocol.ended for protocol, _ in started])
        self.assertEqual(ends, [ProgramEnd(0, None)] * 20)
        outputs = [int(protocol.output) for protocol, _ in started]
        self.assertEqual(outputs, list(range(20)))
        self.assertEqual(open_descriptors(), before)

    def test_not_started(self) -> None:
        """A program that does not start is an error at once, and leaves nothing."""
        before = open_descriptors()
        self.assertRaises(FileNotFoundError, self.begin, "/nonexistent/program")
        self.assertRaises(PermissionError, self.begin, "/etc/passwd")
        for environment in ({b"A": b"\0"}, {b"A=": b"B"}):
            self.assertRaises(
                ValueError, self.begin, "/bin/true", environment=environment
            )
        self.assertRaises(ValueError, self.begin, "/bin/true", "\0")
        self.assertEqual(open_descriptors(), before)

    async def test_reactors(self) -> None:
        """It is the same with every reactor."""
        for name in REACTORS:
            output, errors, status = await getProcessOutputAndValue(
                sys.executable, ["-c", IN_REACTOR, name], env=os.environ
            )
            self.assertEqual((output, status), (b"there and back\n0\n", 0), errors)


class OrdinaryWayTests(StartCase):
    """What is left to Twisted."""

    async def test_nothing_shorter(self) -> None:
        """Where the system is not able to do it, programs start all the same."""
        self.patch(spawning, "find_spawn", lambda: None)
        self.assertEqual(await self.output_of("/bin/echo", "well"), b"well\n")

    async def test_refused(self) -> None:
        """Where the system is able to, but does not, they do as well."""
        calls = []

        def refuse(*arguments: object, **options: object) -> int:
            calls.append(arguments)
            raise OSError("not today")

        self.patch(spawning, "find_spawn", lambda: refuse)
        self.assertEqual(await self.output_of("/bin/echo", "well"), b"well\n")
        self.assertEqual(len(calls), 1)

    async def test_unwanted(self) -> None:
        """A reactor may insist on fork."""

        def refuse(*arguments: object, **options: object) -> int:
            raise AssertionError("the shorter way")

        self.patch(spawning, "find_spawn", lambda: refuse)
        reactor._neverUseSpawn = True
        self.addCleanup(delattr, reactor, "_neverUseSpawn")
        self.assertEqual(await self.output_of("/bin/echo", "well"), b"well\n")

    def test_other_reactor(self) -> None:
        """A reactor with a ``spawnProcess`` of its own is asked."""
        fake = FakeReactor()
        protocol = Listening()
        process = start_program(
            fake, protocol, b"/bin/true", [b"true"], {b"A": b"B"}, "/", {0: 0}
        )
        self.assertEqual(fake.processes, [process])
        self.assertNotIsInstance(process, QuickProcess)
        fake.processes[0].exit()


class FileActionsTests(SynchronousTestCase):
    """What is done with descriptors in a program's stead."""

    def test_order(self) -> None:
        """First come the copies, then what is between them and above is closed."""
        self.assertEqual(
            file_actions({0: 0, 2: 11, 4: 12}),
            [
                (os.POSIX_SPAWN_DUP2, 0, 0),
                (os.POSIX_SPAWN_DUP2, 11, 2),
                (os.POSIX_SPAWN_DUP2, 12, 4),
                (os.POSIX_SPAWN_CLOSE, 1),
                (os.POSIX_SPAWN_CLOSE, 3),
                (CLOSE_FROM, 5),
            ],
        )

    def test_same_source(self) -> None:
        """One of ours may be several of the program's."""
        self.assertEqual(
            file_actions({0: 7, 1: 7}),
            [
                (os.POSIX_SPAWN_DUP2, 7, 0),
                (os.POSIX_SPAWN_DUP2, 7, 1),
                (CLOSE_FROM, 2),
            ],
        )

    def test_none(self) -> None:
        """A program may have no descriptors at all."""
        self.assertEqual(file_actions({}), [(CLOSE_FROM, 0)])

    def test_in_the_way(self) -> None:
        """A copy that would overwrite the source of another is not for us."""
        self.assertIsNone(file_actions({8: 9, 9: 8}))
        self.assertIsNone(file_actions({1: 2, 2: 7}))
        self.assertIsNone(file_actions({0: 0, 1: 0}))
