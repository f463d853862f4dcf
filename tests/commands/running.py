"""Runs the tools: in this process as far as they get, or as their own processes."""

from __future__ import annotations

import io
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase, TestCase

from curvecp_tx.net.keydir import make_key_directory

TIMEOUT = 60.0
"""Seconds for a process that is sure to end, or to speak, within two."""

EXTENSION = "0123456789abcdef0123456789abcdef"

TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on standard error."""
        return (self.err.splitlines() or [""])[-1]


def run_python(*arguments: str, cwd: str | None = None) -> Finished:
    """Run the interpreter of this test run, and wait for it."""
    process = subprocess.run(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        cwd=cwd,
    )
    return Finished(
        process.returncode, process.stdout.decode(), process.stderr.decode()
    )


def run_tool(name: str, *arguments: str, cwd: str | None = None) -> Finished:
    """Run one of our commands as its console script does, and wait for it."""
    module = f"curvecp_tx.commands.{name}"
    return run_python("-m", module, *arguments, cwd=cwd)


def run_here(
    test: SynchronousTestCase, main: Callable[[Sequence[str]], None], *arguments: str
) -> Finished:
    """Run a command in this process, up to its end or its exit."""
    out, err = io.StringIO(), io.StringIO()
    patches = test.patch(sys, "stdout", out), test.patch(sys, "stderr", err)
    try:
        main(arguments)
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    finally:
        for patch in patches:
            patch.restore()
    return Finished(code, out.getvalue(), err.getvalue())


def new_key_directory(test: SynchronousTestCase | TestCase) -> str:
    """Make a key directory for one test."""
    path: str = os.path.abspath(test.mktemp())
    make_key_directory(path)
    return path


def read_line(process: subprocess.Popen[bytes]) -> str:
    """Read a line that a process writes to its standard output."""
    assert process.stdout is not None, "make it a pipe"
    ready, _, _ = select.select([process.stdout], [], [], TIMEOUT)
    return process.stdout.readline().decode().rstrip("\n") if ready else ""
