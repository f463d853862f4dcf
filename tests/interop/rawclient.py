"""A client whose every datagram a test can see, keep, change and send again."""

from __future__ import annotations

import os
import socket
import time

from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.client import Client, Phase
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import RandomNonces
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import INITIATE_MAGIC, MESSAGE_UNIT
from tests.interop.processes import EXTENSION, HOST, NAME, ProcessTestCase, Server

OWN_EXTENSION = bytes(range(100, 116))
LONGEST_DATAGRAM = 65536


def message(text: str, size: int = 0) -> bytes:
    """Make a message of a text, zeros after it."""
    content = text.encode().ljust(size, b"\0")
    return content + bytes(-len(content) % MESSAGE_UNIT)


class RawSocket:
    """A UDP socket of no protocol at all."""

    def __init__(self, port: int, *, own_host: str = HOST) -> None:
        self._server = (HOST, port)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((own_host, 0))

    @property
    def port(self) -> int:
        """Its own port."""
        port: int = self._socket.getsockname()[1]
        return port

    def send(self, datagram: bytes) -> None:
        """Send a datagram to the server."""
        self._socket.sendto(datagram, self._server)

    def take(self) -> list[tuple[bytes, tuple[str, int]]]:
        """Give what has arrived, with where it came from."""
        arrived = []
        while True:
            try:
                arrived.append(self._socket.recvfrom(LONGEST_DATAGRAM))
            except BlockingIOError:
                return arrived

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class RawClient:
    """Our client without Twisted, on a socket of its own.

    :ivar sent: all datagrams sent, in order.
    :ivar messages: all messages received, in order.
    :ivar muted: while it is true, datagrams are noted as sent, and go nowhere.
    """

    def __init__(
        self,
        port: int,
        server_key: bytes,
        *,
        name: str = NAME,
        extension: bytes = EXTENSION,
        own_host: str = HOST,
    ) -> None:
        self._port = port
        self._own_host = own_host
        self.socket = RawSocket(port, own_host=own_host)
        self.keys = KeyPair.generate(os.urandom)
        self.sent: list[bytes] = []
        self.messages: list[bytes] = []
        self.muted = False
        self._client = Client(
            server_key=server_key,
            server_name=encode_server_name(name),
            server_extension=extension,
            addresses=[(HOST, port)],
            keys=self.keys,
            vouch_nonces=RandomNonces(os.urandom),
            extension=OWN_EXTENSION,
            random_bytes=os.urandom,
            now=time.monotonic(),
            timeout=None,
            counters=Counters(),
        )
        self._flush()

    @property
    def phase(self) -> Phase:
        """How far the connection has come, now that all that came is handled."""
        self.step()
        return self._client.phase

    @property
    def initiates(self) -> list[bytes]:
        """The Initiate packets sent so far."""
        return [sent for sent in self.sent if sent.startswith(INITIATE_MAGIC)]

    def send(self, *messages: bytes) -> None:
        """Send messages."""
        self._client.send(messages)
        self._flush()

    def step(self) -> int:
        """Handle what is there and what is due; give the count of messages."""
        now = time.monotonic()
        arrived = self.socket.take()
        if arrived:
            self._client.receive(arrived, now)
        deadline = self._client.next_deadline()
        if deadline is not None and now >= deadline:
            self._client.handle_timer(now)
        self.messages += self._client.take_messages()
        self._flush()
        return len(self.messages)

    def move(self) -> None:
        """Go on from another port."""
        self.socket.close()
        self.socket = RawSocket(self._port, own_host=self._own_host)

    def _flush(self) -> None:
        for datagram, _ in self._client.take_datagrams():
            self.sent.append(datagram)
            if not self.muted:
                self.socket.send(datagram)


class RawClientTestCase(ProcessTestCase):
    """A test that has raw clients as well as processes."""

    def raw_socket(self, server: Server, *, own_host: str = HOST) -> RawSocket:
        """Open a socket that sends to a server."""
        sock = RawSocket(server.port, own_host=own_host)
        self.addCleanup(sock.close)
        return sock

    def raw_client(
        self,
        server: Server,
        *,
        key: bytes | None = None,
        name: str = NAME,
        extension: bytes = EXTENSION,
    ) -> RawClient:
        """Make a client that has just said Hello to a server."""
        client = RawClient(
            server.port, key or server.key, name=name, extension=extension
        )
        self.addCleanup(lambda: client.socket.close())
        return client

    async def connect(self, server: Server, first: str) -> RawClient:
        """Connect to a server, whose handler has to answer ``first``."""
        client = self.raw_client(server)
        client.send(message(first))
        await self.until(
            lambda: client.phase is Phase.OPEN, f"the server answers {first!r}"
        )
        return client

    async def request(self, server: Server, first: str) -> RawClient:
        """Have a server start its handler, whose answer nobody waits for."""
        client = self.raw_client(server)
        client.send(message(first))
        await self.until_cookie(client)
        return client

    async def until_cookie(self, client: RawClient) -> None:
        """Wait until a client has a Cookie."""
        await self.until(
            lambda: client.phase is not Phase.HELLO, "the server sends a cookie"
        )

    async def exchange(self, client: RawClient, text: str) -> None:
        """Have an echo repeat a message."""
        sought = message(text)
        client.send(sought)
        await self.until(
            lambda: client.step() and sought in client.messages, f"an echo of {text!r}"
        )

    async def until_handled(self, server: Server) -> None:
        """Wait until a server has handled all that was sent to it by now.

        It reads its socket in order: who gets an answer has been waited for by
        everything sent before.
        """
        await self.until_cookie(self.raw_client(server))
