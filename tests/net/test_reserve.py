"""The descriptor that is kept in reserve."""

from __future__ import annotations

import os
import resource

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.reserve import Reserve
from tests.net.recording import open_descriptors


class ReserveTests(SynchronousTestCase):
    """Descriptors run out."""

    def setUp(self) -> None:
        """Have a reserve."""
        self.before = open_descriptors()
        self.reserve = Reserve()
        self.addCleanup(self.check)

    def check(self) -> None:
        """Look for leaks."""
        self.reserve.empty()
        self.reserve.empty()
        self.assertEqual(open_descriptors(), self.before)

    def use_up(self) -> None:
        """Leave not one descriptor to be had, for the length of the test."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        self.assertRaises(OSError, os.open, os.devnull, os.O_RDONLY)

    def test_one(self) -> None:
        """It is one descriptor, closed on exec, however often it is filled."""
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        self.reserve.fill()
        self.reserve.fill()
        self.assertEqual(open_descriptors(), self.before + 1)
        self.assertFalse(os.get_inheritable(lowest))

    def test_lent(self) -> None:
        """Where no other is left, what needs one gets it, and gives it back."""
        self.reserve.fill()
        self.use_up()
        for _ in range(2):
            with self.reserve.lent(), open(os.devnull, "rb") as file:
                self.assertEqual(file.read(), b"")
            self.assertRaises(OSError, os.open, os.devnull, os.O_RDONLY)

    def test_lent_and_failed(self) -> None:
        """It is filled again, too, where what needed it has failed."""
        self.reserve.fill()
        with self.assertRaises(ZeroDivisionError), self.reserve.lent():
            raise ZeroDivisionError
        self.assertEqual(open_descriptors(), self.before + 1)

    def test_nothing_to_be_had(self) -> None:
        """Without a descriptor to begin with it does no harm, nor good."""
        self.use_up()
        self.reserve.fill()
        with self.reserve.lent():
            self.assertRaises(OSError, os.open, os.devnull, os.O_RDONLY)
