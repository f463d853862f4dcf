"""A server and clients with fixed keys, and a client by hand that may cheat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedKeys
from curvecp_tx.secure.boxes import (
    CLIENT_MESSAGE_NONCE,
    COOKIE_NONCE,
    HELLO_NONCE,
    INITIATE_NONCE,
    SERVER_MESSAGE_NONCE,
    VOUCH_NONCE,
    KeyPair,
    RandomBytes,
    seal,
    shared_key,
    unseal,
)
from curvecp_tx.secure.client import Client
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import LongTermNonceSource, RandomNonces
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.secure.server import Received, Server
from curvecp_tx.secure.session import Session
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import (
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    InitiateContents,
    client_message_head,
)

SERVER_KEYS = KeyPair.from_secret(b"\x11" * 32)
CLIENT_KEYS = KeyPair.from_secret(b"\x33" * 32)
SERVER_EXTENSION = b"server-extension"
CLIENT_EXTENSION = b"client-extension"
NAME = encode_server_name("this.machine.name")
SERVER_ADDRESS: Address = ("192.0.2.1", 7001)
CLIENT_ADDRESS: Address = ("198.51.100.7", 40000)
ELSEWHERE: Address = ("203.0.113.9", 40000)

LOW_ORDER_POINTS = tuple(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
LOW_ORDER_KEYS = LOW_ORDER_POINTS + tuple(
    point[:31] + bytes([point[31] | 0x80]) for point in LOW_ORDER_POINTS
)
"""Every encoding of a point of low order: X25519 ignores the topmost bit."""


def message(number: int, size: int = 64) -> bytes:
    """Make a message that can be told from all others; ``number`` is its ID."""
    return number.to_bytes(4, "little") + bytes(4) + b"." * (size - 8)


class Script:
    """Randomness that was written down beforehand, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def __call__(self, size: int) -> bytes:
        """Give the next piece; asking for another size is a mistake."""
        piece = self.pieces.pop(0)
        if len(piece) != size:
            raise AssertionError(f"{size} bytes wanted, {len(piece)} in the script")
        return piece


def make_server(
    *,
    limits: Limits | None = None,
    authorized: AuthorizedKeys | None = None,
    bind_address: bool = True,
    now: float = 0.0,
    random_bytes: RandomBytes | None = None,
    cookie_nonces: LongTermNonceSource | None = None,
    extension: bytes = SERVER_EXTENSION,
    name: bytes = NAME,
    keys: KeyPair = SERVER_KEYS,
) -> Server:
    """Set up a server."""
    source = random_bytes or Random(1).randbytes
    return Server(
        keys=keys,
        name=name,
        extension=extension,
        cookie_nonces=cookie_nonces or RandomNonces(Random(2).randbytes),
        random_bytes=source,
        now=now,
        limits=limits or Limits(),
        authorized=authorized,
        counters=Counters(),
        bind_address=bind_address,
    )


def make_client(
    *,
    addresses: Sequence[Address] = (SERVER_ADDRESS,),
    timeout: float | None = 60.0,
    now: float = 0.0,
    random_bytes: RandomBytes | None = None,
    vouch_nonces: LongTermNonceSource | None = None,
    extension: bytes = CLIENT_EXTENSION,
    server_extension: bytes = SERVER_EXTENSION,
    server_key: bytes = SERVER_KEYS.public,
    name: bytes = NAME,
    keys: KeyPair = CLIENT_KEYS,
) -> Client:
    """Set up a client; its first Hello waits to be taken."""
    return Client(
        server_key=server_key,
        server_name=name,
        server_extension=server_extension,
        addresses=addresses,
        keys=keys,
        vouch_nonces=vouch_nonces or RandomNonces(Random(4).randbytes),
        extension=extension,
        random_bytes=random_bytes or Random(3).randbytes,
        now=now,
        timeout=timeout,
        counters=Counters(),
    )


def to_server(
    server: Server, client: Client, now: float, address: Address = CLIENT_ADDRESS
) -> Received:
    """Carry over all that the client has to send."""
    datagrams = [datagram for datagram, _ in client.take_datagrams()]
    return server.receive([(datagram, address) for datagram in datagrams], now)


def to_client(
    client: Client,
    datagrams: Sequence[Datagram],
    now: float,
    address: Address = SERVER_ADDRESS,
) -> None:
    """Carry over what the server has to send."""
    client.receive([(datagram, address) for datagram, _ in datagrams], now)


