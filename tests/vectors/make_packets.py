"""Prints the known answers about packets: ``make_packets.py >packets.json``.

It is written from the tables of the protocol, with PyNaCl alone: nothing of the
package is imported. All keys and nonces are fixed, so that the same files come
out each time.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any

from nacl.bindings import crypto_box_afternm as seal
from nacl.bindings import crypto_box_beforenm as shared
from nacl.bindings import crypto_scalarmult_base as public_of

Vector = dict[str, Any]

SECRETS = {
    "server": b"\x11" * 32,
    "server_short_term": b"\x22" * 32,
    "client": b"\x33" * 32,
    "client_short_term": b"\x44" * 32,
    "minute": b"\x55" * 32,
    "previous_minute": b"\x56" * 32,
}
S, S_SHORT, C, C_SHORT, MINUTE, PREVIOUS = SECRETS.values()
STRANGER = b"\x99" * 32
SEXT = bytes.fromhex("31415926535897932384626433832795")
CEXT = bytes(range(16))
NAME = "this.machine.name"
LONG_NONCE, VOUCH_NONCE = b"\x66" * 16, b"\x77" * 16
LOW_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
)

ABOUT = (
    "Packets, cookie values and vouches. 'packet' is what arrives, in hexadecimal. "
    "Its receiver has the 'secrets' here, of which it uses its own, the public keys "
    "of the others, its 'extensions' and its 'server_name'. 'opens' is what the "
    "receiver finds; 'error' is why it drops the packet instead, the first reason "
    "in the order of its checks. A Message arrives after the vector named "
    "'initiate' has opened the connection. 'host' is the address to which a cookie "
    "value is bound; others are bound to none."
)


def le(number: int, size: int = 8) -> bytes:
    return number.to_bytes(size, "little")


def flip(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def encoded(name: str) -> bytes:
    labels = name.encode().split(b".") if name else []
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def text(size: int) -> bytes:
    return bytes(range(1, 17)) * (size // 16)


def hello(
    *,
    nonce: int = 1,
    extension: bytes = CEXT,
    secret: bytes = C_SHORT,
    key: bytes = b"",
    reserved: bytes = bytes(64),
    inside: bytes = bytes(64),
    sealed_as: int | None = None,
    server: bytes = S,
) -> bytes:
    box_nonce = b"CurveCP-client-H" + le(nonce if sealed_as is None else sealed_as)
    box = seal(inside, box_nonce, shared(public_of(server), secret))
    head = b"QvnQ5XlH" + SEXT + extension + (key or public_of(secret))
    return bytes(head + reserved + le(nonce) + box)


def value(
    *,
    key: bytes = MINUTE,
    client: bytes = C_SHORT,
    host: str = "",
    secret: bytes = S_SHORT,
) -> bytes:
    if host:
        key = blake2b(host.encode(), key=key, digest_size=32).digest()
    box = seal(public_of(client) + secret, b"minute-k" + LONG_NONCE, key)
    return LONG_NONCE + bytes(box)


def cookie(*, inside: bytes = b"", server: bytes = S, client: bytes = C_SHORT) -> bytes:
    inside = inside or public_of(S_SHORT) + value()
    key = shared(public_of(client), server)
    box = seal(inside, b"CurveCPK" + LONG_NONCE, key)
    return b"RL3aNMXK" + CEXT + SEXT + LONG_NONCE + bytes(box)


def vouch(
    *, client: bytes = C, short: bytes = C_SHORT, nonce: bytes = VOUCH_NONCE
) -> bytes:
    key = shared(public_of(S), client)
    return bytes(seal(public_of(short), b"CurveCPV" + nonce, key))


def initiate(
    size: int = 192,
    *,
    nonce: int = 2,
    sealed_as: int | None = None,
    cookie_value: bytes = b"",
    key: bytes = b"",
    proof: bytes = b"",
    name: bytes = b"",
    extra: bytes = b"",
    session: bytes = S_SHORT,
) -> bytes:
    name = (name or encoded(NAME)).ljust(256, b"\0")
    contents = (key or public_of(C)) + VOUCH_NONCE + (proof or vouch())
    contents += name + text(size) + extra
    box_nonce = b"CurveCP-client-I" + le(nonce if sealed_as is None else sealed_as)
    box = seal(contents, box_nonce, shared(public_of(session), C_SHORT))
    head = b"QvnQ5XlI" + SEXT + CEXT + public_of(C_SHORT)
    return bytes(head + (cookie_value or value()) + le(nonce) + box)


def server_message(
    size: int = 192, *, nonce: int = 5, prefix: bytes = b"CurveCP-server-M"
) -> bytes:
    box = seal(text(size), prefix + le(nonce), shared(public_of(S_SHORT), C_SHORT))
    return bytes(b"RL3aNMXM" + CEXT + SEXT + le(nonce) + box)


def client_message(
    size: int = 192,
    *,
    nonce: int = 5,
    prefix: bytes = b"CurveCP-client-M",
    extension: bytes = CEXT,
    client: bytes = C_SHORT,
) -> bytes:
    box = seal(text(size), prefix + le(nonce), shared(public_of(S_SHORT), client))
    head = b"QvnQ5XlM" + SEXT + extension + public_of(client)
    return bytes(head + le(nonce) + box)


def good(kind: str, name: str, packet: bytes, **opens: Any) -> Vector:
    found = {k: v.hex() if isinstance(v, bytes) else v for k, v in opens.items()}
    return {"kind": kind, "name": name, "packet": packet.hex(), "opens": found}


def bad(kind: str, name: str, packet: bytes, error: str) -> Vector:
    return {"kind": kind, "name": name, "packet": packet.hex(), "error": error}


def common_errors(kind: str, packet: bytes, magic: bytes) -> list[Vector]:
    """Give what may be wrong with a packet of any kind."""
    return [
        bad(kind, f"{kind}, empty", b"", "bad size"),
        bad(kind, f"{kind}, one byte short", packet[:-1], "bad size"),
        bad(kind, f"{kind}, one byte more", packet + b"\0", "bad size"),
        bad(kind, f"{kind}, magic off by one bit", flip(packet, 0), "bad magic"),
        bad(kind, f"{kind}, magic of the other way", magic + packet[8:], "bad magic"),
        bad(kind, f"{kind}, another receiver", flip(packet, 8), "wrong extension"),
        bad(kind, f"{kind}, tag changed", flip(packet, BOX_AT[kind]), "bad box"),
        bad(kind, f"{kind}, last byte changed", flip(packet, -1), "bad box"),
    ]


BOX_AT = {
    "hello": 144,
    "cookie": 56,
    "initiate": 176,
    "server message": 48,
    "client message": 80,
}


def hello_vectors() -> list[Vector]:
    key = public_of(C_SHORT)

    def opens(name: str, packet: bytes, **changes: Any) -> Vector:
        usual = {"short_term_key": key, "client_extension": CEXT, "nonce": 1}
        usual["inside"] = bytes(64)
        return good("hello", name, packet, **{**usual, **changes})

    top = key[:31] + bytes([key[31] | 0x80])
    other, some = b"another extensio", b"\x01" * 64
    return [
        opens("hello", hello()),
        opens("hello, nonce 0", hello(nonce=0), nonce=0),
        opens("hello, high nonce", hello(nonce=2**48 - 1), nonce=2**48 - 1),
        opens("hello, reserved bytes in clear", hello(reserved=some)),
        opens("hello, reserved bytes in the box", hello(inside=some), inside=some),
        opens(
            "hello, other client extension",
            hello(extension=other),
            client_extension=other,
        ),
        opens("hello, top bit of the key", hello(key=top), short_term_key=top),
        *common_errors("hello", hello(), b"RL3aNMXK"),
        bad("hello", "hello, 208 bytes", hello()[:208], "bad size"),
        bad("hello", "hello, 240 bytes", hello() + bytes(16), "bad size"),
        bad("hello", "hello, for another key", hello(server=STRANGER), "bad box"),
        bad("hello", "hello, another nonce", hello(sealed_as=2), "bad box"),
        *(
            bad(
                "hello",
                f"hello, low-order key {number}",
                hello(key=bytes.fromhex(point)),
                "low-order key",
            )
            for number, point in enumerate(LOW_ORDER, 1)
        ),
    ]


def cookie_vectors() -> list[Vector]:
    short, usual = public_of(S_SHORT), cookie()
    low = cookie(inside=bytes.fromhex(LOW_ORDER[2]) + value())
    bound = value(host="192.0.2.1")
    opened = {"short_term_key": public_of(C_SHORT), "secret": S_SHORT}
    return [
        good("cookie", "cookie", usual, server_short_term_key=short, value=value()),
        *common_errors("cookie", usual, b"QvnQ5XlH"),
        bad("cookie", "cookie, another sender", flip(usual, 24), "wrong extension"),
        bad("cookie", "cookie, another nonce", flip(usual, 40), "bad box"),
        bad("cookie", "cookie, another server", cookie(server=STRANGER), "bad box"),
        bad("cookie", "cookie, another client", cookie(client=STRANGER), "bad box"),
        bad("cookie", "cookie, low-order key inside", low, "low-order key"),
        good("cookie value", "cookie value", value(), **opened),
        {
            **good("cookie value", "cookie value, bound", bound, **opened),
            "host": "192.0.2.1",
        },
        {
            **bad("cookie value", "cookie value, elsewhere", bound, "bad cookie"),
            "host": "192.0.2.2",
        },
        bad("cookie value", "cookie value, changed", flip(value(), -1), "bad cookie"),
        bad(
            "cookie value",
            "cookie value, forgotten minute",
            value(key=STRANGER),
            "bad cookie",
        ),
    ]


def initiate_vectors() -> list[Vector]:
    usual = initiate()

    def opens(name: str, packet: bytes, size: int, nonce: int = 2) -> Vector:
        found = {"client_key": public_of(C), "message": text(size), "nonce": nonce}
        return good("initiate", name, packet, **found)

    def fails(what: str, error: str, size: int = 192, **changes: Any) -> Vector:
        return bad("initiate", f"initiate, {what}", initiate(size, **changes), error)

    stray = encoded(NAME).ljust(255, b"\0") + b"\x01"
    previous = initiate(cookie_value=value(key=PREVIOUS))
    return [
        opens("initiate", usual, 192),
        opens("initiate, least message", initiate(16), 16),
        opens("initiate, greatest message", initiate(640), 640),
        opens("initiate, high nonce", initiate(nonce=2**63), 192, 2**63),
        opens("initiate, previous minute", previous, 192),
        *common_errors("initiate", usual, b"RL3aNMXM"),
        fails("no message", "bad size", 0),
        fails("too long a message", "bad size", 656),
        fails("not a multiple of 16", "bad size", extra=b"12345678"),
        fails("another nonce", "bad box", sealed_as=3),
        fails("another session", "bad box", session=STRANGER),
        fails("cookie changed", "bad cookie", cookie_value=flip(value(), 95)),
        fails("cookie of another", "bad cookie", cookie_value=value(client=STRANGER)),
        fails("cookie too old", "bad cookie", cookie_value=value(key=STRANGER)),
        fails("another name", "wrong name", name=encoded("other.machine.name")),
        fails("another case", "wrong name", name=encoded("This.machine.name")),
        fails("no name", "wrong name", name=b"\0"),
        fails("bytes behind the name", "wrong name", name=stray),
        fails("vouch changed", "bad vouch", proof=flip(vouch(), 20)),
        fails("vouch by another", "bad vouch", proof=vouch(client=STRANGER)),
        fails("vouch for another", "bad vouch", proof=vouch(short=STRANGER)),
        fails("vouch, other nonce", "bad vouch", proof=vouch(nonce=LONG_NONCE)),
        fails("another client key", "bad vouch", key=public_of(STRANGER)),
        *(
            fails(
                f"low-order client key {number}",
                "low-order key",
                key=bytes.fromhex(point),
            )
            for number, point in enumerate(LOW_ORDER, 1)
        ),
        good("vouch", "vouch", vouch(), short_term_key=public_of(C_SHORT)),
        bad("vouch", "vouch, changed", flip(vouch(), 0), "bad vouch"),
        bad("vouch", "vouch, by another", vouch(client=STRANGER), "bad vouch"),
    ]


def message_packet_vectors() -> list[Vector]:
    to_client, to_server = "server message", "client message"
    vectors = []
    for size in (16, 192, 1088):
        for kind, packet in (
            (to_client, server_message(size)),
            (to_server, client_message(size)),
        ):
            name = kind if size == 192 else f"{kind} of {size} bytes"
            vectors.append(good(kind, name, packet, message=text(size), nonce=5))
    last = 2**64 - 2
    other = client_message(extension=b"another extensio")
    reflected = server_message(nonce=5, prefix=b"CurveCP-client-M")
    return [
        *vectors,
        good(
            to_client,
            f"{to_client}, last nonce",
            server_message(nonce=last),
            message=text(192),
            nonce=last,
        ),
        good(
            to_server, f"{to_server}, new extension", other, message=text(192), nonce=5
        ),
        *common_errors(to_client, server_message(), b"QvnQ5XlM"),
        *common_errors(to_server, client_message(), b"RL3aNMXM"),
        bad(to_client, f"{to_client}, no message", server_message(0), "bad size"),
        bad(to_client, f"{to_client}, too long", server_message(1104), "bad size"),
        bad(
            to_client,
            f"{to_client}, another sender",
            flip(server_message(), 24),
            "wrong extension",
        ),
        bad(to_client, f"{to_client}, reflected", reflected, "bad box"),
        bad(to_server, f"{to_server}, no message", client_message(0), "bad size"),
        bad(to_server, f"{to_server}, too long", client_message(1104), "bad size"),
        bad(
            to_server,
            f"{to_server}, reflected",
            client_message(prefix=b"CurveCP-server-M"),
            "bad box",
        ),
        bad(
            to_server,
            f"{to_server}, another client",
            client_message(client=STRANGER),
            "unknown connection",
        ),
        bad(
            to_server,
            f"{to_server}, nonce of the Initiate",
            client_message(nonce=2),
            "replay",
        ),
    ]


def main() -> None:
    vectors = [
        *hello_vectors(),
        *cookie_vectors(),
        *initiate_vectors(),
        *message_packet_vectors(),
    ]
    content = {
        "about": ABOUT,
        "secrets": {name: secret.hex() for name, secret in SECRETS.items()},
        "extensions": {"server": SEXT.hex(), "client": CEXT.hex()},
        "server_name": NAME,
        "vouch_nonce": VOUCH_NONCE.hex(),
        "vectors": vectors,
    }
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
