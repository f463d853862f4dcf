"""The C library starts programs, as far as it is able to."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from curvecp_tx.net.libc_spawn import CLOSE_FROM, Spawn, find_spawn, libc_spawn
from curvecp_tx.net.spawning import DEFAULT_SIGNALS

CLOSE_FROM_NAME = "POSIX_SPAWN_CLOSEFROM"


class SpawnCase(SynchronousTestCase):
    """A test that starts programs, and waits for them."""

    def spawn(
        self,
        *command: bytes,
        environment: Mapping[bytes, bytes] | None = None,
        actions: Sequence[tuple[int, ...]] = (),
        signals: tuple[int, ...] = DEFAULT_SIGNALS,
    ) -> bytes:
        """Start a program; give what it has written when it has succeeded."""
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as output:
            try:
                process = self.start(
                    command[0],
                    list(command),
                    environment or {},
                    file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1), *actions],
                    setsigdef=signals,
                )
            finally:
                os.close(writer)
            written = output.read()
        _, status = os.waitpid(process, 0)
        self.assertEqual(status, 0)
        return written

    @property
    def start(self) -> Spawn:
        """What is tested."""
        found = libc_spawn()
        if found is None:
            raise SkipTest("this C library is not able to")
        return found


class LibcSpawnTests(SpawnCase):
    """What the C library is asked for."""

    def test_arguments(self) -> None:
        """Arguments are of any bytes."""
        written = self.spawn(b"/usr/bin/printf", b"<%s>", b"\xff", b"", b"a b")
        self.assertEqual(written, b"<\xff><><a b>")

    def test_environment(self) -> None:
        """So are variables, and there are no others."""
        environment = {b"A": b"=", b"B\xff": b"\xfe", b"C": b""}
        written = self.spawn(b"/usr/bin/env", b"-0", environment=environment)
        self.assertEqual(written, b"A==\0B\xff=\xfe\0C=\0")

    def test_close_from(self) -> None:
        """A descriptor and all above are closed, inheritable or not."""
        strays = [os.dup2(0, number) for number in (60, 61, 200)]
        for stray in strays:
            self.addCleanup(os.close, stray)
        script = b"for n in 59 60 61 200; do [ -e /proc/$$/fd/$n ] && echo $n; done; :"
        command = (b"/bin/sh", b"-c", script)
        self.assertEqual(self.spawn(*command).split(), [b"60", b"61", b"200"])
        for actions, left in (
            ([(CLOSE_FROM, 61)], [b"60"]),
            ([(os.POSIX_SPAWN_CLOSE, 60)], [b"61", b"200"]),
            ([(os.POSIX_SPAWN_CLOSE, 59), (CLOSE_FROM, 3)], []),
        ):
            self.assertEqual(self.spawn(*command, actions=actions).split(), left)

    def test_signals(self) -> None:
        """The signals that are named have their default effect, and no others."""
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            before = signal.signal(number, signal.SIG_IGN)
            self.addCleanup(signal.signal, number, before)
        for signals, ignored in (
            ((), {signal.SIGUSR1, signal.SIGUSR2}),
            ((signal.SIGUSR1,), {signal.SIGUSR2}),
            (DEFAULT_SIGNALS, set()),
        ):
            written = self.spawn(
                b"/bin/grep", b"SigIgn", b"/proc/self/status", signals=signals
            )
            bits = int(written.split()[1], 16)
            found = {
                number
                for number in (signal.SIGUSR1, signal.SIGUSR2)
                if bits & 1 << number - 1
            }
            self.assertEqual(found, ignored)

    def test_not_started(self) -> None:
        """An error is what the system says."""
        self.assertRaises(FileNotFoundError, self.spawn, b"/nonexistent/program")
        self.assertRaises(PermissionError, self.spawn, b"/etc/passwd")
        error = self.assertRaises(
            OSError,
            self.spawn,
            b"/bin/true",
            actions=[(os.POSIX_SPAWN_DUP2, 1000, 7)],
        )
        self.assertEqual(error.errno, errno.EBADF)

    def test_bad_texts(self) -> None:
        """No text is cut off at a zero byte, and no name at an equals sign."""
        self.assertRaises(ValueError, self.spawn, b"/bin/true\0")
        self.assertRaises(ValueError, self.spawn, b"/bin/true", b"a\0b")
        for environment in ({b"A": b"\0"}, {b"\0": b"A"}, {b"A=B": b"C"}):
            self.assertRaises(
                ValueError, self.spawn, b"/bin/true", environment=environment
            )

    def test_audit(self) -> None:
        """Who audits Python's own sees this one, too."""
        seen: list[object] = []
        watching = [True]

        def audit(event: str, arguments: tuple[object, ...]) -> None:
            if watching and event == "os.posix_spawn":
                seen.append(arguments[0])

        sys.addaudithook(audit)
        self.spawn(b"/bin/true")
        watching.clear()
        self.assertEqual(seen, [b"/bin/true"])


class FindTests(SynchronousTestCase):
    """Which one is taken."""

    def test_own(self) -> None:
        """Python's own is taken if it is able to."""
        if not hasattr(os, CLOSE_FROM_NAME):
            setattr(os, CLOSE_FROM_NAME, CLOSE_FROM)
            self.addCleanup(delattr, os, CLOSE_FROM_NAME)
        self.assertIs(find_spawn.__wrapped__(), os.posix_spawnp)

    def test_other_system(self) -> None:
        """Another system's C library is not asked."""
        self.patch(sys, "platform", "freebsd14")
        self.assertIsNone(libc_spawn())

    def test_other_library(self) -> None:
        """One that lacks something is not taken, nor is one that is not there."""

        def missing(name: object) -> object:
            raise OSError("no such library")

        for library in (lambda name: object(), missing):
            self.patch(ctypes, "CDLL", library)
            self.assertIsNone(libc_spawn())
