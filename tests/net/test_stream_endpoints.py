"""Endpoints for streams, in virtual time and on the loopback interface."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, NoProtocol, TimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from curvecp_tx.errors import ConnectTimedOut, StreamTimedOut
from curvecp_tx.net.reasons import DialTimedOut, dial_reason
from curvecp_tx.net.stream_endpoints import CurveCPServerEndpoint
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.testing import Conditions
from curvecp_tx.wire.packets import SERVER_MESSAGE_MAGIC
from tests.net.recording import CLIENT, NAME, SERVER, SERVER_IDENTITY, Catcher
from tests.net.streaming import Counted, Echo, StreamCase, Talker

reactor: Any = installed_reactor


class ConnectTests(StreamCase):
    """What a client's endpoint promises."""

    def assert_balanced(self) -> None:
        """Check that the factory was started and stopped once."""
        self.assertEqual((self.near_factory.starts, self.near_factory.stops), (1, 1))

    def serve_talkers(self) -> None:
        """Open the server's port."""
        self.far_factory = Counted(Talker)
        self.serve(StreamFactory(self.reactor, self.far_factory, report=self.report))

    def test_interface(self) -> None:
        """It is a client's endpoint."""
        self.assertTrue(verifyObject(IStreamClientEndpoint, self.endpoint()))

    def test_nobody_there(self) -> None:
        """Nobody's answer is a TimeoutError."""
        connecting = self.call(Talker, timeout=10.0)
        self.reactor.run(9.0)
        self.assertNoResult(connecting)
        self.reactor.run(3.0)
        failure = self.failureResultOf(connecting, TimeoutError)
        self.assertTrue(failure.check(ConnectTimedOut))
        self.assert_balanced()

    def test_no_message(self) -> None:
        """A cookie alone is no connection."""
        self.serve_talkers()
        self.network.watch = Catcher(SERVER_MESSAGE_MAGIC)
        connecting = self.call(Talker, timeout=10.0)
        self.reactor.run(12.0)
        self.failureResultOf(connecting, DialTimedOut)
        self.assertEqual(self.near_factory.built, [])
        self.assert_balanced()

    def test_no_message_and_no_limit(self) -> None:
        """Without a time-out of its own, it ends when the stream gives up."""
        self.serve_talkers()
        self.network.watch = Catcher(SERVER_MESSAGE_MAGIC)
        connecting = self.call(Talker, timeout=None)
        self.reactor.run(200.0, step=0.5)
        self.failureResultOf(connecting, TimeoutError)
        self.assert_balanced()

    def test_cancelled_before_the_cookie(self) -> None:
        """It can be given up before there is an answer."""
        connecting = self.call(Talker)
        self.reactor.run(1.0)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.reactor.run(5.0)
        self.assert_balanced()

    def test_cancelled_after_the_cookie(self) -> None:
        """It can be given up before the first message; the server gets to know."""
        self.serve_talkers()
        self.network.conditions = Conditions(delay=0.5)
        connecting = self.call(Talker)
        self.reactor.run(1.2)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.reactor.run(90.0)
        self.assertEqual(self.near_factory.built, [])
        self.assert_balanced()
        self.assertEqual(len(self.far_factory.built[0].lost), 1)

    def test_stopped_when_over(self) -> None:
        """A factory is stopped when its connection is over, and not before."""
        near, _ = self.meet()
        self.assertEqual((self.near_factory.starts, self.near_factory.stops), (1, 0))
        near.transport.abortConnection()
        self.reactor.run(40.0)
        self.assert_balanced()
        self.assertEqual(len(near.over), 1)
        self.assertIsNotNone(near.over[0])

    def test_no_protocol(self) -> None:
        """A factory that makes no protocol fails the attempt."""
        self.serve_talkers()
        connecting = self.call(lambda: None)
        self.reactor.run(2.0)
        self.failureResultOf(connecting, NoProtocol)
        self.assert_balanced()
        self.reactor.run(40.0)
        self.assertEqual(self.far_factory.built[0].lost[0].type.__name__, "PeerFailure")

    def test_faulty_factory(self) -> None:
        """So does one that raises."""
        self.serve_talkers()

        def fail() -> None:
            raise RuntimeError("no")

        connecting = self.call(fail)
        self.reactor.run(2.0)
        self.failureResultOf(connecting, RuntimeError)
        self.assert_balanced()
        self.reactor.run(40.0)

    def test_reasons(self) -> None:
        """Only time-outs are turned into others; the detail stays."""
        reason = Failure(ConnectTimedOut("5 seconds"))
        self.assertIn("5 seconds", str(dial_reason(reason).value))
        self.assertTrue(dial_reason(Failure(StreamTimedOut())).check(TimeoutError))
        other = Failure(OSError())
        self.assertIs(dial_reason(other), other)
        self.assertEqual((CLIENT[1], SERVER[1]), (4433, 11000))


class ListenTests(TestCase):
    """What a server's endpoint promises."""

    def server(self, **options: Any) -> CurveCPServerEndpoint:
        """Make one."""
        settings: dict[str, Any] = {"interface": "127.0.0.1", "port": 0, "name": NAME}
        return CurveCPServerEndpoint(
            reactor, identity=SERVER_IDENTITY, **{**settings, **options}
        )

    async def test_listen(self) -> None:
        """Its factory is started with the port, and stopped with it."""
        factory = Counted(Echo)
        endpoint = self.server()
        self.assertTrue(verifyObject(IStreamServerEndpoint, endpoint))
        port: Any = await endpoint.listen(factory)
        self.assertEqual((factory.starts, factory.stops), (1, 0))
        self.assertEqual(port.getHost().key, SERVER_IDENTITY.keys.public)
        await port.stopListening()
        self.assertEqual((factory.starts, factory.stops), (1, 1))
        await port.stopListening()
        self.assertEqual((factory.starts, factory.stops), (1, 1))

    async def test_cannot_listen(self) -> None:
        """A port that is taken is an error, and nothing is started."""
        factory = Counted(Echo)
        port: Any = await self.server().listen(factory)
        self.addCleanup(port.stopListening)
        other = Counted(Echo)
        second = self.server(port=port.getHost().port).listen(other)
        error = await self.assertFailure(second, CannotListenError)
        self.assertEqual((other.starts, other.stops), (0, 0))
        self.assertIsInstance(error, CannotListenError)


class Client(Talker):
    """Closes when it has its echo."""

    def __init__(self) -> None:
        super().__init__()
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Speak."""
        super().connectionMade()
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        """Hear it, and close."""
        super().dataReceived(data)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell."""
        super().connectionLost(reason)
        self.transport.whenOver.addCallback(lambda _: self.done.callback(None))
