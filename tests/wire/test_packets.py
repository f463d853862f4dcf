"""The layouts of the packets."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.wire import packets
from curvecp_tx.wire.packets import (
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    InitiateContents,
)


def fixed(size: int) -> st.SearchStrategy[bytes]:
    """Draw as many bytes."""
    return st.binary(min_size=size, max_size=size)


NONCES = st.integers(0, 2**64 - 1)
MESSAGE_SIZES = st.integers(1, 40).map(lambda units: 16 * units)

HELLOS = st.builds(
    Hello,
    server_extension=fixed(16),
    client_extension=fixed(16),
    short_term_key=fixed(32),
    nonce=NONCES,
    box=fixed(80),
)
COOKIES = st.builds(
    Cookie,
    client_extension=fixed(16),
    server_extension=fixed(16),
    nonce=fixed(16),
    box=fixed(144),
)
INITIATES = st.builds(
    Initiate,
    server_extension=fixed(16),
    client_extension=fixed(16),
    short_term_key=fixed(32),
    cookie=fixed(96),
    nonce=NONCES,
    box=MESSAGE_SIZES.flatmap(lambda size: fixed(368 + size)),
)

MAGICS = {
    "Hello": packets.HELLO_MAGIC,
    "Cookie": packets.COOKIE_MAGIC,
    "Initiate": packets.INITIATE_MAGIC,
    "server Message": packets.SERVER_MESSAGE_MAGIC,
    "client Message": packets.CLIENT_MESSAGE_MAGIC,
}
LEGAL_LENGTHS: dict[Any, tuple[bytes, set[int]]] = {
    Hello: (b"QvnQ5XlH", {224}),
    Cookie: (b"RL3aNMXK", {200}),
    Initiate: (b"QvnQ5XlI", set(range(560, 1185, 16))),
}


class SizeTests(SynchronousTestCase):
    """Sizes that follow from the packet tables."""

    def test_magics(self) -> None:
        """The five magics are those of the protocol."""
        self.assertEqual(
            list(MAGICS.values()),
            [b"QvnQ5XlH", b"RL3aNMXK", b"QvnQ5XlI", b"RL3aNMXM", b"QvnQ5XlM"],
        )

    def test_ranges(self) -> None:
        """The least and the greatest sizes are those of the protocol."""
        self.assertEqual(packets.MIN_INITIATE_BYTES, 560)
        self.assertEqual(packets.MIN_SERVER_MESSAGE_BYTES, 80)
        self.assertEqual(packets.MAX_SERVER_MESSAGE_BYTES, 1152)
        self.assertEqual(packets.MIN_CLIENT_MESSAGE_BYTES, 112)
        self.assertEqual(packets.MAX_DATAGRAM_BYTES, 1184)
        self.assertEqual(
            packets.INITIATE_OVERHEAD + packets.MAX_INITIATE_MESSAGE_BYTES,
            packets.MAX_DATAGRAM_BYTES,
        )

    def test_no_amplification(self) -> None:
        """A Cookie is smaller than the Hello that it answers."""
        self.assertLess(packets.COOKIE_BYTES, packets.HELLO_BYTES)

    def test_message_sizes(self) -> None:
        """A message has 16 to 1088 bytes, in steps of 16."""
        legal = [size for size in range(2049) if packets.is_message_size(size)]
        self.assertEqual(legal, list(range(16, 1089, 16)))

    def test_message_sizes_with_limit(self) -> None:
        """A lower limit is the greatest size that is still legal."""
        limit = packets.MAX_INITIATE_MESSAGE_BYTES
        legal = [size for size in range(2049) if packets.is_message_size(size, limit)]
        self.assertEqual(legal, list(range(16, 641, 16)))


class RoundTripTests(SynchronousTestCase):
    """What was built is what is parsed."""

    @given(HELLOS)
    def test_hello(self, hello: Hello) -> None:
        """A Hello comes back from its 224 bytes, with zeros in the clear."""
        datagram = hello.encode()
        self.assertEqual(len(datagram), packets.HELLO_BYTES)
        self.assertEqual(datagram[72:136], bytes(64))
        self.assertEqual(Hello.parse(datagram), hello)

    @given(HELLOS, fixed(64))
    def test_hello_padding(self, hello: Hello, padding: bytes) -> None:
        """A receiver does not look at the 64 bytes kept for later use."""
        datagram = hello.encode()
        padded = datagram[:72] + padding + datagram[136:]
        self.assertEqual(Hello.parse(padded), hello)

    @given(COOKIES)
    def test_cookie(self, cookie: Cookie) -> None:
        """A Cookie comes back from its 200 bytes."""
        datagram = cookie.encode()
        self.assertEqual(len(datagram), packets.COOKIE_BYTES)
        self.assertEqual(Cookie.parse(datagram), cookie)

    @given(fixed(32), fixed(96))
    def test_cookie_contents(self, key: bytes, value: bytes) -> None:
        """S' and K come back from 128 bytes."""
        contents = CookieContents(key, value)
        self.assertEqual(len(contents.encode()), 128)
        self.assertEqual(CookieContents.parse(contents.encode()), contents)

    @given(INITIATES)
    def test_initiate(self, initiate: Initiate) -> None:
        """An Initiate comes back from its bytes."""
        self.assertEqual(Initiate.parse(initiate.encode()), initiate)

    @given(
        fixed(32), fixed(16), fixed(48), fixed(256), st.binary(min_size=16, max_size=96)
    )
    def test_initiate_contents(
        self, key: bytes, nonce: bytes, vouch: bytes, name: bytes, message: bytes
    ) -> None:
        """The parts inside an Initiate come back, the message at the end."""
        contents = InitiateContents(
            client_key=key,
            vouch_nonce=nonce,
            vouch=vouch,
            server_name=name,
            message=message,
        )
        plaintext = contents.encode()
        self.assertEqual(len(plaintext), 352 + len(message))
        self.assertEqual(InitiateContents.parse(plaintext), contents)


