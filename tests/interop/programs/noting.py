"""A message handler that notes how it is told to end, in the file that is named.

It answers each message with itself. At the end of its input it writes ``eof`` and
waits for SIGTERM, at which it writes ``term`` and exits.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time


def note(word: str) -> None:
    """Add a word to the file."""
    with open(sys.argv[1], "a", encoding="utf-8") as file:
        file.write(f"{word}\n")


def terminated(number: int, frame: object) -> None:
    """Note the signal, and exit."""
    note("term")
    sys.exit(0)


def main() -> None:
    """Answer, and note."""
    signal.signal(signal.SIGTERM, terminated)
    note("up")
    while True:
        select.select([8], [], [])
        data = os.read(8, 65536)
        if not data:
            break
        os.write(9, data)
    note("eof")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
