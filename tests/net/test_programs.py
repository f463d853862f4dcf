"""Plain programs on streams, as real processes."""

from __future__ import annotations

import signal
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from curvecp_tx.errors import CurveCPError, ProgramNotFound, StreamTimedOut
from curvecp_tx.interfaces import IHandlerFactory
from curvecp_tx.net.descriptors import (
    CLIENT_DESCRIPTORS,
    SERVER_DESCRIPTORS,
    StreamMode,
)
from curvecp_tx.net.ending import Patience, ProgramEnd
from curvecp_tx.net.endpoints import MessagePort, MessageServerEndpoint
from curvecp_tx.net.programs import (
    Outcome,
    ProgramOnStream,
    StreamProgram,
    StreamProgramFactory,
)
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint, CurveCPServerEndpoint
from tests.net.recording import NAME, SERVER_IDENTITY
from tests.net.streaming import HalfTalker

reactor: Any = installed_reactor


class Peer(HalfTalker):
    """Says something, ends its stream or not, and waits for the end."""

    def __init__(self, data: bytes = b"", *, ends: bool = True) -> None:
        super().__init__()
        self.data = data
        self.ends = ends
        self.ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Speak."""
        super().connectionMade()
        self.transport.write(self.data)
        if self.ends:
            self.transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        """End as well."""
        super().readConnectionLost()
        self.transport.loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell when all is over."""
        super().connectionLost(reason)
        self.transport.whenOver.addCallback(lambda _: self.ended.callback(None))


class ProgramCase(TestCase):
    """A test with a server's programs, and a peer in this process."""

    timeout = 60

    async def serve(self, *command: str, **options: Any) -> int:
        """Run a program for each client; give the port."""
        self.outcomes: list[Outcome] = []
        self.settings = ProgramOnStream(
            reactor, command, descriptors=SERVER_DESCRIPTORS, **options
        )
        start = self.settings.start

        def noting() -> StreamProgram:
            program = start()
            program.over.addCallback(self.outcomes.append)
            return program

        self.patch(self.settings, "start", noting)
        self.factory = StreamProgramFactory(self.settings)
        endpoint = MessageServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface="127.0.0.1"
        )
        self.port: MessagePort = await endpoint.listen(self.factory)
        self.addCleanup(self.close)
        number: int = self.port.getHost().port
        return number

    async def close(self) -> None:
        """Close the server, and wait for its programs."""
        await self.port.stopListening()
        await deferLater(reactor, 0, self.factory.kill)
        await self.factory.whenIdle()

    async def run_shell(
        self, script: str, data: bytes = b"", *, ends: bool = True, **options: Any
    ) -> Peer:
        """Let a peer speak with a shell script until both are done."""
        number = await self.serve("/bin/sh", "-c", script, **options)
        return await self.speak(number, data, ends=ends)

    async def speak(self, number: int, data: bytes, *, ends: bool = True) -> Peer:
        """Let a peer speak with the server's program until both are done."""
        endpoint = CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=number,
        )
        peer: Any = await endpoint.connect(
            Factory.forProtocol(lambda: Peer(data, ends=ends))
        )
        await peer.ended
        while not self.outcomes:
            await deferLater(reactor, 0.01, lambda: None)
        result: Peer = peer
        return result


