"""Stream connections as transports, in virtual time."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IPushProducer,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from curvecp_tx.interfaces import IHandlerFactory, IMessageProtocol
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.testing import Conditions
from tests.net.recording import CLIENT, CLIENT_IDENTITY, SERVER, SERVER_IDENTITY
from tests.net.streaming import Counted, Echo, HalfTalker, StreamCase, Talker

LOSSY = Conditions(loss=0.2, duplicate=0.1, delay=0.02, jitter=0.02)


class TransportTests(StreamCase):
    """What an application may count on."""

    def test_interfaces(self) -> None:
        """A connection is a transport, a consumer and a producer."""
        near, _ = self.meet()
        for interface in (
            IMessageProtocol,
            ITransport,
            IConsumer,
            IPushProducer,
            IHalfCloseableDescriptor,
        ):
            self.assertTrue(verifyObject(interface, near.transport))
        factory = StreamFactory(self.reactor, self.far_factory)
        self.assertTrue(verifyObject(IHandlerFactory, factory))
        self.assertIsNone(self.successResultOf(factory.whenIdle()))

    def test_echo(self) -> None:
        """What is written comes out at the other end, and back."""
        near, far = self.meet(far=Echo)
        near.transport.writeSequence([b"hello ", b"world"])
        self.reactor.run(2.0)
        self.assertEqual(far.received, b"hello world")
        self.assertEqual(near.received, b"hello world")

    def test_echo_of_much_over_a_bad_network(self) -> None:
        """Loss, repetition and reordering change nothing."""
        self.network.conditions = LOSSY
        near, far = self.meet(far=Echo, seconds=30.0)
        data = self.random(60_000)
        near.transport.write(data)
        self.reactor.run(120.0)
        self.assertEqual(far.received, data)
        self.assertEqual(near.received, data)
        near.transport.loseConnection()
        self.reactor.run(60.0)
        self.assert_clean(near, far)

    def test_one_turn_one_message(self) -> None:
        """Small writes of one turn of the reactor leave in one packet."""
        near, far = self.meet()
        self.reactor.run(10.0)
        sizes: list[int] = []

        def watch(datagram: bytes, source: object, destination: object) -> bool:
            if source == CLIENT:
                sizes.append(len(datagram))
            return True

        self.network.watch = watch
        for number in range(20):
            near.transport.write(b"%02d" % number)
        self.reactor.run(1.0)
        self.assertEqual(len(sizes), 1)
        self.assertEqual(far.received, b"".join(b"%02d" % n for n in range(20)))

    def test_addresses(self) -> None:
        """Both ends know each other's keys, even after the end."""
        near, far = self.meet()
        for moment in range(2):
            self.assertEqual(near.transport.getPeer().key, SERVER_IDENTITY.keys.public)
            self.assertEqual(near.transport.getHost().key, CLIENT_IDENTITY.keys.public)
            self.assertEqual(far.transport.getPeer().key, CLIENT_IDENTITY.keys.public)
            self.assertEqual(far.transport.getHost().key, SERVER_IDENTITY.keys.public)
            self.assertEqual(far.transport.getPeer().port, CLIENT[1])
            self.assertEqual(near.transport.getPeer().host, SERVER[0])
            if not moment:
                near.transport.loseConnection()
                self.reactor.run(10.0)
        self.assert_clean(near, far)

    def test_server_speaks_first(self) -> None:
        """A server's first bytes come in after the client's user has its protocol."""

        class Greeter(Talker):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.write(b"welcome")

        order: list[list[str]] = []
        self.far_factory = Counted(Greeter)
        self.serve(StreamFactory(self.reactor, self.far_factory))
        connecting: Any = self.call(Talker)
        connecting.addCallback(lambda talker: order.append([*talker.events]))
        self.reactor.run(3.0)
        self.assertEqual(order, [["made"]])
        self.assertEqual(self.near_factory.built[0].received, b"welcome")


