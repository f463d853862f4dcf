"""An echo service with a message protocol of its own, over CurveCP.

Start the server, which prints its address, its port and its public key::

    python message_echo.py server 127.0.0.1

Then say something to it, from anywhere::

    python message_echo.py client 127.0.0.1 PORT KEY hello world

The protocol. A message is a kind (1 byte), a number (4 bytes), the length of a
text (2 bytes) and the text, filled up with zeros. The client sends each word as
a WORD until the server's ECHO of the same number has come, and a BYE at its end.
That a message may get lost, and its answer, too, is thus its own business; that
it is not read, changed or forged by others is CurveCP's.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater, react
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx import (
    CurveCPAddress,
    IClientPolicy,
    Identity,
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
    MessageClientEndpoint,
    MessageServerEndpoint,
)

NAME = "echo.example"

WORD, ECHO, BYE = 1, 2, 3
HEAD = struct.Struct("<BIH")
UNIT = 16
LONGEST = 600

REPEAT = 0.5
SILENCE = 30.0
ATTEMPTS = 20


def encode(kind: int, number: int = 0, text: bytes = b"") -> bytes:
    """Build a message: its size is a multiple of 16 bytes."""
    data = HEAD.pack(kind, number, len(text)) + text
    return data.ljust(-(-len(data) // UNIT) * UNIT, b"\0")


def decode(message: bytes) -> tuple[int, int, bytes]:
    """Take a message apart; it is as long as it says, or the text is cut."""
    kind, number, size = HEAD.unpack_from(message)
    return kind, number, message[HEAD.size : HEAD.size + size]


@implementer(IMessageProtocol)
class EchoServer:
    """Answers one client, until it says goodbye or nothing any more."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Begin to wait for words."""
        self.transport = transport
        self.silence: IDelayedCall = self.reactor.callLater(
            SILENCE, transport.loseConnection
        )

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Send an ECHO for each WORD, however often it comes."""
        self.silence.reset(SILENCE)
        for kind, number, text in map(decode, messages):
            if kind == WORD:
                self.transport.sendMessages([encode(ECHO, number, text)])
            elif kind == BYE:
                self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Stop waiting."""
        if self.silence.active():
            self.silence.cancel()


@implementer(IMessageProtocol)
class EchoClient:
    """Says some words, and hears them again.

    :ivar done: fires with the echoes when all have come.
    """

    def __init__(self, reactor: Any, words: Sequence[str]) -> None:
        self.reactor = reactor
        self.missing = {number: word.encode() for number, word in enumerate(words)}
        self.echoes: dict[int, str] = {}
        self.attempts = 0
        self.repetition: IDelayedCall | None = None
        self.done: Deferred[list[str]] = Deferred()

    def makeConnection(self, transport: IMessageTransport) -> None:
        """Speak at once: a server learns of a client by its first message."""
        self.transport = transport
        self.speak()

    def speak(self) -> None:
        """Send all words that have had no echo, and do so again in a while."""
        self.attempts += 1
        if self.attempts > ATTEMPTS:
            self.transport.abortConnection()
            return
        words = [encode(WORD, n, word) for n, word in self.missing.items()]
        self.transport.sendMessages(words)
        self.repetition = self.reactor.callLater(REPEAT, self.speak)

    def messagesReceived(self, messages: Sequence[bytes]) -> None:
        """Note echoes, and say goodbye after the last."""
        for kind, number, text in map(decode, messages):
            if kind == ECHO and self.missing.pop(number, None) is not None:
                self.echoes[number] = text.decode("utf-8", "replace")
        if not self.missing:
            self.transport.sendMessages([encode(BYE)])
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Tell whoever waits for the echoes how it went."""
        if self.repetition is not None and self.repetition.active():
            self.repetition.cancel()
        if reason.check(ConnectionDone) and not self.missing:
            self.done.callback([self.echoes[n] for n in sorted(self.echoes)])
        else:
            self.done.errback(reason)


@implementer(IMessageProtocolFactory)
class EchoFactory:
    """Makes an :class:`EchoServer` for each client."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor

    def buildProtocol(self, address: CurveCPAddress) -> IMessageProtocol | None:
        """Make a protocol."""
        return EchoServer(self.reactor)


