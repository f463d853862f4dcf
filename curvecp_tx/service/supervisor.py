"""The superserver on many cores: ``curvecpserver --workers``.

This process opens the port, starts the workers and starts them again, and tells them
what signals ask for. It serves nobody itself.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed

from curvecp_tx.net.authorized_file import AuthorizedKeysFile
from curvecp_tx.net.report import Report
from curvecp_tx.net.reserve import Reserve
from curvecp_tx.net.workers import Workers
from curvecp_tx.service.signals import SignalledService


class SupervisorService(SignalledService):
    """Keeps the workers of a server running.

    :param authorized: the file of the only keys that may come in.
    :ivar reload: reads that file again, for all workers; ``None`` if there is none.
    """

    def __init__(
        self,
        reactor: Any,
        workers: Workers,
        *,
        authorized: AuthorizedKeysFile | None = None,
        report: Report | None = None,
    ) -> None:
        self.workers = workers
        self._reactor = reactor
        self._authorized = authorized
        self._report = report or Report()
        self._reserve = Reserve()
        self._ended: Deferred[None] | None = None
        self.reload = None if authorized is None else self._read_authorized_keys

    def bind(self) -> int:
        """Give the number of the port, which is bound."""
        port: int = self.workers.sockets[0].getsockname()[1]
        return port

    def startService(self) -> None:
        """Start the workers, as soon as their end would be noticed."""
        super().startService()
        self._reserve.fill()
        self._reactor.callWhenRunning(self.workers.start)

    def stopService(self) -> Deferred[None]:
        """Have the workers end, and wait for that."""
        super().stopService()
        if self.workers.stopping:
            return succeed(None)
        self._reserve.empty()
        return self.workers.stop().addCallback(self._all_ended)

    def kill(self) -> None:
        """Have them wait for nothing."""
        self._report.info("stopping: at once")
        self.workers.kill()

    def _all_ended(self, result: None) -> None:
        counted = {k: n for k, n in self.workers.counters.items() if n}
        self._report.info("counters: {counted}", counted=counted)

    def _read_authorized_keys(self) -> None:
        assert self._authorized is not None  # noqa: S101 - else nobody calls this
        keys = self._authorized.read_in_service(self._reserve, self._report)
        if keys is not None:
            self.workers.allow(keys)
