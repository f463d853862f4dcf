"""Message pipes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from curvecp_tx.errors import HandlerFailed
from curvecp_tx.net.pipes import (
    DRAIN_READS,
    LOWEST_DESCRIPTOR,
    MessageReader,
    MessageWriter,
    open_pipe,
)
from curvecp_tx.testing import FakeReactor
from curvecp_tx.wire.frames import FrameDecoder, encode_frame
from tests.net.recording import message, number_of, open_descriptors

SIZES = (16, 1088, 640, 32, 192, 1072)


def mixed(count: int) -> list[bytes]:
    """Make messages of several sizes."""
    return [message(n, SIZES[n % len(SIZES)]) for n in range(count)]


class PipeCase(SynchronousTestCase):
    """A test with a pipe of its own, which must be closed at the end."""

    def setUp(self) -> None:
        """Open the pipe."""
        self.before = open_descriptors()
        self.theirs, self.ours = open_pipe()

    def tearDown(self) -> None:
        """Look for leaks."""
        self.assertEqual(open_descriptors(), self.before)


class OpenPipeTests(SynchronousTestCase):
    """What kind of pipes they are."""

    def test_properties(self) -> None:
        """Both ends are high, non-blocking and closed on exec."""
        ends = open_pipe()
        try:
            for end in ends:
                self.assertGreaterEqual(end, LOWEST_DESCRIPTOR)
                self.assertFalse(os.get_blocking(end))
                self.assertFalse(os.get_inheritable(end))
            os.write(ends[1], b"through")
            self.assertEqual(os.read(ends[0], 100), b"through")
        finally:
            for end in ends:
                os.close(end)

    def test_no_descriptors(self) -> None:
        """When descriptors run out half-way, none leaks."""
        original = fcntl.fcntl
        allowed: list[None] = []

        def scarce(*arguments: Any) -> Any:
            if not allowed:
                raise OSError(24, "Too many open files")
            allowed.pop()
            return original(*arguments)

        self.patch(fcntl, "fcntl", scarce)
        before = open_descriptors()
        for count in (0, 1):
            allowed.extend([None] * count)
            self.assertRaises(OSError, open_pipe)
            self.assertEqual((allowed, open_descriptors()), ([], before))


class WriterTests(PipeCase):
    """Writing messages."""

    def setUp(self) -> None:
        """Put a writer at one end."""
        super().setUp()
        self.writer = MessageWriter(self.ours)

    def tearDown(self) -> None:
        """Close both ends."""
        self.writer.close()
        self.writer.close()
        os.close(self.theirs)
        super().tearDown()

    def written(self) -> list[bytes]:
        """Read everything back; there must be whole frames only."""
        decoder = FrameDecoder()
        messages: list[bytes] = []
        while True:
            try:
                messages += decoder.feed(os.read(self.theirs, 4097))
            except BlockingIOError:
                self.assertFalse(decoder.in_frame)
                return messages

    def test_fits(self) -> None:
        """Messages that fit are all there, in order."""
        messages = mixed(40)
        self.assertEqual(self.writer.write(messages), 0)
        self.assertEqual(self.writer.write([]), 0)
        self.assertEqual(self.written(), messages)

    def test_full(self) -> None:
        """A full pipe takes whole frames or none, and the rest is counted."""
        messages = mixed(1000)
        lost = self.writer.write(messages)
        self.assertGreater(lost, 0)
        # Pieces that fill the last gap follow the chunk that did not fit.
        self.assertEqual(self.written(), messages[: len(messages) - lost])

    def test_full_in_small_batches(self) -> None:
        """Every message is either in the pipe or in the count."""
        messages = mixed(300)
        lost = sum(
            self.writer.write(messages[start : start + 7]) for start in range(0, 300, 7)
        )
        written = self.written()
        self.assertEqual(len(written) + lost, len(messages))
        numbers = [number_of(found) for found in written]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(written, [messages[number] for number in numbers])

    def test_last_gap(self) -> None:
        """Where a chunk does not fit, its first messages may."""
        size = fcntl.fcntl(self.ours, fcntl.F_SETPIPE_SZ, 4096)
        filler = size - 3 * 17
        os.write(self.ours, bytes(filler))
        messages = [message(n) for n in range(5)]
        self.assertEqual(self.writer.write(messages), 2)
        self.assertEqual(os.read(self.theirs, filler), bytes(filler))
        self.assertEqual(self.written(), messages[:3])

    def test_again(self) -> None:
        """A pipe that was full takes messages again once it has been read."""
        lost = self.writer.write(mixed(1000))
        next_one = mixed(1000)[-lost]
        self.assertEqual(self.writer.write([next_one]), 1)
        self.written()
        self.assertEqual(self.writer.write(mixed(3)), 0)
        self.assertEqual(self.written(), mixed(3))

    def test_chunk_then_pieces(self) -> None:
        """When all pieces fit after all, writing goes on with the next chunk."""
        original = os.write
        refusals = [True]

        def moody(descriptor: int, data: bytes) -> int:
            if refusals:
                refusals.pop()
                raise BlockingIOError(11, "full just now")
            return original(descriptor, data)

        messages = mixed(20)
        patch = self.patch(os, "write", moody)
        lost = self.writer.write(messages)
        patch.restore()
        self.assertEqual((lost, self.written()), (0, messages))

    def test_nobody_reads(self) -> None:
        """A pipe without a reader is an error, with or without room."""
        for count in (1, 1000):
            reading, writing = open_pipe()
            os.close(reading)
            writer = MessageWriter(writing)
            self.assertRaises(BrokenPipeError, writer.write, mixed(count))
            writer.close()


class ReaderTests(PipeCase):
    """Reading messages."""

    def setUp(self) -> None:
        """Put a reader at one end, under a reactor."""
        super().setUp()
        self.reactor = FakeReactor()
        self.batches: list[list[bytes]] = []
        self.ends: list[HandlerFailed | None] = []
        self.onBatch: Callable[[], None] = lambda: None
        self.reader = MessageReader(
            self.reactor, self.theirs, self.received, self.ends.append
        )
        self.reader.start()

    def tearDown(self) -> None:
        """Close both ends."""
        self.reader.close()
        self.reader.close()
        self.hang_up()
        super().tearDown()

    def received(self, messages: Sequence[bytes]) -> None:
        """Note a batch."""
        self.batches.append(list(messages))
        self.onBatch()

    def hang_up(self) -> None:
        """Close the writing end."""
        if self.ours >= 0:
            os.close(self.ours)
            self.ours = -1

    def write(self, data: bytes) -> None:
        """Write bytes and have them read."""
        os.write(self.ours, data)
        self.reactor.poll()

    def assertClosed(self) -> None:
        """Fail unless the reader has closed and is watched no more."""
        self.assertEqual(self.reader.fileno(), -1)
        self.assertEqual(self.reactor.getReaders(), [])

    def assertEnded(self, *words: str) -> None:
        """Fail unless the pipe has ended once, in an error with these words."""
        self.assertClosed()
        [problem] = self.ends
        for word in words:
            self.assertIn(word, str(problem))
        self.assertEqual(problem is None, not words)

    def test_interface(self) -> None:
        """A reader is what the reactor takes it for."""
        self.assertTrue(verifyObject(IReadDescriptor, self.reader))
        self.assertEqual(self.reader.fileno(), self.theirs)
        self.assertIn("handler", self.reader.logPrefix())

    def test_several(self) -> None:
        """Frames that are read together come as one list."""
        messages = mixed(8)
        self.write(b"".join(map(encode_frame, messages)))
        self.assertEqual(self.batches, [messages])

    def test_split(self) -> None:
        """A stream may be cut anywhere."""
        messages = [message(1), message(2, 32), message(3, 48)]
        stream = b"".join(map(encode_frame, messages))
        for cut in range(1, len(stream)):
            self.batches.clear()
            self.write(stream[:cut])
            self.write(stream[cut:])
            self.assertEqual([m for batch in self.batches for m in batch], messages)

    def test_byte_by_byte(self) -> None:
        """It may come in single bytes; each message is handed on when complete."""
        messages = mixed(3)
        for byte in b"".join(map(encode_frame, messages)):
            self.write(bytes([byte]))
        self.assertEqual(self.batches, [[message] for message in messages])

    def test_nothing_there(self) -> None:
        """Nothing to read is no event."""
        self.reactor.poll()
        self.assertEqual((self.batches, self.ends), ([], []))

    def test_end(self) -> None:
        """The end of the pipe between frames is a proper one."""
        self.write(encode_frame(message(1)))
        self.hang_up()
        self.reactor.poll()
        self.assertEnded()
        self.assertEqual(self.batches, [[message(1)]])

    def test_end_inside_frame(self) -> None:
        """The end of the pipe inside a frame is an error."""
        self.write(encode_frame(message(1))[:-1])
        self.hang_up()
        self.reactor.poll()
        self.assertEnded("inside a message")
        self.assertEqual(self.batches, [])

    def test_bad_length(self) -> None:
        """A length byte out of range ends it; messages before it still count."""
        for byte in (0, 69, 255):
            self.reader.close()
            self.hang_up()
            self.theirs, self.ours = open_pipe()
            self.batches.clear()
            self.ends.clear()
            self.reader = MessageReader(
                self.reactor, self.theirs, self.received, self.ends.append
            )
            self.reader.start()
            self.write(encode_frame(message(1)) + bytes([byte]) + bytes(200))
            self.assertEnded("message handler", str(byte))
            self.assertEqual(self.batches, [[message(1)]])

    def test_bad_length_first(self) -> None:
        """Without messages before the bad byte, nothing is handed on."""
        self.write(b"\0")
        self.assertEnded("not 1 to 68: 0")
        self.assertEqual(self.batches, [])

    def test_read_error(self) -> None:
        """An error of reading ends it with the system's words."""

        def refuse(descriptor: int, size: int) -> bytes:
            raise OSError(5, "Input/output error")

        patch = self.patch(os, "read", refuse)
        self.reactor.poll()
        patch.restore()
        self.assertEnded("Input/output error")

    def test_drain(self) -> None:
        """Draining reads all that is left, and the end of the pipe."""
        messages = mixed(100)
        os.write(self.ours, b"".join(map(encode_frame, messages)))
        self.hang_up()
        self.reader.drain()
        self.assertEqual([m for batch in self.batches for m in batch], messages)
        self.assertEnded()

    def test_drain_open_pipe(self) -> None:
        """Draining a pipe that somebody still writes to stops where it is empty."""
        os.write(self.ours, encode_frame(message(1)))
        self.reader.drain()
        self.assertEqual((self.batches, self.ends), ([[message(1)]], []))

    def test_drain_endless(self) -> None:
        """A writer that goes on writing cannot keep the drain busy for ever."""

        def write_more() -> None:
            os.write(self.ours, encode_frame(message(1)))

        self.onBatch = write_more
        write_more()
        self.reader.drain()
        self.assertEqual(len(self.batches), DRAIN_READS)

    def test_drain_closed(self) -> None:
        """Closing while messages are handed on stops a drain; it is no end."""
        os.write(self.ours, encode_frame(message(1)))
        self.onBatch = self.reader.close
        self.reader.drain()
        self.reader.drain()
        self.assertEqual((len(self.batches), self.ends), (1, []))

    def test_close(self) -> None:
        """Closing is silent, and may be repeated."""
        self.reader.close()
        self.reader.close()
        self.assertClosed()
        self.assertEqual(self.ends, [])

    def test_connection_lost(self) -> None:
        """The reactor may close it, which is no end of the pipe."""
        os.write(self.ours, encode_frame(message(1)))
        self.reader.connectionLost(Failure(Exception("the reactor stops")))
        self.assertClosed()
        self.assertEqual((self.batches, self.ends), ([[message(1)]], []))

    def test_hang_up(self) -> None:
        """Where the reactor reports a hang-up instead, it is the end of the pipe."""
        os.write(self.ours, encode_frame(message(1)))
        self.hang_up()
        self.reader.connectionLost(Failure(ConnectionDone()))
        self.assertEnded()
        self.assertEqual(self.batches, [[message(1)]])