@implementer(IMessageProtocolFactory)
class OneClient:
    """Hands out the one protocol of a client."""

    def __init__(self, protocol: EchoClient) -> None:
        self.protocol = protocol

    def buildProtocol(self, address: CurveCPAddress) -> IMessageProtocol | None:
        """Give the protocol."""
        return self.protocol


@implementer(IClientPolicy)
class GuestList:
    """Lets in whose key is on the list; an empty list is for everybody."""

    def __init__(self, reactor: Any, keys: Sequence[bytes]) -> None:
        self.reactor = reactor
        self.keys = set(keys)

    def admit(self, client: CurveCPAddress) -> bool | Deferred[bool]:
        """Look the key up. The delay stands for a question to a database."""
        if not self.keys:
            return True
        return deferLater(self.reactor, 0.01, self.keys.__contains__, client.key)


async def serve(reactor: Any, options: argparse.Namespace) -> None:
    """Run the server until it is interrupted."""
    if options.keydir is None:
        identity = Identity.ephemeral()
    else:
        identity = Identity.for_server(options.keydir)
    endpoint = MessageServerEndpoint(
        reactor,
        identity=identity,
        name=NAME,
        interface=options.host,
        port=options.port,
        policy=GuestList(reactor, options.guest),
    )
    port = await endpoint.listen(EchoFactory(reactor))
    here = port.getHost()
    print(here.host, here.port, here.key.hex(), flush=True)

    def report() -> None:
        counted = port.counters.as_dict()
        print({reason: n for reason, n in counted.items() if n}, flush=True)

    reactor.addSystemEventTrigger("before", "shutdown", report)
    await Deferred()


async def ask(reactor: Any, options: argparse.Namespace) -> None:
    """Run the client, and print the echoes."""
    if options.keydir is None:
        identity = Identity.ephemeral()
    else:
        identity = Identity.for_client(options.keydir)
    endpoint = MessageClientEndpoint(
        reactor,
        serverKey=options.key,
        serverName=NAME,
        hosts=[options.host],
        port=options.port,
        identity=identity,
        timeout=options.timeout,
    )
    client = EchoClient(reactor, options.words)
    try:
        await endpoint.connect(OneClient(client))
        echoes = await client.done
    except Exception as error:
        raise SystemExit(f"no echo: {error}") from error
    print(" ".join(echoes))


def word(text: str) -> str:
    """Check a word: a client's first messages may have 640 bytes."""
    if len(text.encode()) > LONGEST:
        raise argparse.ArgumentTypeError(f"a word has at most {LONGEST} bytes")
    return text


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Echo over CurveCP.")
    parts = parser.add_subparsers(required=True)
    server = parts.add_parser("server", help="answer clients until interrupted")
    server.add_argument("host", help="IP address to bind")
    server.add_argument("--port", type=int, default=0, help="UDP port (default any)")
    server.add_argument("--keydir", help="key directory (default: a key for now)")
    server.add_argument(
        "--guest",
        metavar="KEY",
        type=bytes.fromhex,
        action="append",
        default=[],
        help="let in this client's key, and no others but guests",
    )
    server.set_defaults(run=serve)
    client = parts.add_parser("client", help="say words, print their echoes")
    client.add_argument("host", help="the server's IP address")
    client.add_argument("port", type=int, help="the server's UDP port")
    client.add_argument("key", type=bytes.fromhex, help="the server's public key")
    client.add_argument("words", type=word, nargs="+")
    client.add_argument("--keydir", help="key directory (default: a key for now)")
    client.add_argument("--timeout", type=float, default=60.0, help="seconds")
    client.set_defaults(run=ask)
    return parser.parse_args(arguments)


def main(reactor: Any, *arguments: str) -> Deferred[None]:
    """Do what the command line asks for."""
    options = parse(arguments)
    return Deferred.fromCoroutine(options.run(reactor, options))


if __name__ == "__main__":
    import sys

    react(main, sys.argv[1:])
