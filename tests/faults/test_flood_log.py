"""What ten thousand bad packets leave behind: exact counts, and next to no words."""

from __future__ import annotations

import random

from twisted.logger import capturedLogs, eventAsText

from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    EXTENSION_BYTES,
    HELLO_MAGIC,
    INITIATE_MAGIC,
)
from tests.faults.figures import OURS, note
from tests.net.recording import (
    CLIENT,
    CLIENT_IDENTITY,
    SERVER_IDENTITY,
    Recorder,
    Recorders,
    WorldCase,
    echo,
    greeting,
    raising,
)

EACH = 1000
"""Bad packets of each kind."""

MOST_LINES = 10
SECRET = b"a secret word"
PAYLOAD = SECRET.ljust(64, b".")
BATCH = 50
OUR_EXTENSION = bytes(EXTENSION_BYTES)
HIDDEN = slice(-16, -8)
"""A place inside the box of any packet."""


def changed(datagram: bytes, at: slice, content: bytes) -> bytes:
    """Give a packet with other bytes in one place."""
    return datagram[: at.start] + content + datagram[at.stop :]


class BadPacketTests(WorldCase):
    """A server with a connection, and packets of all kinds that are wrong."""

    def setUp(self) -> None:
        """Connect a client, and keep the packets by which it did."""
        super().setUp()
        self.noise = random.Random(9).randbytes
        self.seen: list[bytes] = []
        self.network.watch = self.watch
        server = Recorders(received=echo)
        client = Recorders(greeting(PAYLOAD))
        self.far, self.near = self.connect(server, client)
        self.reactor.advance(0)
        self.near.transport.sendMessages([PAYLOAD])
        self.reactor.advance(0)
        self.reactor.advance(0)
        self.hello, self.initiate, self.message = (
            next(packet for packet in self.seen if packet.startswith(magic))
            for magic in (HELLO_MAGIC, INITIATE_MAGIC, CLIENT_MESSAGE_MAGIC)
        )

    def watch(self, datagram: bytes, source: Address, target: Address) -> bool:
        """Keep what the client sends."""
        if source[:2] == CLIENT:
            self.seen.append(datagram)
        return True

    def bad_packets(self) -> dict[str, list[bytes]]:
        """Make packets, by the counter that each has to move."""
        noise = self.noise
        prefix = HELLO_MAGIC[:7]
        makers = {
            "dropped_bad_size": lambda: self.message + noise(1),
            "dropped_bad_magic": lambda: changed(
                self.message, slice(0, 8), prefix + b"?"
            ),
            "dropped_wrong_extension": lambda: changed(
                self.message, slice(8, 24), noise(16)
            ),
            "dropped_bad_hello": lambda: changed(self.hello, HIDDEN, noise(8)),
            "dropped_low_order_key": lambda: changed(
                self.hello, slice(40, 72), bytes(32)
            ),
            "dropped_bad_cookie": lambda: changed(
                self.initiate, slice(40, 72), noise(32)
            ),
            "dropped_unknown_connection": lambda: changed(
                self.message, slice(40, 72), noise(32)
            ),
            "dropped_replay": lambda: self.message,
            "dropped_bad_box": lambda: changed(
                changed(self.message, slice(72, 80), b"\xff" * 8), HIDDEN, noise(8)
            ),
        }
        return {name: [make() for _ in range(EACH)] for name, make in makers.items()}

    def everybody(self, number: int) -> Address:
        """Give an address, so that no limit for one of them plays a part."""
        return (f"198.18.{number // 250}.{1 + number % 250}", 1024 + number)

    def attack(self, packets: list[Datagram]) -> None:
        """Let packets come, as slowly as to pass the limit for all Hellos."""
        for start in range(0, len(packets), BATCH):
            self.listener.datagramsReceived(packets[start : start + BATCH])
            self.reactor.advance(0.05)

    def assert_tells_nothing(self, text: str) -> None:
        """Check that no key, and nothing that was sent, is in a text."""
        secrets = (
            SECRET,
            SERVER_IDENTITY.keys.secret,
            CLIENT_IDENTITY.keys.secret,
            self.initiate[72:168],
            self.message[80:96],
        )
        for secret in secrets:
            for form in (secret.hex(), repr(secret)[2:-1], str(list(secret))):
                self.assertNotIn(form, text)

    def test_bad_packets(self) -> None:
        """Each is counted under its reason; the log stays short, and keeps secrets."""
        before = self.listener.counters.as_dict()
        bad = self.bad_packets()
        bad["dropped_bad_source"] = [self.message] * EACH
        with capturedLogs() as events:
            for name, packets in bad.items():
                port = 0 if name == "dropped_bad_source" else None
                self.attack(
                    [
                        (packet, (host, own if port is None else port))
                        for packet, (host, own) in zip(
                            packets, map(self.everybody, range(EACH)), strict=True
                        )
                    ]
                )
        after = self.listener.counters.as_dict()
        moved = {name: after[name] - before[name] for name in after}
        received = moved.pop("datagrams_received")
        self.assertEqual(received, EACH * len(bad))
        self.assertEqual(
            {name: count for name, count in moved.items() if count},
            dict.fromkeys(bad, EACH),
        )
        lines = [eventAsText(event) for event in events]
        self.assertLessEqual(len(lines), MOST_LINES)
        self.assert_tells_nothing("\n".join(lines))
        self.near.transport.sendMessages([PAYLOAD])
        self.reactor.advance(0)
        self.reactor.advance(0)
        self.assertEqual(self.near.messages[-1], PAYLOAD)
        text = f"{received} packets of {len(bad)} kinds: {len(lines)} log lines, exact"
        note("D9", OURS, text)

    def test_refused(self) -> None:
        """Packets beyond a limit are counted, and mentioned once a minute."""
        before = self.listener.counters.as_dict()
        with capturedLogs() as events:
            packets = [(self.hello, ("203.0.113.9", 9))] * EACH
            for start in range(0, EACH, BATCH):
                self.listener.datagramsReceived(packets[start : start + BATCH])
        after = self.listener.counters.as_dict()
        refused = after["refused_hello_rate"] - before["refused_hello_rate"]
        answered = after["cookies"] - before["cookies"]
        self.assertEqual(refused + answered, EACH)
        self.assertGreater(refused, 0)
        lines = [eventAsText(event) for event in events]
        self.assertEqual(len(lines), 1)
        self.assert_tells_nothing(lines[0])

    def test_failing_protocol(self) -> None:
        """Not even the traceback of a protocol that fails shows what was received."""
        self.patch(self.far, "_received", raising(RuntimeError("a bug")))
        with capturedLogs() as events:
            self.near.transport.sendMessages([PAYLOAD])
            self.reactor.advance(0)
            self.reactor.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        lines = [eventAsText(event) for event in events]
        self.assertTrue(any("a bug" in line for line in lines))
        self.assert_tells_nothing("\n".join(lines))

    def test_representations(self) -> None:
        """Nor do the objects that a debugger or a traceback would print."""
        found: list[object] = [
            self.listener,
            self.listener._server,
            SERVER_IDENTITY,
            SERVER_IDENTITY.keys,
            *self.listener._connections,
            *self.listener._connections.values(),
            self.far.transport.getPeer(),
        ]
        for thing in found:
            self.assert_tells_nothing(repr(thing))
        recorder: Recorder = self.far
        self.assertEqual(recorder.lost, [])
