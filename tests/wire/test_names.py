"""Server names, and values written in hexadecimal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import BadName
from curvecp_tx.wire.names import (
    decode_server_name,
    encode_server_name,
    parse_extension,
    parse_hex,
    parse_key,
)

LABELS = st.text(
    st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=15
)


def field(encoded: bytes) -> bytes:
    """Fill up a name field with zeros."""
    return encoded.ljust(256, b"\0")


class EncodeTests(SynchronousTestCase):
    """From a name to the field of an Initiate."""

    def test_labels(self) -> None:
        """Each label follows its length; zeros fill 256 bytes."""
        self.assertEqual(
            encode_server_name("this.machine.name"),
            field(b"\4this\7machine\4name"),
        )

    def test_empty_name(self) -> None:
        """The empty name is all zeros."""
        self.assertEqual(encode_server_name(""), bytes(256))

    def test_empty_labels(self) -> None:
        """Dots too many do not count, wherever they stand."""
        for name in ("a.b.", ".a.b", "a..b", "...a...b..."):
            self.assertEqual(encode_server_name(name), field(b"\1a\1b"))
        self.assertEqual(encode_server_name("..."), bytes(256))

    def test_case(self) -> None:
        """Case is kept."""
        self.assertNotEqual(encode_server_name("Name"), encode_server_name("name"))

    def test_label_limit(self) -> None:
        """A label may have 63 bytes, not 64."""
        self.assertEqual(encode_server_name("a" * 63), field(b"?" + b"a" * 63))
        error = self.assertRaises(BadName, encode_server_name, "a" * 64)
        self.assertEqual(error.detail, "a" * 64)

    def test_label_limit_in_bytes(self) -> None:
        """Bytes are counted, not characters."""
        self.assertEqual(encode_server_name("é" * 31)[0], 62)
        self.assertRaises(BadName, encode_server_name, "é" * 32)

    def test_name_limit(self) -> None:
        """An encoded name may have 255 bytes with its terminator, not 256."""
        labels = [*["a" * 63] * 3, "b" * 61]
        longest = encode_server_name(".".join(labels))
        self.assertEqual(longest[253:], b"b\0\0")
        labels[-1] += "b"
        self.assertRaises(BadName, encode_server_name, ".".join(labels))

    def test_not_encodable(self) -> None:
        """A name that has no bytes is a bad name, too."""
        self.assertRaises(BadName, encode_server_name, "\ud800")

    @given(st.text(max_size=300))
    def test_anything(self, name: str) -> None:
        """A name gives 256 bytes that can be read again, or BadName."""
        try:
            encoded = encode_server_name(name)
        except BadName:
            return
        self.assertEqual(len(encoded), 256)
        labels = [label for label in name.split(".") if label]
        self.assertEqual(decode_server_name(encoded), ".".join(labels))


class DecodeTests(SynchronousTestCase):
    """From the field to a name."""

    @given(st.lists(LABELS, max_size=4))
    def test_round_trip(self, labels: list[str]) -> None:
        """A name comes back from its field."""
        name = ".".join(labels)
        self.assertEqual(decode_server_name(encode_server_name(name)), name)

    def test_bytes_of_no_text(self) -> None:
        """Bytes that are not UTF-8 survive both ways."""
        encoded = field(b"\2\xff\xfe")
        name = decode_server_name(encoded)
        self.assertIsNotNone(name)
        self.assertEqual(encode_server_name(name or ""), encoded)

    def test_wrong_size(self) -> None:
        """A field of any size but 256 is none."""
        for size in (0, 1, 255, 257, 512):
            self.assertIsNone(decode_server_name(bytes(size)))

    def test_long_label(self) -> None:
        """A label of over 63 bytes is refused."""
        self.assertEqual(decode_server_name(field(b"?" + b"a" * 63)), "a" * 63)
        self.assertIsNone(decode_server_name(field(b"@" + b"a" * 64)))

    def test_padding(self) -> None:
        """Only zeros may follow the terminator."""
        self.assertIsNone(decode_server_name(field(b"\1a\0\1b")))
        self.assertIsNone(decode_server_name(b"\1a".ljust(255, b"\0") + b"\1"))

    def test_no_terminator(self) -> None:
        """A name that ends beyond 255 bytes is refused."""
        start = (b"?" + b"a" * 63) * 3
        self.assertIsNotNone(decode_server_name(field(start + b"=" + b"b" * 61)))
        self.assertIsNone(decode_server_name(field(start + b">" + b"b" * 62)))
        self.assertIsNone(decode_server_name(start + b"?" + b"b" * 63))

    def test_dot_in_label(self) -> None:
        """A label with a dot inside cannot be written as a name."""
        self.assertIsNone(decode_server_name(field(b"\3a.b")))

    @given(st.binary(max_size=300), st.booleans())
    def test_anything(self, junk: bytes, fill: bool) -> None:
        """No field makes it raise, and a name that it gives has that field."""
        name = decode_server_name(field(junk) if fill else junk)
        if name is not None:
            self.assertEqual(encode_server_name(name), field(junk))


class HexTests(SynchronousTestCase):
    """Keys and extensions as text."""

    def test_sizes(self) -> None:
        """A key has 64 digits, an extension 32, of either case."""
        self.assertEqual(parse_key("0aF" + "0" * 61), b"\x0a\xf0" + bytes(30))
        self.assertEqual(parse_extension("Ff" * 16), b"\xff" * 16)
        self.assertEqual(parse_hex("", 0), b"")

    def test_wrong_sizes(self) -> None:
        """One digit more or less is one too many or too few."""
        for digits in (0, 31, 33, 63, 64, 65):
            self.assertIsNone(parse_extension("0" * digits))
        for digits in (0, 32, 63, 65, 66):
            self.assertIsNone(parse_key("0" * digits))

    def test_foreign_characters(self) -> None:
        """Nothing but digits passes, not even what looks like one or is blank."""
        for strange in ("g", "x", " ", "\n", "-", "_", "\u0663", "\uff10"):
            for place in (0, 15, 31):
                text = "0" * place + strange + "0" * (31 - place)
                self.assertIsNone(parse_extension(text))

    @given(st.binary(max_size=40))
    def test_round_trip(self, value: bytes) -> None:
        """Bytes come back from their digits."""
        self.assertEqual(parse_hex(value.hex(), len(value)), value)
        self.assertEqual(parse_hex(value.hex().upper(), len(value)), value)

    @given(st.text(max_size=8))
    def test_anything(self, text: str) -> None:
        """Any text gives four bytes with these digits, or nothing."""
        value = parse_hex(text, 4)
        if value is not None:
            self.assertEqual(value.hex(), text.lower())
