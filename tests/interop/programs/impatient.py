"""Runs one of our commands, which gives its peer up after seconds, not minutes.

Arguments: the seconds, the module of the command, and the command's own.
"""

from __future__ import annotations

import sys
from importlib import import_module

from curvecp_tx.stream.stream import Stream

KEEPALIVE = 0.5
"""Seconds until an end that only listens asks whether there is anybody."""


def main() -> None:
    """Run the command."""
    _, seconds, module, *arguments = sys.argv
    defaults = Stream.__init__.__kwdefaults__
    assert defaults is not None
    defaults.update(give_up=float(seconds), keepalive=KEEPALIVE)
    sys.argv = [module, *arguments]
    import_module(module).main()


if __name__ == "__main__":
    main()
