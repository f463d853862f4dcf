"""Endpoint descriptions, as any Twisted program gives them."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import closing
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from curvecp_tx.errors import AuthorizedKeysFileError, BadName, KeyDirectoryError
from curvecp_tx.net.endpoint_strings import CurveCPClientParser, CurveCPServerParser
from curvecp_tx.net.keydir import read_public_key
from curvecp_tx.net.udp import DatagramPort
from curvecp_tx.secure.admission import Limits
from tests.commands.running import EXTENSION, TWISTD, new_key_directory
from tests.net.streaming import Echo
from tests.net.test_stream_endpoints import Client

reactor: Any = installed_reactor
KEY = "5f" * 32


class BadStringTests(SynchronousTestCase):
    """Descriptions that make no sense."""

    def test_interfaces(self) -> None:
        """The parsers are what Twisted looks for."""
        for interface, parser in (
            (IStreamServerEndpointStringParser, CurveCPServerParser()),
            (IStreamClientEndpointStringParserWithReactor, CurveCPClientParser()),
        ):
            self.assertTrue(verifyObject(interface, parser))

    def test_server(self) -> None:
        """A server's parts are checked."""
        keydir = new_key_directory(self)
        for error, text in (
            (TypeError, "curvecp:0"),
            (TypeError, f"curvecp:0:keydir={keydir}"),
            (TypeError, f"curvecp:0:keydir={keydir}:name=a:nonsense=1"),
            (ValueError, f"curvecp:http:keydir={keydir}:name=a"),
            (ValueError, f"curvecp:0:keydir={keydir}:name=a:extension=12"),
            (ValueError, f"curvecp:0:keydir={keydir}:name=a:clients=many"),
            (ValueError, f"curvecp:0:keydir={keydir}:name=a:clients=0"),
            (ValueError, f"curvecp:0:keydir={keydir}:name=a:maxPerIP=0"),
            (ValueError, f"curvecp:0:keydir={keydir}:name=a:maxPerKey=few"),
            (ValueError, f"curvecp:0:keydir={keydir}:name=a:idleTimeout=soon"),
            (
                AuthorizedKeysFileError,
                f"curvecp:0:keydir={keydir}:name=a:authorizedKeys=/nonexistent",
            ),
            (KeyDirectoryError, "curvecp:0:keydir=/nonexistent:name=a"),
        ):
            with self.subTest(text=text):
                self.assertRaises(error, serverFromString, reactor, text)

    def test_client(self) -> None:
        """A client's parts are checked."""
        for error, text in (
            (TypeError, "curvecp:localhost:1"),
            (TypeError, f"curvecp:localhost:key={KEY}:name=a"),
            (ValueError, "curvecp:localhost:1:key=12:name=a"),
            (ValueError, f"curvecp:localhost:x:key={KEY}:name=a"),
            (ValueError, f"curvecp:localhost:1:key={KEY}:name=a:timeout=soon"),
            (ValueError, f"curvecp:localhost:1:key={KEY}:name=a:extension=z"),
            (KeyDirectoryError, f"curvecp:a:1:key={KEY}:name=a:keydir=/nonexistent"),
        ):
            with self.subTest(text=text):
                self.assertRaises(error, clientFromString, reactor, text)

    def test_late_errors(self) -> None:
        """What only listening or dialling finds out fails the Deferred."""
        keydir = new_key_directory(self)
        factory = Factory.forProtocol(Echo)
        cases: Any = (
            (CannotListenError, f"curvecp:70000:keydir={keydir}:name=a"),
            (BadName, f"curvecp:0:keydir={keydir}:name={'x' * 64}"),
        )
        for error, text in cases:
            listening = serverFromString(reactor, text).listen(factory)
            self.failureResultOf(listening, error)
        cases = (
            (ValueError, f"curvecp:127.0.0.1:0:key={KEY}:name=a"),
            (BadName, f"curvecp:127.0.0.1:1:key={KEY}:name={'x' * 64}"),
        )
        for error, text in cases:
            connecting = clientFromString(reactor, text).connect(factory)
            self.failureResultOf(connecting, error)


