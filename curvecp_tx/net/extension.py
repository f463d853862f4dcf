"""The client's own extension, which its gateway's administrator sets."""

from __future__ import annotations

from curvecp_tx.wire.packets import EXTENSION_BYTES

EXTENSION_FILE = "/etc/curvecpextension"

REREAD_INTERVAL = 30.0
"""Seconds for which what was read counts, as with the reference."""

NO_EXTENSION = bytes(EXTENSION_BYTES)


class ExtensionFile:
    """The 16 bytes of ``/etc/curvecpextension``, or zeros where there is none.

    A file that cannot be read, or is too short, leaves the value as it was.
    """

    def __init__(self, path: str = EXTENSION_FILE) -> None:
        self._path = path
        self._value = NO_EXTENSION
        self._read_again = float("-inf")

    def read(self, now: float) -> bytes:
        """Give the extension; looks at the file at most every 30 seconds."""
        if now < self._read_again:
            return self._value
        self._read_again = now + REREAD_INTERVAL
        try:
            with open(self._path, "rb") as file:
                value = file.read(EXTENSION_BYTES)
        except FileNotFoundError:
            self._value = NO_EXTENSION
        except OSError:
            pass
        else:
            if len(value) == EXTENSION_BYTES:
                self._value = value
        return self._value
