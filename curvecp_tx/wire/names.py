"""Server names, and keys and extensions written in hexadecimal."""

from __future__ import annotations

import re

from curvecp_tx.errors import BadName
from curvecp_tx.wire.packets import EXTENSION_BYTES, KEY_BYTES, NAME_BYTES

MAX_LABEL_BYTES = 63
MAX_ENCODED_NAME_BYTES = 255
"""DNS allows no more, terminator included; the field in the packet has 256."""

_HEX = re.compile(r"[0-9A-Fa-f]*\Z")


def encode_server_name(name: str) -> bytes:
    """Encode a server name as the 256-byte field of an Initiate.

    The form is that of DNS: a length byte before each label, a zero byte at the
    end; zeros fill the rest. Empty labels (a dot too many, or the one at the
    end) are skipped and case is kept. The empty name is a name.

    :raises BadName: for a label of over 63 bytes or a name of over 255.
    """
    try:
        labels = name.encode("utf-8", "surrogateescape").split(b".")
    except UnicodeEncodeError:
        raise BadName(ascii(name)) from None
    encoded = bytearray()
    for label in labels:
        if not label:
            continue
        if len(label) > MAX_LABEL_BYTES:
            raise BadName(name)
        encoded.append(len(label))
        encoded += label
    encoded.append(0)
    if len(encoded) > MAX_ENCODED_NAME_BYTES:
        raise BadName(name)
    return bytes(encoded).ljust(NAME_BYTES, b"\0")


def decode_server_name(field: bytes) -> str | None:
    """Read a 256-byte name field; ``None`` if it breaks any rule of its form.

    A dot inside a label is such a breach: as text it would be another name.
    """
    if len(field) != NAME_BYTES:
        return None
    labels: list[bytes] = []
    position = 0
    while (size := field[position]) != 0:
        end = position + 1 + size
        if size > MAX_LABEL_BYTES or end >= MAX_ENCODED_NAME_BYTES:
            return None
        label = field[position + 1 : end]
        if b"." in label:
            return None
        labels.append(label)
        position = end
    if any(field[position:]):
        return None
    return b".".join(labels).decode("utf-8", "surrogateescape")


def parse_hex(text: str, size: int) -> bytes | None:
    """Read exactly ``size`` bytes written as hexadecimal digits of either case."""
    if len(text) != 2 * size or not _HEX.match(text):
        return None
    return bytes.fromhex(text)


def parse_key(text: str) -> bytes | None:
    """Read a public key: 64 hexadecimal digits."""
    return parse_hex(text, KEY_BYTES)


def parse_extension(text: str) -> bytes | None:
    """Read an extension: 32 hexadecimal digits."""
    return parse_hex(text, EXTENSION_BYTES)
