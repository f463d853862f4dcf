"""Errors of the system around message pipes: each ends one connection at the most."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import HandlerFailed
from curvecp_tx.net.ending import FAULT_PATIENCE
from curvecp_tx.net.pipes import MessageReader, MessageWriter, open_pipe
from curvecp_tx.testing import FakeReactor
from tests.net.playing import ProgramCase
from tests.net.recording import logged, message, open_descriptors

HARMLESS = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR)
FATAL = (errno.EIO, errno.EBADF, errno.ENOMEM, errno.EPIPE)
WATCH_ERRORS = (errno.ENOSPC, errno.ENOMEM, errno.EMFILE)


def failing(number: int) -> Callable[..., Any]:
    """Give a system call that fails."""

    def call(*arguments: object) -> Any:
        raise OSError(number, os.strerror(number))

    return call


class ErrnoCase(SynchronousTestCase):
    """A test that makes calls of the system fail."""

    @contextmanager
    def refused(self, name: str, number: int) -> Iterator[None]:
        """Let a function of ``os`` fail for a while."""
        patch = self.patch(os, name, failing(number))
        try:
            yield
        finally:
            patch.restore()


class PipeErrnoTests(ErrnoCase):
    """A reader and a writer by themselves."""

    def setUp(self) -> None:
        """Open a pipe, with a reader at one end and a writer at the other."""
        self.before = open_descriptors()
        self.reactor = FakeReactor()
        self.received: list[bytes] = []
        self.ends: list[HandlerFailed | None] = []
        reading, writing = open_pipe()
        self.writer = MessageWriter(writing)
        self.reader = MessageReader(
            self.reactor, reading, self.received.extend, self.ends.append
        )
        self.reader.start()

    def tearDown(self) -> None:
        """Look for leaks."""
        self.writer.close()
        self.reader.close()
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(open_descriptors(), self.before)

    def test_harmless_read(self) -> None:
        """To find nothing, or to be interrupted, is no error of reading."""
        self.writer.write([message(1)])
        for number in HARMLESS:
            with self.refused("read", number):
                self.reactor.poll()
        self.assertEqual((self.received, self.ends), ([], []))
        self.reactor.poll()
        self.assertEqual(self.received, [message(1)])

    def test_harmless_write(self) -> None:
        """A pipe that is full, or an interruption, costs the messages, counted."""
        for number in HARMLESS:
            with self.refused("write", number):
                self.assertEqual(self.writer.write([message(1), message(2)]), 2)
        self.assertEqual(self.writer.write([message(3)]), 0)
        self.reactor.poll()
        self.assertEqual(self.received, [message(3)])

    def test_fatal_read(self) -> None:
        """Any other error of reading ends the pipe, with the system's words."""
        for number in FATAL:
            self.ends.clear()
            with self.refused("read", number):
                self.reactor.poll()
            [problem] = self.ends
            self.assertIn(os.strerror(number), str(problem))
            self.assertEqual(self.reader.fileno(), -1)
            self.tearDown()
            self.setUp()

    def test_fatal_write(self) -> None:
        """Any other error of writing is the caller's to handle."""
        for number in FATAL:
            with self.refused("write", number):
                error = self.assertRaises(OSError, self.writer.write, [message(1)])
            self.assertEqual(error.errno, number)

    def test_close(self) -> None:
        """A descriptor counts as closed, whatever the system has to say."""
        close, closed = os.close, []

        def complaining(descriptor: int) -> None:
            close(descriptor)
            closed.append(descriptor)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch = self.patch(os, "close", complaining)
        for _ in range(2):
            self.reader.close()
            self.writer.close()
        patch.restore()
        self.assertEqual(len(closed), 2)
        self.assertEqual(self.reader.fileno(), -1)

    def test_no_more_to_watch(self) -> None:
        """A reactor that has lost track of a reader does not keep it from closing."""
        patch = self.patch(self.reactor, "removeReader", failing(errno.ENOENT))
        self.reader.close()
        patch.restore()
        self.assertEqual(self.reader.fileno(), -1)
        self.reactor.removeAll()


class ProgramErrnoTests(ProgramCase, ErrnoCase):
    """The same errors with a program at the other end."""

    def assert_ended(self, kind: type[Exception]) -> None:
        """Check that the connection has ended, and in which way."""
        self.reactor.advance(0)
        assert self.program.lost is not None
        self.assertTrue(self.program.lost.check(kind), self.program.lost)
        self.assertEqual(self.wire.released, 1)

    def test_read(self) -> None:
        """An error on descriptor 9 ends the connection as a failure, and is logged."""
        for number in FATAL:
            self.start()
            with logged() as lines, self.refused("read", number):
                self.reactor.poll()
            [line] = lines("cannot read")
            self.assertIn(os.strerror(number), line)
            self.assert_ended(ConnectionAborted)
            self.assertEqual(self.process.signals, ["TERM"])
            self.process.exit()

    def test_write(self) -> None:
        """An error on descriptor 8 ends the connection; last words are sent."""
        for number in FATAL:
            self.start()
            self.say(message(1))
            with self.refused("write", number):
                self.wire.deliver([message(2)])
            self.assertEqual(self.wire.sent, [message(1)])
            self.assert_ended(ConnectionDone)
            self.process.exit()

    def test_full(self) -> None:
        """A full pipe is no error: the message is lost, the connection is not."""
        self.start()
        for count, number in enumerate(HARMLESS, 1):
            with self.refused("write", number):
                self.wire.deliver([message(2)])
            self.assertEqual(self.factory.counters.lost_handler_full, count)
        self.wire.deliver([message(3)])
        self.assertEqual(self.heard(), [message(3)])
        self.assertIsNone(self.program.lost)

    def test_unwatchable(self) -> None:
        """Where the reactor can watch no more, no program is started, none leaks."""
        for number in WATCH_ERRORS:
            self.factory = self.make_factory()
            patch = self.patch(self.reactor, "addReader", failing(number))
            error = self.assertRaises(OSError, self.attach)
            patch.restore()
            self.assertEqual(error.errno, number)
            self.assertEqual(self.reactor.processes, [])
            self.assertEqual(open_descriptors(), self.before)
            self.assertEqual(len(self.factory.running), 0)

    def test_spawn(self) -> None:
        """Whatever keeps a program from starting, nothing of the attempt is left."""
        for number in (
            errno.EAGAIN,
            errno.ENOMEM,
            errno.ENOENT,
            errno.EACCES,
            errno.EMFILE,
        ):
            self.factory = self.make_factory()
            self.reactor.spawnError = OSError(number, os.strerror(number))
            error = self.assertRaises(OSError, self.attach)
            self.assertEqual(error.errno, number)
            self.assertEqual(self.reactor.getReaders(), [])
            self.assertEqual(open_descriptors(), self.before)
            self.assertEqual(len(self.factory.running), 0)
            self.reactor.spawnError = None
            self.attach()
            self.assertEqual(sorted(self.process.descriptors), [8, 9])
            self.process.exit()
            self.reactor.advance(0)

    def test_signals(self) -> None:
        """A program that we may not signal is left to see the end of its pipes."""
        self.start()
        self.patch(self.process, "signalProcess", failing(errno.EPERM))
        self.wire.abortConnection()
        self.reactor.advance(0)
        self.reactor.advance(FAULT_PATIENCE.kill)
        self.assertTrue(self.at_end())
        self.assertEqual(len(self.factory.running), 1)
