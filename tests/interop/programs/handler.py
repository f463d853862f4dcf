"""A message handler that does what the first message tells it.

``echo``           answer each message with itself, this one included
``dribble``        the same, but write byte by byte
``stall``          answer, and read nothing from then on
``exit STATUS``    answer, and exit
``write HEX``      write raw bytes, and do nothing from then on
``cut HEX``        write raw bytes, close the way out, and do nothing from then on
``stubborn [HEX]`` ignore SIGTERM, answer or write raw bytes, and never end
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

MESSAGES_IN = 8
MESSAGES_OUT = 9
UNIT = 16


def wait_for(descriptor: int, event: int) -> None:
    """Wait until a descriptor can be used."""
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()


def read_exactly(size: int) -> bytes:
    """Read so many bytes; exit when the connection has ended."""
    data = b""
    while len(data) < size:
        wait_for(MESSAGES_IN, select.POLLIN)
        piece = os.read(MESSAGES_IN, size - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def read_message() -> bytes:
    """Read a message."""
    (units,) = read_exactly(1)
    return read_exactly(units * UNIT)


def write(data: bytes, piece: int = 4096) -> None:
    """Write raw bytes, some at a time."""
    while data:
        wait_for(MESSAGES_OUT, select.POLLOUT)
        data = data[os.write(MESSAGES_OUT, data[:piece]) :]


def framed(message: bytes) -> bytes:
    """Put a message into a frame."""
    return bytes([len(message) // UNIT]) + message


def main() -> None:
    """Obey the first message."""
    first = read_message()
    verb, *arguments = first.rstrip(b"\0").decode().split()
    raw = b""
    if verb == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if verb in ("write", "cut", "stubborn") and arguments:
        raw = bytes.fromhex(arguments[0])
    piece = 1 if verb == "dribble" else 4096
    write(raw or framed(first), piece)
    if verb == "cut":
        os.close(MESSAGES_OUT)
    if verb == "exit":
        sys.exit(int(arguments[0]))
    while verb in ("echo", "dribble"):
        write(framed(read_message()), piece)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
