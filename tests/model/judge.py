"""Who is told of every breach of a rule, and speaks up between two events."""

from __future__ import annotations

from types import TracebackType

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer


class Mischief(Exception):
    """What misbehaving applications raise: the one error that may be logged."""


@implementer(ILogObserver)
class Judge:
    """Collects breaches where raising would do no good.

    What is raised in a callback ends up in somebody's ``except``. While a judge is
    entered as a context, it reads the log as well.

    :ivar tolerated: words in errors that may be logged.
    """

    def __init__(self) -> None:
        self.tolerated: tuple[str, ...] = ()
        self._breaches: list[str] = []

    def __enter__(self) -> Judge:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        globalLogPublisher.removeObserver(self)

    @property
    def content(self) -> bool:
        """Whether there has been no breach."""
        return not self._breaches

    def blame(self, breach: str) -> None:
        """Note a breach."""
        self._breaches.append(breach)

    def demand(self, condition: object, breach: str) -> None:
        """Note a breach unless a condition holds."""
        if not condition:
            self.blame(breach)

    def check(self) -> None:
        """Raise if there has been a breach."""
        if self._breaches:
            raise AssertionError("; ".join(self._breaches))

    def __call__(self, event: LogEvent) -> None:
        """Read one line of the log."""
        if event.get("log_level", LogLevel.info) < LogLevel.error:
            return
        failure: Failure | None = event.get("log_failure")
        if failure is None:
            text = str(event.get("log_format"))
            if not any(words in text for words in self.tolerated):
                self.blame(f"logged: {text}")
        elif not failure.check(Mischief):
            self.blame(f"logged: {failure.getTraceback()}")
        else:
            # Whoever collects errors would keep all that is on the stack.
            failure.cleanFailure()
