"""Handler programs that really run."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from curvecp_tx.net.child import HandlerProgram, HandlerProgramFactory
from curvecp_tx.net.ending import Patience, ProgramEnd
from tests.net.playing import CLIENT_ADDRESS, Wire
from tests.net.recording import message, open_descriptors

reactor: Any = installed_reactor

ECHO = "until cat <&8 >&9 2>/dev/null; do sleep 0.02; done"
"""cat gives up whenever a non-blocking pipe is empty, and succeeds at its end."""

PRELUDE = """
import os, select, signal, sys
def say(data):
    os.write(9, bytes([1]) + data[:16].ljust(16, b"."))
def hear():
    select.select([8], [], [])
    return os.read(8, 65536)
"""


class NotingWire(Wire):
    """A connection that tells when so many messages have been sent."""

    def __init__(self, count: int) -> None:
        super().__init__(reactor)
        self.complete: Deferred[None] = Deferred()
        self.ending: Deferred[None] = Deferred()
        self._count = count

    def _transmit(self, messages: Sequence[bytes]) -> None:
        super()._transmit(messages)
        if len(self.sent) >= self._count and not self.complete.called:
            self.complete.callback(None)

    def _release(self) -> None:
        super()._release()
        self.ending.callback(None)


class RealProgramTests(TestCase):
    """The system's side of it."""

    def start(
        self, *command: str, expect: int = 1, patience: Patience | None = None
    ) -> tuple[HandlerProgram, NotingWire]:
        """Start a program for a connection."""
        self.factory = HandlerProgramFactory(
            reactor, command, patience=patience or Patience(terminate=20.0, kill=20.0)
        )
        wire = NotingWire(expect)
        program = self.factory.buildProtocol(CLIENT_ADDRESS)
        wire.attach(program)
        return program, wire

    def python(self, script: str, **options: Any) -> tuple[HandlerProgram, NotingWire]:
        """Start a program written in Python."""
        return self.start(sys.executable, "-c", PRELUDE + script, **options)

    async def test_true(self) -> None:
        """Programs that end at once end their connections, and leave nothing."""
        await deferLater(reactor, 0)
        before = open_descriptors()
        started = [self.start("true") for _ in range(8)]
        ends = await gatherResults([program.ended for program, _ in started])
        self.assertEqual(ends, [ProgramEnd(0, None)] * 8)
        await deferLater(reactor, 0)
        for program, wire in started:
            self.assertIsNotNone(program.lost)
            self.assertEqual(wire.released, 1)
        self.assertEqual(open_descriptors(), before)

    async def test_status(self) -> None:
        """The exit status is that of the program."""
        program, _ = self.start("sh", "-c", "exit 7")
        self.assertEqual(await program.ended, ProgramEnd(7, None))

    async def test_signal(self) -> None:
        """So is the signal that it died of."""
        program, _ = self.start("sh", "-c", "kill -9 $$")
        self.assertEqual(await program.ended, ProgramEnd(None, signal.SIGKILL))

    async def test_shell(self) -> None:
        """A shell script gets by with two redirections."""
        program, wire = self.start("sh", "-c", ECHO, expect=2)
        wire.deliver([message(1), message(2, 1088)])
        await wire.complete
        self.assertEqual(wire.sent, [message(1), message(2, 1088)])
        wire.loseConnection()
        self.assertEqual(await program.ended, ProgramEnd(0, None))

    async def test_conversation(self) -> None:
        """A program reads, answers, and ends with its input."""
        program, wire = self.python(
            "while True:\n data = hear()\n if not data: break\n os.write(9, data)"
        )
        wire.deliver([message(1)])
        await wire.complete
        self.assertEqual(wire.sent, [message(1)])
        wire.loseConnection()
        self.assertEqual(await program.ended, ProgramEnd(0, None))

    async def test_descriptors(self) -> None:
        """A program has 0, 1, 2, 8 and 9; the last two do not block."""
        program, wire = self.python(
            "fds = [fd for fd in range(256) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
            "say(repr(fds).replace(' ', '').encode())\n"
            "say(b'%d%d' % (os.get_blocking(8), os.get_blocking(9)))\n",
            expect=2,
        )
        await program.ended
        self.assertEqual(
            wire.sent, [b"[0,1,2,8,9]".ljust(16, b"."), b"00".ljust(16, b".")]
        )

    async def test_closes_output(self) -> None:
        """Closing 9 ends the connection, although the program goes on."""
        program, wire = self.python("os.close(9)\nwhile hear(): pass")
        await wire.ending
        self.assertEqual(await program.ended, ProgramEnd(0, None))
        self.assertIsNone(program.problem)

    async def test_last_words(self) -> None:
        """All that a program has written is sent, although it is gone."""
        count = 3000
        program, wire = self.python(
            f"os.set_blocking(9, True)\nfor n in range({count}): say(b'%d' % n)",
            expect=count,
        )
        await program.ended
        expected = [b"%d" % number for number in range(count)]
        self.assertEqual([sent.rstrip(b".") for sent in wire.sent], expected)

    async def test_terminate(self) -> None:
        """A program that does not end with its connection is told to."""
        program, wire = self.python(
            "say(b'ready')\nwhile True: signal.pause()",
            patience=Patience(terminate=0.05, kill=20.0),
        )
        await wire.complete
        wire.loseConnection()
        self.assertEqual(await program.ended, ProgramEnd(None, signal.SIGTERM))

    async def test_kill(self) -> None:
        """One that does not listen to that either is killed."""
        program, wire = self.python(
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "say(b'ready')\nwhile True: signal.pause()",
            patience=Patience(terminate=0.05, kill=0.05),
        )
        await wire.complete
        wire.loseConnection()
        self.assertEqual(await program.ended, ProgramEnd(None, signal.SIGKILL))

    async def test_kill_all(self) -> None:
        """All that run can be killed at once."""
        program, wire = self.python("say(b'ready')\nsignal.pause()")
        await wire.complete
        self.factory.running.kill()
        await self.factory.running.when_none()
        self.assertEqual(await program.ended, ProgramEnd(None, signal.SIGKILL))

    async def test_descendants(self) -> None:
        """A program has ended when it has, whatever it leaves running."""
        path = os.path.abspath(self.mktemp())
        program, _ = self.start("sh", "-c", f"sleep 60 & echo $! >'{path}'")

        def end_descendant() -> None:
            with open(path) as file, contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read()), signal.SIGKILL)

        self.addCleanup(end_descendant)
        self.assertEqual(await program.ended, ProgramEnd(0, None))
