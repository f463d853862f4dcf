"""Twisted protocols on the streams of a server's connections."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import IHandlerFactory
from curvecp_tx.net.report import Report
from curvecp_tx.net.streams import StreamConnection


@implementer(IHandlerFactory)
class StreamFactory:
    """Serves a Twisted protocol on the streams of message connections."""

    def __init__(
        self,
        reactor: IReactorTime,
        factory: IProtocolFactory,
        *,
        report: Report | None = None,
    ) -> None:
        self._reactor = reactor
        self._factory = factory
        self._report = report or Report()

    def buildProtocol(self, address: CurveCPAddress) -> StreamConnection | None:
        """Make a stream connection, unless the application's factory refuses."""
        protocol = self._factory.buildProtocol(address)
        if protocol is None:
            return None
        return StreamConnection(
            self._reactor,
            client=False,
            followed=True,
            accept=lambda connection: protocol,
            report=self._report,
        )

    def whenIdle(self) -> Deferred[None]:
        """Nothing outlives its connection."""
        return succeed(None)

    def kill(self) -> None:
        """Do nothing: there is nothing to kill."""