class EndTests(StreamCase):
    """How connections end."""

    def test_lose_connection(self) -> None:
        """Everything written before arrives, and both ends see a clean end."""
        near, far = self.meet()
        near.transport.write(b"x" * 100_000)
        near.transport.loseConnection()
        near.transport.loseConnection()
        near.transport.write(b"too late")
        self.reactor.run(60.0)
        self.assertEqual(far.received, b"x" * 100_000)
        self.assert_clean(near, far)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.near_factory.stops, 1)

    def test_write_after_the_end(self) -> None:
        """Whatever is called after the end does nothing."""
        near, far = self.meet()
        near.transport.loseConnection()
        self.reactor.run(20.0)
        events = list(near.events), list(far.events)
        for call in ("loseConnection", "abortConnection", "loseWriteConnection"):
            getattr(near.transport, call)()
        near.transport.write(b"x")
        near.transport.pauseProducing()
        near.transport.resumeProducing()
        near.transport.unregisterProducer()
        near.transport.messagesReceived([bytes(64)])
        self.reactor.run(20.0)
        self.assertEqual((near.events, far.events), events)
        self.assert_clean(near, far)

    def test_half_close(self) -> None:
        """One direction ends, the other goes on, in either order."""
        for order in (0, 1):
            with self.subTest(order=order):
                self.build_world()
                first, second = self.meet(HalfTalker, HalfTalker)[:: -1 if order else 1]
                first.transport.write(b"question")
                first.transport.loseWriteConnection()
                first.transport.write(b"ignored")
                self.reactor.run(5.0)
                self.assertEqual(first.events, ["made", "write ended"])
                self.assertEqual(second.events, ["made", "data", "read ended"])
                second.transport.write(b"answer" * 10_000)
                second.transport.loseWriteConnection()
                self.reactor.run(30.0)
                self.assertEqual(first.received, b"answer" * 10_000)
                self.assertEqual(second.received, b"question")
                self.assertEqual(
                    first.events,
                    ["made", "write ended", "data", "read ended", "lost"],
                )
                self.assertEqual(second.events[-2:], ["write ended", "lost"])
                self.assert_clean(first, second)
                self.close_world()

    def test_protocol_without_half_close(self) -> None:
        """A protocol that knows no half-close closes when its peer has ended."""
        near, far = self.meet(HalfTalker, Talker)
        near.transport.loseWriteConnection()
        self.reactor.run(10.0)
        self.assertEqual(far.events, ["made", "lost"])
        self.assert_clean(near, far)

    def test_abort(self) -> None:
        """Who aborts learns so, and the peer learns of a failure."""
        near, far = self.meet()
        near.transport.write(b"x" * 50_000)
        near.transport.abortConnection("enough")
        self.reactor.run(40.0)
        self.assertEqual(near.lost[0].type.__name__, "Aborted")
        self.assertIn("enough", str(near.lost[0].value))
        self.assertEqual(far.lost[0].type.__name__, "PeerFailure")
        self.assertEqual((len(near.lost), len(far.lost)), (1, 1))
        self.assertIsNotNone(near.over[0])
        self.assertIsNotNone(far.over[0])
        self.assertEqual(self.listener.connections, 0)

    def test_silent_peer(self) -> None:
        """A peer that is gone is given up, once something was owed for long."""
        near, far = self.meet()
        self.network.conditions = Conditions(loss=1.0)
        near.transport.write(b"anybody?")
        self.reactor.run(115.0, step=0.5)
        self.assertEqual(near.lost, [])
        self.reactor.run(40.0, step=0.5)
        self.assertEqual(near.lost[0].type.__name__, "PeerSilent")
        self.assertIsNotNone(near.over[0])
        self.reactor.run(200.0, step=0.5)
        self.assertEqual(far.lost[0].type.__name__, "PeerSilent")

    def test_peer_that_never_ends_its_stream(self) -> None:
        """Who closes waits for the peer's end, but not for ever."""
        near, far = self.meet(Talker, HalfTalker)
        near.transport.loseConnection()
        self.reactor.run(10.0)
        self.assertEqual(near.events, ["made", "lost"])
        self.assertEqual(near.over, [])
        far.transport.write(b"for nobody")
        self.reactor.run(35.0)
        self.assertEqual(near.received, b"")
        self.assertIn("does not end", str(near.over[0]))
        self.assertEqual(len(near.lost), 1)
        self.assertEqual(far.lost, [])
        far.transport.abortConnection()
        self.reactor.run(60.0)
        self.assertEqual(len(far.lost), 1)

    def test_message_transport_lost(self) -> None:
        """When the way to the peer is gone, so is the connection."""
        near, far = self.meet()
        self.ports[0].stopListening()
        self.reactor.run(1.0)
        self.assertEqual(far.lost[0].type.__name__, "ConnectionLost")
        self.assertIn("closed", str(far.over[0]))
        self.assertEqual(near.lost, [])
        self.ports[1].stopListening()
        self.reactor.run(1.0)
        self.assertEqual(len(near.lost), 1)
        self.assertEqual((len(far.lost), len(far.over)), (1, 1))


