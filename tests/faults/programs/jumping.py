"""Runs one of our commands while somebody sets the wall clock all the time.

Arguments: -1 for further and further back, 1 for forth; the module of the command,
and the command's own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module

HOUR = 3600.0
MONTH = 30 * 24 * HOUR
EVERY = 0.1
"""Seconds until the next jump."""


def jumping_clock(direction: int) -> Callable[[], float]:
    """Give a clock that is set by an hour, and each tenth time by a month."""
    honest, start = time.time, time.monotonic()

    def tell() -> float:
        jumps = int((time.monotonic() - start) / EVERY)
        return honest() + direction * (jumps * HOUR + jumps // 10 * MONTH)

    return tell


def main() -> None:
    """Run the command."""
    _, direction, module, *arguments = sys.argv
    # Before Twisted takes the function for its own.
    time.time = jumping_clock(int(direction))
    sys.argv = [module, *arguments]
    import_module(module).main()


if __name__ == "__main__":
    main()
