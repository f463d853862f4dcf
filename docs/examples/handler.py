"""A message handler in plain Python: sends every message back.

curvecpserver starts one for each client. It does what every handler has to do,
and knows nothing of CurveCP beyond its two descriptors:

* It always reads descriptor 8, whatever else goes on. The pipe is the only queue
  there is, and what does not fit in there is lost.
* It copes with a pipe that brings half a message or takes half of one.
* It drops answers that it cannot get rid of, so that its memory has a bound.
* It ends when the connection ends, and when the client has been silent for so
  long that it must be gone: CurveCP has no packet that would say so.
"""

from __future__ import annotations

import os
import select
import sys

MESSAGES_IN = 8
MESSAGES_OUT = 9

UNIT = 16
LONGEST = 68
READ_BYTES = 65536
WAITING_BYTES = 65536
SILENCE = 60.0


class Handler:
    """The state of one connection: bytes of a frame begun, frames not yet out."""

    def __init__(self) -> None:
        self.incoming = b""
        self.outgoing = b""

    def answer(self, message: bytes) -> bytes:
        """Give the answer to a message: 16 to 1088 bytes, a multiple of 16."""
        return message

    def run(self) -> int:
        """Serve until the connection ends; give the exit status."""
        while True:
            writers = [MESSAGES_OUT] if self.outgoing else []
            ready, room, _ = select.select([MESSAGES_IN], writers, [], SILENCE)
            if not ready and not room:
                return 0
            if ready and not self.read():
                return 0
            if room:
                self.write()

    def read(self) -> bool:
        """Read once, and answer what is complete; ``False`` at the end."""
        try:
            data = os.read(MESSAGES_IN, READ_BYTES)
        except BlockingIOError:
            return True
        self.incoming += data
        while self.incoming:
            units = self.incoming[0]
            if not 1 <= units <= LONGEST:
                raise ValueError(f"length byte {units} on descriptor {MESSAGES_IN}")
            end = 1 + units * UNIT
            if len(self.incoming) < end:
                break
            self.queue(self.answer(self.incoming[1:end]))
            self.incoming = self.incoming[end:]
        return bool(data)

    def queue(self, message: bytes) -> None:
        """Line up a message, or drop it whole if too much is waiting."""
        if len(self.outgoing) < WAITING_BYTES:
            self.outgoing += bytes([len(message) // UNIT]) + message

    def write(self) -> None:
        """Write as much as the pipe takes, be it the half of a frame."""
        try:
            written = os.write(MESSAGES_OUT, self.outgoing)
        except BlockingIOError:
            return
        self.outgoing = self.outgoing[written:]


def main() -> int:
    """Run as a program; 111 if the descriptors make no sense."""
    try:
        return Handler().run()
    except BrokenPipeError:
        # The connection has ended while an answer was on its way.
        return 0
    except (OSError, ValueError) as error:
        print(f"handler: fatal: {error}", file=sys.stderr)
        return 111


if __name__ == "__main__":
    sys.exit(main())
