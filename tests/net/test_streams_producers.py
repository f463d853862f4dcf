"""Flow control of stream connections, both ways, in virtual time."""

from __future__ import annotations

import io
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.protocols.basic import FileSender
from zope.interface import implementer

from curvecp_tx.net.streams import HIGH_WATER, LOW_WATER
from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from tests.net.streaming import HalfTalker, StreamCase, Talker

CHUNK = 16 * 1024


@implementer(IPushProducer)
class Pump:
    """Writes chunks, as fast as it may."""

    def __init__(self, consumer: Any, chunks: int) -> None:
        self.consumer = consumer
        self.left = chunks
        self.calls: list[tuple[str, int]] = []
        self.paused = False

    def run(self) -> None:
        """Write until told to stop, or done."""
        while self.left and not self.paused:
            self.left -= 1
            self.consumer.write(bytes(CHUNK))
        if not self.left and not self.paused:
            self.consumer.unregisterProducer()

    def note(self, call: str) -> None:
        """Note a call, and how much is waiting."""
        self.calls.append((call, self.consumer._stream.unsent))

    def pauseProducing(self) -> None:
        """Pause."""
        self.note("pause")
        self.paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self.note("resume")
        self.paused = False
        self.run()

    def stopProducing(self) -> None:
        """End."""
        self.note("stop")
        self.left = 0


class SendingTests(StreamCase):
    """Who writes is held back."""

    def test_push_producer(self) -> None:
        """It is paused at the high mark, and resumed below the low one."""
        near, far = self.meet()
        pump = Pump(near.transport, 40)
        near.transport.registerProducer(pump, True)
        pump.run()
        near.transport.loseConnection()
        self.reactor.run(120.0)
        self.assertEqual(len(far.received), 40 * CHUNK)
        self.assert_clean(near, far)
        calls = [call for call, _ in pump.calls]
        self.assertGreater(len(calls), 4)
        self.assertEqual(calls, ["pause", "resume"] * (len(calls) // 2))
        for call, unsent in pump.calls:
            if call == "pause":
                self.assertGreaterEqual(unsent, HIGH_WATER)
                self.assertLess(unsent, HIGH_WATER + CHUNK)
            else:
                self.assertLess(unsent, LOW_WATER)

    def test_pull_producer(self) -> None:
        """It is asked for more until it is done; the close waits for that."""
        near, far = self.meet()
        data = self.random(300_000)
        FileSender().beginFileTransfer(io.BytesIO(data), near.transport)
        near.transport.loseConnection()
        self.reactor.run(60.0)
        self.assertEqual(far.received, data)
        self.assert_clean(near, far)

    def test_half_close_waits_for_the_producer(self) -> None:
        """A half-close, too, comes after what a producer has to write."""
        near, far = self.meet(HalfTalker, HalfTalker)
        data = self.random(300_000)
        FileSender().beginFileTransfer(io.BytesIO(data), near.transport)
        near.transport.loseWriteConnection()
        self.reactor.run(60.0)
        self.assertEqual(far.received, data)
        self.assertEqual(far.events, ["made", "data", "read ended"])
        far.transport.loseConnection()
        self.reactor.run(10.0)
        self.assert_clean(near, far)

    def test_pull_producer_that_writes_later(self) -> None:
        """One that has nothing yet is not asked again and again."""
        near, _ = self.meet()
        pump = Pump(near.transport, 0)
        pump.run = lambda: None  # type: ignore[method-assign]
        near.transport.registerProducer(pump, False)
        self.reactor.advance(0)
        self.assertEqual(pump.calls, [("resume", 0)])
        self.assertRaises(RuntimeError, near.transport.registerProducer, pump, False)
        near.transport.abortConnection()
        self.reactor.run(10.0)
        self.assertEqual(pump.calls[-1][0], "stop")

    def test_producer_of_a_lost_connection(self) -> None:
        """One that comes too late is stopped at once."""
        near, _ = self.meet()
        near.transport.loseConnection()
        for _ in range(2):
            pump = Pump(near.transport, 5)
            near.transport.registerProducer(pump, True)
            self.assertEqual([call for call, _ in pump.calls], ["stop"])
            self.reactor.run(20.0)

    def test_faulty_producer(self) -> None:
        """One that raises ends its connection."""
        near, far = self.meet()
        pump = Pump(near.transport, 5)

        def fail() -> None:
            raise RuntimeError

        pump.run = fail  # type: ignore[method-assign]
        near.transport.registerProducer(pump, False)
        self.reactor.run(10.0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual((len(near.lost), len(far.lost)), (1, 1))


class ReceivingTests(StreamCase):
    """Who reads holds back the peer."""

    def test_paused_reader(self) -> None:
        """One that does not read holds no more than a window."""
        near, far = self.meet()
        near.transport.pauseProducing()
        data = self.random(400_000)
        far.transport.write(data)
        self.reactor.run(60.0)
        self.assertEqual(near.received, b"")
        waiting = near.transport._stream._receiver.waiting
        self.assertLessEqual(waiting, RECEIVE_WINDOW)
        self.assertGreater(waiting, RECEIVE_WINDOW - 2048)
        near.transport.resumeProducing()
        self.reactor.run(60.0)
        self.assertEqual(near.received, data)

    def test_slow_reader_gets_it_all(self) -> None:
        """What is complete is kept for a reader that takes its time."""
        near, far = self.meet(HalfTalker, HalfTalker)
        near.transport.pauseProducing()
        near.transport.loseWriteConnection()
        far.transport.write(b"x" * 100_000)
        far.transport.loseConnection()
        self.reactor.run(90.0)
        self.assertEqual(near.lost, [])
        near.transport.resumeProducing()
        self.reactor.run(1.0)
        self.assertEqual(near.received, b"x" * 100_000)
        self.assert_clean(near, far)

    def test_slow_reader_whose_transport_goes(self) -> None:
        """Not even the end of the way to the peer takes that from it."""
        for how in ("resumeProducing", "loseConnection", "abortConnection"):
            with self.subTest(how=how):
                self.build_world()
                near, far = self.meet(HalfTalker, HalfTalker)
                near.transport.pauseProducing()
                near.transport.loseWriteConnection()
                far.transport.write(b"x" * 5000)
                far.transport.loseConnection()
                self.reactor.run(5.0)
                self.ports[1].stopListening()
                self.reactor.run(5.0)
                self.assertEqual(near.lost, [])
                getattr(near.transport, how)()
                self.reactor.run(1.0)
                wanted = 5000 if how == "resumeProducing" else 0
                self.assertEqual(len(near.received), wanted)
                self.assert_clean(near)
                self.close_world()

    def test_stop_producing(self) -> None:
        """A reader that wants no more closes."""
        near, far = self.meet()
        near.transport.stopProducing()
        self.reactor.run(10.0)
        self.assert_clean(near, far)

    def test_own_consumer(self) -> None:
        """A connection may be its own producer: an echo that holds back."""

        class HeldEcho(Talker):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(self.transport, True)

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data)

        near, _ = self.meet(far=HeldEcho)
        data = self.random(500_000)
        near.transport.write(data)
        self.reactor.run(120.0)
        self.assertEqual(near.received, data)
