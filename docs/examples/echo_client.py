"""Says something to an echo server on any endpoint, and prints the echo.

The endpoint comes as a string::

    python echo_client.py curvecp:127.0.0.1:11000:key=KEY:name=echo.example hello
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure


class Speaker(Protocol):
    """Sends a text, ends its stream, and collects what comes back.

    :ivar heard: fires with the echo, or with the reason why it is not complete.
    """

    transport: Any

    def __init__(self, text: bytes) -> None:
        self.heard: Deferred[bytes] = Deferred()
        self._text = text
        self._pieces: list[bytes] = []

    def connectionMade(self) -> None:
        """Say all there is to say."""
        self.transport.write(self._text)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell how it went: only ConnectionDone means that nothing is missing."""
        if reason.check(ConnectionDone):
            self.heard.callback(b"".join(self._pieces))
        else:
            self.heard.errback(reason)


async def main(reactor: Any, description: str, *words: str) -> None:
    """Say the words."""
    speaker = Speaker(" ".join(words).encode())
    endpoint = clientFromString(reactor, description)
    try:
        await endpoint.connect(Factory.forProtocol(lambda: speaker))
        print((await speaker.heard).decode())
    except Exception as error:
        raise SystemExit(f"no echo: {error}") from error


if __name__ == "__main__":
    react(lambda *given: Deferred.fromCoroutine(main(*given)), sys.argv[1:])
