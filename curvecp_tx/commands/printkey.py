"""``curvecpprintkey``: print the public key of a key directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from curvecp_tx.errors import KeyDirectoryError
from curvecp_tx.net.keydir import read_public_key
from curvecp_tx.service.exits import die, die_of_usage

COMMAND = "curvecpprintkey"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process if anything is wrong."""
    operands = sys.argv[1:] if arguments is None else list(arguments)
    if len(operands) != 1:
        die_of_usage(COMMAND, f"usage: {COMMAND} keydir")
    (path,) = operands
    try:
        key = read_public_key(path)
    except KeyDirectoryError as error:
        die(COMMAND, str(error))
    if sys.stdout is None:
        die(COMMAND, "unable to write output: it is closed")
    try:
        sys.stdout.write(f"{key.hex()}\n")
        sys.stdout.flush()
    except OSError as error:
        die(COMMAND, f"unable to write output: {error.strerror}".lower())


if __name__ == "__main__":
    main()