@implementer(IAgentEndpointFactory)
class Anywhere:
    """Sends a web client to one endpoint, whatever the URI says."""

    def __init__(self, text: str) -> None:
        self.text = text

    def endpointForURI(self, uri: object) -> Any:
        """Give the endpoint."""
        return clientFromString(reactor, self.text)


class Watched(ProcessProtocol):
    """A process whose end can be waited for."""

    def __init__(self) -> None:
        self.output = b""
        self.ended: Deferred[None] = Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Keep what it says, for the message of a failure."""
        self.output += data

    def processEnded(self, reason: Failure) -> None:
        """Tell."""
        self.ended.callback(None)


class StringTests(TestCase):
    """Descriptions at work."""

    timeout = 60

    async def test_echo(self) -> None:
        """A server and a client made from strings speak with each other."""
        keydir, own = new_key_directory(self), new_key_directory(self)
        guests = os.path.abspath(self.mktemp())
        with open(guests, "w") as file:
            file.write(f"{read_public_key(own).hex()} talker\n")
        server = serverFromString(
            reactor,
            f"curvecp:0:keydir={keydir}:name=a.example:interface=127.0.0.1"
            f":extension={EXTENSION}:clients=3:maxPerIP=2:maxPerKey=1"
            f":idleTimeout=60:authorizedKeys={guests}",
        )
        served: list[Any] = []

        def make() -> Echo:
            served.append(echo := Echo())
            return echo

        port: Any = await server.listen(Factory.forProtocol(make))
        self.addCleanup(port.stopListening)
        client = clientFromString(
            reactor,
            f"curvecp:127.0.0.1,127.0.0.1:{port.getHost().port}:name=a.example"
            f":key={read_public_key(keydir).hex()}:extension={EXTENSION}"
            f":keydir={own}:timeout=20",
        )
        talker: Any = await client.connect(Factory.forProtocol(Client))
        await talker.done
        self.assertEqual(talker.over, [None])
        self.assertEqual(talker.received, b"hello")
        peer = served[0].transport.getPeer()
        self.assertEqual((peer.key, peer.name), (read_public_key(own), "talker"))
        limits = port.listener._server.limits
        self.assertEqual(limits, Limits(clients=3, per_ip=2, per_key=1))
        self.assertEqual(port.listener._idle_timeout, 60.0)

    async def test_web_server(self) -> None:
        """``twistd web`` serves over CurveCP, and a web client fetches."""
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        with open(os.path.join(directory, "page.txt"), "wb") as page:
            page.write(b"some text\n" * 20_000)
        keydir = new_key_directory(self)
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
            free.bind(("127.0.0.1", 0))
            number = free.getsockname()[1]
        listen = f"curvecp:{number}:keydir={keydir}:name=web:interface=127.0.0.1"
        arguments = [sys.executable, *TWISTD, "-n", "--pidfile=", "web"]
        arguments += ["--path", directory, "--listen", listen]
        process = Watched()
        twistd = reactor.spawnProcess(
            process, sys.executable, arguments, dict(os.environ), directory
        )
        text = f"curvecp:127.0.0.1:{number}:name=web:timeout=30"
        text += f":key={read_public_key(keydir).hex()}"
        try:
            agent = Agent.usingEndpointFactory(reactor, Anywhere(text))
            response = await agent.request(b"GET", b"http://web/page.txt")
            self.assertEqual(response.code, 200, process.output)
            body = await readBody(response)
            self.assertEqual(body, b"some text\n" * 20_000)
            while any(isinstance(r, DatagramPort) for r in reactor.getReaders()):
                await deferLater(reactor, 0.05, lambda: None)
        finally:
            twistd.signalProcess("TERM")
            await process.ended
