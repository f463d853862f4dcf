"""Packets of every size, with every magic, in every state of both ends."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    COOKIE_MAGIC,
    HELLO_MAGIC,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
)
from tests.faults.figures import note
from tests.hostile.scenes import KINDS, SCENES, Scene
from tests.secure.scripted import CLIENT_EXTENSION, SERVER_EXTENSION, flip

LONGEST = 2048
MAGICS = (
    HELLO_MAGIC,
    COOKIE_MAGIC,
    INITIATE_MAGIC,
    SERVER_MESSAGE_MAGIC,
    CLIENT_MESSAGE_MAGIC,
    bytes(8),
    b"QvnQ5Xlh",
    b"rl3ANmxk",
)
MAGIC_BITS = 64


class FormCase(SynchronousTestCase):
    """Lets packets arrive in one scene after the other."""

    def arrive(self, kind: type[Scene], datagrams: list[bytes]) -> list[bytes]:
        """Give the packets of which something came; each meets the same scene."""
        scene = kind()
        effective = []
        for datagram in datagrams:
            if scene.deliver(datagram):
                effective.append(datagram)
                self.assertEqual(scene.unaccounted(), 0)
                scene = kind()
        self.assertEqual(scene.unaccounted(), 0, kind.__name__)
        return effective

    def assert_only_genuine(
        self, kind: type[Scene], packet: str, datagrams: list[bytes]
    ) -> int:
        """Check that of all variants just the genuine one counts, if any does."""
        genuine = kind().packets[packet]
        wanted = [genuine] if packet in kind.welcome else []
        effective = self.arrive(kind, datagrams)
        self.assertEqual(effective, wanted, f"{packet} at {kind.__name__}")
        return len(datagrams)


class SizeTests(FormCase):
    """Sizes."""

    def test_every_length(self) -> None:
        """Cut or stretched to any length from 0 to 2048, only the genuine counts."""
        total = 0
        for kind in SCENES:
            for packet in KINDS:
                genuine = kind().packets[packet]
                variants = [
                    genuine[:length].ljust(length, b"\0")
                    for length in range(LONGEST + 1)
                ]
                total += self.assert_only_genuine(kind, packet, variants)
        self.assertEqual(total, len(SCENES) * len(KINDS) * (LONGEST + 1))
        note("C9", "TT", f"{total} packets, each counted once; no exception")

    def test_junk_of_every_length(self) -> None:
        """Junk with any magic and our extensions is dropped, whatever its length."""
        noise = Random(12).randbytes(LONGEST)
        for kind in SCENES:
            for magic in MAGICS:
                for heads in (
                    SERVER_EXTENSION + CLIENT_EXTENSION,
                    CLIENT_EXTENSION + SERVER_EXTENSION,
                ):
                    junk = magic + heads + noise
                    variants = [junk[:length] for length in range(LONGEST + 1)]
                    self.assertEqual(self.arrive(kind, variants), [])


class MagicTests(FormCase):
    """The first eight bytes."""

    def test_every_bit(self) -> None:
        """A magic that is off by one bit is no magic, or another packet's."""
        for kind in SCENES:
            for packet in KINDS:
                genuine = kind().packets[packet]
                variants = [flip(genuine, bit) for bit in range(MAGIC_BITS)]
                variants.append(genuine)
                self.assert_only_genuine(kind, packet, variants)

    def test_every_other(self) -> None:
        """No packet counts under another packet's magic."""
        for kind in SCENES:
            for packet in KINDS:
                genuine = kind().packets[packet]
                variants = [magic + genuine[8:] for magic in MAGICS]
                self.assert_only_genuine(kind, packet, variants)
