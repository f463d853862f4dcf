"""Tunnels and plain programs as services: what they do, and their exit codes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from curvecp_tx.net.descriptors import SERVER_DESCRIPTORS
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint, CurveCPServerEndpoint
from curvecp_tx.service.streams import StreamClientService
from curvecp_tx.service.tunnel import ListenService
from tests.commands.running import TIMEOUT
from tests.net.recording import NAME, SERVER_IDENTITY
from tests.net.test_programs import Peer

reactor: Any = installed_reactor
KEY = SERVER_IDENTITY.keys.public.hex()


class Local(Protocol):
    """A local user of a tunnel.

    :ivar heard: fires when something comes through.
    :ivar gone: fires with the kind of the end.
    """

    def __init__(self) -> None:
        self.heard: Deferred[None] = Deferred()
        self.gone: Deferred[str] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Tell that the tunnel is open."""
        if not self.heard.called:
            self.heard.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell how it ended."""
        self.gone.callback(type(reason.value).__name__)


class TunnelCase(TestCase):
    """A test with a server in this process."""

    timeout = 60

    async def serve(self, data: bytes = b"", *, ends: bool = True) -> int:
        """Serve peers that say something; give the port."""
        self.served: list[Peer] = []

        def make() -> Peer:
            self.served.append(Peer(data, ends=ends))
            return self.served[-1]

        port: Any = await CurveCPServerEndpoint(
            reactor, identity=SERVER_IDENTITY, name=NAME, interface="127.0.0.1"
        ).listen(Factory.forProtocol(make))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def endpoint(self, number: int, **options: Any) -> CurveCPClientEndpoint:
        """Give an endpoint for the server."""
        return CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=["127.0.0.1"],
            port=number,
            **options,
        )


class StdioTests(TunnelCase):
    """Standard input and output of a real process."""

    async def test_both_ways(self) -> None:
        """All input arrives, all output is written, however slowly it is read."""
        number = await self.serve(b"x" * 300_000)
        command = f"sleep 0.2; head -c 100000 /dev/zero | {sys.executable} "
        command += "-m curvecp_tx.commands.client --stdio "
        command += f"{NAME} {KEY} 127.0.0.1 {number} {'0' * 32} | (sleep 2; wc -c)"
        done: subprocess.CompletedProcess[bytes] = await deferToThread(
            subprocess.run,
            ["/bin/bash", "-o", "pipefail", "-c", command],
            capture_output=True,
            timeout=TIMEOUT,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(int(done.stdout), 300_000)
        self.assertEqual(len(self.served[0].received), 100_000)
        await self.served[0].ended


class StreamClientTests(TunnelCase):
    """A program on a stream."""

    def service(self, script: str, endpoint: CurveCPClientEndpoint) -> Any:
        """Make a service."""
        return StreamClientService(
            reactor,
            ["/bin/sh", "-c", script],
            endpoint,
            descriptors=SERVER_DESCRIPTORS,
            report=Report(Verbosity.SILENT),
        )

    async def test_exit_code(self) -> None:
        """The program's status is the service's."""
        number = await self.serve(b"question")
        service = self.service("cat; exit 3", self.endpoint(number))
        service.startService()
        self.assertEqual(await service.ended, 3)
        await self.served[0].ended
        self.assertEqual(self.served[0].received, b"question")
        await service.stopService()

    async def test_nobody_there(self) -> None:
        """No connection is 111, and no program was started."""
        number = await self.serve()
        service = self.service("exit 0", self.endpoint(number + 1, timeout=0.3))
        service.startService()
        self.assertEqual(await service.ended, 111)
        await service.stopService()

    async def test_stopped(self) -> None:
        """A service that is stopped ends its program."""
        number = await self.serve(ends=False)
        service = self.service("echo up; exec sleep 60", self.endpoint(number))
        service.startService()
        await service._connecting
        await service.stopService()
        self.assertEqual(await service.ended, 111)
        await self.served[0].ended

    async def test_stopped_before_the_answer(self) -> None:
        """One that is stopped while it dials gives up."""
        service = self.service("exit 0", self.endpoint(1))
        service.startService()
        await service.stopService()
        self.assertEqual(await service.ended, 111)


class ListenTests(TunnelCase):
    """The entrance of a tunnel."""

    async def test_tunnel(self) -> None:
        """A local connection comes out at the server."""
        number = await self.serve(b"y" * 200_000)
        service: Any = ListenService(
            reactor,
            "tcp:0:interface=127.0.0.1",
            self.endpoint(number),
            report=Report(),
        )
        service.privilegedStartService()
        service.startService()
        port = service._port.getHost().port
        gone: Deferred[None] = Deferred()

        class Talking(Peer):
            def connectionMade(self) -> None:
                transport: Any = self.transport
                self.events.append("made")
                transport.write(b"z" * 200_000)
                transport.loseWriteConnection()

            def readConnectionLost(self) -> None:
                transport: Any = self.transport
                transport.loseConnection()

            def connectionLost(self, reason: Any = None) -> None:
                gone.callback(None)

        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        local: Any = await endpoint.connect(Factory.forProtocol(Talking))
        await gone
        await self.served[0].ended
        self.assertEqual(len(local.received), 200_000)
        self.assertEqual(len(self.served[0].received), 200_000)
        await service.stopService()
        await service.stopService()

    async def start_tunnel(self) -> Any:
        """Open a tunnel in the middle of a dialogue; give the service."""
        number = await self.serve(b"hello", ends=False)
        service: Any = ListenService(
            reactor,
            "tcp:0:interface=127.0.0.1",
            self.endpoint(number),
            report=Report(),
        )
        service.startService()
        port = service._port.getHost().port
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        self.local = Local()
        await endpoint.connect(Factory.forProtocol(lambda: self.local))
        await self.local.heard
        return service

    async def test_stop_ends_tunnels(self) -> None:
        """When the service stops, both ends of a tunnel learn of a failure."""
        service = await self.start_tunnel()
        await service.stopService()
        await self.served[0].ended
        self.assertEqual(self.served[0].ending, "PeerFailure")
        self.assertEqual(await self.local.gone, "ConnectionLost")

    async def test_kill(self) -> None:
        """One that is told to stop at once does not wait for a server's answer."""
        service = await self.start_tunnel()
        stopped = service.stopService()
        service.kill()
        await stopped
        await self.served[0].ended
        self.assertEqual(self.served[0].ending, "PeerFailure")
        await self.local.gone

    async def test_cannot_listen(self) -> None:
        """A port that is taken is found out at once."""
        first: Any = ListenService(
            reactor, "tcp:0:interface=127.0.0.1", self.endpoint(1), report=Report()
        )
        first.startService()
        taken = first._port.getHost().port
        second = ListenService(
            reactor,
            f"tcp:{taken}:interface=127.0.0.1",
            self.endpoint(1),
            report=Report(),
        )
        self.assertRaises(CannotListenError, second.bind)
        await first.stopService()
