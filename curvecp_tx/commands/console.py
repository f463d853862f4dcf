"""What the console scripts share: descriptors, log, signals, the reactor."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, cast

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from zope.interface import implementer

from curvecp_tx.net.report import Verbosity
from curvecp_tx.service.exits import FAILURE, say
from curvecp_tx.service.signals import SignalHandling


def fill_standard_descriptors() -> None:
    """Open /dev/null wherever 0, 1 or 2 is closed.

    Otherwise the next socket would become somebody's standard error.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@implementer(ILogObserver)
class LineObserver:
    """Writes log events as lines that begin with the command's name."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __call__(self, event: LogEvent) -> None:
        """Write one event, with its traceback if it has one."""
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        for line in text.splitlines():
            say(self._command, line)


def start_logging(command: str, verbosity: Verbosity) -> None:
    """Send the Twisted log to standard error, as far as it is asked for."""
    if verbosity is Verbosity.SILENT:
        globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
        return
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
    if verbosity is Verbosity.INFORMATION:
        levels.setLogLevelForNamespace("curvecp_tx", LogLevel.info)
    observer = FilteringLogObserver(LineObserver(command), [levels])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def run(service: IService) -> None:
    """Run a service until it is told to stop by a signal or by itself."""
    from twisted.internet import reactor as installed

    reactor = cast(Any, installed)
    assert IReactorCore.providedBy(reactor)  # noqa: S101 - any reactor is one
    assert IReactorFromThreads.providedBy(reactor)  # noqa: S101 - the same

    signals = SignalHandling(reactor, service)

    def start() -> None:
        signals.install()
        service.startService()

    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(start)
    reactor.run()


def run_to_end(service: IService, ended: Deferred[int]) -> int:
    """Run a service until it has an exit code, or a signal ends it; give the code."""
    from twisted.internet import reactor as installed

    codes: list[int] = []

    def stop(code: int) -> None:
        codes.append(code)
        # A signal may have begun to stop it already.
        with suppress(ReactorNotRunning):
            cast(Any, installed).stop()

    ended.addCallback(stop)
    run(service)
    return codes[0] if codes else FAILURE
