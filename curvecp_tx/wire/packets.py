"""The five CurveCP packets: layout, size rules, build and parse.

Every packet starts with an 8-byte magic, the receiver's 16-byte extension and
the sender's. Integers are unsigned little-endian. A box is a 16-byte tag
followed by the ciphertext.

=============== ========= ========================== ==============================
packet          bytes     way                        after the common 40 bytes
=============== ========= ========================== ==============================
Hello           224       client to server           C', 64 zeros, nonce, box
Cookie          200       server to client           nonce, box of S' and K
Initiate        560-1184  client to server           C', K, nonce, box
server Message  80-1152   server to client           nonce, box of the message
client Message  112-1184  client to server           C', nonce, box of the message
=============== ========= ========================== ==============================

The handshake packets have a class each. Message packets are the hot path and
have none: a constant head, eight bytes of nonce and the box are all there is.
Parsers answer ``None`` for anything that is not exactly such a packet; no input
makes them raise.
"""

from __future__ import annotations

from dataclasses import dataclass

MAGIC_BYTES = 8
EXTENSION_BYTES = 16
KEY_BYTES = 32
TAG_BYTES = 16
COUNTER_BYTES = 8
LONG_NONCE_BYTES = 16
NAME_BYTES = 256
COOKIE_VALUE_BYTES = 96
VOUCH_BYTES = TAG_BYTES + KEY_BYTES

HELLO_MAGIC = b"QvnQ5XlH"
COOKIE_MAGIC = b"RL3aNMXK"
INITIATE_MAGIC = b"QvnQ5XlI"
SERVER_MESSAGE_MAGIC = b"RL3aNMXM"
CLIENT_MESSAGE_MAGIC = b"QvnQ5XlM"

HELLO_BYTES = 224
COOKIE_BYTES = 200

MESSAGE_UNIT = 16
"""Messages come in multiples of this, and so, therefore, do all packets."""

MIN_MESSAGE_BYTES = 16
MAX_MESSAGE_BYTES = 1088
"""A full client Message is then 1184 bytes and fits IPv6's least MTU of 1280."""

MAX_INITIATE_MESSAGE_BYTES = 640
"""What the 1184 bytes leave for the message next to cookie, vouch and name."""

INITIATE_OVERHEAD = 544
SERVER_MESSAGE_OVERHEAD = 64
CLIENT_MESSAGE_OVERHEAD = 96

MIN_INITIATE_BYTES = INITIATE_OVERHEAD + MIN_MESSAGE_BYTES
MIN_SERVER_MESSAGE_BYTES = SERVER_MESSAGE_OVERHEAD + MIN_MESSAGE_BYTES
MAX_SERVER_MESSAGE_BYTES = SERVER_MESSAGE_OVERHEAD + MAX_MESSAGE_BYTES
MIN_CLIENT_MESSAGE_BYTES = CLIENT_MESSAGE_OVERHEAD + MIN_MESSAGE_BYTES
MAX_DATAGRAM_BYTES = CLIENT_MESSAGE_OVERHEAD + MAX_MESSAGE_BYTES

RECEIVER_EXTENSION = slice(8, 24)
SENDER_EXTENSION = slice(24, 40)
SHORT_TERM_KEY = slice(40, 72)
"""Where every packet of a client carries C'."""

SERVER_MESSAGE_NONCE = 40
CLIENT_MESSAGE_NONCE = 72
"""Offset of the compressed nonce in a Message; the box begins 8 bytes later."""

_ZEROS = bytes(64)
HELLO_PLAINTEXT = bytes(64)
"""What the box of a Hello holds. Receivers must not insist on the zeros."""


def is_message_size(size: int, limit: int = MAX_MESSAGE_BYTES) -> bool:
    """Tell whether a message of ``size`` bytes may travel in a packet."""
    return MIN_MESSAGE_BYTES <= size <= limit and size % MESSAGE_UNIT == 0


