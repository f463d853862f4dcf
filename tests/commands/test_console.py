"""Tests for what the console scripts share."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Any

from twisted.logger import ILogObserver, LogEvent, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from curvecp_tx.commands import console
from curvecp_tx.commands.console import LineObserver, start_logging
from curvecp_tx.net.report import Verbosity
from curvecp_tx.service import exits
from tests.commands.running import TIMEOUT

SHOW_DESCRIPTORS = """
import os, sys
from curvecp_tx.commands.console import fill_standard_descriptors
fill_standard_descriptors()
null = os.stat(os.devnull).st_rdev
with open(sys.argv[1], "w") as file:
    for descriptor in range(3):
        file.write("null " if os.fstat(descriptor).st_rdev == null else "kept ")
    file.write(str(file.fileno() > 2))
"""


class FillStandardDescriptorsTests(SynchronousTestCase):
    """Tests for ``fill_standard_descriptors``."""

    def descriptors(self, closed: str) -> list[str]:
        """Run a process with some descriptors closed; tell what it has then."""
        target = self.mktemp()
        python = (sys.executable, "-c", SHOW_DESCRIPTORS, target)
        subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *python],
            stdin=subprocess.PIPE,
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        with open(target) as file:
            return file.read().split()

    def test_all_closed(self) -> None:
        """Each closed descriptor becomes the null device, and stays taken."""
        self.assertEqual(
            self.descriptors("<&- >&- 2>&-"), ["null", "null", "null", "True"]
        )

    def test_some_closed(self) -> None:
        """Those that are open are left alone."""
        for closed, expected in (
            ("", ["kept", "kept", "kept"]),
            ("<&-", ["null", "kept", "kept"]),
            (">&-", ["kept", "null", "kept"]),
            ("2>&-", ["kept", "kept", "null"]),
            ("<&- 2>&-", ["null", "kept", "null"]),
        ):
            self.assertEqual(self.descriptors(closed), [*expected, "True"], closed)


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def write(self, text: str) -> int:
        """Fail."""
        raise self._error


class ExitTests(SynchronousTestCase):
    """Tests for how the tools end."""

    def setUp(self) -> None:
        """Take over standard error."""
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)

    def test_die(self) -> None:
        """A failure is 111 and one line that says why."""
        with self.assertRaises(SystemExit) as raised:
            exits.die("tool", "no room")
        self.assertEqual(raised.exception.code, 111)
        self.assertEqual(self.stderr.getvalue(), "tool: fatal: no room\n")

    def test_die_silently(self) -> None:
        """It can be silent, with the same code."""
        with self.assertRaises(SystemExit) as raised:
            exits.die("tool", "no room", silent=True)
        self.assertEqual(raised.exception.code, 111)
        self.assertEqual(self.stderr.getvalue(), "")

    def test_die_of_usage(self) -> None:
        """A bad command line is 100, the usage line by line, and the reason."""
        with self.assertRaises(SystemExit) as raised:
            exits.die_of_usage("tool", "how to use:\n  x: y", "bad x")
        self.assertEqual(raised.exception.code, 100)
        self.assertEqual(
            self.stderr.getvalue(),
            "tool: how to use:\ntool:   x: y\ntool: fatal: bad x\n",
        )

    def test_nobody_to_tell(self) -> None:
        """Standard error that is closed, full or absent is no error."""
        closed = io.StringIO()
        closed.close()
        for stderr in (closed, Broken(OSError("full")), None):
            self.patch(sys, "stderr", stderr)
            exits.say("tool", "lost")
            with self.assertRaises(SystemExit) as raised:
                exits.die("tool", "lost")
            self.assertEqual(raised.exception.code, 111)


class LoggingTests(SynchronousTestCase):
    """Tests for ``LineObserver`` and ``start_logging``."""

    def setUp(self) -> None:
        """Take over standard error and the beginning of logging."""
        self.stderr = io.StringIO()
        self.patch(sys, "stderr", self.stderr)
        self.patch(console, "globalLogBeginner", self)
        self.observers: list[ILogObserver] = []
        self.redirected = True

    def beginLoggingTo(
        self, observers: list[ILogObserver], *, redirectStandardIO: bool
    ) -> None:
        """Stand in for the global log beginner."""
        self.observers = observers
        self.redirected = redirectStandardIO

    def emit(self, namespace: str, level: LogLevel, text: str, **values: Any) -> None:
        """Log an event."""
        event: LogEvent = {
            "log_namespace": namespace,
            "log_level": level,
            "log_format": text,
            "log_time": 0.0,
            **values,
        }
        for observer in self.observers:
            observer(event)

    def lines(self, verbosity: Verbosity) -> list[str]:
        """Log events of all kinds at one verbosity, and give what is written."""
        start_logging("tool", verbosity)
        self.emit("curvecp_tx", LogLevel.debug, "our debug")
        self.emit("curvecp_tx", LogLevel.info, "our info {n}", n=7)
        self.emit("curvecp_tx.net.udp", LogLevel.info, "our module's info")
        self.emit("curvecp_tx", LogLevel.error, "our error")
        self.emit("twisted.internet", LogLevel.info, "twisted's info")
        self.emit("twisted.internet", LogLevel.critical, "twisted's trouble")
        return self.stderr.getvalue().splitlines()

    def test_silent(self) -> None:
        """``-q`` lets nothing through."""
        self.assertEqual(self.lines(Verbosity.SILENT), [])
        self.assertEqual(self.observers, [])

    def test_errors(self) -> None:
        """``-Q`` lets errors through, of whatever origin."""
        self.assertEqual(
            self.lines(Verbosity.ERRORS), ["tool: our error", "tool: twisted's trouble"]
        )

    def test_information(self) -> None:
        """``-v`` lets our own information through as well."""
        self.assertEqual(
            self.lines(Verbosity.INFORMATION),
            [
                "tool: our info 7",
                "tool: our module's info",
                "tool: our error",
                "tool: twisted's trouble",
            ],
        )

    def test_standard_output_untouched(self) -> None:
        """What is printed stays printed, and is not made a log event of."""
        for verbosity in Verbosity:
            start_logging("tool", verbosity)
            self.assertIs(self.redirected, False)

    def test_traceback(self) -> None:
        """Each line of a traceback begins with the command's name."""
        start_logging("tool", Verbosity.ERRORS)
        try:
            os.stat("/no/such/file")
        except OSError:
            failure = Failure()
        self.emit("x", LogLevel.critical, "it broke", log_failure=failure)
        lines = self.stderr.getvalue().splitlines()
        self.assertEqual(lines[0], "tool: it broke")
        self.assertIn("No such file", lines[-1])
        self.assertGreater(len(lines), 2)
        self.assertEqual([line for line in lines if not line.startswith("tool: ")], [])

    def test_one_line_each(self) -> None:
        """No part of an event can pass for a line of another tool's."""
        start_logging("tool", Verbosity.ERRORS)
        self.emit("x", LogLevel.error, "{who} left", who="a\nfatal: forged\r")
        self.assertEqual(
            self.stderr.getvalue(), "tool: a\ntool: fatal: forged\ntool:  left\n"
        )

    def test_observer(self) -> None:
        """It is a log observer, and survives a closed standard error."""
        observer = LineObserver("tool")
        self.assertTrue(verifyObject(ILogObserver, observer))
        observer({"log_format": "seen", "log_level": LogLevel.info})
        self.assertEqual(self.stderr.getvalue(), "tool: seen\n")
        self.patch(sys, "stderr", None)
        observer({"log_format": "lost", "log_level": LogLevel.info})
