"""The way to the peer, and the limit while it is not proven."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.paths import AMPLIFICATION_LIMIT, PROBE_LIMIT, Address, Path

HOME: Address = ("192.0.2.1", 1000)
EXTENSION = b"e" * 16


def sent(identity: int) -> bytes:
    """Make a message with an ID."""
    return identity.to_bytes(4, "little") + bytes(188)


def answer(identity: int) -> bytes:
    """Make a message that answers the one with this ID."""
    return bytes(4) + identity.to_bytes(4, "little") + bytes(184)


def unproven() -> Path:
    """Give a path that nobody has answered from."""
    return Path(HOME, EXTENSION, validated=False)


class LimitTests(SynchronousTestCase):
    """How much may go to an unproven address."""

    def test_nothing_first(self) -> None:
        """Before anything has come from an address, nothing goes there."""
        self.assertFalse(unproven().allows(1, sent(1)))

    def test_three_times(self) -> None:
        """Three bytes may go for each byte that came, and not one more."""
        self.assertEqual(AMPLIFICATION_LIMIT, 3)
        path = unproven()
        path.received(100, sent(9))
        self.assertFalse(path.allows(301, sent(1)))
        self.assertTrue(path.allows(200, sent(1)))
        self.assertFalse(path.allows(101, sent(2)))
        self.assertTrue(path.allows(100, sent(2)))
        self.assertFalse(path.allows(1, sent(3)))
        path.received(10, sent(10))
        self.assertTrue(path.allows(30, sent(3)))

    def test_validated(self) -> None:
        """A proven path has no limit."""
        path = Path(HOME, EXTENSION, validated=True)
        path.received(1, sent(1))
        for number in range(100):
            self.assertTrue(path.allows(1152, sent(number)))

    @given(st.lists(st.tuples(st.booleans(), st.integers(1, 1184)), max_size=60))
    def test_never_more(self, steps: list[tuple[bool, int]]) -> None:
        """Whatever the order: what went never exceeds three times what came."""
        path = unproven()
        came = went = 0
        for outgoing, size in steps:
            if not outgoing:
                path.received(size, sent(1))
                came += size
            else:
                allowed = path.allows(size, sent(1))
                self.assertEqual(allowed, went + size <= 3 * came)
                went += size if allowed else 0


class ProofTests(SynchronousTestCase):
    """What proves that the peer receives at an address."""

    def path(self, *identities: int) -> Path:
        """Give a path to which messages with these IDs have gone."""
        path = unproven()
        path.received(10_000, sent(77))
        for identity in identities:
            self.assertTrue(path.allows(192, sent(identity)))
        return path

    def test_answer(self) -> None:
        """An answer that names a message sent there is proof."""
        for identity in (1, 0xDEADBEEF):
            path = self.path(1, 0xDEADBEEF)
            path.received(192, answer(identity))
            self.assertTrue(path.validated)

    def test_other_answers(self) -> None:
        """An answer that names any other message is not, nor is no answer."""
        path = self.path(5, 6)
        for identity in (0, 4, 7, 0x05000000):
            path.received(192, answer(identity))
            self.assertFalse(path.validated)

    def test_refused_message(self) -> None:
        """A message that was held back proves nothing, though its ID comes back."""
        path = unproven()
        path.received(10, sent(77))
        self.assertFalse(path.allows(192, sent(5)))
        path.received(192, answer(5))
        self.assertFalse(path.validated)

    def test_no_id(self) -> None:
        """A message with the ID 0 asks for no answer, and none can be proof."""
        path = self.path(0, 0)
        path.received(192, answer(0))
        self.assertFalse(path.validated)

    def test_shortest_message(self) -> None:
        """A message of 16 bytes can be proof, and can be what is answered."""
        path = unproven()
        path.received(500, sent(1)[:16])
        self.assertTrue(path.allows(80, sent(8)[:16]))
        path.received(112, answer(8)[:16])
        self.assertTrue(path.validated)

    def test_latest_ids(self) -> None:
        """The latest IDs are remembered, and no more than the limit."""
        identities = range(1, PROBE_LIMIT + 2)
        path = unproven()
        path.received(10**6, sent(77))
        for identity in identities:
            path.allows(192, sent(identity))
        path.received(192, answer(1))
        self.assertFalse(path.validated)
        self.assertEqual(len(path._probes), PROBE_LIMIT)
        path.received(192, answer(2))
        self.assertTrue(path.validated)
        self.assertEqual(len(path._probes), 0)

    def test_repeated_id(self) -> None:
        """A message sent again takes no second place."""
        path = self.path(1, 2, 3, 3, 3)
        self.assertEqual(len(path._probes), 3)


class MoveTests(SynchronousTestCase):
    """Following the peer."""

    def test_same_host(self) -> None:
        """Another port of a proven host is proven."""
        path = Path(HOME, EXTENSION, validated=True)
        moved = path.moved((HOME[0], 2000), b"f" * 16)
        self.assertTrue(moved.validated)
        self.assertEqual(moved.address, (HOME[0], 2000))
        self.assertEqual(moved.extension, b"f" * 16)

    def test_same_host_unproven(self) -> None:
        """Another port of an unproven host shares its budget and its proofs."""
        path = unproven()
        path.received(200, sent(1))
        self.assertTrue(path.allows(400, sent(5)))
        moved = path.moved((HOME[0], 2000), EXTENSION)
        self.assertFalse(moved.allows(201, sent(6)))
        self.assertTrue(moved.allows(200, sent(6)))
        moved.received(200, answer(5))
        self.assertTrue(moved.validated)

    def test_other_host(self) -> None:
        """Another host starts with nothing: no proof, no budget."""
        for validated in (False, True):
            path = Path(HOME, EXTENSION, validated=validated)
            path.received(10_000, sent(1))
            path.allows(192, sent(5))
            moved = path.moved(("192.0.2.2", HOME[1]), EXTENSION)
            self.assertFalse(moved.validated)
            self.assertFalse(moved.allows(1, sent(6)))
            moved.received(192, answer(5))
            self.assertFalse(moved.validated)

    def test_back_again(self) -> None:
        """The host that was proven last stays so, until another one is."""
        path = Path(HOME, EXTENSION, validated=True)
        away = path.moved(("192.0.2.2", 1), EXTENSION)
        self.assertIs(away.fallback, path)
        farther = away.moved(("192.0.2.3", 1), EXTENSION)
        self.assertIs(farther.fallback, path)
        back = farther.moved(HOME, EXTENSION)
        self.assertTrue(back.validated)
        self.assertIsNone(back.fallback)
        away.received(192, sent(1))
        away.allows(1, sent(5))
        away.received(192, answer(5))
        self.assertTrue(away.validated)
        self.assertFalse(away.moved(HOME, EXTENSION).validated)
