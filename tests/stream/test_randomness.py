"""Random message IDs."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.randomness import IdSource


class IdSourceTests(SynchronousTestCase):
    """From random bytes to IDs."""

    def test_range(self) -> None:
        """IDs have 32 bits, are spread over all of them, and hardly ever repeat."""
        source = IdSource(random.Random(1).randbytes)
        ids = [source.take() for _ in range(2000)]
        self.assertEqual(len(set(ids)), 2000)
        self.assertGreater(min(ids), 0)
        self.assertLess(max(ids), 2**32)
        self.assertEqual({number >> 28 for number in ids}, set(range(16)))

    def test_zero(self) -> None:
        """No ID is 0, which asks for no acknowledgment."""
        pools = [bytes(128), b"\1\0\0\0" + bytes(124)]
        source = IdSource(lambda size: pools.pop(0))
        self.assertIn(source.take(), (1, 1 << 24))

    def test_few_calls(self) -> None:
        """The source is asked seldom, and for what is needed."""
        asked: list[int] = []

        def random_bytes(size: int) -> bytes:
            asked.append(size)
            return b"\7" * size

        source = IdSource(random_bytes)
        for _ in range(32):
            source.take()
        self.assertEqual(asked, [128])
        source.take()
        self.assertEqual(asked, [128, 128])
