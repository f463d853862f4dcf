"""Tests of an application on a bad network, without sockets, in virtual time.

Run them with trial, in this directory::

    trial bad_network
"""

from __future__ import annotations

import random
from collections.abc import Callable

from echo_client import Speaker
from echo_server import Echo
from twisted.internet.interfaces import IProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from curvecp_tx import CurveCPAddress, Identity, IMessageProtocolFactory
from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.reasons import PeerSilent
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.testing import Conditions, FakeReactor, MemoryNetwork

NAME = "echo.example"
TEXT = b"All work and no play makes Jack a dull boy.\n" * 2000


@implementer(IMessageProtocolFactory)
class Streams:
    """Puts a protocol on a stream on each connection, as an endpoint does."""

    def __init__(
        self, reactor: FakeReactor, protocol: Callable[[], IProtocol], *, client: bool
    ) -> None:
        self.reactor = reactor
        self.protocol = protocol
        self.client = client
        self.random = random.Random(1)

    def buildProtocol(self, address: CurveCPAddress) -> StreamConnection:
        """Make a stream."""
        return StreamConnection(
            self.reactor,
            client=self.client,
            accept=lambda connection: self.protocol(),
            randomBytes=self.random.randbytes,
        )


class EchoTests(SynchronousTestCase):
    """The echo server and its client."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.network = MemoryNetwork(self.reactor, seed=1)
        self.speaker = Speaker(TEXT)
        server = Identity.ephemeral()
        listener = MessageListener(
            self.reactor,
            Streams(self.reactor, Echo, client=False),
            identity=server,
            name=NAME,
        )
        self.network.attach(listener, "192.0.2.1", 11000)
        dialer = MessageDialer(
            self.reactor,
            Streams(self.reactor, lambda: self.speaker, client=True),
            identity=Identity.ephemeral(),
            serverKey=server.keys.public,
            serverName=NAME,
            addresses=[("192.0.2.1", 11000)],
        )
        self.network.attach(dialer, "198.51.100.7", 4433)

    def test_loss(self) -> None:
        """The whole text comes back, though a fifth of all packets is lost."""
        self.network.conditions = Conditions(loss=0.2, delay=0.05, jitter=0.02)
        self.reactor.run(600.0)
        self.assertEqual(self.successResultOf(self.speaker.heard), TEXT)
        self.assertGreater(self.network.traffic.lost, 50)

    def test_a_cut(self) -> None:
        """A client whose server is gone hears of it, within minutes."""
        self.network.conditions = Conditions(delay=0.05)
        self.reactor.run(1.0)
        self.network.conditions = Conditions(loss=1.0)
        self.reactor.run(600.0)
        self.failureResultOf(self.speaker.heard, PeerSilent)
