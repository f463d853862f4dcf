"""One end of ours, as a process: ``python -m benchmarks.peer ROLE KEYDIR PORT ...``.

Uses the public endpoints only, as an application would.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from benchmarks import sampling
from benchmarks.sides import ADDRESS, EXTENSION, NAME
from curvecp_tx import CurveCPClientEndpoint, CurveCPServerEndpoint, Identity, Limits

reactor: Any = installed
PIECE = bytes(65536)
ECHO_BYTES = 32


@implementer(IPushProducer)
class Source(Protocol):
    """Sends a number of bytes as fast as the transport takes them."""

    transport: Any
    left = 0

    def connectionMade(self) -> None:
        """Begin."""
        self._paused = False
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """Stop for now."""
        self._paused = True

    def stopProducing(self) -> None:
        """Stop for good."""
        self.left = 0

    def resumeProducing(self) -> None:
        """Send until told to pause."""
        self._paused = False
        while self.left and not self._paused:
            size = min(self.left, len(PIECE))
            self.left -= size
            self.transport.write(PIECE[:size])
        if not self.left:
            self.transport.unregisterProducer()
            self.transport.loseConnection()


class Echo(Protocol):
    """Sends everything back."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)


@implementer(IHalfCloseableProtocol)
class Sink(Protocol):
    """Counts bytes, and reports how long it took until their end."""

    transport: Any

    def connectionMade(self) -> None:
        """Begin to count."""
        self._began, self._used = time.perf_counter(), time.process_time()
        self._bytes = 0
        self._seconds = 0.0

    def dataReceived(self, data: bytes) -> None:
        """Count."""
        self._bytes += len(data)

    def readConnectionLost(self) -> None:
        """Look at the clock, as a program does that reads to the end."""
        self._seconds = time.perf_counter() - self._began
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Wait for the rest."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report."""
        result = {
            "bytes": self._bytes,
            "seconds": self._seconds,
            "cpu": time.process_time() - self._used,
        }
        report(result)


class Pinger(Protocol):
    """Measures round trips over an open connection."""

    transport: Any
    rounds = 1000

    def connectionMade(self) -> None:
        """Send the first."""
        self._times: list[float] = []
        self._received = 0
        self._ping()

    def dataReceived(self, data: bytes) -> None:
        """Take an echo, and send the next."""
        self._received += len(data)
        if self._received < ECHO_BYTES:
            return
        self._received = 0
        self._times.append(time.perf_counter() - self._began)
        if len(self._times) < self.rounds:
            self._ping()
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report."""
        report({"times": self._times})

    def _ping(self) -> None:
        self._began = time.perf_counter()
        self.transport.write(bytes(ECHO_BYTES))


def report(result: object) -> None:
    """Print a result, and end."""
    print(json.dumps(result), flush=True)
    reactor.stop()


def serve(protocol: type[Protocol], keydir: str, port: str) -> Deferred[Any]:
    """Serve a protocol."""
    endpoint = CurveCPServerEndpoint(
        reactor,
        identity=Identity.for_server(keydir),
        name=NAME,
        extension=bytes.fromhex(EXTENSION),
        interface=ADDRESS,
        port=int(port),
        limits=Limits(clients=20000, hello_rate=1e6),
    )
    return endpoint.listen(Factory.forProtocol(protocol))


def connect(protocol: type[Protocol], key: str, port: str) -> Deferred[Any]:
    """Connect a protocol."""
    endpoint = CurveCPClientEndpoint(
        reactor,
        serverKey=bytes.fromhex(key),
        serverName=NAME,
        serverExtension=bytes.fromhex(EXTENSION),
        hosts=[ADDRESS],
        port=int(port),
    )
    return endpoint.connect(Factory.forProtocol(protocol))


def main(role: str, key: str, port: str, amount: str = "0") -> None:
    """Run one end."""
    if role == "source":
        Source.left = int(amount)
        started = serve(Source, key, port)
    elif role == "echo":
        started = serve(Echo, key, port)
    elif role == "sink":
        started = connect(Sink, key, port)
    else:
        Pinger.rounds = int(amount)
        started = connect(Pinger, key, port)
    started.addErrback(lambda why: report({"error": why.getErrorMessage()}))
    sampling.run(reactor)


if __name__ == "__main__":
    main(*sys.argv[1:])
