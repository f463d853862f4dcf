"""Genuine packets with one bit turned over: what of them is not authenticated."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.figures import note
from tests.hostile.scenes import (
    CLIENT_MESSAGE,
    COOKIE,
    HELLO,
    INITIATE,
    SCENES,
    SERVER_MESSAGE,
    Scene,
)
from tests.secure.scripted import flip

CLIENT_EXTENSION = (8 * 24, 8 * 40)
TOP_BIT_AND_ZEROS = (8 * 72 - 1, 8 * 136)
"""X25519 ignores the topmost bit of C'; the zeros after it are reserved."""

UNAUTHENTICATED: dict[str, list[tuple[int, int]]] = {
    HELLO: [CLIENT_EXTENSION, TOP_BIT_AND_ZEROS],
    COOKIE: [],
    INITIATE: [CLIENT_EXTENSION],
    SERVER_MESSAGE: [],
    CLIENT_MESSAGE: [CLIENT_EXTENSION],
}
"""Which bits may be changed on the way, first and first after; no others."""


def as_ranges(bits: list[int]) -> list[tuple[int, int]]:
    """Put ascending numbers together to ranges."""
    ranges: list[tuple[int, int]] = []
    for bit in bits:
        if ranges and ranges[-1][1] == bit:
            ranges[-1] = ranges[-1][0], bit + 1
        else:
            ranges.append((bit, bit + 1))
    return ranges


class BitTests(SynchronousTestCase):
    """Every bit of every packet that counts, in every state in which it does."""

    def accepted(self, kind: type[Scene], packet: str) -> tuple[list[int], int]:
        """Give the bits that may be changed, and how many there are in all."""
        scene = kind()
        genuine = scene.packets[packet]
        accepted = []
        for bit in range(8 * len(genuine)):
            if scene.deliver(flip(genuine, bit)):
                accepted.append(bit)
                scene = kind()
        self.assertEqual(scene.unaccounted(), 0)
        self.assertTrue(kind().deliver(genuine))
        return accepted, 8 * len(genuine)

    def test_every_bit(self) -> None:
        """Only the client's extension and reserved bytes may change."""
        tried, total = set(), 0
        for kind in SCENES:
            for packet in kind.welcome:
                accepted, count = self.accepted(kind, packet)
                self.assertEqual(
                    as_ranges(accepted),
                    UNAUTHENTICATED[packet],
                    f"{packet} at {kind.__name__}",
                )
                tried.add(packet)
                total += count
        self.assertEqual(tried, set(UNAUTHENTICATED))
        note("C10", "TT", f"{total} flips; exactly the listed ranges were accepted")
