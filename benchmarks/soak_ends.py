"""Server and clients of a soak, each a process: ``python -m benchmarks.soak_ends``.

They take commands on standard input, a line of JSON each, and answer on standard
output. Whatever is logged as an error goes to standard error.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import (
    ILogObserver,
    LogEvent,
    formatEvent,
    globalLogPublisher,
)
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer, provider

from benchmarks.sides import ADDRESS, EXTENSION, NAME
from curvecp_tx import CurveCPClientEndpoint, CurveCPServerEndpoint, Identity, Limits

reactor: Any = installed

PIECE = 16384
PLACES = 400
"""More than are ever in use: who has failed, or has no answer yet, keeps a place
for a while."""


Tell = Callable[..., None]
"""Writes an answer: its arguments, as a line of JSON."""


def noise(seed: int, size: int) -> Iterator[bytes]:
    """Give bytes that depend on the seed, in pieces."""
    source = random.Random(seed)
    for begin in range(0, size, PIECE):
        yield source.randbytes(PIECE)[: size - begin]


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends everything back, as fast as that goes, and ends after the other end."""

    transport: Any

    def connectionMade(self) -> None:
        """Take no more than can be sent on."""
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """End."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing more is to be done."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Caller(Protocol):
    """Sends noise, and checks that the same comes back.

    :param order: what to do, see :meth:`Clients.lineReceived`.
    """

    transport: Any

    def __init__(self, order: dict[str, Any], tell: Tell) -> None:
        self._number: int = order["number"]
        self._size: int = order["size"]
        self._idle: float = order["idle"]
        self._abort: int | None = order["abort"]
        self._tell = tell
        self._to_send = noise(order["seed"], self._size)
        self._expected = noise(order["seed"], self._size)
        self._piece = b""
        self._sent = self._arrived = 0
        self._paused = self._sending = self._right = True

    def connectionMade(self) -> None:
        """Begin."""
        self.transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """Stop for now."""
        self._paused = True

    def stopProducing(self) -> None:
        """Stop for good."""
        self._sending = False

    def resumeProducing(self) -> None:
        """Send until told to pause, or until it is time to be idle."""
        self._paused = False
        while self._sending and not self._paused:
            piece = next(self._to_send, None)
            if piece is None:
                self._stop_sending()
                self.transport.loseWriteConnection()
                return
            self._sent += len(piece)
            self.transport.write(piece)
            if self._idle and 2 * self._sent >= self._size:
                self._sending = False
                reactor.callLater(self._idle, self._go_on)
                self._idle = 0.0

    def dataReceived(self, data: bytes) -> None:
        """Compare; hang up here if that is the order."""
        self._arrived += len(data)
        self._right = self._right and self._is_expected(data)
        if self._abort is not None and self._arrived >= self._abort:
            self._stop_sending()
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        """Wait for the acknowledgment of our own end."""

    def writeConnectionLost(self) -> None:
        """Wait for the other end."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Answer when nothing is left of the connection."""
        self._sending = False
        whole = reason.check(ConnectionDone) and self._arrived == self._size
        well = self._right and bool(whole or self._abort is not None)
        why = "" if self._right else "wrong bytes; "
        why += f"{self._arrived} of {self._size} bytes, {reason.value}"

        def over(problem: object) -> None:
            self._tell(
                number=self._number,
                well=well,
                why="" if well else why,
                bytes=self._arrived,
            )

        self.transport.whenOver.addBoth(over)

    def _is_expected(self, data: bytes) -> bool:
        """Tell whether these are the bytes that are due."""
        place = 0
        while place < len(data):
            self._piece = self._piece or next(self._expected, b"")
            part = self._piece[: len(data) - place]
            if not part or data[place : place + len(part)] != part:
                return False
            self._piece = self._piece[len(part) :]
            place += len(part)
        return True

    def _stop_sending(self) -> None:
        self._sending = False
        self.transport.unregisterProducer()

    def _go_on(self) -> None:
        # It may be over by now.
        if self.transport.whenOver.called:
            return
        self._sending = True
        self.resumeProducing()


class Commanded(LineOnlyReceiver):
    """A process that is told what to do, and ends when nobody can tell it more."""

    delimiter = b"\n"

    def tell(self, **answer: object) -> None:
        """Answer."""
        self.sendLine(json.dumps(answer).encode())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        stop()


class Clients(Commanded):
    """Makes connections when told to."""

    def __init__(self, key: str) -> None:
        self._key = bytes.fromhex(key)

    def lineReceived(self, line: bytes) -> None:
        """Make one.

        The order has a number, the port, how much to send, the seed of that, seconds
        to be idle half-way, and after how many bytes to hang up, if at all.
        """
        order = json.loads(line)
        endpoint = CurveCPClientEndpoint(
            reactor,
            serverKey=self._key,
            serverName=NAME,
            serverExtension=bytes.fromhex(EXTENSION),
            hosts=[ADDRESS],
            port=order["port"],
        )
        factory = Factory.forProtocol(lambda: Caller(order, self.tell))
        endpoint.connect(factory).addErrback(self._failed, order["number"])

    def _failed(self, reason: Failure, number: int) -> None:
        why = f"no connection: {reason.getErrorMessage()}"
        self.tell(number=number, well=False, why=why, bytes=0)


class Server(Commanded):
    """Serves, and tells how many are there when asked."""

    def __init__(self, keydir: str) -> None:
        self._endpoint = CurveCPServerEndpoint(
            reactor,
            identity=Identity.for_server(keydir),
            name=NAME,
            extension=bytes.fromhex(EXTENSION),
            interface=ADDRESS,
            limits=Limits(clients=PLACES),
        )

    def connectionMade(self) -> None:
        """Serve, and tell where."""
        listening = self._endpoint.listen(Factory.forProtocol(Echo))
        listening.addCallback(self._listening)

    def lineReceived(self, line: bytes) -> None:
        """Tell."""
        self.tell(connections=self._port.listener.connections)

    def _listening(self, port: Any) -> None:
        self._port = port
        self.tell(port=port.getHost().port)


def stop() -> None:
    """End the process."""
    if reactor.running:
        reactor.stop()


@provider(ILogObserver)
def complain(event: LogEvent) -> None:
    """Write what is logged as an error on one line."""
    if event["log_level"].name in ("error", "critical"):
        failure = event.get("log_failure")
        text = formatEvent(event) + (f": {failure.value!r}" if failure else "")
        sys.stderr.write(" ".join(text.split()) + "\n")
        sys.stderr.flush()


def main(role: str, key: str) -> None:
    """Run one of them.

    :param key: a server's key directory, or what clients know the server by.
    """
    globalLogPublisher.addObserver(complain)
    StandardIO(Server(key) if role == "server" else Clients(key))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
