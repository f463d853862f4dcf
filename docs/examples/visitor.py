"""A message handler for a client: says its name, shows the answer, ends.

Messages may get lost on the way, so the name is said again until there is an
answer: that is the whole of this protocol's reliability.
"""

from __future__ import annotations

import select
import sys

from framing import MESSAGES_IN, pad, receive, send, unpad

ATTEMPTS = 10


def main() -> int:
    """Introduce ourselves, and show what the server says to that."""
    name = sys.argv[1] if len(sys.argv) > 1 else "stranger"
    for _ in range(ATTEMPTS):
        send(pad(name))
        if select.select([MESSAGES_IN], [], [], 1.0)[0]:
            answer = next(receive(), None)
            if answer is None:
                break
            print(unpad(answer), flush=True)
            return 0
    print("no answer", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