class LayoutTests(SynchronousTestCase):
    """Offsets of fields, counted by hand."""

    def test_hello(self) -> None:
        """Magic, both extensions, C', zeros, nonce, box."""
        hello = Hello(b"s" * 16, b"c" * 16, b"k" * 32, 0x0102, b"b" * 80)
        expected = b"QvnQ5XlH" + b"s" * 16 + b"c" * 16 + b"k" * 32 + bytes(64)
        self.assertEqual(hello.encode(), expected + b"\2\1" + bytes(6) + b"b" * 80)

    def test_cookie(self) -> None:
        """Magic, the client's extension first, nonce, box."""
        cookie = Cookie(b"c" * 16, b"s" * 16, b"n" * 16, b"b" * 144)
        expected = b"RL3aNMXK" + b"c" * 16 + b"s" * 16 + b"n" * 16 + b"b" * 144
        self.assertEqual(cookie.encode(), expected)

    def test_initiate(self) -> None:
        """Magic, both extensions, C', K, nonce, box."""
        initiate = Initiate(
            b"s" * 16, b"c" * 16, b"k" * 32, b"K" * 96, 0x0102, b"b" * 384
        )
        expected = b"QvnQ5XlI" + b"s" * 16 + b"c" * 16 + b"k" * 32 + b"K" * 96
        self.assertEqual(initiate.encode(), expected + b"\2\1" + bytes(6) + b"b" * 384)

    def test_message_heads(self) -> None:
        """The receiver's extension is first; only a client's head has a key."""
        self.assertEqual(
            packets.server_message_head(b"c" * 16, b"s" * 16),
            b"RL3aNMXM" + b"c" * 16 + b"s" * 16,
        )
        self.assertEqual(
            packets.client_message_head(b"s" * 16, b"c" * 16, b"k" * 32),
            b"QvnQ5XlM" + b"s" * 16 + b"c" * 16 + b"k" * 32,
        )
        self.assertEqual(packets.SERVER_MESSAGE_NONCE, 40)
        self.assertEqual(packets.CLIENT_MESSAGE_NONCE, 72)


class StrictnessTests(SynchronousTestCase):
    """Parsers take exact packets and nothing else."""

    def test_every_length_and_magic(self) -> None:
        """Each parser takes its own magic at its own lengths, out of 0 to 2048."""
        body = bytes(range(256)) * 8
        for parser, (own, lengths) in LEGAL_LENGTHS.items():
            for magic in MAGICS.values():
                datagram = magic + body
                parsed = {n for n in range(2049) if parser.parse(datagram[:n])}
                self.assertEqual(parsed, lengths if magic == own else set())

    def test_every_magic_off_by_one_bit(self) -> None:
        """A magic with one bit turned over is another magic."""
        for parser, (own, lengths) in LEGAL_LENGTHS.items():
            for length in lengths:
                for bit in range(64):
                    magic = int.from_bytes(own, "little") ^ 1 << bit
                    datagram = magic.to_bytes(8, "little").ljust(length, b"\0")
                    self.assertIsNone(parser.parse(datagram))

    @given(st.sampled_from([b"", *MAGICS.values()]), st.binary(max_size=1300))
    def test_anything(self, magic: bytes, rest: bytes) -> None:
        """No input makes a parser raise; what it takes encodes to the same size."""
        datagram = magic + rest
        for parser in LEGAL_LENGTHS:
            parsed = parser.parse(datagram)
            if parsed is not None:
                self.assertEqual(len(parsed.encode()), len(datagram))
