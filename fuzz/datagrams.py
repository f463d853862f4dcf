"""Targets: a server and a client as anybody can reach them, boxes as they are."""

from __future__ import annotations

from functools import cache
from random import Random

from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.client import Client
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.secure.server import Server
from curvecp_tx.wire.packets import HELLO_MAGIC
from fuzz.network import (
    ADDRESSES,
    CLIENT_EXTENSION,
    CLIENT_KEYS,
    NAME,
    SERVER_EXTENSION,
    SERVER_KEYS,
    NetworkPlay,
    check_messages,
    random_nonces,
)
from fuzz.script import Script

NOW = 1000.0
SERVER_ADDRESS, CLIENT_ADDRESS = ADDRESSES[0], ADDRESSES[2]

MESSAGES = tuple(bytes((number, 0, 0, 0)).ljust(64, b".") for number in range(1, 4))


def make_server(counters: Counters) -> Server:
    """Set up a server that does the same in each run."""
    return Server(
        keys=SERVER_KEYS,
        name=NAME,
        extension=SERVER_EXTENSION,
        cookie_nonces=random_nonces(2),
        random_bytes=Random(1).randbytes,
        now=NOW,
        limits=Limits(clients=2),
        counters=counters,
    )


def make_client(counters: Counters) -> Client:
    """Set up a client that does the same in each run."""
    return Client(
        server_key=SERVER_KEYS.public,
        server_name=NAME,
        server_extension=SERVER_EXTENSION,
        addresses=[SERVER_ADDRESS],
        keys=CLIENT_KEYS,
        vouch_nonces=random_nonces(4),
        extension=CLIENT_EXTENSION,
        random_bytes=Random(3).randbytes,
        now=NOW,
        timeout=60.0,
        counters=counters,
    )


@cache
def recorded() -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Record a connection: what the client sends, and what the server answers."""
    server, client = make_server(Counters()), make_client(Counters())
    asked = [datagram for datagram, _ in client.take_datagrams()]
    received = server.receive([(asked[0], CLIENT_ADDRESS)], NOW)
    answers = [datagram for datagram, _ in received.replies]
    client.receive([(answers[0], SERVER_ADDRESS)], NOW)
    client.send(MESSAGES[:1])
    asked += [datagram for datagram, _ in client.take_datagrams()]
    (session,) = server.receive([(asked[-1], CLIENT_ADDRESS)], NOW).opened
    answers += [datagram for datagram, _ in session.seal(MESSAGES)]
    client.receive([(answers[1], SERVER_ADDRESS)], NOW)
    client.send(MESSAGES)
    asked += [datagram for datagram, _ in client.take_datagrams()]
    return tuple(asked), tuple(answers)


class RecordedPlay(NetworkPlay):
    """Packets of a recorded connection arrive, as they were or changed."""

    STEPS = ("genuine", "again", "raw", "pass_time", "deliver")
    packets: tuple[bytes, ...]
    origin: Address

    def genuine(self) -> None:
        """A packet arrives as it was, from where it came."""
        packet = self.packets[self.script.byte() % len(self.packets)]
        self.arrive(packet, self.origin)


class ServerDatagramPlay(RecordedPlay):
    """What a server makes of it."""

    origin = CLIENT_ADDRESS

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.packets, _ = recorded()
        self.seen = set(map(server_sees, self.packets))
        self.server = make_server(self.counters)

    def hand_over(self, batch: list[Datagram]) -> None:
        """Give a batch to the server; nothing that was changed may count."""
        genuine = sum(server_sees(datagram) in self.seen for datagram, _ in batch)
        counters = self.counters
        before = counters.hellos + counters.messages_received
        received = self.server.receive(batch, self.now)
        counted = counters.hellos + counters.messages_received - before
        assert counted <= genuine, "a changed packet counted"
        assert len(received.replies) <= counted
        for messages in received.messages.values():
            assert set(messages) <= set(MESSAGES)


class ClientDatagramPlay(RecordedPlay):
    """What a client makes of it."""

    origin = SERVER_ADDRESS

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        _, self.packets = recorded()
        self.client = make_client(self.counters)
        self.client.send(MESSAGES[:1])
        self.client.take_datagrams()

    def hand_over(self, batch: list[Datagram]) -> None:
        """Give a batch to the client; nothing that was changed may count."""
        genuine = sum(datagram in self.packets for datagram, _ in batch)
        counters = self.counters
        before = counters.cookies + counters.messages_received
        self.client.receive(batch, self.now)
        counted = counters.cookies + counters.messages_received - before
        assert counted <= genuine, "a changed packet counted"
        messages = self.client.take_messages()
        check_messages(messages)
        assert set(messages) <= set(MESSAGES)

    def pass_time(self) -> None:
        """Time passes, and what is overdue is done."""
        super().pass_time()
        self.client.handle_timer(self.now)
        self.client.take_datagrams()


def server_sees(datagram: bytes) -> bytes:
    """Give what a server can know to be genuine: all but a few bytes.

    No box vouches for the client's extension and a Hello's padding, and X25519
    ignores a bit of the key that a Hello brings.
    """
    seen = bytearray(datagram)
    seen[24:40] = bytes(16)
    if datagram.startswith(HELLO_MAGIC):
        seen[71:72] = bytes((datagram[71] & 0x7F,)) if len(datagram) > 71 else b""
        seen[72:136] = bytes(64)
    return bytes(seen)


def fuzz_server_datagrams(data: bytes) -> None:
    """A server at which anybody throws anything."""
    ServerDatagramPlay(Script(data)).run()


def fuzz_client_datagrams(data: bytes) -> None:
    """A client at which anybody throws anything."""
    ClientDatagramPlay(Script(data)).run()
