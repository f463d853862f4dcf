"""What a search begins with: conversations that get far, values with all parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

from curvecp_tx.wire.frames import encode_frame
from curvecp_tx.wire.messages import FAILURE, SUCCESS, encode_message
from curvecp_tx.wire.names import encode_server_name
from fuzz.datagrams import ClientDatagramPlay, ServerDatagramPlay, recorded
from fuzz.inside_client import ClientPlay
from fuzz.inside_server import ServerPlay
from fuzz.script import step
from fuzz.streams import StreamPlay

KEY = bytes(range(32)).hex().encode()


def packets() -> Iterator[bytes]:
    """All kinds of packets, genuine."""
    for side in recorded():
        yield from side


def messages() -> Iterator[bytes]:
    """Messages with everything that a message may have."""
    yield encode_message()
    yield encode_message(message_id=1, block=b"block", ending=SUCCESS, limit=1 << 17)
    yield encode_message(message_id=2, position=2**60 - 9, block=b"8 bytes.")
    yield encode_message(
        acknowledged_id=3,
        ranges=[(0, 10), (20, 30), (31, 40), (50, 70_000), (70_001, 200_000)],
        ending=FAILURE,
    )
    yield encode_message(
        ranges=[(20 * number, 20 * number + 10) for number in range(40)],
        block=b"b" * 600,
        limit=1 << 20,
    )


def frames() -> Iterator[bytes]:
    """Frames, whole and cut, and a byte that begins none."""
    content = encode_frame(bytes(16)) + encode_frame(bytes(192)) * 2
    for sizes in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x10\x03\x50\x01"):
        yield sizes + content
        yield sizes + content + b"\x45"
        yield sizes + content[:-7]


def names() -> Iterator[bytes]:
    """Names in both forms, good and bad."""
    yield b"server.example"
    yield b".a..b." + b"c" * 63
    yield b"d" * 64
    yield b".".join([b"e" * 50] * 5)
    yield encode_server_name("server.example")
    yield encode_server_name("server.example")[:-1] + b"x"
    yield KEY
    yield KEY[:32]


def authorized() -> Iterator[bytes]:
    """Files of authorized keys."""
    yield b"# nobody\n\n" + KEY + b" builder-1 max=4\n"
    yield KEY + b"\r\n" + KEY[::-1] + b" # no name\n"
    yield KEY + b" max=65536\n"
    yield KEY + b"\n" + KEY.upper()
    yield KEY + b" a b"
    yield KEY + b" \xc3\x28"


def server() -> Iterator[bytes]:
    """A recorded connection, and what changes of it come to."""
    count = len(recorded()[0])
    play = ServerDatagramPlay
    whole = [step(play, "genuine", bytes((n,))) for n in range(count)]
    deliver = step(play, "deliver")
    yield b"".join(whole)
    yield deliver.join(whole)
    yield whole[0] + deliver + whole[1] * 2 + whole[2] + step(play, "again", b"\0\0\2")
    for packet in range(count):
        for place in (0, 7, 10, 30, 60, 73, 170, 223):
            change = place.to_bytes(2, "little") + b"\xa5"
            damage = step(play, "again", b"\1" + change + b"\0\2")
            yield deliver.join(whole[: packet + 1]) + damage
    yield step(play, "raw", b"\x70\0" + recorded()[0][-1][:112] + b"\0")


def client() -> Iterator[bytes]:
    """A recorded connection from the other end."""
    count = len(recorded()[1])
    play = ClientDatagramPlay
    whole = [step(play, "genuine", bytes((n,))) for n in range(count)]
    deliver = step(play, "deliver")
    yield b"".join(whole)
    yield deliver.join(whole)
    yield deliver.join(whole[::-1])
    yield step(play, "pass_time", b"\xff\0").join(whole)
    for packet in range(count):
        for place in (0, 7, 10, 30, 45, 60, 110):
            change = place.to_bytes(2, "little") + b"\xa5"
            damage = step(play, "again", b"\1" + change + b"\0\0")
            yield deliver.join(whole[: packet + 1]) + damage


def inside_server() -> Iterator[bytes]:
    """Whole connections of clients who hold the keys."""
    play = ServerPlay
    deliver = step(play, "deliver")

    def enter(client: int, flags: int = 0, address: int = 0) -> bytes:
        who = bytes((client,))
        hello = step(play, "hello", who + b"\0\5\1\0" + bytes((address,)))
        # Flags, then whatever they ask for: owner, message, extension, nonce.
        rest = b"\0\3\1\2\5\2\0" + bytes((address,))
        return hello + deliver + step(play, "initiate", who + bytes((flags,)) + rest)

    def say(client: int, nonce: int, address: int = 0, flags: int = 0) -> bytes:
        who = bytes((client, flags))
        tail = nonce.to_bytes(2, "little") + b"\3\1\2" + bytes((address,))
        return step(play, "message_packet", who + b"\5" + tail)

    send = step(play, "send", b"\3" + b"\3\1\2" * 3 + b"\0")
    talk = enter(1) + say(1, 3) + say(1, 4) + deliver + send
    yield b"\0" + talk
    yield b"\1" + talk
    yield b"\0" + talk + say(1, 5, 2) + deliver + send + say(1, 6, 2) + send
    flood = step(play, "send", b"\7" + b"\x43\1\2" * 7 + b"\0")
    yield b"\0" + talk + say(1, 5, 2) + flood + say(1, 6, 2) + flood + say(1, 7) + flood
    yield b"\0" + talk + step(play, "close", b"\1\0") + enter(1)
    yield b"\0" + talk + step(play, "close", b"\0\0") + enter(1)
    yield b"\0" + enter(1) + step(play, "close", b"\1\0") + enter(1) + deliver
    yield b"\0" + b"".join(enter(number) for number in range(8))
    yield b"\0" + talk + say(1, 4) + say(1, 3) + step(play, "again", b"\0\0\0")
    wait = step(play, "pass_time", (61 * 16).to_bytes(2, "little"))
    yield b"\0" + talk + wait + step(play, "close", b"\0\0") + wait + enter(1)
    for bit in range(8):
        yield b"\0" + enter(1, 1 << bit) + say(1, 4, flags=bit & 3) + deliver
        rules = step(play, "change_rules", bytes((1 << bit | 6,)))
        yield b"\0" + rules + enter(1) + enter(2) + deliver + rules + say(1, 4)


def inside_client() -> Iterator[bytes]:
    """Whole connections to a server that holds the keys."""
    play = ClientPlay
    deliver = step(play, "deliver")
    send = step(play, "send", b"\3" + b"\3\1\2" * 3)
    change = step(play, "change_extension", b"\1")
    cookie = step(play, "cookie", b"\0\7\1\0\0")

    def say(nonce: int, flags: int = 0) -> bytes:
        tail = nonce.to_bytes(2, "little") + b"\3\1\2\0"
        return step(play, "message_packet", bytes((flags,)) + tail)

    talk = send + cookie + deliver + say(9) + say(3) + deliver + send
    for options in (b"\0\0", b"\1\1", b"\3\0"):
        yield options + talk
        yield options + talk + say(3) + say(9, 1) + change + say(10, 2) + send
        yield options + step(play, "wait") * 60
        yield options + send * 3 + cookie + step(play, "wait") * 60
        yield options + cookie + send * 3 + deliver + change + say(1, 2)
        yield options + step(play, "cookie", b"\10\7\1\0\0") + deliver
        yield options + step(play, "cookie", b"\1\7\1\0\0") + deliver


def stream() -> Iterator[bytes]:
    """Whole streams, good, bad and slow."""
    play = StreamPlay
    write = step(play, "write", b"\0\x20")
    wait, read = step(play, "wait"), step(play, "read", b"\0\0")
    run = step(play, "hear_blocks", b"\x30\0")
    told = step(play, "hear_blocks", b"\x08\1\0\0\7")
    gather = step(play, "gather", b"\5")
    answer = step(play, "answer", b"\1")
    block = step(play, "next_block", b"\0\4\7")
    tick = step(play, "pass_time", b"\x32\0")
    pause = step(play, "pass_time", b"\xd0\7")
    finish, abort, stop, ping, discard, oversleep = (
        step(play, "end", bytes((number,))) for number in range(6)
    )

    def hear(flags: int, *parameters: bytes) -> bytes:
        return step(play, "hear", bytes((flags,)) + b"".join(parameters))

    # The place, the size, an ID, the ID that is named, ranges, a limit.
    ending = hear(0x10 | 0x40, b"\0", b"\0\0", b"\7", b"\0", b"\xff\xff\3" + bytes(5))
    no_reader = hear(0x40, b"\0", b"\0\0", b"\7", b"\0", b"\xff" * 8)
    failure = hear(0x20, b"\0", b"\5\0", b"\7", b"\0")
    beyond = hear(1, b"\0\4\0", b"\x40\0", b"\7", b"\0")
    selective = hear(0x08, b"\0", b"\0\0", b"\0", b"\1", b"\0\4\2\xff\3\xff\3\0\0\0\4")
    for flags in (b"\0", b"\1", b"\2"):
        begun = flags + write + wait + answer + block + read
        yield begun + finish + wait + answer + ending + wait * 3 + answer
        yield begun + failure + read + wait * 20
        yield begun + abort + wait * 30
        yield begun + (beyond + block) * 3 + wait + read + discard + block
        yield begun + selective + wait * 4 + answer + wait * 4
        yield begun + wait * 40
        yield begun + run * 3 + read + step(play, "read", b"\0\5") + run + finish * 2
        yield begun + told + gather + block * 4 + answer + run + told + wait + read
        yield begun + (run + read + tick) * 30 + oversleep + wait * 3
        yield begun + told + stop + run + wait * 4 + answer + wait * 9
        yield flags + write + told + abort + wait * 9
        yield begun + no_reader + write + wait * 9
        yield (
            flags + ping + wait * 8 + answer + step(play, "pass_time", b"\xff\xff") * 4
        )
        yield flags + write * 8 + (wait + answer) * 30
        yield flags + (write + tick + answer) * 50 + (wait + answer) * 20
        yield (
            flags + (write + tick + answer) * 20 + (pause + write + answer + tick) * 20
        )
        yield flags + (write + answer + tick + selective) * 30 + wait * 20
        yield flags + block * 140 + read + block * 20
        yield flags + ending * 2 + failure
        yield begun + step(play, "hear_raw", b"\x0c" + Random(1).randbytes(48)) + wait


SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "packets": packets,
    "messages": messages,
    "frames": frames,
    "names": names,
    "authorized": authorized,
    "server": server,
    "client": client,
    "inside-server": inside_server,
    "inside-client": inside_client,
    "stream": stream,
}
