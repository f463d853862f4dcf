"""Target: a server, behind the box."""

from __future__ import annotations

from collections import Counter
from random import Random

from curvecp_tx.secure.admission import HELLO_RATE, Limits
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.secure.paths import AMPLIFICATION_LIMIT, Datagram
from curvecp_tx.secure.server import Server
from curvecp_tx.secure.session import Session
from curvecp_tx.wire.packets import (
    COOKIE_VALUE_BYTES,
    LONG_NONCE_BYTES,
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    InitiateContents,
    client_message_head,
)
from fuzz.network import (
    NAME,
    OTHER_NAME,
    SERVER_EXTENSION,
    SERVER_KEYS,
    NetworkPlay,
    check_messages,
    random_nonces,
)
from fuzz.plain_boxes import PlainBoxes, plain_box, plain_boxes
from fuzz.script import Script

CLIENTS = tuple(bytes((number,)) * 32 for number in range(8))
"""Short-term keys; the first is weak."""

START_RATES = (None, 0.5)

KEYS = tuple(letter * 32 for letter in (b"a", b"b", b"c"))
"""Long-term keys."""

AUTHORIZED = AuthorizedKeys(
    AuthorizedClient(KEYS[0], "first"), AuthorizedClient(KEYS[1], limit=1)
)


