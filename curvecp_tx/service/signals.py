"""What signals mean to a service: stop, stop at once, read your files again."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.error import ReactorNotRunning


class SignalHandling:
    """Handles signals for one service.

    SIGINT and SIGTERM stop the reactor, and so the service. The second one tells
    the service to wait no longer. SIGHUP does the same, as from a terminal that
    closes, unless the service can be reloaded.

    :param service: has a method ``kill``, and maybe ``reload``, which may be
        ``None``.
    :param chain: whether the first signal is passed on to the handler before us,
        which is the reactor's: thus twistd learns how it was ended.
    """

    def __init__(self, reactor: Any, service: Any, *, chain: bool = False) -> None:
        self._reactor = reactor
        self._service = service
        self._chain = chain
        self._stopping = False
        self._before: dict[int, Any] = {}

    def install_when_running(self) -> None:
        """Take over the signals after the reactor, which does so in its start."""
        self._reactor.callWhenRunning(self.install)

    def install(self) -> None:
        """Take over the signals."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            ignored = number == signal.SIGHUP and before == signal.SIG_IGN
            if ignored and self._reload is None:
                # So nohup has it.
                continue
            self._before[number] = before
            signal.signal(number, self.handle)

    def handle(self, number: int, frame: object) -> None:
        """Do what a signal asks for, in the reactor's next turn."""
        before = self._before.get(number)
        if number == signal.SIGHUP and self._reload is not None:
            self._reactor.callFromThread(self._reload)
        elif self._stopping:
            self._reactor.callFromThread(self._service.kill)
        else:
            self._stopping = True
            if self._chain and number != signal.SIGHUP and callable(before):
                before(number, frame)
            else:
                self._reactor.callFromThread(self._stop)

    @property
    def _reload(self) -> Callable[[], object] | None:
        reload: Callable[[], object] | None = getattr(self._service, "reload", None)
        return reload

    def _stop(self) -> None:
        # It may have come to its end by itself meanwhile.
        with suppress(ReactorNotRunning):
            self._reactor.stop()


class SignalledService(Service):
    """A service that takes over the signals at its start, unless somebody else does.

    :ivar signals: what handles them; ``None`` to leave them alone.
    """

    signals: SignalHandling | None = None

    def startService(self) -> None:
        """Start."""
        super().startService()
        if self.signals is not None:
            self.signals.install_when_running()
