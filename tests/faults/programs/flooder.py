"""Sends Hellos to a server as fast as it is told, and says how many they were.

Arguments: the server's port, its key and extension in hexadecimal, the Hellos a
second, the seconds, and ``good`` or ``bad`` for whether their boxes open.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from curvecp_tx.secure.boxes import HELLO_NONCE, KeyPair, seal, shared_key
from curvecp_tx.wire.packets import EXTENSION_BYTES, Hello

HOST = "127.0.0.1"
DIFFERENT = 100
STEP = 0.005


def make_hello(server: bytes, extension: bytes, good: bool) -> bytes:
    """Make a Hello of a client's of its own."""
    keys = KeyPair.generate(os.urandom)
    key = shared_key(server, keys.secret)
    assert key is not None
    box = seal(bytes(64), HELLO_NONCE + bytes(8), key)
    return Hello(
        server_extension=extension,
        client_extension=bytes(EXTENSION_BYTES),
        short_term_key=keys.public,
        nonce=0,
        box=box if good else bytes(len(box)),
    ).encode()


def main() -> None:
    """Send them."""
    _, port, server, extension, rate, seconds, kind = sys.argv
    hellos = [
        make_hello(bytes.fromhex(server), bytes.fromhex(extension), kind == "good")
        for _ in range(DIFFERENT)
    ]
    sent = 0
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    start = time.monotonic()
    while (now := time.monotonic() - start) < float(seconds):
        while sent < now * float(rate):
            sock.sendto(hellos[sent % DIFFERENT], (HOST, int(port)))
            sent += 1
        time.sleep(STEP)
    print(sent, flush=True)


if __name__ == "__main__":
    main()
