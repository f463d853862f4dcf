"""A message handler for a server: answers each message with a greeting.

curvecpserver starts one greeter for each client, and tells it in the environment
who that client is.
"""

from __future__ import annotations

import os

from framing import pad, receive, send, unpad


def main() -> None:
    """Greet until the client is gone."""
    key = os.environ["CURVECPREMOTEKEY"]
    address = os.environ["CURVECPREMOTEIP"]
    for message in receive():
        name = unpad(message)
        send(pad(f"Welcome, {name}! You are at {address}, your key is {key[:8]}..."))


if __name__ == "__main__":
    main()