class ProgramTests(ProgramCase):
    """What comes of programs of all kinds."""

    def assert_good(self, peer: Peer, status: int = 0) -> None:
        """Check that the stream is complete on both sides."""
        self.assertEqual(peer.over, [None])
        self.assertEqual(self.outcomes, [Outcome(ProgramEnd(status, None), None)])
        self.assertEqual(self.outcomes[0].exit_code, status)
        self.assertEqual(len(self.settings.running), 0)

    async def test_cat(self) -> None:
        """A program reads from and writes to its peer."""
        data = bytes(range(256)) * 1000
        peer = await self.run_shell("exec cat", data)
        self.assertEqual(peer.received, data)
        self.assert_good(peer)
        self.assertTrue(verifyObject(IHandlerFactory, self.factory))

    async def test_environment(self) -> None:
        """It is told who the peer is, and inherits the rest."""
        script = 'echo "$REMOTEPK $PROTO $COLOR $LISTEN_FDS $(pwd)"'
        peer = await self.run_shell(
            script,
            environment={"COLOR": "blue", "LISTEN_FDS": "1", "PATH": "/bin:/usr/bin"},
            directory="/",
        )
        key = peer.transport.getHost().key.hex()
        self.assertEqual(
            peer.received.decode().split(" "), [key, "CURVECP", "blue", "", "/\n"]
        )

    async def test_program_that_does_not_read(self) -> None:
        """What comes for a closed descriptor is taken, and thrown away."""
        peer = await self.run_shell("exec 0<&-; sleep 0.3; echo done", bytes(500_000))
        self.assertEqual(peer.received, b"done\n")
        self.assert_good(peer)

    async def test_program_that_writes_first(self) -> None:
        """Much in both directions at once does not lock up."""
        script = "head -c 1048576 /dev/zero; cat | wc -c"
        peer = await self.run_shell(script, bytes(400_000))
        self.assertEqual(len(peer.received.rstrip(b"\n 0123456789")), 1 << 20)
        self.assertEqual(int(peer.received[1 << 20 :]), 400_000)
        self.assert_good(peer)

    async def test_program_that_ends_at_once(self) -> None:
        """What it has left in its pipe is delivered all the same."""
        script = "head -c 153600 /dev/zero"
        peer = await self.run_shell(script)
        self.assertEqual(len(peer.received), 153_600)
        self.assert_good(peer)

    async def test_grandchild(self) -> None:
        """A stream ends when nobody can write to it any more."""
        peer = await self.run_shell("(sleep 0.3; echo late) & echo early")
        self.assertEqual(peer.received, b"early\nlate\n")
        self.assert_good(peer)

    async def test_slow_reader(self) -> None:
        """A program may take its time, even when the stream has ended."""
        script = "exec >&-; sleep 1; cat | wc -c >&2; exit 3"
        peer = await self.run_shell(
            script, bytes(200_000), patience=Patience(terminate=0.2, kill=0.2)
        )
        self.assert_good(peer, 3)

    async def test_status(self) -> None:
        """Its exit status is its own affair; the stream is all right."""
        peer = await self.run_shell("echo out; exit 7")
        self.assertEqual(peer.received, b"out\n")
        self.assert_good(peer, 7)

    async def test_peer_that_goes_on(self) -> None:
        """When the program has ended, the peer sees the end, whatever it does."""
        peer = await self.run_shell("read line; echo $line", b"x\n", ends=False)
        self.assertEqual(peer.received, b"x\n")
        self.assert_good(peer)

    async def test_signal(self) -> None:
        """A program that a signal kills is a failure at the peer."""
        peer = await self.run_shell("echo begin; kill -KILL $$")
        self.assertEqual(peer.ending, "PeerFailure")
        (outcome,) = self.outcomes
        self.assertEqual(outcome.end, ProgramEnd(None, signal.SIGKILL))
        self.assertIn("signal 9", str(outcome.problem))
        self.assertEqual(outcome.exit_code, 111)

    async def test_not_started(self) -> None:
        """A program that the system does not start is a failure at the peer."""

        def refuse(*arguments: object, **options: object) -> None:
            raise OSError("no room")

        number = await self.serve("true")
        self.patch(reactor, "spawnProcess", refuse)
        peer = await self.speak(number, b"")
        self.assertEqual(peer.ending, "PeerFailure")
        (outcome,) = self.outcomes
        self.assertIsNone(outcome.end)
        self.assertIn("could not be started", str(outcome.problem))
        self.assertEqual(outcome.exit_code, 111)

    async def test_aborted_by_the_peer(self) -> None:
        """A program whose peer fails is made to end."""
        number = await self.serve(
            "/bin/sh",
            "-c",
            "trap '' TERM; sleep 60 & wait; sleep 60",
            patience=Patience(terminate=0.0, kill=0.2),
        )

        class Rude(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                reactor.callLater(0.2, self.transport.abortConnection)

        endpoint = CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=number,
        )
        peer: Any = await endpoint.connect(
            Factory.forProtocol(lambda: Rude(ends=False))
        )
        await peer.ended
        self.assertIsInstance(peer.over[0], CurveCPError)
        while not self.outcomes:
            await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual(self.outcomes[0].end, ProgramEnd(None, signal.SIGKILL))

    async def test_client_descriptors(self) -> None:
        """A client's program has its stream on 6 and 7."""
        served: list[Peer] = []

        def make() -> Peer:
            served.append(Peer(b"question"))
            return served[-1]

        endpoint = CurveCPServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface="127.0.0.1"
        )
        port: Any = await endpoint.listen(Factory.forProtocol(make))
        self.addCleanup(port.stopListening)
        settings = ProgramOnStream(
            reactor,
            ["/bin/sh", "-c", "cat <&6 >&7; exit 5"],
            descriptors=CLIENT_DESCRIPTORS,
        )
        client = CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=port.getHost().port,
        )
        program: Any = await client.connect(Factory.forProtocol(settings.start))
        outcome = await program.over
        self.assertEqual(outcome, Outcome(ProgramEnd(5, None), None))
        self.assertEqual(served[0].received, b"question")
        await served[0].ended


class SettingsTests(SynchronousTestCase):
    """What needs no program to run."""

    def test_no_program(self) -> None:
        """A program that does not exist is found out at once."""
        self.assertRaises(
            ProgramNotFound,
            ProgramOnStream,
            reactor,
            ["/nonexistent/program"],
            descriptors=SERVER_DESCRIPTORS,
        )

    def test_exit_code(self) -> None:
        """0 stands for success of both, program and stream."""
        good, bad = ProgramEnd(0, None), ProgramEnd(4, None)
        problem = StreamTimedOut()
        for end, trouble, code in (
            (good, None, 0),
            (good, problem, 111),
            (bad, None, 4),
            (bad, problem, 4),
            (ProgramEnd(None, 9), None, 111),
            (None, problem, 111),
        ):
            self.assertEqual(Outcome(end, trouble).exit_code, code)

    def test_modes(self) -> None:
        """Only a server's program has its stream on 0 and 1."""
        self.assertEqual(StreamMode.SERVER.descriptors, SERVER_DESCRIPTORS)
        self.assertEqual(StreamMode.CLIENT.descriptors, CLIENT_DESCRIPTORS)
        self.assertEqual(StreamMode.CLIENT_FIRST.descriptors, CLIENT_DESCRIPTORS)
