"""Looks for secrets in the memory of another process."""

from __future__ import annotations

import io
from collections.abc import Iterable

CHUNK = 1 << 24


class Unreadable(Exception):
    """The system does not let us look."""


def regions(pid: int) -> list[tuple[int, int]]:
    """Give the writable regions of a process's memory."""
    found = []
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        for line in file:
            place, mode, *_ = line.split()
            if mode.startswith("rw"):
                start, end = (int(number, 16) for number in place.split("-"))
                found.append((start, end))
    return found


def copies(pid: int, patterns: Iterable[bytes]) -> dict[bytes, int]:
    """Count how often each pattern is in the memory of a process.

    :raises Unreadable: if the process's memory may not be read.
    """
    counts = dict.fromkeys(patterns, 0)
    overlap = max(map(len, counts)) - 1
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for start, end in regions(pid):
                before = b""
                for place in range(start, end, CHUNK):
                    content = before + _read(memory, place, min(CHUNK, end - place))
                    for pattern in counts:
                        counts[pattern] += content.count(pattern)
                    before = content[-overlap:]
    except OSError as error:
        raise Unreadable(str(error)) from error
    return counts


def _read(memory: io.FileIO, place: int, size: int) -> bytes:
    memory.seek(place)
    try:
        return memory.read(size)
    except OSError:
        # Pages of the kernel's, which are mapped into every process.
        return b""
