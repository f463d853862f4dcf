"""Packets that look right and do not open, amid a transfer."""

from __future__ import annotations

from curvecp_tx.secure.paths import Address
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    HELLO_BYTES,
    SERVER_MESSAGE_MAGIC,
)
from tests.faults.figures import note
from tests.hostile.attacking import STRANGERS, VOLLEY, TransferCase
from tests.net.recording import CLIENT, SERVER
from tests.secure.scripted import dropped

LAST_NONCE = b"\xff" * 8
FORGED = 10_000
PER_SECOND = 1000
SLOWER = 1.1
"""By what factor a transfer may take longer: not at all would be right, but time
passes in steps."""


class ForgeryTests(TransferCase):
    """Right head, wrong box."""

    def forge(self) -> tuple[bytes, Address, Address]:
        """Make one of the packets that differ from genuine ones in the box."""
        dice = self.dice
        nonce = dice.choice((LAST_NONCE, dice.randbytes(8), bytes(8)))
        sources = (*STRANGERS, CLIENT, SERVER)
        extension = dice.choice((bytes(16), b"another-ext-here"))
        choice = dice.randrange(4)
        if choice == 0:
            return self.to_client(nonce), dice.choice(sources), CLIENT
        if choice == 1:
            return self.to_server(nonce, extension), dice.choice(sources), SERVER
        if choice == 2:
            return self.initiate(nonce, extension), dice.choice(sources), SERVER
        # A genuine packet with another nonce.
        magic, where, at = dice.choice(
            ((CLIENT_MESSAGE_MAGIC, SERVER, 72), (SERVER_MESSAGE_MAGIC, CLIENT, 40))
        )
        genuine = self.tap.latest(magic)
        forged = genuine[:at] + LAST_NONCE + genuine[at + 8 :]
        return forged, dice.choice(sources), where

    def test_ten_thousand(self) -> None:
        """They change no nonce, address or extension, and do not slow anything."""
        clean = self.transfer()
        volley = 1 + int(FORGED * VOLLEY / clean)
        took = self.transfer(self.forge, volley)
        self.assertGreaterEqual(self.forged, FORGED)
        self.assertLessEqual(took, SLOWER * clean)
        server = dropped(self.listener.counters)
        client = dropped(self.near_counters)
        self.assertLessEqual(set(server), {"dropped_bad_box", "dropped_replay"})
        self.assertEqual(set(client), {"dropped_bad_box", "dropped_replay"})
        self.assertEqual(sum(server.values()) + sum(client.values()), self.forged)
        self.assert_unharmed()
        note("C4", "TT", f"{took / clean:.2f} x clean with {self.forged} forged")


class JunkTests(TransferCase):
    """Our magic, our extension, any client extension: who sends that is nobody."""

    def forge(self) -> tuple[bytes, Address, Address]:
        """Make a packet that a look at the first bytes does not tell from others."""
        dice = self.dice
        extension, nonce = dice.randbytes(16), dice.randbytes(8)
        packet = dice.choice(
            (
                self.to_server(nonce, extension),
                self.to_server(nonce, extension, dice.randbytes(32)),
                self.initiate(nonce, extension),
                self.hello(extension),
            )
        )
        source = f"203.0.113.{dice.randrange(1, 255)}", dice.randrange(1, 65536)
        return packet, dice.choice((source, *STRANGERS)), SERVER

    def test_thousand_a_second(self) -> None:
        """Answers go on to the genuine client, under its genuine extension."""
        clean = self.transfer()
        took = self.transfer(self.forge, int(PER_SECOND * VOLLEY))
        self.assertLessEqual(took, SLOWER * clean)
        sent_to = {
            (destination, packet[8:24])
            for packet, source, destination in self.tap.seen
            if source == SERVER
        }
        strange = {where for where in sent_to if where != (CLIENT, bytes(16))}
        self.assertEqual(strange, set())
        self.assertEqual(len(self.hello(bytes(16))), HELLO_BYTES)
        self.assertEqual(sum(dropped(self.listener.counters).values()), self.forged)
        self.assert_unharmed()
        note("C5", "TT", f"{took / clean:.2f} x clean with {self.forged} junk packets")
