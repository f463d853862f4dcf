"""A server or a client in each state, with a genuine packet of each kind for it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.client import Client
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address
from curvecp_tx.secure.server import Received, Server
from curvecp_tx.secure.session import Session
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    ELSEWHERE,
    SERVER_ADDRESS,
    dropped,
    make_client,
    make_server,
    message,
)

HELLO = "Hello"
COOKIE = "Cookie"
INITIATE = "Initiate"
SERVER_MESSAGE = "server Message"
CLIENT_MESSAGE = "client Message"
KINDS = (HELLO, COOKIE, INITIATE, SERVER_MESSAGE, CLIENT_MESSAGE)

SIZE = 192
"""Of the messages in these packets: the size of an acknowledgment."""

ANYBODY = Limits(clients=10**6, hello_rate=1e6)
"""What keeps rates out of tests that are about something else."""

PAUSE = 0.001
"""Seconds between packets, which keeps the rate of all Hellos out of them, too."""


def open_server(*, seed: int = 1, bind_address: bool = True) -> Server:
    """Set up a server that refuses nobody for coming too often."""
    return make_server(
        limits=ANYBODY, bind_address=bind_address, random_bytes=Random(seed).randbytes
    )


class Conversation:
    """A server and a client that have talked, and what each of them sent.

    :ivar packets: one genuine packet of each kind.
    """

    def __init__(self, *, steps: int) -> None:
        self.now = 0.0
        self.server = open_server()
        self.client = make_client()
        self.session: Session | None = None
        self.packets: dict[str, bytes] = {}
        for step in self._steps()[:steps]:
            step()

    def _steps(self) -> list[Callable[[], None]]:
        return [self._hello, self._cookie, self._initiate, self._answer, self._more]

    def _hello(self) -> None:
        ((self.packets[HELLO], _),) = self.client.take_datagrams()
        ((self.packets[COOKIE], _),) = self._serve(self.packets[HELLO]).replies

    def _cookie(self) -> None:
        self._dial(self.packets[COOKIE])
        self.client.send([message(1, SIZE)])
        ((self.packets[INITIATE], _),) = self.client.take_datagrams()

    def _initiate(self) -> None:
        (self.session,) = self._serve(self.packets[INITIATE]).opened
        self.packets[SERVER_MESSAGE] = self._sealed(2)

    def _answer(self) -> None:
        self._dial(self.packets[SERVER_MESSAGE])
        self.client.send([message(3, SIZE)])
        ((self.packets[CLIENT_MESSAGE], _),) = self.client.take_datagrams()
        self.client.take_messages()

    def _more(self) -> None:
        self.packets[SERVER_MESSAGE] = self._sealed(4)

    def _sealed(self, number: int) -> bytes:
        if self.session is None:
            raise AssertionError("no connection")
        ((datagram, _),) = self.session.seal([message(number, SIZE)])
        return datagram

    def _serve(self, datagram: bytes) -> Received:
        return self.server.receive([(datagram, CLIENT_ADDRESS)], 0.0)

    def _dial(self, datagram: bytes) -> None:
        self.client.receive([(datagram, SERVER_ADDRESS)], 0.0)


PACKETS = Conversation(steps=5).packets
"""Everything here is deterministic: the packets of one conversation are those of
all others, as long as it lasts."""


class Scene:
    """One end in one state.

    :ivar welcome: the kinds of packets that count in this state.
    :ivar packets: genuine packets, of that kind or out of season.
    """

    welcome: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.now = 0.0
        self.packets = dict(PACKETS)

    @property
    def counters(self) -> Counters:
        """What was counted."""
        raise NotImplementedError

    def deliver(self, datagram: bytes) -> bool:
        """Let a packet arrive; tell whether anything came of it."""
        raise NotImplementedError

    def unaccounted(self) -> int:
        """Give how many packets are counted twice, or (negative) not at all."""
        counters = self.counters
        accepted = counters.cookies + counters.messages_received
        refused = sum(dropped(counters).values())
        return accepted + refused - counters.datagrams_received


class ServerScene(Scene):
    """A server; its client is as far as it goes."""

    steps = 1
    peer: Address = CLIENT_ADDRESS

    def __init__(self) -> None:
        super().__init__()
        self.talk = Conversation(steps=self.steps)
        self.server = self.talk.server

    @property
    def counters(self) -> Counters:
        return self.server.counters

    def deliver(self, datagram: bytes) -> bool:
        self.now += PAUSE
        before = self._state()
        received = self.server.receive([(datagram, self.peer)], self.now)
        return received != Received() or self._state() != before

    def _state(self) -> tuple[object, ...]:
        session = self.talk.session
        return self.server.connections, session and session.path


class NewServer(ServerScene):
    """A server whose client has a Cookie."""

    welcome = HELLO, INITIATE


class BusyServer(ServerScene):
    """A server whose client is connected."""

    steps = 3
    welcome = HELLO, CLIENT_MESSAGE
    peer = ELSEWHERE


class DesertedServer(ServerScene):
    """A server whose client was connected, and is no more."""

    steps = 3
    welcome = (HELLO,)

    def __init__(self) -> None:
        super().__init__()
        if self.talk.session is not None:
            self.server.close(self.talk.session)


class ClosingServer(ServerScene):
    """A server that lets nobody in any more."""

    steps = 1
    welcome = (HELLO,)

    def __init__(self) -> None:
        super().__init__()
        self.server.accepting = False


class ClientScene(Scene):
    """A client; its server is where it looks for it."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.client: Client = Conversation(steps=self.steps).client
        self.client.take_datagrams()

    @property
    def counters(self) -> Counters:
        return self.client.counters

    def deliver(self, datagram: bytes) -> bool:
        client = self.client
        before = client.phase, client.path, client.next_deadline()
        client.receive([(datagram, SERVER_ADDRESS)], self.now)
        after = client.phase, client.path, client.next_deadline()
        came = client.take_messages() or client.take_datagrams()
        return before != after or bool(came)


class GreetingClient(ClientScene):
    """A client that has said Hello."""

    welcome = (COOKIE,)


class InitiatingClient(ClientScene):
    """A client that has sent an Initiate."""

    steps = 2
    welcome = (SERVER_MESSAGE,)


class ConnectedClient(ClientScene):
    """A client that is connected."""

    steps = 4
    welcome = (SERVER_MESSAGE,)


class FailedClient(ClientScene):
    """A client that has given up."""

    steps = 2

    def __init__(self) -> None:
        super().__init__()
        self.client.handle_timer(1e6)


SERVERS: tuple[type[Scene], ...] = (
    NewServer,
    BusyServer,
    DesertedServer,
    ClosingServer,
)
CLIENTS: tuple[type[Scene], ...] = (
    GreetingClient,
    InitiatingClient,
    ConnectedClient,
    FailedClient,
)
SCENES = SERVERS + CLIENTS
