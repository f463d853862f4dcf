"""Servers that stop: how connections take their leave."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone
from zope.interface import implementer
from zope.interface.verify import verifyObject

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import ILeavingProtocol, IMessageProtocol
from curvecp_tx.net.endpoints import MessagePort
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.testing import Conditions
from tests.net.recording import (
    Recorder,
    Recorders,
    WorldCase,
    echo,
    greeting,
    message,
)
from tests.net.streaming import Counted, HalfTalker, StreamCase


@implementer(ILeavingProtocol)
class Leaving(Recorder):
    """Says a last word, and hangs up or not."""

    hangs_up = True
    fails = False

    def leave(self, why: str) -> None:
        """Say it."""
        if self.fails:
            raise ZeroDivisionError("a bug")
        self.transport.sendMessages([message(99)])
        if self.hangs_up:
            self.transport.loseConnection()


class Leavers(Recorders):
    """Makes such protocols."""

    def buildProtocol(self, address: CurveCPAddress) -> IMessageProtocol | None:
        """Make one more."""
        self.built.append(Leaving(received=echo))
        return self.built[-1]


class MessageTests(WorldCase):
    """Message protocols."""

    def test_last_word(self) -> None:
        """Who has a last word can send it, and hang up."""
        server, client = self.connect(Leavers())
        self.assertTrue(verifyObject(ILeavingProtocol, server))
        idle = self.listener.whenIdle()
        self.assertNoResult(idle)
        self.listener.leave("the end")
        self.assertEqual(self.listener.connections, 0)
        self.reactor.advance(0)
        self.successResultOf(idle)
        self.assertEqual(client.messages, [message(0), message(99)])
        self.assertTrue(server.lost[0].check(ConnectionDone))

    def test_no_last_word(self) -> None:
        """Who has none is simply disconnected."""
        server, _ = self.connect()
        self.listener.leave("the end")
        self.reactor.advance(0)
        self.assertTrue(server.lost[0].check(ConnectionDone))
        self.assertEqual(self.listener.connections, 0)

    def test_takes_its_time(self) -> None:
        """Who does not hang up goes on, until somebody puts an end to it."""
        factory = Leavers()
        _, client = self.connect(factory)
        self.patch(Leaving, "hangs_up", False)
        self.listener.leave("the end")
        client.transport.sendMessages([message(5)])
        self.reactor.advance(0)
        self.assertEqual(client.messages, [message(0), message(99), message(5)])
        self.assertEqual(self.listener.connections, 1)
        self.dial(Recorders(greeting(message(7))), address=("203.0.113.1", 1))
        self.reactor.advance(0)
        self.assertEqual(len(factory.built), 1)
        self.listener.loseConnections()
        self.assertEqual(self.listener.connections, 0)

    def test_failing_leave(self) -> None:
        """A protocol that fails at this ends all the same, and the others as well."""
        self.patch(Leaving, "fails", True)
        server, _ = self.connect(Leavers())
        self.listener.leave("the end")
        self.reactor.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((len(server.lost), self.listener.connections), (1, 0))

    def test_idle_already(self) -> None:
        """Nobody waits for a server without connections."""
        listener = self.serve(Recorders())
        idle = listener.whenIdle()
        self.reactor.advance(0)
        self.successResultOf(idle)


class StreamTests(StreamCase):
    """Streams."""

    def start(self) -> tuple[HalfTalker, HalfTalker]:
        """Connect a stream; give both ends, ours first."""
        served = Counted(HalfTalker)
        self.listener = self.serve(StreamFactory(self.reactor, served))
        far = HalfTalker()
        self.endpoint().connect(Counted(lambda: far))
        self.reactor.run(1.0)
        return served.built[0], far

    def test_peer_is_told(self) -> None:
        """The peer learns that the stream has failed, not that all was well."""
        near, far = self.start()
        near.transport.write(b"half a ")
        self.listener.leave("the end")
        self.reactor.run(0.5)
        self.assertEqual(far.ending, "PeerFailure")
        self.assertTrue(near.lost[0].check(ConnectionAborted))
        self.assertEqual(self.listener.connections, 0)

    def test_peer_is_told_again(self) -> None:
        """What tells the peer is repeated while the port is open."""
        _, far = self.start()
        self.network.conditions = Conditions(delay=0.01, loss=1.0)
        self.listener.leave("the end")
        self.reactor.run(0.1)
        self.network.conditions = Conditions(delay=0.01)
        self.reactor.run(4.0)
        self.assertEqual(far.ending, "PeerFailure")

    def test_port_closes_at_once(self) -> None:
        """A port that is closed tells the peer in the same turn."""
        near, far = self.start()
        MessagePort(self.ports[0], self.listener).stopListening()
        self.reactor.run(0.1)
        self.assertEqual(far.ending, "PeerFailure")
        self.assertEqual(near.ending, "Aborted")

    def test_stream_that_is_complete(self) -> None:
        """A stream that is complete stays a success for both."""
        near, far = self.start()
        near.transport.loseWriteConnection()
        far.transport.loseWriteConnection()
        self.reactor.run(0.03)
        self.listener.leave("the end")
        self.reactor.run(60.0)
        self.assertEqual((near.over, far.over), ([None], [None]))
