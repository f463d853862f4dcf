"""Inputs as scripts: bytes that say step by step what happens."""

from __future__ import annotations

from typing import ClassVar

MAX_STEPS = 200
"""Steps that are taken at the most: an input of any size takes little time."""


class Script:
    """Bytes that are read from front to back; after their end come zeros."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        start = self._position
        self._position = start + size
        return self._data[start : start + size].ljust(size, b"\0")

    def byte(self) -> int:
        """Read a number of one byte."""
        return self.number(1)

    def number(self, size: int) -> int:
        """Read a number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.take(max(0, len(self._data) - self._position))


class Play:
    """Something that a script drives.

    Each step is a method that reads its own parameters; ``STEPS`` has their names,
    and the position of a name there is the byte that calls for it.
    """

    STEPS: ClassVar[tuple[str, ...]]

    def __init__(self, script: Script) -> None:
        self.script = script

    def run(self) -> None:
        """Take all steps of the script, within reason."""
        steps = [getattr(self, name) for name in self.STEPS]
        for _ in range(MAX_STEPS):
            if not self.script:
                break
            steps[self.script.byte() % len(steps)]()
        self.finish()

    def finish(self) -> None:
        """Do what is left to be done after the last step."""


def step(play: type[Play], name: str, parameters: bytes = b"") -> bytes:
    """Write a step of a script."""
    return bytes([play.STEPS.index(name)]) + parameters
