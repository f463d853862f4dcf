"""Runs a command that may have no more than so many descriptors.

Arguments: the number, and the command.
"""

from __future__ import annotations

import os
import resource
import sys


def main() -> None:
    """Set the limit, and become the command."""
    _, number, *command = sys.argv
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(number), int(number)))
    os.execvp(command[0], command)  # noqa: S606 - what the test asks for


if __name__ == "__main__":
    main()
