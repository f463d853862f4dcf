"""How the tools end: exit codes, and the one line that says why.

No Twisted here: the key tools use it, too.
"""

from __future__ import annotations

import atexit
import os
import sys
from functools import cache
from typing import NoReturn

USAGE = 100
"""The command line makes no sense."""

FAILURE = 111
"""It makes sense and cannot be done, or a program was killed by a signal."""

STANDARD_ERROR = 2


def say(command: str, text: str) -> None:
    """Write a line to standard error, which may be closed or full."""
    try:
        sys.stderr.write(f"{command}: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        # There is nobody to tell that nobody can be told.
        _prepare_exit()


@cache
def _prepare_exit() -> None:
    """Have the rest thrown away at the end."""
    atexit.register(_give_up_unwritten)


def _give_up_unwritten() -> None:
    """Throw away what standard error has not taken by the end.

    Python would make an exit code of its own of that, instead of ours.
    """
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_ERROR)


def die(command: str, reason: str, *, silent: bool = False) -> NoReturn:
    """End with 111, saying why unless told to be silent."""
    if not silent:
        say(command, f"fatal: {reason}")
    raise SystemExit(FAILURE)


def die_of_usage(command: str, usage: str, reason: str = "") -> NoReturn:
    """End with 100, showing how to use the command."""
    for line in usage.splitlines():
        say(command, line)
    if reason:
        say(command, f"fatal: {reason}")
    raise SystemExit(USAGE)
