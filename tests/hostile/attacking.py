"""A transfer in virtual time, and somebody who sends packets into it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address
from curvecp_tx.testing import Conditions, MemoryPort
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    EXTENSION_BYTES,
    HELLO_MAGIC,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
)
from tests.net.recording import CLIENT, SERVER
from tests.net.streaming import StreamCase

NOBODY = bytes(EXTENSION_BYTES)
"""The extension of both ends."""

DATA = Random(5).randbytes(1_200_000)
FIRST = 100
VOLLEY = 0.01
"""Seconds between the attacker's volleys."""

STRANGERS: tuple[Address, ...] = (
    (CLIENT[0], CLIENT[1] + 1),
    (SERVER[0], SERVER[1] + 1),
    ("203.0.113.66", 666),
)

Forger = Callable[[], tuple[bytes, Address, Address]]
"""Gives a packet, from where it claims to come, and where it goes to."""


class Tap:
    """A network's watch that keeps a copy of everything.

    :ivar off: whether it keeps nothing for now.
    """

    def __init__(self) -> None:
        self.off = False
        self.seen: list[tuple[bytes, Address, Address]] = []

    def __call__(self, datagram: bytes, source: Address, destination: Address) -> bool:
        """Let it pass."""
        if not self.off:
            self.seen.append((datagram, source, destination))
        return True

    def latest(self, magic: bytes) -> bytes:
        """Give the last packet with this magic."""
        return next(packet for packet, *_ in reversed(self.seen) if packet[:8] == magic)


class TransferCase(StreamCase):
    """A client sends much to a server, and the attacker sends more.

    :ivar forged: how many packets the attacker has sent.
    """

    def open_port(
        self, protocol: Any, interface: str, port: int, counters: Counters
    ) -> MemoryPort:
        """Make the client's port, and keep its counters."""
        self.near_counters = counters
        return super().open_port(protocol, interface, port, counters)

    def begin(self) -> None:
        """Connect the two."""
        self.close_world()
        self.build_world(1, Conditions(delay=0.01))
        self.dice = Random(7)
        self.forged = 0
        self.network.watch = self.tap = Tap()
        self.near, self.far = self.meet(seconds=2.0)
        self.near.transport.write(DATA[:FIRST])
        self.reactor.run(1.0)

    def transfer(self, forger: Forger | None = None, volley: int = 0) -> float:
        """Send all of it, and give the seconds that it took."""
        self.begin()
        start = self.reactor.seconds()
        self.near.transport.write(DATA[FIRST:])
        while len(self.far.received) < len(DATA):
            if forger is not None:
                self.attack(forger, volley)
            self.reactor.run(VOLLEY)
            self.assertLess(self.reactor.seconds() - start, 300.0)
        took = self.reactor.seconds() - start
        self.reactor.run(0.5)
        return took

    def attack(self, forger: Forger, volley: int) -> None:
        """Send forged packets."""
        self.tap.off = True
        for _ in range(volley):
            self.network.send(*forger())
        self.tap.off = False
        self.forged += volley

    def assert_unharmed(self) -> None:
        """Check that nothing but the genuine client was heard, and both are well."""
        self.assertEqual(self.far.received, DATA)
        self.assertEqual((self.near.lost, self.far.lost), ([], []))
        counters = self.listener.counters
        self.assertEqual((counters.path_changes, counters.connections), (0, 1))
        peer: Any = self.far.transport.getPeer()
        self.assertEqual((peer.host, peer.port), CLIENT)
        self.assertEqual(peer.extension, NOBODY)
        where: Any = self.near.transport.getPeer()
        self.assertEqual((where.host, where.port), SERVER)
        self.near.transport.write(b"and on")
        self.reactor.run(2.0)
        self.assertEqual(self.far.received[len(DATA) :], b"and on")

    def box(self, blocks: int) -> bytes:
        """Give what could be a box."""
        return self.dice.randbytes(16 + 16 * blocks)

    def short_term_key(self) -> bytes:
        """Give the C' of the connection, which everybody on the way can see."""
        return self.tap.latest(CLIENT_MESSAGE_MAGIC)[40:72]

    def to_client(self, nonce: bytes, extension: bytes = NOBODY) -> bytes:
        """Make a server Message that is none."""
        head = SERVER_MESSAGE_MAGIC + NOBODY + extension
        return head + nonce + self.box(self.dice.randrange(1, 12))

    def to_server(
        self, nonce: bytes, extension: bytes = NOBODY, key: bytes | None = None
    ) -> bytes:
        """Make a client Message that is none."""
        key = self.short_term_key() if key is None else key
        head = CLIENT_MESSAGE_MAGIC + NOBODY + extension + key
        return head + nonce + self.box(self.dice.randrange(1, 12))

    def initiate(self, nonce: bytes, extension: bytes = NOBODY) -> bytes:
        """Make an Initiate of the connection's C' that is none."""
        head = INITIATE_MAGIC + NOBODY + extension + self.short_term_key()
        return head + self.dice.randbytes(96) + nonce + self.box(22 + 4)

    def hello(self, extension: bytes) -> bytes:
        """Make a Hello that is none."""
        return HELLO_MAGIC + NOBODY + extension + self.dice.randbytes(184)
