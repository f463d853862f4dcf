"""Tests of an application on a bad network, without sockets, in virtual time.

Run them in this directory::

    python -m twisted.trial bad_network
"""

from __future__ import annotations

from echo_client import Speaker
from echo_server import Echo
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx import CurveCPClientEndpoint, CurveCPServerEndpoint, Identity
from curvecp_tx.net.reasons import PeerSilent
from curvecp_tx.testing import Conditions, FakeReactor, MemoryNetwork

NAME = "echo.example"
SERVER = "192.0.2.1"
PORT = 11000
TEXT = b"All work and no play makes Jack a dull boy.\n" * 2000


class EchoTests(SynchronousTestCase):
    """The echo server and its client."""

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.network = MemoryNetwork(self.reactor, seed=1)
        self.speaker = Speaker(TEXT)
        identity = Identity.ephemeral()
        server = CurveCPServerEndpoint(
            self.reactor,
            identity=identity,
            name=NAME,
            interface=SERVER,
            port=PORT,
            openPort=self.network.openPort,
        )
        client = CurveCPClientEndpoint(
            self.reactor,
            serverKey=identity.keys.public,
            serverName=NAME,
            hosts=[SERVER],
            port=PORT,
            openPort=self.network.openPort,
        )
        self.successResultOf(server.listen(Factory.forProtocol(Echo)))
        self.connecting = client.connect(Factory.forProtocol(lambda: self.speaker))

    def test_loss(self) -> None:
        """The whole text comes back, though a fifth of all packets is lost."""
        self.network.conditions = Conditions(loss=0.2, delay=0.05, jitter=0.02)
        self.reactor.run(600.0)
        self.assertEqual(self.successResultOf(self.speaker.heard), TEXT)
        self.assertGreater(self.network.traffic.lost, 20)

    def test_a_cut(self) -> None:
        """A client whose server is gone hears of it, within minutes."""
        self.network.conditions = Conditions(delay=0.05)
        self.reactor.run(0.5)
        self.successResultOf(self.connecting)
        self.network.conditions = Conditions(loss=1.0)
        self.reactor.run(600.0)
        self.failureResultOf(self.speaker.heard, PeerSilent)
