"""Outgoing nonces, the replay window, and long-term nonces."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.secure.nonces import (
    NONCE_LIMIT,
    REPLAY_WINDOW,
    LongTermNonces,
    NonceCounter,
    RandomNonces,
    ReplayWindow,
    first_nonce,
    permute,
)
from tests.secure.scripted import Script, flip

W = REPLAY_WINDOW
KEY = bytes(range(32))


class NonceCounterTests(SynchronousTestCase):
    """What a short-term key sends with."""

    def test_ascending(self) -> None:
        """Each nonce is one more than the one before."""
        counter = NonceCounter(7)
        self.assertEqual([counter.take() for _ in range(5)], [7, 8, 9, 10, 11])

    def test_limit(self) -> None:
        """The last nonce is 2^64 - 2; after it there are none, ever again."""
        counter = NonceCounter(2**64 - 3)
        self.assertEqual(counter.take(), 2**64 - 3)
        self.assertEqual(counter.take(), 2**64 - 2)
        for _ in range(3):
            self.assertRaises(NoncesExhausted, counter.take)

    def test_start(self) -> None:
        """The first nonce is random, of 48 bits, little-endian."""
        self.assertEqual(first_nonce(Script(b"\1\2\0\0\0\0")), 0x0201)
        self.assertEqual(first_nonce(Script(b"\xff" * 6)), 2**48 - 1)


class ReplayWindowTests(SynchronousTestCase):
    """Which of the packets that arrive may count."""

    def setUp(self) -> None:
        """Begin with a window that has seen no nonce from 0 on."""
        self.window = ReplayWindow(-W)

    def arrive(self, nonce: int) -> bool:
        """Let a verified packet arrive; tell whether it counts."""
        fresh = self.window.is_fresh(nonce)
        if fresh:
            self.window.mark(nonce)
        return fresh

    def check(self, *arrivals: tuple[int, bool]) -> None:
        """Let packets arrive, and compare what counts."""
        for number, (nonce, counts) in enumerate(arrivals):
            found = self.arrive(nonce)
            self.assertEqual(found, counts, f"arrival {number}, nonce {nonce}")

    def test_shuffled_start(self) -> None:
        """Close to the start, order does not matter and repeats do not count."""
        self.check((0, True), (1, True), (1, False), (9, True), (8, True))
        self.check((7, True), (7, False), (0, False), (9, False), (2, True))

    def test_window_filled_to_its_edge(self) -> None:
        """A jump by a whole window leaves just the nonces above its lower edge."""
        self.check((0, True), (1, True), (7, True), (8, True), (9, True))
        self.check((W, True), (W - 1, True), (W - 1, False), (W - 2, True))
        self.check((2, True), (2, False), (W + 16, True), (3, False))
        self.check((W + 16, False))

    def test_edges_after_long_jump(self) -> None:
        """After a jump over several windows the edge is exact, above and below."""
        top = 4 * W
        self.check((W + 16, True), (top, True), (top - (W - 1), True), (10, False))
        self.check((top - W, False), (top - (W + 1), False))
        self.check((top - (W - 2), True), (top + 1 - W, False), (0, False))

    def test_largest_nonces(self) -> None:
        """A jump to the end of the number space works, and locks out the rest."""
        top = NONCE_LIMIT
        self.check((W, True), (top - 1, True), (top - 1, False), (top - 2, True))
        self.check((top - W, True), (top - 1 - W, False), (2, False), (top, True))
        self.check((top, False), (top - W, False), (top - 3, True))

    def test_ascending_then_lowest(self) -> None:
        """A window full of seen nonces still knows the one that it has not seen."""
        self.check(*((nonce, True) for nonce in range(1, W)), (0, True), (0, False))

    def test_ascending_past_lowest(self) -> None:
        """One step more, and the lowest nonce is out while the next is in."""
        self.check(*((nonce, True) for nonce in range(2, W + 1)))
        self.check((1, True), (0, False))

    def test_descending(self) -> None:
        """A whole window in reverse order counts, down to its last nonce."""
        self.check(*((nonce, True) for nonce in reversed(range(W))), (0, False))

    def test_descending_too_far(self) -> None:
        """In reverse order, the nonce that is a window behind is too late."""
        self.check(*((nonce, True) for nonce in range(W, 0, -1)), (0, False))

    def test_descending_then_next(self) -> None:
        """A new highest nonce after a full reverse run pushes out the lowest."""
        self.check(*((nonce, True) for nonce in range(W - 1, 0, -1)))
        self.check((W, True), (0, False))

    def test_descending_lowest_then_next(self) -> None:
        """The lowest nonce counts if it comes before it is pushed out."""
        self.check(*((nonce, True) for nonce in range(W - 1, 0, -1)))
        self.check((0, True), (W, True), (0, False))

    def test_first_is_seen(self) -> None:
        """The nonce that a window is made with counts as seen, its neighbours not."""
        self.window = ReplayWindow(5000)
        self.check((5000, False), (4999, True), (5001, True), (5000, False))

    def test_newest(self) -> None:
        """Marking tells whether the nonce is the newest yet."""
        window = ReplayWindow(10)
        marks = [window.mark(nonce) for nonce in (12, 11, 13, 13 + 2 * W, 14 + W * 2)]
        self.assertEqual(marks, [True, False, True, True, True])
        self.assertEqual(window.highest, 14 + 2 * W)

    def test_asking_changes_nothing(self) -> None:
        """A nonce that was only asked about stays fresh."""
        self.window = ReplayWindow(3)
        for _ in range(2):
            self.assertTrue(self.window.is_fresh(2**63))
            self.assertTrue(self.window.is_fresh(2))
        self.assertEqual(self.window.highest, 3)

    def test_bounded(self) -> None:
        """The memory of a window does not grow with the nonces."""
        for nonce in range(0, 20 * W, 3):
            self.arrive(nonce)
        self.assertLessEqual(self.window._seen.bit_length(), W)

    @given(
        st.integers(0, 4 * W),
        st.lists(
            st.one_of(
                st.integers(0, 4 * W),
                st.integers(0, 60),
                st.integers(W - 30, W + 30),
                st.integers(0, NONCE_LIMIT),
            ),
            max_size=60,
        ),
    )
    def test_model(self, first: int, arrivals: list[int]) -> None:
        """A set of all nonces seen, with the distance rule, says the same."""
        self.window = ReplayWindow(first)
        seen, highest = {first}, first
        for nonce in arrivals:
            expected = nonce not in seen and nonce > highest - W
            self.assertEqual(self.arrive(nonce), expected)
            if expected:
                seen.add(nonce)
                highest = max(highest, nonce)
            self.assertEqual(self.window.highest, highest)


class PermuteTests(SynchronousTestCase):
    """The secret permutation under long-term nonces."""

    def test_no_collision(self) -> None:
        """Different blocks stay different: counters, random halves, both."""
        blocks = {n.to_bytes(8, "little") + bytes(8) for n in range(4000)}
        blocks |= {bytes(8) + n.to_bytes(8, "little") for n in range(4000)}
        blocks |= {n.to_bytes(8, "big") * 2 for n in range(4000)}
        images = {permute(block, KEY) for block in blocks}
        self.assertEqual(len(images), len(blocks))
        self.assertEqual({len(image) for image in images}, {16})

    @given(st.binary(min_size=16, max_size=16), st.integers(0, 127))
    def test_every_bit_matters(self, block: bytes, bit: int) -> None:
        """One bit turned over in the block changes both halves of the image."""
        one, other = permute(block, KEY), permute(flip(block, bit), KEY)
        self.assertNotEqual(one[:8], other[:8])
        self.assertNotEqual(one[8:], other[8:])

    @given(st.binary(min_size=16, max_size=16), st.integers(0, 255))
    def test_key_matters(self, block: bytes, bit: int) -> None:
        """One bit turned over in the key gives another permutation."""
        self.assertNotEqual(permute(block, KEY), permute(block, flip(KEY, bit)))

    def test_stable(self) -> None:
        """The permutation never changes: key directories outlive releases."""
        self.assertEqual(
            permute(bytes(range(16)), KEY).hex(), "7a78df915c9bb96cf09bdd98f401d2b6"
        )


class LongTermNoncesTests(SynchronousTestCase):
    """Nonces of a reserved run."""

    def test_run(self) -> None:
        """As many nonces as were reserved, then no more, ever again."""
        nonces = LongTermNonces(
            nonce_key=KEY, first=5, count=3, random_bytes=Random(1).randbytes
        )
        found = {nonces() for _ in range(3)}
        self.assertEqual({len(nonce) for nonce in found}, {16})
        self.assertEqual(len(found), 3)
        for _ in range(2):
            self.assertRaises(NoncesExhausted, nonces)

    def test_no_repeat_without_randomness(self) -> None:
        """The counter alone keeps nonces apart, within a run and between runs."""
        found = set()
        for first in (0, 1000, 2**40):
            nonces = LongTermNonces(
                nonce_key=KEY, first=first, count=1000, random_bytes=bytes
            )
            found |= {nonces() for _ in range(1000)}
        self.assertEqual(len(found), 3000)

    def test_no_repeat_after_rollback(self) -> None:
        """The random half keeps nonces apart where a counter was turned back."""
        dice = Random(2).randbytes
        found = set()
        for _ in range(2):
            nonces = LongTermNonces(
                nonce_key=KEY, first=0, count=500, random_bytes=dice
            )
            found |= {nonces() for _ in range(500)}
        self.assertEqual(len(found), 1000)

    def test_last_counter(self) -> None:
        """A run may end with the last 8-byte counter."""
        nonces = LongTermNonces(
            nonce_key=KEY, first=2**64 - 1, count=1, random_bytes=bytes
        )
        self.assertEqual(nonces(), permute(b"\xff" * 8 + bytes(8), KEY))
        self.assertRaises(NoncesExhausted, nonces)

    def test_random(self) -> None:
        """Without a key directory, a nonce is 16 random bytes."""
        nonces = RandomNonces(Script(b"n" * 16, b"m" * 16))
        self.assertEqual([nonces(), nonces()], [b"n" * 16, b"m" * 16])