class FaultyProtocolTests(StreamCase):
    """A protocol that raises hurts nobody but itself."""

    def check(self, method: str) -> None:
        """Let one connection's protocol raise in a method, and another go on."""
        error = RuntimeError(method)

        def fail(*arguments: object) -> None:
            raise error

        class Faulty(HalfTalker):
            pass

        setattr(Faulty, method, fail)
        kinds = iter([Faulty, HalfTalker])
        self.far_factory = Counted(lambda: next(kinds)())
        self.serve(StreamFactory(self.reactor, self.far_factory, report=self.report))
        self.call(HalfTalker)
        self.reactor.run(1.0)
        near = self.near_factory.built[0]
        if method != "connectionMade":
            near.transport.write(b"x")
        if method != "dataReceived":
            near.transport.loseWriteConnection()
            self.far_factory.built[0].transport.loseWriteConnection()
        self.reactor.run(40.0)
        faults = self.flushLoggedErrors(RuntimeError)
        self.assertEqual([fault.value for fault in faults], [error])
        self.assertEqual(len(near.lost), 1)
        self.ports.pop().stopListening()
        self.call(HalfTalker)
        self.reactor.run(1.0)
        self.near_factory.built[0].transport.write(b"next")
        self.reactor.run(1.0)
        self.assertEqual(self.far_factory.built[1].received, b"next")

    def test_connection_made(self) -> None:
        """Not when it starts."""
        self.check("connectionMade")
        self.assertEqual(self.far_factory.built[0].lost[0].type.__name__, "Aborted")

    def test_data_received(self) -> None:
        """Not when bytes come."""
        self.check("dataReceived")
        self.assertEqual(self.far_factory.built[0].lost[0].type.__name__, "Aborted")

    def test_read_connection_lost(self) -> None:
        """Not at a half-close."""
        self.check("readConnectionLost")
        self.assertEqual(len(self.far_factory.built[0].lost), 1)

    def test_connection_lost(self) -> None:
        """Not at its end."""
        self.check("connectionLost")

    def test_refused(self) -> None:
        """A server's factory that makes no protocol turns the client away."""
        refusing = StreamFactory(self.reactor, Counted(lambda: None))
        listener = self.serve(refusing)
        connecting = self.call(Talker, timeout=5.0)
        failures: list[Failure] = []
        connecting.addErrback(failures.append)
        self.reactor.run(10.0)
        self.assertEqual(listener.counters.refused_policy, 1)
        self.assertEqual(type(failures[0].value).__name__, "DialTimedOut")

    def test_unused_connection(self) -> None:
        """A connection that nobody accepted yet takes no bytes and no producers."""
        connection = StreamConnection(self.reactor, client=True, accept=lambda _: None)
        connection.write(b"x")
        connection.resumeProducing()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
