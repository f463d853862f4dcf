"""What tests of handler programs have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.net.child import HandlerProgram, HandlerProgramFactory
from curvecp_tx.net.ending import ProgramEnd
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.transport import MessageTransport
from curvecp_tx.secure.counters import Counters
from curvecp_tx.testing import FakeProcess, FakeReactor
from curvecp_tx.wire.frames import FrameDecoder, encode_frame
from tests.net.recording import open_descriptors

SERVER_ADDRESS = CurveCPAddress(b"S" * 32, "server.example", b"s" * 16, "192.0.2.1", 80)
CLIENT_ADDRESS = CurveCPAddress(b"C" * 32, None, b"c" * 16, "198.51.100.7", 4433)


class Wire(MessageTransport):
    """A server's connection without a network: keeps what is sent."""

    def __init__(self, reactor: IReactorTime) -> None:
        super().__init__(reactor, Report(Verbosity.INFORMATION), Counters())
        self.sent: list[bytes] = []
        self.released = 0

    def getPeer(self) -> CurveCPAddress:
        """Name the client."""
        return CLIENT_ADDRESS

    def getHost(self) -> CurveCPAddress:
        """Name the server."""
        return SERVER_ADDRESS

    def _transmit(self, messages: Sequence[bytes]) -> None:
        self.sent += messages

    def _release(self) -> None:
        self.released += 1


class ProgramCase(SynchronousTestCase):
    """A test of programs that a fake reactor plays; it may leak nothing."""

    def setUp(self) -> None:
        """Count descriptors."""
        self.before = open_descriptors()
        self.reactor = FakeReactor()

    def tearDown(self) -> None:
        """Let every program end; then nothing may be left."""
        for process in self.reactor.processes:
            if process.pid is not None:
                process.exit()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(open_descriptors(), self.before)

    def make_factory(
        self, command: Sequence[str] = ("true",), **options: Any
    ) -> HandlerProgramFactory:
        """Make a factory for programs."""
        return HandlerProgramFactory(
            self.reactor, command, report=Report(Verbosity.INFORMATION), **options
        )

    def start(self, **options: Any) -> None:
        """Start a program for a connection."""
        self.factory = self.make_factory(**options)
        self.attach()

    def attach(self) -> None:
        """Start one more program of the same factory."""
        self.wire = Wire(self.reactor)
        self.program: HandlerProgram = self.factory.buildProtocol(CLIENT_ADDRESS)
        self.ended: list[ProgramEnd] = []
        self.program.ended.addCallback(self.ended.append)
        self.wire.attach(self.program)

    @property
    def process(self) -> FakeProcess:
        """The program that was started last."""
        return self.reactor.processes[-1]

    def say(self, *messages: bytes) -> None:
        """Let the program write messages."""
        self.write(b"".join(map(encode_frame, messages)))

    def write(self, data: bytes) -> None:
        """Let the program write bytes."""
        os.write(self.process.descriptors[9], data)

    def heard(self) -> list[bytes]:
        """Let the program read all that is there; frames must be whole."""
        decoder = FrameDecoder()
        messages: list[bytes] = []
        while True:
            try:
                data = os.read(self.process.descriptors[8], 65536)
            except BlockingIOError:
                data = b""
            if not data:
                self.assertFalse(decoder.in_frame)
                return messages
            messages += decoder.feed(data)

    def at_end(self) -> bool:
        """Tell whether the program has come to the end of its input."""
        try:
            return os.read(self.process.descriptors[8], 1) == b""
        except BlockingIOError:
            return False
