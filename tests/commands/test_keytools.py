"""Tests for curvecpmakekey and curvecpprintkey."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from curvecp_tx.commands import makekey, printkey
from curvecp_tx.net.keydir import KeyDirectory, read_public_key
from tests.commands.running import (
    TIMEOUT,
    new_key_directory,
    run_here,
    run_python,
    run_tool,
)

REFERENCE = "/usr/bin"


def reference(name: str) -> str:
    """Give the path of a reference tool, which other tests may shadow on PATH."""
    path = shutil.which(name, path=REFERENCE)
    if path is None:
        raise SkipTest(f"the reference's {name} is not installed")
    return path


def modules_loaded(*arguments: str) -> set[str]:
    """Run Python and give the names of all modules that it imports."""
    finished = run_python("-X", "importtime", *arguments)
    lines = finished.err.splitlines()
    return {line.rsplit("|", 1)[1].strip() for line in lines if line.count("|") == 2}


class MakeKeyTests(SynchronousTestCase):
    """Tests for curvecpmakekey."""

    def test_makes_directory(self) -> None:
        """It makes a good key directory and says nothing."""
        path = self.mktemp()
        finished = run_here(self, makekey.main, path)
        self.assertEqual((finished.code, finished.out, finished.err), (0, "", ""))
        self.assertEqual(KeyDirectory.load(path).path, path)

    def test_bad_command_line(self) -> None:
        """Anything but one operand is 100, with the usage."""
        for arguments in ([], ["one", "two"]):
            finished = run_here(self, makekey.main, *arguments)
            self.assertEqual(finished.code, 100)
            self.assertEqual(
                finished.err, "curvecpmakekey: usage: curvecpmakekey keydir\n"
            )
            self.assertFalse(os.path.exists("one"))

    def test_existing(self) -> None:
        """A path that is taken is 111, and the keys there stay."""
        path = new_key_directory(self)
        key = read_public_key(path)
        finished = run_here(self, makekey.main, path)
        self.assertEqual(finished.code, 111)
        self.assertEqual(
            finished.err,
            f"curvecpmakekey: fatal: unable to create directory {path}: file exists\n",
        )
        self.assertEqual(read_public_key(path), key)

    def test_disk_full(self) -> None:
        """A full disk is 111, with the reason, and leaves nothing."""
        path = self.mktemp()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch(os, "fsync", full)
        finished = run_here(self, makekey.main, path)
        self.assertEqual(finished.code, 111)
        self.assertTrue(finished.last.endswith(": no space left on device"))
        self.assertFalse(os.path.exists(path))

    def test_process(self) -> None:
        """As a process it takes its operand from the command line."""
        path = self.mktemp()
        codes = [run_tool("makekey", path).code, run_tool("makekey", path).code]
        self.assertEqual([*codes, run_tool("makekey").code], [0, 111, 100])
        self.assertEqual(KeyDirectory.load(path).path, path)

    def test_starts_light(self) -> None:
        """Neither key tool loads Twisted."""
        path = self.mktemp()
        for module in ("makekey", "printkey"):
            loaded = modules_loaded("-m", f"curvecp_tx.commands.{module}", path)
            self.assertIn("curvecp_tx.net.keydir", loaded)
            self.assertEqual(
                {name for name in loaded if name.split(".")[0] in ("twisted", "zope")},
                set(),
            )

    def test_reference_reads_it(self) -> None:
        """The reference prints the key of a directory that we have made."""
        path = self.mktemp()
        run_here(self, makekey.main, path)
        printed = subprocess.run(
            [reference("curvecpprintkey"), path], capture_output=True, timeout=TIMEOUT
        )
        self.assertEqual(printed.stdout.decode(), f"{read_public_key(path).hex()}\n")


class PrintKeyTests(SynchronousTestCase):
    """Tests for curvecpprintkey."""

    def test_prints(self) -> None:
        """It prints 64 lower-case hexadecimal digits and a newline."""
        path = new_key_directory(self)
        finished = run_here(self, printkey.main, path)
        self.assertEqual((finished.code, finished.err), (0, ""))
        self.assertRegex(finished.out, r"\A[0-9a-f]{64}\n\Z")
        self.assertEqual(bytes.fromhex(finished.out), read_public_key(path))

    def test_bad_command_line(self) -> None:
        """Anything but one operand is 100, with the usage."""
        for arguments in ([], ["one", "two"]):
            finished = run_here(self, printkey.main, *arguments)
            self.assertEqual(
                (finished.code, finished.out, finished.err),
                (100, "", "curvecpprintkey: usage: curvecpprintkey keydir\n"),
            )

    def test_unusable(self) -> None:
        """A directory without a usable public key is 111, naming the file."""
        path = new_key_directory(self)
        target = os.path.join(path, "publickey")
        os.truncate(target, 31)
        short = run_here(self, printkey.main, path)
        os.unlink(target)
        gone = run_here(self, printkey.main, path)
        shutil.rmtree(path)
        missing = run_here(self, printkey.main, path)
        prefix = "curvecpprintkey: fatal: unusable key directory: "
        self.assertEqual(
            [(run.code, run.out, run.err) for run in (short, gone, missing)],
            [
                (111, "", f"{prefix}{target}: must have 32 bytes, has 31\n"),
                (111, "", f"{prefix}{target}: no such file or directory\n"),
                (111, "", f"{prefix}{path}: no such file or directory\n"),
            ],
        )

    def test_process(self) -> None:
        """As a process it takes its operand from the command line."""
        path = new_key_directory(self)
        finished = run_tool("printkey", path)
        self.assertEqual(finished.out, f"{read_public_key(path).hex()}\n")
        self.assertEqual((finished.code, finished.err), (0, ""))

    def test_output_full(self) -> None:
        """A key that could not be written is 111, and not a traceback."""
        if not os.path.exists("/dev/full"):
            raise SkipTest("the system has no /dev/full")
        path = new_key_directory(self)
        with open("/dev/full", "wb") as full:
            process = subprocess.run(
                [sys.executable, "-m", "curvecp_tx.commands.printkey", path],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT,
            )
        self.assertEqual(process.returncode, 111)
        self.assertEqual(
            process.stderr.decode(),
            "curvecpprintkey: fatal: unable to write output: no space left on device\n",
        )

    def test_output_closed(self) -> None:
        """A closed standard output is 111, too."""
        command = f'exec "{sys.executable}" -m curvecp_tx.commands.printkey "$0" >&-'
        process = subprocess.run(
            ["sh", "-c", command, new_key_directory(self)],
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
        )
        self.assertEqual(process.returncode, 111)
        self.assertEqual(
            process.stderr.decode(),
            "curvecpprintkey: fatal: unable to write output: it is closed\n",
        )

    def test_reads_reference(self) -> None:
        """A directory that the reference has made is printed alike."""
        path = os.path.abspath(self.mktemp())
        makes = [reference("curvecpmakekey"), path]
        subprocess.run(makes, check=True, timeout=TIMEOUT)
        printed = subprocess.run(
            [reference("curvecpprintkey"), path], capture_output=True, timeout=TIMEOUT
        )
        finished = run_here(self, printkey.main, path)
        self.assertEqual(finished.out, printed.stdout.decode())
        self.assertEqual(len(finished.out), 65)
