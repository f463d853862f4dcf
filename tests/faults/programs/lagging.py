"""Runs one of our commands, and writes down by how much its reactor was late.

Arguments: the file to write, the module of the command, and the command's own. The
file gets the greatest delays of a call every 10 ms: its 99th percentile, in seconds,
over the time since SIGUSR1 came last; at SIGUSR2 it is written.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

from twisted.internet import reactor as installed_reactor

reactor: Any = installed_reactor
INTERVAL = 0.01


class Probe:
    """Measures by how much calls come late."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._late: list[float] = []

    def start(self) -> None:
        """Begin."""
        signal.signal(signal.SIGUSR1, lambda *_: self._late.clear())
        signal.signal(signal.SIGUSR2, lambda *_: self.write())
        self._arm()

    def _arm(self) -> None:
        self._due = time.monotonic() + INTERVAL
        reactor.callLater(INTERVAL, self._called)

    def _called(self) -> None:
        self._late.append(time.monotonic() - self._due)
        self._arm()

    def write(self) -> None:
        """Write down what was found."""
        late = sorted(self._late)
        with open(f"{self._path}.part", "w", encoding="ascii") as file:
            file.write(str(late[int(0.99 * len(late))]))
        os.rename(f"{self._path}.part", self._path)


def main() -> None:
    """Run the command."""
    del sys.argv[0]
    path, module = sys.argv[:2]
    del sys.argv[0]
    command = import_module(module)
    reactor.callWhenRunning(Probe(path).start)
    command.main()


if __name__ == "__main__":
    main()
