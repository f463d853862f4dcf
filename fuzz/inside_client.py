"""Target: a client, behind the box."""

from __future__ import annotations

from random import Random

from curvecp_tx.errors import ConnectTimedOut
from curvecp_tx.secure.client import FIRST_FLIGHT, Client, Phase
from curvecp_tx.secure.paths import Datagram
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    COOKIE_VALUE_BYTES,
    MAX_DATAGRAM_BYTES,
    MESSAGE_UNIT,
    MIN_CLIENT_MESSAGE_BYTES,
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    server_message_head,
)
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
from fuzz.plain_boxes import LOW_ORDER_KEY, plain_box, plain_boxes
from fuzz.script import Script

TIMEOUT = 90.0
EXTENSIONS = (CLIENT_EXTENSION, b"x" * 16, b"y" * 16)
MOST_AT_ONCE = 8


class ClientPlay(NetworkPlay):
    """A server that knows how, and cheats; and an owner that has much to say."""

    STEPS = (
        "cookie",
        "message_packet",
        "again",
        "raw",
        "pass_time",
        "wait",
        "deliver",
        "send",
        "change_extension",
    )

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.client = Client(
            server_key=SERVER_KEYS.public,
            server_name=NAME,
            server_extension=SERVER_EXTENSION,
            addresses=ADDRESSES[: 1 + script.byte() % 4],
            keys=CLIENT_KEYS,
            vouch_nonces=random_nonces(4),
            extension=CLIENT_EXTENSION,
            random_bytes=Random(3).randbytes,
            now=self.now,
            timeout=None if script.byte() & 1 else TIMEOUT,
            counters=self.counters,
        )
        self.look_at_sent(1)

    def extension(self, flags: int) -> bytes:
        """Choose which of the client's extensions the server names."""
        return EXTENSIONS[(flags >> 1) % len(EXTENSIONS)]

    def cookie(self) -> None:
        """A Cookie arrives."""
        flags = self.script.byte()
        key = LOW_ORDER_KEY if flags & 8 else bytes((self.script.byte(),)) * 32
        contents = CookieContents(key, bytes(COOKIE_VALUE_BYTES)).encode()
        cookie = Cookie(
            client_extension=self.extension(flags),
            server_extension=SERVER_EXTENSION,
            nonce=self.script.take(2).ljust(16, b"\0"),
            box=plain_box(contents, forged=bool(flags & 1)),
        )
        self.arrive(cookie.encode())

    def message_packet(self) -> None:
        """A Message arrives."""
        flags = self.script.byte()
        head = server_message_head(self.extension(flags), SERVER_EXTENSION)
        nonce = self.script.take(8 if flags & 8 else 2).ljust(8, b"\0")
        box = plain_box(self.message(), forged=bool(flags & 1))
        self.arrive(head + nonce + box)

    def send(self) -> None:
        """The owner sends messages, as long as they may be."""
        self.deliver()
        limit = self.client.message_limit // MESSAGE_UNIT
        messages = [
            self.message()[: limit * MESSAGE_UNIT]
            for _ in range(self.script.byte() % (1 + MOST_AT_ONCE))
        ]
        self.client.send(messages)
        self.look_at_sent(len(messages))

    def change_extension(self) -> None:
        """Our own extension changes."""
        self.deliver()
        self.client.extension = EXTENSIONS[self.script.byte() % len(EXTENSIONS)]

    def wait(self) -> None:
        """The client's deadline comes."""
        self.deliver()
        deadline = self.client.next_deadline()
        if deadline is not None:
            self.now = max(self.now, deadline)
        self.look_at_timer()

    def pass_time(self) -> None:
        """Time passes, and what is overdue is done."""
        super().pass_time()
        self.look_at_timer()

    def look_at_timer(self) -> None:
        """Have the timer fire, and check that it is not due at once again."""
        self.client.handle_timer(self.now)
        deadline = self.client.next_deadline()
        assert deadline is None or deadline > self.now, "busy for ever"
        connecting = self.client.phase in (Phase.HELLO, Phase.INITIATE)
        assert connecting == (deadline is not None)
        failed = self.client.phase is Phase.FAILED
        assert failed == isinstance(self.client.failure, ConnectTimedOut)
        self.look_at_sent(FIRST_FLIGHT)

    def hand_over(self, batch: list[Datagram]) -> None:
        """Give a batch to the client."""
        self.client.receive(batch, self.now)
        check_messages(self.client.take_messages())
        self.look_at_sent(FIRST_FLIGHT)

    def look_at_sent(self, most: int) -> None:
        """Check that the client sends packets, to servers, and not too many."""
        datagrams = self.client.take_datagrams()
        assert len(datagrams) <= most
        for datagram, address in datagrams:
            assert address in ADDRESSES
            if datagram.startswith(CLIENT_MESSAGE_MAGIC):
                size = len(datagram)
                assert MIN_CLIENT_MESSAGE_BYTES <= size <= MAX_DATAGRAM_BYTES
                assert size % MESSAGE_UNIT == 0
                assert self.client.phase is Phase.OPEN
            else:
                packet = Hello.parse(datagram) or Initiate.parse(datagram)
                assert packet is not None


def fuzz_inside_client(data: bytes) -> None:
    """A client whose server is somebody else with all the keys."""
    with plain_boxes():
        ClientPlay(Script(data)).run()
