"""An echo server on any endpoint: CurveCP, TCP or whatever Twisted knows.

The endpoint comes as a string::

    python echo_server.py curvecp:11000:keydir=serverkey:name=echo.example
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from zope.interface import implementer


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends back what comes, no faster than it is taken."""

    transport: Any

    def connectionMade(self) -> None:
        """Read nothing while what we have to send back is piling up."""
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """The client has ended its stream: end ours, after what is written."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing: the client has it all, and that is what we were for."""


async def main(reactor: Any, description: str) -> None:
    """Serve until interrupted."""
    endpoint = serverFromString(reactor, description)
    port = await endpoint.listen(Factory.forProtocol(Echo))
    where: Any = port.getHost()
    print(where.port, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda *given: Deferred.fromCoroutine(main(*given)), sys.argv[1:])
