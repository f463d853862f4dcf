"""Streams for tests: programs behind message tools, and protocols of our own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx import CurveCPClientEndpoint, CurveCPServerEndpoint, Identity
from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.keydir import read_public_key
from tests.interop.processes import (
    EXTENSION,
    HOST,
    NAME,
    Process,
    ProcessTestCase,
    tool,
)

KIBIBYTE = 1 << 10
MEBIBYTE = 1 << 20

CLIENT_FIRST = "-C"
SERVER_FIRST = "-c"


def shell(script: str) -> tuple[str, ...]:
    """Give a shell that runs a script."""
    return ("sh", "-c", script)


def carrier(kind: str, script: str, *options: str) -> tuple[str, ...]:
    """Give a message tool of one kind, with a script behind it."""
    return (*tool(kind, "curvecpmessage"), *options, *shell(script))


def noting(command: tuple[str, ...]) -> tuple[str, ...]:
    """Give a command that leaves its exit status in a file, see ``statuses``."""
    script = '"$@"; echo $? >$$.part; mv $$.part $$.status'
    return ("sh", "-c", script, "sh", *command)


def digest(data: bytes) -> str:
    """Give a checksum, which is easier to look at than a mebibyte."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}"


@implementer(IHalfCloseableProtocol)
class Exchange(Protocol):
    """Sends some bytes, and keeps what comes.

    :param added: what to send when all has come; without, we end first.
    :ivar over: fires with all that came when both directions are complete and the
        connection needs no more care; fails if the connection does.
    """

    transport: Any

    def __init__(self, data: bytes, added: bytes | None = None) -> None:
        self.over: Deferred[bytes] = Deferred()
        self._data = data
        self._added = added
        self._came: list[bytes] = []
        self._ends = 0

    def connectionMade(self) -> None:
        """Send."""
        self.transport.write(self._data)
        if self._added is None:
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes."""
        self._came.append(data)

    def readConnectionLost(self) -> None:
        """Note the end of what comes."""
        if self._added is not None:
            self.transport.write(self._added)
            self.transport.loseWriteConnection()
        self._ended()

    def writeConnectionLost(self) -> None:
        """Note that the peer has all of it."""
        self._ended()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell how it went, when the port is closed as well."""
        if self._ends == 2 and reason.check(ConnectionDone):
            outcome: bytes | Failure = b"".join(self._came)
        else:
            outcome = reason

        def closed(problem: CurveCPError | None) -> CurveCPError | None:
            self.over.callback(outcome)
            return problem

        over = getattr(self.transport, "whenOver", None) or succeed(None)
        over.addCallback(closed)

    def _ended(self) -> None:
        self._ends += 1
        if self._ends == 2:
            # TCP wants to be told; CurveCP knows.
            self.transport.loseConnection()


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends everything back, and ends when its peer has."""

    transport: Any

    def connectionMade(self) -> None:
        """Take no more than can be sent back."""
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        """End as well."""
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing: the connection ends now."""


class StreamTestCase(ProcessTestCase):
    """A test with streams between processes, or with ends in this process."""

    def setUp(self) -> None:
        super().setUp()
        self.key = read_public_key(self.key_directory())

    async def listen(self, build: Callable[[], Protocol], **options: Any) -> int:
        """Serve a protocol in this process; give the port's number."""
        endpoint = CurveCPServerEndpoint(
            reactor,  # type: ignore[arg-type]
            identity=Identity.for_server(self.key_directory()),
            name=NAME,
            interface=HOST,
            extension=EXTENSION,
            **options,
        )
        port: Any = await endpoint.listen(Factory.forProtocol(build))
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def dial(self, port: int, protocol: Protocol) -> Deferred[Any]:
        """Connect a protocol in this process with a server."""
        endpoint = CurveCPClientEndpoint(
            reactor,  # type: ignore[arg-type]
            serverKey=self.key,
            serverName=NAME,
            serverExtension=EXTENSION,
            hosts=[HOST],
            port=port,
        )
        return endpoint.connect(Factory.forProtocol(lambda: protocol))

    async def succeed(self, *processes: Process) -> None:
        """Wait for processes to end well."""
        for process in processes:
            self.assertEqual(await self.finish(process), 0, process.errors)

    async def statuses(self, count: int) -> list[int]:
        """Wait for so many commands to have noted how they ended."""

        def noted() -> list[str]:
            names = [
                name for name in os.listdir(self.directory) if name.endswith(".status")
            ]
            return names if len(names) >= count else []

        names = await self.until(noted, f"{count} exit statuses")
        return [int(self.read(name)) for name in names]

    async def assert_arrives(self, name: str, data: bytes) -> None:
        """Check that a file comes to have this content, and nothing else.

        Whoever writes it need not have written all when its peer ends.
        """
        path = os.path.join(self.directory, name)

        def arrived() -> bool:
            return os.path.exists(path) and os.path.getsize(path) >= len(data)

        await self.until(arrived, f"{len(data)} bytes in {name}")
        self.assertEqual(digest(self.read(name)), digest(data))