class ServerPlay(NetworkPlay):
    """Clients that know how, and cheat."""

    STEPS = (
        "hello",
        "initiate",
        "message_packet",
        "again",
        "raw",
        "pass_time",
        "deliver",
        "send",
        "close",
        "change_rules",
    )

    def __init__(self, script: Script, boxes: PlainBoxes) -> None:
        super().__init__(script)
        self.boxes = boxes
        self.server = Server(
            keys=SERVER_KEYS,
            name=NAME,
            extension=SERVER_EXTENSION,
            cookie_nonces=random_nonces(2),
            random_bytes=Random(1).randbytes,
            now=self.now,
            limits=Limits(clients=4),
            counters=self.counters,
            bind_address=not script.byte() & 1,
        )
        self.cookies: dict[bytes, bytes] = {}
        self.sessions: list[Session] = []
        self.new: Session | None = None
        self.opened_at: dict[bytes, float] = {}
        self.bytes_from: Counter[str] = Counter()
        self.bytes_to: Counter[str] = Counter()

    def client(self) -> bytes:
        """Choose a client."""
        return CLIENTS[self.script.byte() % len(CLIENTS)]

    def owner(self) -> bytes:
        """Choose whose long-term key it is."""
        return KEYS[self.script.byte() % len(KEYS)]

    def extension(self) -> bytes:
        """Choose a client's extension."""
        return bytes((self.script.byte(),)) * 16

    def hello(self) -> None:
        """A client says Hello."""
        key, flags = self.client(), self.script.byte()
        hello = Hello(
            server_extension=SERVER_EXTENSION,
            client_extension=self.extension(),
            short_term_key=key,
            nonce=self.script.number(2),
            box=plain_box(bytes(64), forged=bool(flags & 1)),
        )
        self.arrive(hello.encode())

    def initiate(self) -> None:
        """A client comes with the last cookie that it got, or with another's."""
        key, flags = self.client(), self.script.byte()
        owner = self.client() if flags & 1 else key
        vouched = self.client() if flags & 2 else key
        contents = InitiateContents(
            client_key=self.client() if flags & 4 else self.owner(),
            vouch_nonce=bytes(LONG_NONCE_BYTES),
            vouch=plain_box(vouched, forged=bool(flags & 8)),
            server_name=OTHER_NAME if flags & 16 else NAME,
            message=self.message(),
        )
        initiate = Initiate(
            server_extension=SERVER_EXTENSION,
            client_extension=self.extension(),
            short_term_key=key,
            cookie=self.cookies.get(owner, bytes(COOKIE_VALUE_BYTES)),
            nonce=self.script.number(8 if flags & 32 else 2),
            box=plain_box(contents.encode(), forged=bool(flags & 64)),
        )
        self.arrive(initiate.encode())

    def message_packet(self) -> None:
        """A client sends a Message."""
        key, flags = self.client(), self.script.byte()
        head = client_message_head(SERVER_EXTENSION, self.extension(), key)
        nonce = self.script.take(8 if flags & 1 else 2).ljust(8, b"\0")
        box = plain_box(self.message(), forged=bool(flags & 2))
        self.arrive(head + nonce + box)

    def send(self) -> None:
        """The owner of a connection sends."""
        self.deliver()
        messages = [self.message() for _ in range(self.script.byte() % 8)]
        session = self.session()
        if session is None:
            return
        path, fallback = session.path, session.path.fallback
        validated = path.address if path.validated else fallback and fallback.address
        for datagram, address in session.seal(messages):
            assert address in (path.address, validated)
            if address == validated:
                continue
            host = address[0]
            self.bytes_to[host] += len(datagram)
            allowed = AMPLIFICATION_LIMIT * self.bytes_from[host]
            assert self.bytes_to[host] <= allowed, "a victim gets too much"

    def close(self) -> None:
        """The owner of a connection ends it; a new one may have failed to start."""
        self.deliver()
        forget = bool(self.script.byte() & 1)
        session = self.session()
        if session is None:
            return
        forget = forget and session is self.new
        self.server.close(session, forget=forget)
        self.sessions = [other for other in self.sessions if other is not session]
        if forget:
            del self.opened_at[session.short_term_key]
            self.boxes.forget_opened()

    def change_rules(self) -> None:
        """The server's owner changes who may come in."""
        self.deliver()
        flags = self.script.byte()
        self.server.accepting = not flags & 1
        limits = Limits(
            clients=flags >> 1 & 3,
            per_ip=1 if flags & 8 else None,
            per_key=1 if flags & 16 else None,
            hello_rate=1.0 if flags & 32 else HELLO_RATE,
            start_rate=START_RATES[flags >> 6 & 1],
        )
        self.server.allow(limits, AUTHORIZED if flags & 128 else None, self.now)
        if flags & 2:
            self.server.rotate(self.now)

    def session(self) -> Session | None:
        """Choose a connection, if there is any."""
        if not self.sessions:
            return None
        return self.sessions[self.script.byte() % len(self.sessions)]

    def hand_over(self, batch: list[Datagram]) -> None:
        """Give a batch to the server."""
        for datagram, address in batch:
            self.bytes_from[address[0]] += len(datagram)
        room = max(self.server.limits.clients, len(self.sessions))
        received = self.server.receive(batch, self.now)
        self.look_at_replies(received.replies, batch)
        for session in received.opened:
            self.look_at_opened(session)
        self.sessions += received.opened
        assert self.server.connections == len(self.sessions) <= room
        for session, messages in received.messages.items():
            assert session in self.sessions
            check_messages(messages)
        self.new = received.opened[-1] if received.opened else None

    def look_at_replies(self, replies: list[Datagram], batch: list[Datagram]) -> None:
        """Check that Cookies answer Hellos, one for one, and are no longer."""
        asked = Counter(address for datagram, address in batch if len(datagram) == 224)
        answered = Counter(address for _, address in replies)
        assert answered <= asked
        for reply, _ in replies:
            cookie = Cookie.parse(reply)
            assert cookie is not None
            contents = CookieContents.parse(cookie.box[16:])
            self.cookies[contents.value[32:64]] = contents.value

    def look_at_opened(self, session: Session) -> None:
        """Check that a short-term key has opened nothing in the last minute."""
        opened_at = self.opened_at.get(session.short_term_key)
        if opened_at is not None:
            assert self.now - opened_at >= MINUTE, "an Initiate counted twice"
        self.opened_at[session.short_term_key] = self.now


def fuzz_inside_server(data: bytes) -> None:
    """A server whose clients hold all keys but those of its cookies."""
    with plain_boxes() as boxes:
        ServerPlay(Script(data), boxes).run()
