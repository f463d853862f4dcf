"""The steps of the hot path that :mod:`benchmarks.micro` measures.

A step is prepared anew for each sample, and only what it runs then is counted, so
that no sample depends on those before it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.client import Client, Phase
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import RandomNonces
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.secure.server import Server
from curvecp_tx.secure.session import Session
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import (
    MAX_BLOCK_BYTES,
    decode_message,
    encode_message,
)
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import MAX_MESSAGE_BYTES, Cookie, Hello, Initiate

BATCH = 64
"""Datagrams that one system call brings at the most."""

HANDSHAKES = 16
FEW_IN_FLIGHT = 128
MANY_IN_FLIGHT = 4096
ACKNOWLEDGMENTS = {FEW_IN_FLIGHT: 32, MANY_IN_FLIGHT: 256}
ROUND_BYTES = 64 * 1024
TICK = 0.001

SERVER_ADDRESS: Address = ("192.0.2.1", 7001)
CLIENT_ADDRESS: Address = ("198.51.100.7", 40000)
EXTENSION = bytes(16)
NAME = encode_server_name("benchmark.example")
ROOM = 1 << 30

Run = Callable[[], object]


@dataclass(frozen=True)
class Step:
    """Something to be measured.

    :ivar prepare: sets up one sample, and gives what is to be run.
    :ivar operations: how many there are in a sample.
    """

    prepare: Callable[[], Run]
    operations: int


class Unhindered:
    """Congestion control that lets so many blocks out at once, and nothing more."""

    rtt = 0.01
    timeout = 60.0

    def __init__(self, window: int) -> None:
        self.window = window

    def allowance(self, now: float, in_flight: int) -> int:
        """Tell how many blocks may be sent at ``now``."""
        return max(0, self.window - in_flight)

    def next_time(self, now: float, in_flight: int) -> float | None:
        """Tell when something may be sent."""
        return now if in_flight < self.window else None

    def sent(self, now: float, in_flight: int, blocks: int = 1) -> None:
        """Take no notice."""

    def acknowledged(
        self,
        rtt: float | None,
        now: float,
        blocks: int = 1,
        state: object = None,
        in_flight: int = 0,
    ) -> None:
        """Take no notice."""

    def lost(self, now: float) -> None:
        """Take no notice."""

    def timed_out(self, now: float) -> None:
        """Take no notice."""

    def idle(self, in_flight: int) -> None:
        """Take no notice."""


def _server() -> Server:
    rng = random.Random(1)
    return Server(
        keys=KeyPair.generate(rng.randbytes),
        name=NAME,
        extension=EXTENSION,
        cookie_nonces=RandomNonces(rng.randbytes),
        random_bytes=rng.randbytes,
        now=0.0,
        limits=Limits(clients=1 << 20, hello_rate=1e6),
        counters=Counters(),
    )


def _client(seed: int) -> Client:
    rng = random.Random(1000 + seed)
    return Client(
        server_key=KeyPair.generate(random.Random(1).randbytes).public,
        server_name=NAME,
        server_extension=EXTENSION,
        addresses=[SERVER_ADDRESS],
        keys=KeyPair.generate(rng.randbytes),
        vouch_nonces=RandomNonces(rng.randbytes),
        extension=EXTENSION,
        random_bytes=rng.randbytes,
        now=0.0,
        timeout=None,
        counters=Counters(),
    )


def _from_client(client: Client) -> list[Datagram]:
    return [(datagram, CLIENT_ADDRESS) for datagram, _ in client.take_datagrams()]


def _from_server(datagrams: Sequence[Datagram]) -> list[Datagram]:
    return [(datagram, SERVER_ADDRESS) for datagram, _ in datagrams]


def _hello_and_initiate(server: Server, seed: int) -> tuple[Datagram, Datagram]:
    """Give what a client sends until it is in; the server has seen the Hello."""
    client = _client(seed)
    client.send([encode_message(message_id=1)])
    (hello,) = _from_client(client)
    client.receive(_from_server(server.receive([hello], 0.0).replies), 0.0)
    (initiate,) = _from_client(client)
    return hello, initiate


def _connection() -> tuple[Server, Session, Client]:
    server, client = _server(), _client(0)
    client.send([encode_message(message_id=1)])
    cookies = server.receive(_from_client(client), 0.0).replies
    client.receive(_from_server(cookies), 0.0)
    (session,) = server.receive(_from_client(client), 0.0).opened
    answer = session.seal([encode_message(acknowledged_id=1)])
    client.receive(_from_server(answer), 0.0)
    client.take_messages()
    assert client.phase is Phase.OPEN
    return server, session, client


def _seal(count: int) -> Callable[[], Run]:
    def prepare() -> Run:
        _, session, _ = _connection()
        messages = [bytes(MAX_MESSAGE_BYTES)] * count

        def run() -> None:
            for _ in range(BATCH // count):
                session.seal(messages)

        return run

    return prepare


def _sealed() -> tuple[Server, Session, list[Datagram]]:
    server, session, client = _connection()
    client.send([bytes(MAX_MESSAGE_BYTES)] * BATCH)
    return server, session, _from_client(client)


def _open() -> Run:
    _, session, datagrams = _sealed()

    def run() -> None:
        for datagram, address in datagrams:
            session.open(datagram, address)

    return run


def _receive_batch() -> Run:
    server, _, datagrams = _sealed()
    return lambda: server.receive(datagrams, 0.0)


def _parse() -> Run:
    server = _server()
    (hello, _), (initiate, _) = _hello_and_initiate(server, 0)
    ((cookie, _),) = server.receive([(hello, CLIENT_ADDRESS)], 0.0).replies

    def run() -> None:
        for _ in range(BATCH):
            Hello.parse(hello)
            Cookie.parse(cookie)
            Initiate.parse(initiate)

    return run


def _decode() -> Run:
    data = encode_message(message_id=7, position=9 << 10, block=bytes(1024), limit=ROOM)
    gaps = [(0, 9 << 10), *((n << 11, (n << 11) + 1024) for n in range(5, 12))]
    answer = encode_message(acknowledged_id=7, ranges=gaps, limit=ROOM)

    def run() -> None:
        for _ in range(BATCH):
            decode_message(data)
            decode_message(answer)

    return run


def _encode() -> Run:
    block = bytes(1024)
    gaps = [(0, 9 << 10), *((n << 11, (n << 11) + 1024) for n in range(5, 12))]

    def run() -> None:
        for _ in range(BATCH):
            encode_message(message_id=7, position=9 << 10, block=block, limit=ROOM)
            encode_message(acknowledged_id=7, ranges=gaps, limit=ROOM)

    return run


def _stream(window: int, *, seed: int = 1) -> Stream:
    return Stream(
        random_bytes=random.Random(seed).randbytes,
        now=0.0,
        client=False,
        congestion=Unhindered(window),
    )


def _sending(window: int, blocks: int) -> tuple[Stream, list[bytes]]:
    """Give a stream with so many blocks in flight, and their messages."""
    stream = _stream(window)
    stream.receive([encode_message(limit=ROOM)], 0.0)
    stream.write(bytes(blocks * MAX_BLOCK_BYTES))
    return stream, stream.messages_to_send(0.0)


def _acknowledge(in_flight: int) -> Callable[[], Run]:
    def prepare() -> Run:
        stream, messages = _sending(in_flight, in_flight)
        answers = []
        for number in range(1, 2 * ACKNOWLEDGMENTS[in_flight], 2):
            message = decode_message(messages[number])
            assert message is not None
            answers.append(
                encode_message(
                    acknowledged_id=message.message_id,
                    ranges=[(0, message.position + MAX_BLOCK_BYTES)],
                    limit=ROOM,
                )
            )

        def run() -> None:
            for answer in answers:
                stream.receive([answer], TICK)

        return run

    return prepare


def _acknowledging(in_flight: int) -> Step:
    return Step(_acknowledge(in_flight), ACKNOWLEDGMENTS[in_flight])


def _send_blocks() -> Run:
    stream = _stream(BATCH)
    stream.receive([encode_message(limit=ROOM)], 0.0)
    stream.write(bytes(BATCH * MAX_BLOCK_BYTES))
    return lambda: stream.messages_to_send(0.0)


def _receive(*, gaps: bool, batches: bool) -> Callable[[], Run]:
    def prepare() -> Run:
        _, messages = _sending(BATCH, BATCH)
        if gaps:
            # Every eighth one comes last.
            late = messages[::8]
            messages = [message for message in messages if message not in late] + late
        stream = _stream(BATCH, seed=2)
        size = BATCH if batches else 1
        parts = [messages[at : at + size] for at in range(0, BATCH, size)]

        def run() -> None:
            for part in parts:
                stream.receive(part, TICK)
                stream.read()
                stream.messages_to_send(TICK)

        return run

    return prepare


class Duplex:
    """Two streams over two sessions, in virtual time, without a network between."""

    def __init__(self) -> None:
        self.server, self.session, self.client = _connection()
        self.now = 0.0
        self.near = Stream(
            random_bytes=random.Random(3).randbytes, now=0.0, client=False
        )
        self.far = Stream(
            random_bytes=random.Random(4).randbytes, now=0.0, client=False
        )

    def carry(self, size: int) -> None:
        """Send bytes from the client to the server."""
        near, far, now = self.near, self.far, self.now
        near.write(bytes(size))
        received = 0
        while received < size:
            now += TICK
            self.client.send(near.messages_to_send(now))
            batch = _from_client(self.client)
            for messages in self.server.receive(batch, now).messages.values():
                far.receive(messages, now)
            received += len(far.read())
            answers = self.session.seal(far.messages_to_send(now))
            self.client.receive(_from_server(answers), now)
            near.receive(self.client.take_messages(), now)
        self.now = now


def _rounds() -> Iterator[Run]:
    duplex = Duplex()
    # The start, with its small windows, is another question.
    duplex.carry(1 << 21)
    while True:
        yield lambda: duplex.carry(ROUND_BYTES)


_round = _rounds()


def _hellos() -> Run:
    server = _server()
    hellos = [_from_client(_client(seed))[0] for seed in range(HANDSHAKES)]

    def run() -> None:
        for hello in hellos:
            server.receive([hello], 0.0)

    return run


def _accept() -> Run:
    server = _server()
    pairs = [_hello_and_initiate(server, seed) for seed in range(HANDSHAKES)]

    def run() -> None:
        # A Hello costs the same however often it comes: it leaves nothing behind.
        for hello, initiate in pairs:
            server.receive([hello], 0.0)
            server.receive([initiate], 0.0)

    return run


STEPS: dict[str, Step] = {
    "seal, 1 message": Step(_seal(1), BATCH),
    "seal, 64 messages": Step(_seal(BATCH), BATCH),
    "open": Step(_open, BATCH),
    "server receives 64 Messages": Step(_receive_batch, BATCH),
    "parse Hello, Cookie, Initiate": Step(_parse, BATCH),
    "encode data, acknowledgment": Step(_encode, BATCH),
    "decode data, acknowledgment": Step(_decode, BATCH),
    "cut and send a block": Step(_send_blocks, BATCH),
    "acknowledge 2 of 128": _acknowledging(FEW_IN_FLIGHT),
    "acknowledge 2 of 4096": _acknowledging(MANY_IN_FLIGHT),
    "receive a block": Step(_receive(gaps=False, batches=False), BATCH),
    "receive a block, 64 at a time": Step(_receive(gaps=False, batches=True), BATCH),
    "receive a block, gaps": Step(_receive(gaps=True, batches=False), BATCH),
    "64 KiB, stream to stream": Step(lambda: next(_round), 1),
    "Hello to Cookie": Step(_hellos, HANDSHAKES),
    "accept: Hello and Initiate": Step(_accept, HANDSHAKES),
}
