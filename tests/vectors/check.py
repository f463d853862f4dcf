"""Checks the known answers with PyNaCl alone, and none of the package.

``check.py packets.json messages.json`` prints counts, and every disagreement;
its exit status is 1 if there is any.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

from nacl import bindings
from nacl.exceptions import CryptoError

SIZES = {  # length of what surrounds a message, least and greatest message
    "initiate": (544, 16, 640),
    "server message": (64, 16, 1088),
    "client message": (96, 16, 1088),
}
MAGICS = {
    "hello": b"QvnQ5XlH",
    "cookie": b"RL3aNMXK",
    "initiate": b"QvnQ5XlI",
    "server message": b"RL3aNMXM",
    "client message": b"QvnQ5XlM",
}


class Dropped(Exception):
    """Why a packet does not count."""


def unbox(key: bytes, nonce: bytes, box: bytes, problem: str = "bad box") -> bytes:
    try:
        return bytes(bindings.crypto_secretbox_open(box, nonce, key))
    except CryptoError:
        raise Dropped(problem) from None


def agree(public: bytes, secret: bytes) -> bytes:
    try:
        return bytes(bindings.crypto_box_beforenm(public, secret))
    except (CryptoError, RuntimeError):
        raise Dropped("low-order key") from None


class Receiver:
    """Server and client of the file, with what each of them may know."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.s = {k: bytes.fromhex(v) for k, v in content["secrets"].items()}
        self.p = {
            k: bytes(bindings.crypto_scalarmult_base(v)) for k, v in self.s.items()
        }
        self.ext = {k: bytes.fromhex(v) for k, v in content["extensions"].items()}
        self.vouch_nonce = bytes.fromhex(content["vouch_nonce"])
        self.name = name_form(content["server_name"])

    def open(self, kind: str, packet: bytes, host: str) -> dict[str, Any]:
        if kind == "cookie value":
            return self.cookie_value(packet, host)
        if kind == "vouch":
            key = agree(self.p["client"], self.s["server"])
            nonce = b"CurveCPV" + self.vouch_nonce
            return {"short_term_key": unbox(key, nonce, packet, "bad vouch")}
        around, least, greatest = SIZES.get(kind, (0, 0, 0))
        if kind in SIZES:
            fits = least <= len(packet) - around <= greatest and len(packet) % 16 == 0
        else:
            fits = len(packet) == {"hello": 224, "cookie": 200}[kind]
        if not fits:
            raise Dropped("bad size")
        to_client = kind in ("cookie", "server message")
        receiver, sender = ("client", "server") if to_client else ("server", "client")
        if packet[8:24] != self.ext[receiver]:
            raise Dropped("wrong extension")
        if to_client and packet[24:40] != self.ext[sender]:
            raise Dropped("wrong extension")
        if packet[:8] != MAGICS[kind]:
            raise Dropped("bad magic")
        opened: dict[str, Any] = getattr(self, kind.replace(" ", "_"))(packet)
        return opened

    def hello(self, packet: bytes) -> dict[str, Any]:
        key = agree(packet[40:72], self.s["server"])
        inside = unbox(key, b"CurveCP-client-H" + packet[136:144], packet[144:])
        nonce = int.from_bytes(packet[136:144], "little")
        return {
            "short_term_key": packet[40:72],
            "client_extension": packet[24:40],
            "nonce": nonce,
            "inside": inside,
        }

    def cookie(self, packet: bytes) -> dict[str, Any]:
        key = agree(self.p["server"], self.s["client_short_term"])
        inside = unbox(key, b"CurveCPK" + packet[40:56], packet[56:])
        agree(inside[:32], self.s["client_short_term"])
        return {"server_short_term_key": inside[:32], "value": inside[32:]}

    def cookie_value(self, value: bytes, host: str) -> dict[str, Any]:
        for minute in (self.s["minute"], self.s["previous_minute"]):
            key = minute
            if host:
                key = hashlib.blake2b(host.encode(), key=key, digest_size=32).digest()
            try:
                inside = unbox(key, b"minute-k" + value[:16], value[16:])
            except Dropped:
                continue
            return {"short_term_key": inside[:32], "secret": inside[32:]}
        raise Dropped("bad cookie")

    def initiate(self, packet: bytes) -> dict[str, Any]:
        cookie = self.cookie_value(packet[72:168], "")
        if cookie["short_term_key"] != packet[40:72]:
            raise Dropped("bad cookie")
        key = agree(packet[40:72], cookie["secret"])
        inside = unbox(key, b"CurveCP-client-I" + packet[168:176], packet[176:])
        if inside[96:352] != self.name:
            raise Dropped("wrong name")
        key = agree(inside[:32], self.s["server"])
        nonce = b"CurveCPV" + inside[32:48]
        if unbox(key, nonce, inside[48:96], "bad vouch") != packet[40:72]:
            raise Dropped("bad vouch")
        nonce_sent = int.from_bytes(packet[168:176], "little")
        return {"client_key": inside[:32], "message": inside[352:], "nonce": nonce_sent}

    def server_message(self, packet: bytes) -> dict[str, Any]:
        key = agree(self.p["server_short_term"], self.s["client_short_term"])
        message = unbox(key, b"CurveCP-server-M" + packet[40:48], packet[48:])
        return {"message": message, "nonce": int.from_bytes(packet[40:48], "little")}

    def client_message(self, packet: bytes) -> dict[str, Any]:
        if packet[40:72] != self.p["client_short_term"]:
            raise Dropped("unknown connection")
        nonce = int.from_bytes(packet[72:80], "little")
        if nonce == 2:
            raise Dropped("replay")
        key = agree(packet[40:72], self.s["server_short_term"])
        message = unbox(key, b"CurveCP-client-M" + packet[72:80], packet[80:])
        return {"message": message, "nonce": nonce}


