"""A descriptor that is kept for what must be possible when all others are taken.

A server's port takes no descriptor for a client, and a program that finds none is
not started; neither needs this. But whoever uses up a server's descriptors must not
keep it from reading which keys are authorized no more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NONE = -1


class Reserve:
    """One descriptor, to be given up for a moment."""

    def __init__(self) -> None:
        self._descriptor = NONE

    def fill(self) -> None:
        """Take a descriptor, if there is one to be had."""
        if self._descriptor == NONE:
            with suppress(OSError):
                self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def empty(self) -> None:
        """Give it up."""
        descriptor, self._descriptor = self._descriptor, NONE
        if descriptor != NONE:
            os.close(descriptor)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Have a descriptor to spare within a ``with`` statement."""
        self.empty()
        try:
            yield
        finally:
            self.fill()
