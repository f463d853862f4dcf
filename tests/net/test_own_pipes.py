"""Message transports over descriptors that are open already."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import ConnectionLost
from zope.interface import implementer
from zope.interface.verify import verifyObject

from curvecp_tx.address import handler_environment
from curvecp_tx.errors import BadMessageSize, HandlerFailed
from curvecp_tx.interfaces import ILeavingProtocol, IMessageTransport
from curvecp_tx.net.own_pipes import PipeTransport
from curvecp_tx.net.pipes import open_pipe
from curvecp_tx.secure.counters import Counters
from curvecp_tx.wire.frames import FrameDecoder, encode_frame
from tests.net.playing import CLIENT_ADDRESS, SERVER_ADDRESS, ProgramCase
from tests.net.recording import Recorder, message


class PipeTransportTests(ProgramCase):
    """One end of a connection, seen from inside a program."""

    def setUp(self) -> None:
        """Make a transport."""
        super().setUp()
        self.make()

    def make(self, protocol: Recorder | None = None, **options: Any) -> None:
        """Open pipes, and a transport on them."""
        self.counters = Counters()
        read_from, self.put = open_pipe()
        self.get, write_to = open_pipe()
        os.set_inheritable(read_from, True)
        self.transport = PipeTransport(
            self.reactor,
            readFrom=read_from,
            writeTo=write_to,
            report=self.make_factory().report,
            counters=self.counters,
            **{"client": True, **options},
        )
        self.assertFalse(os.get_inheritable(read_from))
        self.recorder = protocol or Recorder()
        self.transport.attach(self.recorder)
        self.transport.start()

    def tearDown(self) -> None:
        """Close everything."""
        self.transport.loseConnection()
        os.close(self.put)
        os.close(self.get)
        super().tearDown()

    def test_messages(self) -> None:
        """Frames come in and go out; they must be small until one has come in."""
        self.assertTrue(verifyObject(IMessageTransport, self.transport))
        self.assertRaises(
            BadMessageSize, self.transport.sendMessages, [message(1, 1088)]
        )
        os.write(self.put, encode_frame(message(0)) + encode_frame(message(1)))
        self.reactor.poll()
        self.assertEqual(self.recorder.messages, [message(0), message(1)])
        self.assertEqual(self.counters.messages_received, 2)
        self.transport.sendMessages([message(2, 1088)])
        decoder = FrameDecoder()
        self.assertEqual(decoder.feed(os.read(self.get, 65536)), [message(2, 1088)])

    def test_server(self) -> None:
        """A server's messages may be long from the beginning."""
        self.transport.loseConnection()
        os.close(self.put)
        os.close(self.get)
        self.make(client=False)
        self.transport.sendMessages([message(2, 1088)])
        self.assertEqual(len(os.read(self.get, 65536)), 1089)

    def test_full(self) -> None:
        """What does not fit is lost, and counted."""
        self.transport.sendMessages([message(0, 640)] * 1000)
        self.assertGreater(self.counters.lost_handler_full, 100)
        self.assertEqual(self.recorder.lost, [])

    def test_end(self) -> None:
        """The end of the one pipe is the end of the connection."""
        os.close(self.put)
        self.reactor.poll()
        self.reactor.advance(0)
        self.assertTrue(self.recorder.lost[0].check(ConnectionLost))
        self.put = os.open(os.devnull, os.O_RDONLY)

    def test_farewell(self) -> None:
        """Who has something to say at the end still says it on the other pipe."""

        @implementer(ILeavingProtocol)
        class Leaving(Recorder):
            def leave(self, why: str) -> None:
                """Say it, and why."""
                said.append(why)
                self.transport.sendMessages([message(9)])

        said: list[str] = []
        leaving = Leaving()
        self.transport.loseConnection()
        os.close(self.put)
        os.close(self.get)
        self.make(leaving)
        os.close(self.put)
        self.reactor.poll()
        self.reactor.advance(0)
        self.assertEqual(FrameDecoder().feed(os.read(self.get, 65536)), [message(9)])
        self.assertEqual(said, ["nothing more on descriptor 8"])
        self.assertTrue(leaving.lost[0].check(ConnectionLost))
        self.put = os.open(os.devnull, os.O_RDONLY)

    def test_garbage(self) -> None:
        """So is what is no frame."""
        os.write(self.put, b"\xff")
        self.reactor.poll()
        self.reactor.advance(0)
        self.assertTrue(self.recorder.lost[0].check(HandlerFailed))

    def test_nobody_reads(self) -> None:
        """So is the other pipe without a reader."""
        os.close(self.get)
        self.transport.sendMessages([message(0)])
        self.reactor.advance(0)
        self.assertTrue(self.recorder.lost[0].check(ConnectionLost))
        self.get = os.open(os.devnull, os.O_RDONLY)

    def test_addresses(self) -> None:
        """The environment says who is where, and may be silent or silly."""
        unknown = self.transport.getPeer()
        self.assertEqual((unknown.key, unknown.host, unknown.port), (bytes(32), "", 0))
        environment = handler_environment(SERVER_ADDRESS, CLIENT_ADDRESS)
        self.patch(os, "environ", environment)
        self.assertEqual(self.transport.getPeer(), CLIENT_ADDRESS)
        self.assertEqual(self.transport.getHost(), SERVER_ADDRESS)
        for port in ("x", "-1", "²"):
            environment["CURVECPREMOTEPORT"] = port
            self.assertEqual(self.transport.getPeer().port, 0)

    def test_closed(self) -> None:
        """Descriptors that are not open are an error."""
        self.assertRaises(
            OSError,
            PipeTransport,
            self.reactor,
            readFrom=999,
            writeTo=998,
            client=True,
            report=self.make_factory().report,
            counters=self.counters,
        )