def decode(message: bytes, sent: int | None) -> tuple[dict[str, Any], str | None]:
    """Give what a message says, and what is wrong with it."""
    if not 48 <= len(message) <= 1088:
        return {}, "bad size"

    def number(at: int, size: int) -> int:
        return int.from_bytes(message[at : at + size], "little")

    ranges: list[list[int]] = []
    at, end = 8, 0
    for gap_size, size_size in ((0, 8), (4, 2), (2, 2), (2, 2), (2, 2), (2, 2)):
        start = end + number(at, gap_size)
        end = start + number(at + gap_size, size_size)
        at += gap_size + size_size
        if end > start and ranges and ranges[-1][1] == start:
            ranges[-1][1] = end
        elif end > start:
            ranges.append([start, end])
    says = {"id": number(0, 4), "acknowledged": number(4, 4), "ranges": ranges}
    tail, position = number(38, 2), number(40, 8)
    size, ends = tail & ~6144, tail & 6144
    if size > 1024:
        return says, "block too long"
    if size > len(message) - 48:
        return says, "block beyond message"
    if ends == 6144:
        return says, "two ends"
    if position + size >= 1 << 60:
        return says, "stream too long"
    end_name = {0: None, 2048: "success", 4096: "failure"}[ends]
    block = message[len(message) - size :].hex()
    says |= {"position": position, "block": block, "end": end_name}
    beyond = sent is not None and any(stop > sent for _, stop in ranges)
    return says, "bad range" if beyond else None


def name_form(text: str) -> bytes:
    labels = [label for label in text.encode().split(b".") if label]
    form = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if any(len(label) > 63 for label in labels):
        raise Dropped("long label")
    if len(form) > 255:
        raise Dropped("long name")
    return form.ljust(256, b"\0")


def read_name(field: bytes) -> None:
    at = 0
    while size := field[at]:
        if size > 63:
            raise Dropped("long label")
        if b"." in field[at + 1 : at + 1 + size]:
            raise Dropped("dot in a label")
        at += 1 + size
        if at >= 255:
            raise Dropped("no end")
    if any(field[at:]):
        raise Dropped("bytes behind the end")


def judge(vector: dict[str, Any], receiver: Receiver) -> str:
    """Compare a vector with what is found; empty if all is well."""
    wanted = vector.get("error")
    try:
        if "packet" in vector:
            packet = bytes.fromhex(vector["packet"])
            found = receiver.open(vector["kind"], packet, vector.get("host", ""))
            plain = {
                k: v.hex() if isinstance(v, bytes) else v for k, v in found.items()
            }
            return "" if wanted is None and plain == vector["opens"] else "opens"
        if "message" in vector:
            message = bytes.fromhex(vector["message"])
            says, error = decode(message, vector.get("sent"))
            right = error == wanted and says == vector.get("decodes", {})
            return "" if right else f"decodes, {error}"
        if "text" in vector:
            form = name_form(vector["text"]).hex()
            same = wanted is None and form == vector["encoded"].ljust(512, "0")
            return "" if same else "another form"
        read_name(bytes.fromhex(vector["field"]).ljust(256, b"\0"))
        return "is a name"
    except Dropped as reason:
        return "" if str(reason) == wanted else str(reason)


def main(packets: str, messages: str) -> int:
    with open(packets, encoding="ascii") as file:
        content = json.load(file)
    with open(messages, encoding="ascii") as file:
        others = json.load(file)
    receiver = Receiver(content)
    wrong = 0
    for vectors in (content["vectors"], others["messages"], others["names"]):
        for vector in vectors:
            problem = judge(vector, receiver)
            if problem:
                wrong += 1
                print(f"disagree: {vector.get('name', vector)}: {problem}")
        negative = sum("error" in vector for vector in vectors)
        print(f"{len(vectors) - negative} positive, {negative} negative")
    print("agree" if not wrong else f"{wrong} disagree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
