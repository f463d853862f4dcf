"""What is said about the work, and how much of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import IntEnum

from twisted.logger import Logger

REPEAT_INTERVAL = 60.0
"""Seconds before the same complaint is logged again: an attacker must not be
able to fill the disk, and an administrator need not read it a thousand times."""


class Verbosity(IntEnum):
    """How much is said: the tools' options ``-q``, ``-Q`` and ``-v``."""

    SILENT = 0
    ERRORS = 1
    INFORMATION = 2


class Report:
    """Writes to the Twisted log what the verbosity lets through.

    The threshold stands before the log system, which is too slow to be asked
    about every connection.
    """

    def __init__(
        self,
        verbosity: Verbosity = Verbosity.ERRORS,
        *,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.verbosity = verbosity
        self._seconds = seconds
        self._log = Logger(namespace="curvecp_tx")
        self._silent_until: dict[str, float] = {}

    def info(self, text: str, **values: object) -> None:
        """Say something that only the curious want to know."""
        if self.verbosity >= Verbosity.INFORMATION:
            self._log.info(text, **values)

    def error(self, text: str, **values: object) -> None:
        """Say that something went wrong."""
        if self.verbosity >= Verbosity.ERRORS:
            self._log.error(text, **values)

    def error_sometimes(self, kind: str, text: str, **values: object) -> None:
        """Say that something goes wrong, but once a minute for each ``kind``.

        :param kind: one of a fixed few words; each is remembered for good.
        """
        now = self._seconds()
        if now >= self._silent_until.get(kind, now):
            self._silent_until[kind] = now + REPEAT_INTERVAL
            self.error(text, **values, complaint=kind)

    def bug(self, text: str) -> None:
        """Log the exception now being handled: a fault of a program, not of a peer."""
        self._log.failure(text)
