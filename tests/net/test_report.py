"""What is said, and how often."""

from __future__ import annotations

from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.report import REPEAT_INTERVAL, Report, Verbosity


class ReportTests(SynchronousTestCase):
    """Thresholds and repetitions."""

    def setUp(self) -> None:
        """Set a clock to zero."""
        self.now = 0.0

    def said(self, verbosity: Verbosity) -> list[object]:
        """Say an error and an information; give the levels that came through."""
        report = Report(verbosity)
        with capturedLogs() as events:
            report.info("it works: {what}", what="a test")
            report.error("it fails: {what}", what="a test")
        self.assertEqual({event["what"] for event in events} - {"a test"}, set())
        self.assertEqual(
            {event["log_namespace"] for event in events} - {"curvecp_tx"}, set()
        )
        return [event["log_level"] for event in events]

    def test_silent(self) -> None:
        """A silent report says nothing."""
        self.assertEqual(self.said(Verbosity.SILENT), [])

    def test_errors(self) -> None:
        """The usual report says what goes wrong."""
        self.assertEqual(self.said(Verbosity.ERRORS), [LogLevel.error])
        self.assertEqual(Report().verbosity, Verbosity.ERRORS)

    def test_information(self) -> None:
        """A talkative report says everything."""
        self.assertEqual(
            self.said(Verbosity.INFORMATION), [LogLevel.info, LogLevel.error]
        )

    def test_once_a_minute(self) -> None:
        """The same complaint is heard once a minute, from the first one on."""
        report = Report(seconds=lambda: self.now)
        with capturedLogs() as events:
            for second in range(int(REPEAT_INTERVAL) * 2 + 1):
                self.now = float(second)
                report.error_sometimes("kind", "again at {second}", second=second)
        self.assertEqual([event["second"] for event in events], [0, 60, 120])

    def test_kinds(self) -> None:
        """One complaint does not silence another."""
        report = Report(seconds=lambda: self.now)
        with capturedLogs() as events:
            report.error_sometimes("one", "first")
            report.error_sometimes("two", "second")
            report.error_sometimes("one", "third")
        self.assertEqual([e["log_format"] for e in events], ["first", "second"])

    def test_no_text_as_format(self) -> None:
        """Braces in a value are text: what a peer sends is never a format."""
        with capturedLogs() as events:
            Report().error("it said {words}", words="{log_failure}")
        self.assertEqual(formatEvent(events[0]), "it said {log_failure}")

    def test_bug(self) -> None:
        """A bug is logged with its traceback, even by a silent report."""
        try:
            raise RuntimeError("a bug")
        except RuntimeError:
            Report(Verbosity.SILENT).bug("something failed")
        [failure] = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(failure.getErrorMessage(), "a bug")
