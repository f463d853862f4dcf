"""Runs one of our commands with the smallest socket buffers that there are.

Arguments: the module of the command, and the command's own.
"""

from __future__ import annotations

import sys
from importlib import import_module

from curvecp_tx.net import udp


def main() -> None:
    """Run the command."""
    udp.SOCKET_BUFFER = 1
    del sys.argv[0]
    import_module(sys.argv[0]).main()


if __name__ == "__main__":
    main()
