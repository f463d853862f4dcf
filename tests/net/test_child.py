"""Handler programs: how they start, and what goes back and forth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from zope.interface.verify import verifyObject

from curvecp_tx.errors import ProgramNotFound
from curvecp_tx.interfaces import IMessageProtocol, IMessageProtocolFactory
from curvecp_tx.net import child
from curvecp_tx.net.ending import ProgramEnd, find_program
from curvecp_tx.net.pipes import open_pipe
from curvecp_tx.testing import FakeProcess, FakeReactor
from curvecp_tx.wire.frames import encode_frame
from tests.net.playing import CLIENT_ADDRESS, SERVER_ADDRESS, ProgramCase
from tests.net.recording import logged, message, open_descriptors


class QuickReactor(FakeReactor):
    """A reactor whose programs have ended when ``spawnProcess`` returns."""

    def spawnProcess(self, *arguments: Any, **options: Any) -> FakeProcess:
        """Start a program, and let it end."""
        process = super().spawnProcess(*arguments, **options)
        os.write(process.descriptors[9], encode_frame(message(1)))
        process.exit(3)
        return process


class FindProgramTests(ProgramCase):
    """Where programs are found."""

    def test_path(self) -> None:
        """A name is looked up on PATH."""
        self.assertEqual(os.path.basename(find_program("sh")), "sh")
        self.assertTrue(os.path.isabs(find_program("sh")))

    def test_relative(self) -> None:
        """A relative path is made absolute, wherever the program starts later."""
        path = self.mktemp()
        with open(path, "w"):
            os.chmod(path, 0o755)
        self.assertEqual(find_program(path), os.path.abspath(path))

    def test_missing(self) -> None:
        """What is not there, or not executable, is found out before any connection."""
        path = self.mktemp()
        with open(path, "w"):
            os.chmod(path, 0o644)
        for name in ("no-such-program", path, "/nonexistent/program", ""):
            self.assertRaises(ProgramNotFound, find_program, name)
            self.assertRaises(ProgramNotFound, self.make_factory, [name])


class StartTests(ProgramCase):
    """What a program finds when it starts."""

    def test_interfaces(self) -> None:
        """Program and factory provide what they declare."""
        self.start()
        self.assertTrue(verifyObject(IMessageProtocolFactory, self.factory))
        self.assertTrue(verifyObject(IMessageProtocol, self.program))

    def test_descriptors(self) -> None:
        """It has 8 to read from and 9 to write to, both non-blocking, and no others."""
        self.start()
        self.assertEqual(sorted(self.process.descriptors), [8, 9])
        for descriptor in self.process.descriptors.values():
            self.assertFalse(os.get_blocking(descriptor))
        # Two ends are ours, two are the program's.
        self.assertEqual(open_descriptors(), self.before + 4)

    def test_environment(self) -> None:
        """It is told who is at both ends, in both styles."""
        inherited = {"HOME": "/home/me", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
        self.start(environment={**inherited, "CURVECPREMOTEIP": "a lie"})
        self.assertEqual(
            self.process.environment,
            {
                b"HOME": b"/home/me",
                b"PROTO": b"CURVECP",
                b"CURVECPLOCALIP": b"192.0.2.1",
                b"CURVECPLOCALPORT": b"80",
                b"CURVECPLOCALKEY": SERVER_ADDRESS.key.hex().encode(),
                b"CURVECPLOCALEXTENSION": SERVER_ADDRESS.extension.hex().encode(),
                b"CURVECPLOCALNAME": b"server.example",
                b"CURVECPREMOTEIP": b"198.51.100.7",
                b"CURVECPREMOTEPORT": b"4433",
                b"CURVECPREMOTEKEY": CLIENT_ADDRESS.key.hex().encode(),
                b"CURVECPREMOTEEXTENSION": CLIENT_ADDRESS.extension.hex().encode(),
                b"REMOTEPK": CLIENT_ADDRESS.key.hex().encode(),
                b"TCPREMOTEIP": b"198.51.100.7",
            },
        )

    def test_own_environment(self) -> None:
        """Without another environment it inherits ours, LISTEN_ variables excepted."""
        self.patch(os, "environ", {"PATH": os.environ["PATH"], "LISTEN_PID": "1"})
        self.start()
        self.assertEqual(
            self.process.environment[b"PATH"], os.fsencode(os.environ["PATH"])
        )
        self.assertNotIn(b"LISTEN_PID", self.process.environment)

    def test_arguments(self) -> None:
        """Arguments and values of any bytes are passed on unchanged."""
        raw = b"\xff\xfe not UTF-8"
        command = ["true", "grüße", os.fsdecode(raw), ""]
        self.start(command=command, environment={"X": os.fsdecode(raw)})
        self.assertEqual(self.process.executable, os.fsencode(find_program("true")))
        self.assertEqual(self.process.arguments, [b"true", "grüße".encode(), raw, b""])
        self.assertEqual(self.process.environment[b"X"], raw)

    def test_directory(self) -> None:
        """It starts where we are, unless told otherwise."""
        self.start()
        self.assertIsNone(self.process.path)
        self.start(directory="/")
        self.assertEqual(self.process.path, "/")

    def test_log(self) -> None:
        """The curious read its process ID, its client and its end."""
        with logged() as lines:
            self.start()
            self.process.exit(7)
        key = CLIENT_ADDRESS.key.hex()
        self.assertEqual(
            lines("1000"),
            [f"pid 1000 from 198.51.100.7:4433 key {key}", "end 1000 status 7"],
        )

    def test_spawn_failure(self) -> None:
        """A program that cannot be started is an error, and leaks nothing."""
        self.factory = self.make_factory()
        for error in (OSError(11, "no more processes"), OSError(12, "no memory")):
            self.reactor.spawnError = error
            self.assertIs(self.assertRaises(OSError, self.attach), error)
            self.assertEqual(open_descriptors(), self.before)
        self.assertEqual(len(self.factory.running), 0)
        self.successResultOf(self.factory.running.when_none())

    def test_no_descriptors(self) -> None:
        """The same holds when there are no pipes to be had."""
        self.factory = self.make_factory()
        pipes = [open_pipe()]

        def scarce() -> tuple[int, int]:
            if not pipes:
                raise OSError(24, "Too many open files")
            return pipes.pop()

        self.patch(child, "open_pipe", scarce)
        for _ in range(2):
            self.assertRaises(OSError, self.attach)
            self.assertEqual(open_descriptors(), self.before)

    def test_bad_environment(self) -> None:
        """So does what no program can be given."""
        self.factory = self.make_factory(environment={"X": "\ud800"})
        self.assertRaises(UnicodeEncodeError, self.attach)
        self.assertEqual(open_descriptors(), self.before)

    def test_ends_at_once(self) -> None:
        """A program may have ended before it is known to have started."""
        self.reactor = QuickReactor()
        self.start()
        self.assertEqual(self.ended, [])
        self.reactor.advance(0)
        self.assertEqual(self.ended, [ProgramEnd(3, None)])
        self.assertEqual(self.wire.sent, [message(1)])
        self.assertEqual(len(self.factory.running), 0)
        assert self.program.lost is not None
        self.assertTrue(self.program.lost.check(ConnectionDone))

    def test_ends_at_once_after_the_connection(self) -> None:
        """That holds for a connection, too, that is gone before it is noticed."""
        self.reactor = QuickReactor()
        self.start()
        self.wire.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(self.ended, [ProgramEnd(3, None)])


class TalkTests(ProgramCase):
    """Messages back and forth."""

    def setUp(self) -> None:
        """Start a program."""
        super().setUp()
        self.start()

    def assertGone(self, kind: type[Exception]) -> None:
        """Fail unless the connection has ended for that reason."""
        self.reactor.advance(0)
        assert self.program.lost is not None
        self.assertTrue(self.program.lost.check(kind))
        self.assertEqual(self.wire.released, 1)

    def test_to_program(self) -> None:
        """Messages come out of descriptor 8 as frames."""
        messages = [message(1), message(2, 1088), message(3, 640)]
        self.wire.deliver(messages)
        self.assertEqual(self.heard(), messages)

    def test_from_program(self) -> None:
        """Frames that go into descriptor 9 are sent as messages."""
        messages = [message(1), message(2, 1088), message(3, 640)]
        self.say(*messages)
        self.reactor.poll()
        self.assertEqual(self.wire.sent, messages)

    def test_stalled(self) -> None:
        """A program that does not read loses messages, counted one by one."""
        messages = [message(number, 1088) for number in range(100)]
        for start in range(0, 100, 10):
            self.wire.deliver(messages[start : start + 10])
        heard = self.heard()
        self.assertEqual(
            self.factory.counters.lost_handler_full, len(messages) - len(heard)
        )
        self.assertGreater(len(heard), 30)
        self.assertLess(len(heard), 100)
        self.wire.deliver([message(200)])
        self.assertEqual(self.heard(), [message(200)])

    def test_closes_output(self) -> None:
        """A program that closes 9 has no more to say: the connection ends."""
        self.say(message(1))
        self.process.close(9)
        self.reactor.run(0.1)
        self.assertEqual(self.wire.sent, [message(1)])
        self.assertGone(ConnectionDone)
        self.assertTrue(self.at_end())
        self.assertEqual(self.ended, [])

    def test_closes_input(self) -> None:
        """A program that closes 8 may still say something, until it is spoken to."""
        self.process.close(8)
        self.say(message(1))
        self.reactor.poll()
        self.assertEqual(self.wire.released, 0)
        self.say(message(2))
        self.wire.deliver([message(9)])
        self.assertEqual(self.wire.sent, [message(1), message(2)])
        self.assertGone(ConnectionDone)

    def test_bad_frame(self) -> None:
        """A frame that is none ends the connection as a failure, with a reason."""
        with logged() as lines:
            self.write(encode_frame(message(1)) + b"\x45")
            self.reactor.poll()
        self.assertEqual(self.wire.sent, [message(1)])
        self.assertIn("69", str(self.program.problem))
        [line] = lines("pid 1000")
        self.assertIn("69", line)
        self.assertGone(ConnectionAborted)

    def test_cut_frame(self) -> None:
        """So does an end inside a frame."""
        self.write(encode_frame(message(1))[:9])
        self.process.close(9)
        self.reactor.run(0.1)
        self.assertIn("inside a message", str(self.program.problem))
        self.assertGone(ConnectionAborted)

    def test_cut_frame_at_exit(self) -> None:
        """It does so, too, if the program has ended with it."""
        self.write(encode_frame(message(1))[:9])
        self.process.exit(0)
        self.assertIn("inside a message", str(self.program.problem))
        self.assertGone(ConnectionAborted)

    def test_too_long(self) -> None:
        """A message longer than the connection may carry now is a failure."""
        self.wire.messageLimit = 640
        self.say(message(1, 640))
        self.reactor.poll()
        self.say(message(2, 656))
        self.reactor.poll()
        self.assertEqual(self.wire.sent, [message(1, 640)])
        self.assertIn("656 bytes, limit 640", str(self.program.problem))
        self.assertGone(ConnectionAborted)

    def test_first_problem(self) -> None:
        """Of several problems the first is told."""
        self.wire.messageLimit = 640
        with logged() as lines:
            self.write(encode_frame(message(2, 656)) + b"\0")
            self.reactor.poll()
        self.assertEqual(len(lines("pid 1000")), 1)
        self.assertIn("656 bytes", str(self.program.problem))
        self.assertGone(ConnectionAborted)

    def test_last_words(self) -> None:
        """What a program wrote before its end is sent before the connection ends."""
        order: list[str] = []
        transmit, release = self.wire._transmit, self.wire._release

        def transmitting(messages: Sequence[bytes]) -> None:
            order.append("sent")
            transmit(messages)

        def releasing() -> None:
            order.append("ended")
            release()

        self.patch(self.wire, "_transmit", transmitting)
        self.patch(self.wire, "_release", releasing)
        self.say(message(1), message(2))
        self.process.exit(0)
        self.assertEqual(self.wire.sent, [message(1), message(2)])
        self.assertEqual(order, ["sent", "ended"])
        self.assertEqual(self.ended, [ProgramEnd(0, None)])
        self.assertGone(ConnectionDone)
