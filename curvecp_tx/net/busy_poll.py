"""Staying awake for an answer, where somebody asks for that.

A processor that has gone to sleep takes as long to wake up as an echo takes to be
computed. Who answers within that time is better awaited awake; the kernel's own
busy polling does the same, but not for packets that come from the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.logger import Logger

SWITCH = "CURVECP_TX_BUSY_POLL"
"""Name of the environment variable that says how long, in microseconds."""

MAX_PATIENCE = 1000
"""Microseconds: who sleeps for longer than that hardly notices the waking up."""

MAX_DIGITS = 10
"""A number that is longer would cost time to read."""

TURN = 0.002
"""Seconds after which the rest of the event loop gets its turn in any case."""

_log = Logger()


def patience() -> float:
    """Read from the environment how many seconds to stay awake; 0 for not at all."""
    text = os.environ.get(SWITCH, "0")
    is_number = text.isascii() and text.isdigit() and len(text) < MAX_DIGITS
    if is_number and int(text) <= MAX_PATIENCE:
        return int(text) / 1e6
    _log.error(
        "{name} is ignored: not a number of microseconds from 0 to {most}",
        name=SWITCH,
        most=MAX_PATIENCE,
    )
    return 0.0


def stay_awake(
    read: Callable[[], bool],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Read again and again, until nothing has come for a while.

    :param read: reads once; tells whether there was anything, and may be again.
    :param seconds: how long a silence ends it.
    """
    began = heard = now = clock()
    while now < heard + seconds and now < began + TURN:
        if read():
            heard = clock()
        now = clock()