def connect(server: Server, client: Client, now: float = 0.0) -> Session:
    """Play a whole handshake; both ends have had one message then."""
    to_client(client, to_server(server, client, now).replies, now)
    client.send([message(1)])
    (session,) = to_server(server, client, now).opened
    to_client(client, session.seal([message(2)]), now)
    if client.take_messages() != [message(2)]:
        raise AssertionError("the handshake failed")
    return session


def dropped(counters: Counters) -> dict[str, int]:
    """Give the reasons for which datagrams were not taken, with their counts."""
    return {
        name: count
        for name, count in counters.as_dict().items()
        if count and name.startswith(("dropped_", "refused_"))
    }


def flip(datagram: bytes, bit: int) -> bytes:
    """Turn over one bit."""
    damaged = bytearray(datagram)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


class RawClient:
    """A client by hand: it keeps the rules unless it is told to break one."""

    def __init__(
        self,
        *,
        keys: KeyPair = CLIENT_KEYS,
        secret: bytes = b"\x44" * 32,
        server_key: bytes = SERVER_KEYS.public,
    ) -> None:
        self.keys = keys
        self.short_term = KeyPair.from_secret(secret)
        self.hello_key = _key(server_key, secret)
        self.vouch_key = _key(server_key, keys.secret)
        self.session_key = b""
        self.cookie = b""

    def hello(self, *, nonce: int = 1, plaintext: bytes = bytes(64)) -> bytes:
        """Make a Hello."""
        compressed = nonce.to_bytes(8, "little")
        return Hello(
            server_extension=SERVER_EXTENSION,
            client_extension=CLIENT_EXTENSION,
            short_term_key=self.short_term.public,
            nonce=nonce,
            box=seal(plaintext, HELLO_NONCE + compressed, self.hello_key),
        ).encode()

    def greet(
        self, server: Server, now: float = 0.0, address: Address = CLIENT_ADDRESS
    ) -> RawClient:
        """Exchange Hello and Cookie."""
        ((reply, _),) = server.receive([(self.hello(), address)], now).replies
        cookie = Cookie.parse(reply)
        if cookie is None:
            raise AssertionError("no Cookie")
        opened = unseal(cookie.box, COOKIE_NONCE + cookie.nonce, self.hello_key)
        if opened is None:
            raise AssertionError("the Cookie does not open")
        contents = CookieContents.parse(opened)
        self.cookie = contents.value
        self.session_key = _key(contents.server_short_term_key, self.short_term.secret)
        return self

    def contents(self, text: bytes) -> InitiateContents:
        """Make what goes into the box of an Initiate."""
        nonce = b"\x77" * 16
        return InitiateContents(
            client_key=self.keys.public,
            vouch_nonce=nonce,
            vouch=seal(self.short_term.public, VOUCH_NONCE + nonce, self.vouch_key),
            server_name=NAME,
            message=text,
        )

    def initiate(
        self,
        text: bytes = message(1),
        *,
        nonce: int = 2,
        contents: InitiateContents | None = None,
        **changes: bytes,
    ) -> bytes:
        """Make an Initiate; ``changes`` replace fields of what is in its box."""
        inside = contents or self.contents(text)
        for name, value in changes.items():
            inside = replace(inside, **{name: value})
        compressed = nonce.to_bytes(8, "little")
        return Initiate(
            server_extension=SERVER_EXTENSION,
            client_extension=CLIENT_EXTENSION,
            short_term_key=self.short_term.public,
            cookie=self.cookie,
            nonce=nonce,
            box=seal(inside.encode(), INITIATE_NONCE + compressed, self.session_key),
        ).encode()

    def message(
        self, text: bytes, *, nonce: int, extension: bytes = CLIENT_EXTENSION
    ) -> bytes:
        """Make a client Message."""
        compressed = nonce.to_bytes(8, "little")
        head = client_message_head(SERVER_EXTENSION, extension, self.short_term.public)
        box = seal(text, CLIENT_MESSAGE_NONCE + compressed, self.session_key)
        return head + compressed + box

    def open(self, datagram: bytes) -> bytes | None:
        """Open a server Message."""
        nonce = SERVER_MESSAGE_NONCE + datagram[40:48]
        return unseal(datagram[48:], nonce, self.session_key)


def _key(public: bytes, secret: bytes) -> bytes:
    key = shared_key(public, secret)
    if key is None:
        raise AssertionError("a low-order key")
    return key