@dataclass(frozen=True, slots=True)
class Hello:
    """A client's first packet: 224 bytes, and not one less than its answer."""

    server_extension: bytes
    client_extension: bytes
    short_term_key: bytes
    nonce: int
    box: bytes

    def encode(self) -> bytes:
        """Give the packet's bytes."""
        return b"".join(
            (
                HELLO_MAGIC,
                self.server_extension,
                self.client_extension,
                self.short_term_key,
                _ZEROS,
                self.nonce.to_bytes(COUNTER_BYTES, "little"),
                self.box,
            )
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Hello | None:
        """Take a Hello apart; ``None`` when its size or magic is another."""
        if len(datagram) != HELLO_BYTES or datagram[:8] != HELLO_MAGIC:
            return None
        return cls(
            server_extension=datagram[RECEIVER_EXTENSION],
            client_extension=datagram[SENDER_EXTENSION],
            short_term_key=datagram[SHORT_TERM_KEY],
            nonce=int.from_bytes(datagram[136:144], "little"),
            box=datagram[144:],
        )


@dataclass(frozen=True, slots=True)
class Cookie:
    """The answer to a Hello: 200 bytes; ``nonce`` has 16."""

    client_extension: bytes
    server_extension: bytes
    nonce: bytes
    box: bytes

    def encode(self) -> bytes:
        """Give the packet's bytes."""
        return b"".join(
            (
                COOKIE_MAGIC,
                self.client_extension,
                self.server_extension,
                self.nonce,
                self.box,
            )
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Cookie | None:
        """Take a Cookie apart; ``None`` when its size or magic is another."""
        if len(datagram) != COOKIE_BYTES or datagram[:8] != COOKIE_MAGIC:
            return None
        return cls(
            client_extension=datagram[RECEIVER_EXTENSION],
            server_extension=datagram[SENDER_EXTENSION],
            nonce=datagram[40:56],
            box=datagram[56:],
        )


@dataclass(frozen=True, slots=True)
class CookieContents:
    """Inside the box of a Cookie: S' and the opaque cookie value K."""

    server_short_term_key: bytes
    value: bytes

    def encode(self) -> bytes:
        """Give the 128 bytes to be boxed."""
        return self.server_short_term_key + self.value

    @classmethod
    def parse(cls, plaintext: bytes) -> CookieContents:
        """Take apart the 128 bytes that a 144-byte box is sure to open to."""
        return cls(plaintext[:KEY_BYTES], plaintext[KEY_BYTES:])


@dataclass(frozen=True, slots=True)
class Initiate:
    """A client's second packet: returns the cookie and carries a message."""

    server_extension: bytes
    client_extension: bytes
    short_term_key: bytes
    cookie: bytes
    nonce: int
    box: bytes

    def encode(self) -> bytes:
        """Give the packet's bytes."""
        return b"".join(
            (
                INITIATE_MAGIC,
                self.server_extension,
                self.client_extension,
                self.short_term_key,
                self.cookie,
                self.nonce.to_bytes(COUNTER_BYTES, "little"),
                self.box,
            )
        )

    @classmethod
    def parse(cls, datagram: bytes) -> Initiate | None:
        """Take an Initiate apart; ``None`` when its size or magic is wrong."""
        if (
            not MIN_INITIATE_BYTES <= len(datagram) <= MAX_DATAGRAM_BYTES
            or len(datagram) % MESSAGE_UNIT
            or datagram[:8] != INITIATE_MAGIC
        ):
            return None
        return cls(
            server_extension=datagram[RECEIVER_EXTENSION],
            client_extension=datagram[SENDER_EXTENSION],
            short_term_key=datagram[SHORT_TERM_KEY],
            cookie=datagram[72:168],
            nonce=int.from_bytes(datagram[168:176], "little"),
            box=datagram[176:],
        )


@dataclass(frozen=True, slots=True)
class InitiateContents:
    """Inside the box of an Initiate: who the client is, and its message."""

    client_key: bytes
    vouch_nonce: bytes
    vouch: bytes
    server_name: bytes
    message: bytes

    def encode(self) -> bytes:
        """Give the 352 bytes and the message, to be boxed."""
        return b"".join(
            (
                self.client_key,
                self.vouch_nonce,
                self.vouch,
                self.server_name,
                self.message,
            )
        )

    @classmethod
    def parse(cls, plaintext: bytes) -> InitiateContents:
        """Take apart what the box of a legal Initiate opened to."""
        return cls(
            client_key=plaintext[:32],
            vouch_nonce=plaintext[32:48],
            vouch=plaintext[48:96],
            server_name=plaintext[96:352],
            message=plaintext[352:],
        )


def server_message_head(client_extension: bytes, server_extension: bytes) -> bytes:
    """Give the 40 bytes with which each Message of a server begins."""
    return SERVER_MESSAGE_MAGIC + client_extension + server_extension


def client_message_head(
    server_extension: bytes, client_extension: bytes, short_term_key: bytes
) -> bytes:
    """Give the 72 bytes with which each Message of a client begins."""
    return CLIENT_MESSAGE_MAGIC + server_extension + client_extension + short_term_key
