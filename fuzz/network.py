"""What the plays of servers and of clients have in common."""

from __future__ import annotations

from operator import attrgetter
from random import Random

from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import RandomNonces
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import MESSAGE_UNIT, is_message_size
from fuzz.script import Play, Script

SERVER_KEYS = KeyPair.from_secret(b"\x11" * 32)
CLIENT_KEYS = KeyPair.from_secret(b"\x33" * 32)
SERVER_EXTENSION = b"server-extension"
CLIENT_EXTENSION = b"client-extension"
NAME = encode_server_name("fuzz.example")
OTHER_NAME = encode_server_name("other.example")

ADDRESSES: tuple[Address, ...] = (
    ("192.0.2.1", 4000),
    ("192.0.2.1", 4001),
    ("198.51.100.7", 4000),
    ("2001:db8::1", 4000, 0, 0),
    ("192.0.2.1", 0),
)

MAX_RAW_BYTES = 1500
MAX_BATCH = 64
TIME_STEP = 1 / 16
"""Seconds: two bytes of steps are more than an hour."""

OUTCOMES = tuple(
    name
    for name in Counters.__slots__
    if name in ("cookies", "messages_received")
    or name.startswith(("dropped_", "refused_"))
)
"""What may become of a datagram."""

_outcomes = attrgetter(*OUTCOMES)


def random_nonces(seed: int) -> RandomNonces:
    """Make a source of long-term nonces, the same in each run."""
    return RandomNonces(Random(seed).randbytes)


def outcomes(counters: Counters) -> int:
    """Count the datagrams of which something has become, be it nothing."""
    return sum(_outcomes(counters))


def check_messages(messages: list[bytes]) -> None:
    """Check that messages have sizes that messages have."""
    assert all(is_message_size(len(message)) for message in messages)


class NetworkPlay(Play):
    """Datagrams arrive in batches, some of them twice or damaged; time passes."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.now = 1000.0
        self.counters = Counters()
        self.batch: list[Datagram] = []
        self.last = b""

    def arrive(self, datagram: bytes, address: Address | None = None) -> None:
        """Have a datagram arrive with the next batch, from where the script says."""
        if address is None:
            address = ADDRESSES[self.script.byte() % len(ADDRESSES)]
        self.last = datagram
        self.batch.append((datagram, address))
        if len(self.batch) >= MAX_BATCH:
            self.deliver()

    def deliver(self) -> None:
        """Hand over the batch, and check that each datagram is counted once."""
        batch, self.batch = self.batch, []
        if not batch:
            return
        received = self.counters.datagrams_received
        before = outcomes(self.counters)
        self.hand_over(batch)
        assert self.counters.datagrams_received == received + len(batch)
        assert outcomes(self.counters) == before + len(batch), "counted wrongly"

    def hand_over(self, batch: list[Datagram]) -> None:
        """Give a batch to the machine, and look at what comes of it."""
        raise NotImplementedError

    def finish(self) -> None:
        """Deliver what has not been delivered."""
        self.deliver()

    def message(self) -> bytes:
        """Make a message that names an ID and acknowledges another."""
        size = MESSAGE_UNIT * (1 + self.script.byte() % 68)
        named = bytes((self.script.byte(), 0, 0, 0))
        acknowledged = bytes((self.script.byte(), 0, 0, 0))
        return (named + acknowledged).ljust(size, b".")

    def raw(self) -> None:
        """Any bytes arrive."""
        size = self.script.number(2) % MAX_RAW_BYTES
        self.arrive(self.script.take(size))

    def again(self) -> None:
        """The last datagram arrives again, perhaps changed or cut, or longer."""
        changed = bytearray(self.last)
        for _ in range(self.script.byte() % 4):
            place, value = self.script.number(2), self.script.byte()
            if changed:
                changed[place % len(changed)] = value
        cut = self.script.byte()
        if cut & 1:
            del changed[len(changed) - min(len(changed), cut >> 1) :]
        elif cut & 2:
            changed += bytes(cut >> 2)
        self.arrive(bytes(changed))

    def pass_time(self) -> None:
        """Time passes, after what has arrived."""
        self.deliver()
        self.now += self.script.number(2) * TIME_STEP
