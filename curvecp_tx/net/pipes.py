"""Message pipes: frames over the descriptors that the reactor watches.

A writer never waits. A frame is smaller than PIPE_BUF, so the kernel takes it
whole or not at all; what does not fit is dropped, as the message-handler
interface allows, and the far end of the connection repeats it. The pipe itself
is thus the queue, and the only one: there is no buffer to grow behind it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.errors import BadFrame, HandlerFailed
from curvecp_tx.wire.frames import FrameDecoder, encode_frame, pack_frames

READ_BYTES = 1 << 16
"""A pipe's usual capacity: one read empties it."""

DRAIN_READS = 16
"""Reads that may follow the end of a program: a pipe holds 1 MiB at the most."""

LOWEST_DESCRIPTOR = 10
"""Our ends stay clear of 0 to 9, which have meanings in programs."""

_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR})


def open_pipe() -> tuple[int, int]:
    """Make a pipe, non-blocking at both ends and closed on exec.

    :return: the descriptors to read from and to write to, neither below 10.
    :raises OSError: when descriptors have run out.
    """
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    raised: list[int] = []
    try:
        for end in ends:
            raised.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR))
    except OSError:
        for descriptor in raised:
            os.close(descriptor)
        raise
    finally:
        for end in ends:
            os.close(end)
    return raised[0], raised[1]


def close_descriptor(descriptor: int) -> None:
    """Close a descriptor; it is gone even where the system has something to say."""
    with suppress(OSError):
        os.close(descriptor)


class MessageWriter:
    """Writes messages as frames into a pipe, as far as they fit.

    :param descriptor: non-blocking; owned by this object from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, messages: Sequence[bytes]) -> int:
        """Write what fits now.

        :return: how many messages did not fit.
        :raises BrokenPipeError: when nobody reads any more.
        """
        left = len(messages)
        for count, chunk in pack_frames(messages, select.PIPE_BUF):
            if not self._put(chunk):
                # A smaller piece may still fit where the chunk did not.
                at = len(messages) - left
                for message in messages[at : at + count]:
                    if not self._put(encode_frame(message)):
                        return left
                    left -= 1
            else:
                left -= count
        return left

    def close(self) -> None:
        """Close the pipe: its reader gets to its end."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_descriptor(descriptor)

    def _put(self, data: bytes) -> bool:
        try:
            os.write(self._descriptor, data)
        except OSError as error:
            if error.errno in _FULL:
                return False
            raise
        return True


@implementer(IReadDescriptor)
class MessageReader:
    """Reads frames from a pipe and hands on the messages.

    :param descriptor: non-blocking; owned by this object from now on.
    :param received: gets each list of messages.
    :param ended: called once when the pipe has ended: with ``None`` at its
        proper end, with an error at a frame that is none.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        descriptor: int,
        received: Callable[[Sequence[bytes]], None],
        ended: Callable[[HandlerFailed | None], None],
    ) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._received = received
        self._ended = ended
        self._decoder = FrameDecoder()

    def start(self) -> None:
        """Begin to read."""
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """Give the descriptor, -1 once closed."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Name this reader in log lines."""
        return "CurveCP message handler"

    def connectionLost(self, reason: Failure) -> None:
        """Read to the end: an empty pipe without writers is only reported so."""
        self.drain()
        self.close()

    def close(self) -> None:
        """Stop reading, without further notice to anybody."""
        if self._descriptor >= 0:
            with suppress(OSError):
                self._reactor.removeReader(self)
            descriptor, self._descriptor = self._descriptor, -1
            close_descriptor(descriptor)

    def doRead(self) -> None:
        """Read once, at most what a pipe holds."""
        self._read()

    def drain(self) -> None:
        """Read what is left of a writer that is gone."""
        for _ in range(DRAIN_READS):
            if self._descriptor < 0 or not self._read():
                return

    def _read(self) -> bool:
        """Read once; tell whether anything came."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except OSError as error:
            if error.errno not in _FULL:
                self._end(HandlerFailed(f"cannot read its messages: {error.strerror}"))
            return False
        if not data:
            cut = self._decoder.in_frame
            self._end(HandlerFailed("ended inside a message") if cut else None)
            return False
        try:
            messages = self._decoder.feed(data)
        except BadFrame as error:
            if error.messages:
                self._received(error.messages)
            self._end(HandlerFailed(str(error)))
            return False
        if messages:
            self._received(messages)
        return True

    def _end(self, problem: HandlerFailed | None) -> None:
        self.close()
        self._ended(problem)
