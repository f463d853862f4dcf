"""A profiler that looks at the stack each time some processor time has been used.

One from outside, which looks every so often, cannot tell who runs from who waits for
a processor, and with two busy processes that is much of the time.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from types import CodeType, FrameType
from typing import Any

INTERVAL = 0.001
"""Seconds of processor time; the kernel may round that up to its own tick."""

FILE = "CURVECP_BENCHMARK_SAMPLES"
"""The environment's name for where to write what was seen."""


class Sampler:
    """Counts stacks until told to stop.

    Python runs the handler when the call to C that was interrupted returns, so that the
    time counts for the function that made it.
    """

    def __init__(self) -> None:
        self._stacks: Counter[tuple[CodeType, ...]] = Counter()

    def start(self) -> None:
        """Begin."""
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def write(self, path: str) -> None:
        """Stop, and write a line for each stack: its functions, and how often."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        with open(path, "w", encoding="utf-8") as file:
            for stack, count in self._stacks.items():
                frames = ";".join(map(_described, reversed(stack)))
                file.write(f"{frames} {count}\n")

    def _look(self, number: int, frame: FrameType | None) -> None:
        stack = []
        while frame is not None:
            stack.append(frame.f_code)
            frame = frame.f_back
        self._stacks[tuple(stack)] += 1


def _described(code: CodeType) -> str:
    name = getattr(code, "co_qualname", code.co_name)
    paths = sorted(filter(None, sys.path), key=len, reverse=True)
    for path in (*paths, os.getcwd()):
        if code.co_filename.startswith(path + os.sep):
            return f"{name} ({code.co_filename[len(path) + 1 :]})"
    return f"{name} ({os.path.basename(code.co_filename)})"


def run(reactor: Any) -> None:
    """Run the reactor, under a sampler if the environment says so."""
    path = os.environ.get(FILE)
    if path is None:
        reactor.run()
        return
    sampler = Sampler()
    # The reactor would be woken up by each sample.
    signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(reactor.stop))
    sampler.start()
    reactor.run(installSignalHandlers=False)
    sampler.write(path)
