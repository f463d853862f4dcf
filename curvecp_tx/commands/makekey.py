"""``curvecpmakekey``: make a key directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from curvecp_tx.net.keydir import make_key_directory
from curvecp_tx.service.exits import die, die_of_usage

COMMAND = "curvecpmakekey"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process if anything is wrong."""
    operands = sys.argv[1:] if arguments is None else list(arguments)
    if len(operands) != 1:
        die_of_usage(COMMAND, f"usage: {COMMAND} keydir")
    (path,) = operands
    try:
        make_key_directory(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        die(COMMAND, f"unable to create directory {path}: {reason}")


if __name__ == "__main__":
    main()
