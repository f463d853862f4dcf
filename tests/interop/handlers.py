"""Message tools whose superserver is the test: it holds the other ends of 8 and 9."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Iterator

from curvecp_tx.wire.frames import FrameDecoder, encode_frame
from curvecp_tx.wire.messages import Message, decode_message, encode_message
from tests.interop.processes import PATIENCE, tool

STANDARD_ERROR = 2
MESSAGES_IN = 8
MESSAGES_OUT = 9
LIFE_LINE = 5
"""Closed when all processes that have inherited it are gone."""

HIGH = 20
CHUNK = 1 << 16
FIRST_PING = 1 << 20


class SteppedHandler:
    """A message tool that is fed message by message, each of them waited for.

    :param path: file into which its program puts all that arrives.
    """

    def __init__(self, kind: str, path: str) -> None:
        self._path = path
        command = tool(kind, "curvecpmessage")
        theirs_in, self._put = _pipe()
        self._get, theirs_out = _pipe()
        self._life, theirs_life = _pipe()
        sources = {
            MESSAGES_IN: theirs_in,
            MESSAGES_OUT: theirs_out,
            LIFE_LINE: theirs_life,
        }
        os.set_blocking(theirs_in, False)
        os.set_blocking(theirs_out, False)
        self.pid = os.posix_spawn(
            command[0],
            [*command, "-s", "/bin/sh", "-c", 'exec cat >"$0"', path],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, STANDARD_ERROR, os.devnull, os.O_WRONLY, 0),
                *(
                    (os.POSIX_SPAWN_DUP2, source, target)
                    for target, source in sources.items()
                ),
            ],
        )
        for source in sources.values():
            os.close(source)
        self._decoder = FrameDecoder()
        self._said: Iterator[bytes] = iter(())
        self._ping = FIRST_PING

    def take(self, message: bytes) -> list[Message]:
        """Have a message come in, and give what is said until it must have been seen.

        The tool sees messages in turn; so it has, when it has answered a ping that
        followed.
        """
        self._ping += 1
        self._write(encode_frame(message))
        self._write(encode_frame(encode_message(message_id=self._ping)))
        answers: list[Message] = []
        while not answers or answers[-1].acknowledged_id != self._ping:
            answer = decode_message(self._next())
            assert answer is not None
            answers.append(answer)
        return answers

    def close(self) -> bytes:
        """End it, and give what its program has received."""
        if self._put >= 0:
            for descriptor in (self._put, self._get):
                os.close(descriptor)
            self._put = self._get = -1
            # Without messages it ends, and so does its program, having read all.
            try:
                self._await(self._life)
            finally:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self._life)
        with open(self._path, "rb") as file:
            return file.read()

    def _write(self, data: bytes) -> None:
        # A pipe holds many messages; more than two are never on their way.
        assert os.write(self._put, data) == len(data)

    def _next(self) -> bytes:
        while True:
            for message in self._said:
                return message
            self._await(self._get)
            data = os.read(self._get, CHUNK)
            assert data, "the tool is gone"
            self._said = iter(self._decoder.feed(data))

    def _await(self, descriptor: int) -> None:
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        assert ready, "in vain"


def _pipe() -> tuple[int, int]:
    """Make a pipe whose descriptors are none of those that a tool has."""
    pair = os.pipe2(os.O_CLOEXEC)
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, HIGH) for end in pair)
    for end in pair:
        os.close(end)
    return read, write
