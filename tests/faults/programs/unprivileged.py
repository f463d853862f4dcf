"""Runs one of our commands, which becomes another user when its reactor runs.

Arguments: the number of the user, how many processes he may have, the module of the
command, and the command's own.
"""

from __future__ import annotations

import os
import resource
import sys
from importlib import import_module

from twisted.internet import process, reactor

MUST_BE_LOADED = process
"""The other user may not be able to read this Python's files."""


def become(user: int, processes: int) -> None:
    """Give up all privileges."""
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def main() -> None:
    """Run the command."""
    _, user, processes, module, *arguments = sys.argv
    reactor.callWhenRunning(become, int(user), int(processes))
    sys.argv = [module, *arguments]
    import_module(module).main()


if __name__ == "__main__":
    main()
