"""A plain program on a stream to a server, as a Twisted service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from curvecp_tx.net.descriptors import Descriptors
from curvecp_tx.net.ending import FAILED_STATUS
from curvecp_tx.net.report import Report
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint
from curvecp_tx.service.one_program import StreamProgramService


class StreamClientService(StreamProgramService):
    """Connects to a server, and runs a program on the stream."""

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        endpoint: CurveCPClientEndpoint,
        *,
        descriptors: Descriptors,
        report: Report,
    ) -> None:
        super().__init__(reactor, command, descriptors=descriptors, report=report)
        self._endpoint = endpoint

    def startService(self) -> None:
        """Dial; the program starts when the server has answered."""
        super().startService()
        factory = Factory.forProtocol(lambda: self._program)
        self._connecting = self._endpoint.connect(factory)
        self._connecting.addErrback(self._failed)

    def stopService(self) -> Deferred[Any]:
        """Give up the stream, and end the program if it runs."""
        stopped = super().stopService()
        self._connecting.cancel()
        return stopped

    def _failed(self, reason: Failure) -> None:
        if self.running:
            self._report.error("fatal: {why}", why=reason.value)
        self.ended.callback(FAILED_STATUS)
