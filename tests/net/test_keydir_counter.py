"""Tests for the nonce counter of a key directory: no value comes twice."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from curvecp_tx.errors import KeyDirectoryError, NoncesExhausted
from curvecp_tx.net import keydir
from curvecp_tx.net.keydir import KeyDirectory, make_key_directory
from curvecp_tx.secure.nonces import LongTermNonces, permute
from tests.faults.figures import note

COUNTER = ".expertsonly/noncecounter"
DRAFT = ".expertsonly/noncecounter.new"
LOCK = ".expertsonly/lock"

TIMEOUT = 60.0
"""Seconds for a process that is sure to end within two."""

HOLD_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""

TRY_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print("held")
else:
    print("free")
"""

RESERVE = """
import os, signal, sys
from curvecp_tx.net.keydir import KeyDirectory
directory = KeyDirectory.load(sys.argv[1])
for _ in range(int(sys.argv[2])):
    nonces = directory.reserve_nonces(SIZE, patience=60.0, random_bytes=bytes)
    if "crash" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    for _ in range(SIZE):
        print(nonces().hex())
""".replace("SIZE", "int(sys.argv[3])")


def python(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a Python process that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


class CounterTestCase(SynchronousTestCase):
    """A key directory and a look at its counter."""

    def setUp(self) -> None:
        """Make a directory."""
        self.path = os.path.abspath(self.mktemp())
        make_key_directory(self.path)
        self.directory = KeyDirectory.load(self.path)
        self.lock = os.path.join(self.path, LOCK)

    def counter(self) -> int:
        """Read the counter, which must be whole at any time."""
        with open(os.path.join(self.path, COUNTER), "rb") as file:
            content = file.read()
        self.assertEqual(len(content), 8)
        return int.from_bytes(content, "little")

    def set_counter(self, value: int) -> None:
        """Overwrite the counter."""
        with open(os.path.join(self.path, COUNTER), "wb") as file:
            file.write(value.to_bytes(8, "little"))

    def nonce(self, value: int) -> bytes:
        """Give the nonce of one counter value, with zeros for randomness."""
        with open(os.path.join(self.path, ".expertsonly/noncekey"), "rb") as file:
            return permute(value.to_bytes(8, "little") + bytes(8), file.read())

    def reserve(self, count: int = 5, **options: Any) -> LongTermNonces:
        """Reserve with zeros for randomness."""
        return self.directory.reserve_nonces(count, random_bytes=bytes, **options)

    def problem(self, count: int = 5, **options: Any) -> str:
        """Fail to reserve, and give the reason without what all have in common."""
        error = self.assertRaises(KeyDirectoryError, self.reserve, count, **options)
        return str(error).removeprefix(f"unusable key directory: {self.path}/")


class ReserveTests(CounterTestCase):
    """Tests for ``KeyDirectory.reserve_nonces``."""

    def test_moves_before_use(self) -> None:
        """The counter on disk has passed all values before the first is used."""
        nonces = self.reserve(10)
        self.assertEqual(self.counter(), 10)
        self.assertEqual(nonces(), self.nonce(0))
        self.assertEqual(self.counter(), 10)

    def test_consecutive(self) -> None:
        """One reservation begins where the one before ends."""
        first, second = self.reserve(3), self.reserve(2)
        given = [first(), first(), first(), second(), second()]
        self.assertEqual(given, [self.nonce(value) for value in range(5)])
        self.assertRaises(NoncesExhausted, first)
        self.assertRaises(NoncesExhausted, second)

    def test_other_writer(self) -> None:
        """What the reference has taken in the meantime is not taken again."""
        self.reserve()
        self.set_counter(1 << 20)
        self.assertEqual(self.reserve()(), self.nonce(1 << 20))

    def test_used_up(self) -> None:
        """At its end the counter stops, and does not start over."""
        end = 1 << 64
        self.set_counter(end - 6)
        self.assertEqual(self.reserve(5)(), self.nonce(end - 6))
        self.assertEqual(self.counter(), end - 1)
        for count in (1, 5, 1 << 40):
            reason = self.problem(count)
            self.assertEqual(reason, f"{COUNTER}: used up; make a new key")
            self.assertEqual(self.counter(), end - 1)

    def test_damaged_later(self) -> None:
        """A counter that was damaged after the load is not guessed at."""
        with open(os.path.join(self.path, COUNTER), "wb") as file:
            file.write(bytes(7))
        self.assertEqual(self.problem(), f"{COUNTER}: must have 8 bytes, has 7")

    def test_mode_kept(self) -> None:
        """The new counter has the mode of the old."""
        target = os.path.join(self.path, COUNTER)
        for mode in (0o600, 0o640, 0o660):
            os.chmod(target, mode)
            before = os.umask(0o777)
            self.addCleanup(os.umask, before)
            self.reserve()
            os.umask(before)
            self.assertEqual(stat.S_IMODE(os.stat(target).st_mode), mode)

    def test_owner_kept(self) -> None:
        """What root reserves for a server, the server's user can still write."""
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        target = os.path.join(self.path, COUNTER)
        os.chown(target, 65534, 65533)
        self.reserve()
        about = os.stat(target)
        self.assertEqual((about.st_uid, about.st_gid), (65534, 65533))

    def test_leftover_draft(self) -> None:
        """A draft that a crash has left behind does not matter."""
        with open(os.path.join(self.path, DRAFT), "wb") as file:
            file.write(b"x" * 1000)
        os.chmod(file.name, 0o644)
        self.reserve(7)
        self.assertEqual(self.counter(), 7)
        self.assertFalse(os.path.exists(file.name))
        self.assertEqual(KeyDirectory.load(self.path).keys, self.directory.keys)

    def test_draft_is_a_link(self) -> None:
        """A link in the draft's place is not followed."""
        victim = self.mktemp()
        with open(victim, "w") as file:
            file.write("precious")
        os.symlink(os.path.abspath(victim), os.path.join(self.path, DRAFT))
        self.assertIn("not writable", self.problem())
        with open(victim) as file:
            self.assertEqual(file.read(), "precious")

    def test_not_writable(self) -> None:
        """A counter that cannot be moved gives an error, no nonces, no change."""
        self.set_counter(42)
        for module, name, code, text in (
            (os, "rename", errno.EACCES, "permission denied"),
            (os, "fsync", errno.ENOSPC, "no space left on device"),
            (os, "fchmod", errno.EPERM, "operation not permitted"),
        ):

            def broken(*args: object, code: int = code) -> None:
                raise OSError(code, os.strerror(code))

            patch = self.patch(module, name, broken)
            try:
                self.assertEqual(self.problem(), f"{COUNTER}: not writable: {text}")
            finally:
                patch.restore()
            self.assertEqual(self.counter(), 42, name)
        self.assertEqual(self.reserve()(), self.nonce(42))

    def test_read_only(self) -> None:
        """A file system that allows no new file is an error that says so."""
        self.set_counter(42)
        real = os.open

        def read_only(path: str, flags: int, *args: Any) -> int:
            if flags & os.O_CREAT:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real(path, flags, *args)

        self.patch(os, "open", read_only)
        self.assertEqual(
            self.problem(), f"{COUNTER}: not writable: read-only file system"
        )
        self.assertEqual(self.counter(), 42)

    def test_crash_at_each_step(self) -> None:
        """Wherever it ends, the counter is whole and repeats no value in use."""

        class Crash(BaseException):
            pass

        def crash(*args: object) -> None:
            raise Crash

        # Up to the rename the old counter counts, after it the new.
        for name, expected in (("fchmod", 0), ("fsync", 0), ("rename", 0)):
            patch = self.patch(os, name, crash)
            try:
                self.assertRaises(Crash, self.reserve)
            finally:
                patch.restore()
            self.assertEqual(self.counter(), expected, name)
        self.patch(keydir, "_sync_directory", crash)
        self.assertRaises(Crash, self.reserve)
        self.assertEqual(self.counter(), 5)


class ProcessTests(CounterTestCase):
    """Tests with other processes and threads."""

    def start(self, script: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process that the test does not outlive."""
        process = python(script, *arguments)

        def end() -> None:
            process.kill()
            process.communicate(timeout=TIMEOUT)

        self.addCleanup(end)
        return process

    def hold_lock(self) -> subprocess.Popen[bytes]:
        """Start a process that holds the lock until its input ends."""
        holder = self.start(HOLD_LOCK, self.lock)
        assert holder.stdout is not None
        self.assertEqual(holder.stdout.readline(), b"held\n")
        return holder

    def lock_state(self) -> str:
        """Ask another process whether the lock is free."""
        process = self.start(TRY_LOCK, self.lock)
        output, _ = process.communicate(timeout=TIMEOUT)
        return output.decode().strip()

    def test_killed_between_reservation_and_use(self) -> None:
        """A process killed before it used its values has used them up."""
        process = self.start(RESERVE, self.path, "1", "5", "crash")
        output, _ = process.communicate(timeout=TIMEOUT)
        self.assertEqual((process.returncode, output), (-signal.SIGKILL, b""))
        self.assertEqual(self.counter(), 5)
        self.assertEqual(self.reserve()(), self.nonce(5))

    def test_eight_processes(self) -> None:
        """Eight processes at once get a thousand nonces each, and none comes twice."""
        runs, size = 20, 50
        arguments = self.path, str(runs), str(size)
        processes = [self.start(RESERVE, *arguments) for _ in range(8)]
        given: list[str] = []
        for process in processes:
            output, _ = process.communicate(timeout=TIMEOUT)
            self.assertEqual(process.returncode, 0)
            given += output.decode().split()
        count = 8 * runs * size
        self.assertEqual(self.counter(), count)
        self.assertEqual(
            sorted(given), sorted(self.nonce(value).hex() for value in range(count))
        )
        note("F3", "TT", f"{count} nonces by 8 processes, none twice")

    def test_waits_for_lock(self) -> None:
        """A lock that another process holds is waited for."""
        holder = self.hold_lock()
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            holder.communicate(timeout=TIMEOUT)

        clock = SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep)
        self.patch(keydir, "time", clock)
        self.assertEqual(self.reserve()(), self.nonce(0))
        self.assertEqual(len(waits), 1)

    def test_gives_up(self) -> None:
        """After ``patience`` the wait ends, with an error that says what it was."""
        self.hold_lock()
        clock = SimpleNamespace(now=1000.0)
        clock.monotonic = lambda: clock.now

        def sleep(seconds: float) -> None:
            clock.now += seconds

        clock.sleep = sleep
        self.patch(keydir, "time", clock)
        self.assertEqual(self.problem(patience=3.0), f"{LOCK}: held by another process")
        self.assertTrue(1003.0 <= clock.now < 1003.1, clock.now)
        self.assertEqual(self.problem(patience=0.0), f"{LOCK}: held by another process")
        self.assertEqual(self.counter(), 0)

    def test_holds_lock_while_writing(self) -> None:
        """The lock is held while the counter moves, and given back after that."""
        states: list[str] = []
        real = keydir._replace_counter

        def watched(path: str, value: int) -> None:
            states.append(self.lock_state())
            real(path, value)

        self.patch(keydir, "_replace_counter", watched)
        self.reserve()
        states.append(self.lock_state())
        self.assertEqual(states, ["held", "free"])

    def test_lock_given_back_after_failure(self) -> None:
        """An error gives the lock back, too, for threads and for processes."""

        def broken(path: str, value: int) -> None:
            raise KeyDirectoryError("broken")

        patch = self.patch(keydir, "_replace_counter", broken)
        self.assertRaises(KeyDirectoryError, self.reserve)
        patch.restore()
        self.assertEqual(self.lock_state(), "free")
        self.assertEqual(self.reserve(patience=0.0)(), self.nonce(0))

    def test_load_does_not_end_lock(self) -> None:
        """A thread that loads the directory leaves another thread's lock alone.

        Locks of fcntl are lost when the process closes any descriptor of the file.
        """
        states: list[str] = []
        real = keydir._replace_counter

        def watched(path: str, value: int) -> None:
            KeyDirectory.load(path)
            states.append(self.lock_state())
            real(path, value)

        self.patch(keydir, "_replace_counter", watched)
        self.reserve()
        self.assertEqual(states, ["held"])

    def test_threads(self) -> None:
        """Threads of one process get disjoint runs, too."""
        given: list[bytes] = []

        def work() -> None:
            for _ in range(10):
                nonces = self.reserve(3, patience=TIMEOUT)
                given.extend([nonces(), nonces(), nonces()])

        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        self.assertEqual(
            sorted(given), sorted(self.nonce(value) for value in range(120))
        )

    def test_thread_gives_up(self) -> None:
        """A thread that waits for another thread gives up as well."""
        inside, leave = threading.Event(), threading.Event()
        real = keydir._replace_counter

        def slow(path: str, value: int) -> None:
            inside.set()
            leave.wait(TIMEOUT)
            real(path, value)

        self.patch(keydir, "_replace_counter", slow)
        thread = threading.Thread(target=self.reserve, daemon=True)
        thread.start()
        self.assertTrue(inside.wait(TIMEOUT))
        try:
            found = self.problem(patience=0.01)
        finally:
            leave.set()
            thread.join(TIMEOUT)
        self.assertEqual(found, f"{LOCK}: held by another thread")
        self.assertEqual(self.counter(), 5)

    def test_lock_missing(self) -> None:
        """A lock that is gone, or may not be opened, is named."""
        os.unlink(self.lock)
        self.assertEqual(self.problem(), f"{LOCK}: no such file or directory")
        self.assertEqual(self.counter(), 0)

    def test_no_locks(self) -> None:
        """A file system without locks is refused, and not trusted."""

        def no_locks(*args: object) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        self.patch(fcntl, "lockf", no_locks)
        self.assertEqual(
            self.problem(), f"{LOCK}: cannot be locked: no locks available"
        )
        self.assertEqual(self.counter(), 0)
