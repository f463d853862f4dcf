"""One transfer through a bad network, by each pair of ours and the reference's.

Ours are endpoints in the test's own process; the reference's are its tools, with a
shell script behind its message tool.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from curvecp_tx import CurveCPClientEndpoint
from curvecp_tx.interfaces import ICurveCPReactor
from tests.faults.figures import OUR_CLIENT, OUR_SERVER, OURS, PAIRS
from tests.faults.impairment import CLEAR, Link, Q
from tests.faults.proxy import Proxy, Rebinding
from tests.interop.processes import (
    EXTENSION,
    HOST,
    NAME,
    PATIENCE,
    POLL,
    REFERENCE,
    Process,
    Server,
    tool,
)
from tests.interop.streaming import (
    CLIENT_FIRST,
    Exchange,
    StreamTestCase,
    carrier,
    digest,
)

__all__ = ["CLEAR", "PAIRS", "FaultTestCase", "Link", "Q", "Rebinding", "Transfer"]

T = TypeVar("T")

OWN_CLIENTS = (OURS, OUR_CLIENT)
OWN_SERVERS = (OURS, OUR_SERVER)

SERVER_SCRIPT = "echo >>{name}.started; cat {name}.down & cat >{name}.up.got; wait"
"""A server's part. It ends its stream last: the reference's client forgets what is
under way when its program ends."""

CLIENT_SCRIPT = "cat {name}.up >&7 & exec 7>&-; cat <&6 >{name}.down.got; wait"


def noise(size: int, seed: int | str = 1) -> bytes:
    """Give bytes of which each piece is different."""
    return random.Random(seed).randbytes(size)


async def together(attempts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Have several things happen at the same time; give what comes of each."""
    return await gatherResults(
        [Deferred.fromCoroutine(attempt) for attempt in attempts], consumeErrors=True
    )


class Sampled(Exchange):
    """An exchange that can be watched.

    :param added: as for an exchange; empty, to end when all has come.
    :param moved: called whenever bytes have come.
    :ivar arrived: how many bytes have come by now.
    """

    def __init__(
        self,
        data: bytes,
        added: bytes | None = None,
        *,
        moved: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(data, added)
        self.arrived = 0
        self._moved = moved

    @property
    def received(self) -> bytes:
        """All that has come by now."""
        return b"".join(self._came)

    def dataReceived(self, data: bytes) -> None:
        """Count them, too."""
        self.arrived += len(data)
        super().dataReceived(data)
        if self._moved is not None:
            self._moved()


class Transfer:
    """Bytes on their way through a proxy, both ways at once.

    :ivar pair: who plays client and server.
    :ivar name: what its files are named after.
    :ivar proxy: what is between them.
    :ivar client: our end of the client, or the reference's process.
    :ivar server: our end of the server, or the reference's process.
    :ivar began: when the client was started, in seconds of the monotonic clock.
    :ivar built: how many protocols our server has been asked for.
    """

    built = 0

    def __init__(
        self, case: FaultTestCase, pair: str, name: str, up: bytes, down: bytes
    ) -> None:
        self.pair = pair
        self.name = name
        self.up = up
        self.down = down
        self.client: Sampled | Process
        self.server: Sampled | Process
        self.proxy: Proxy
        self.began = time.monotonic()
        self._case = case
        self._connecting: Deferred[Any] | None = None
        self._failures: list[Failure] = []
        self._over: list[Deferred[bytes]] = []

    def up_arrived(self) -> int:
        """Tell how many of the client's bytes the server has by now."""
        return self._arrived(self.server, "up")

    def down_arrived(self) -> int:
        """Tell how many of the server's bytes the client has by now."""
        return self._arrived(self.client, "down")

    def arrived(self) -> int:
        """Tell how many bytes have arrived by now, both ways."""
        return self.up_arrived() + self.down_arrived()

    def started(self) -> int:
        """Tell how often the server has started its handler by now."""
        if isinstance(self.server, Process):
            return len(self._case.read(f"{self.name}.started"))
        return self.built

    def build(self) -> Sampled:
        """Give our server's end, of which there is only one."""
        self.built += 1
        assert isinstance(self.server, Sampled)
        return self.server

    def seconds(self) -> float:
        """Tell how long ago the client was started."""
        return time.monotonic() - self.began

    async def until_arrived(self, count: int) -> float:
        """Wait until so many bytes have arrived; give the seconds since the start."""
        await self._case.until(
            lambda: self._check() and self.arrived() >= count, f"{count} bytes arrive"
        )
        return self.seconds()

    async def until_complete(self) -> float:
        """Wait until all has arrived; give the seconds since the start."""
        return await self.until_arrived(len(self.up) + len(self.down))

    async def finish(self) -> float:
        """Wait until all has arrived; ours have to end well when both are.

        The reference does not stay to repeat its last acknowledgment: an end of
        ours need not learn that the reference has all.

        :return: the seconds from the start until all had arrived.
        """
        seconds = await self.until_complete()
        if self.pair == OURS:
            for over in self._over:
                await over
            self._check()
        self._case.assertEqual(digest(self.result("up")), digest(self.up))
        self._case.assertEqual(digest(self.result("down")), digest(self.down))
        return seconds

    def result(self, way: str) -> bytes:
        """Give what has arrived of ``up`` or ``down``."""
        end = self.server if way == "up" else self.client
        if isinstance(end, Process):
            return self._case.read(f"{self.name}.{way}.got")
        return end.received

    def begin(self, connecting: Deferred[Any] | None) -> None:
        """Note what may fail from now on."""
        self._connecting = connecting
        for end in (self.client, self.server):
            if isinstance(end, Exchange):
                end.over.addErrback(self._failed)
                self._over.append(end.over)
        if connecting is not None:
            connecting.addErrback(self._failed)
        self._case.addCleanup(self._stop)

    def _stop(self) -> Deferred[Any]:
        """End what a test leaves of a client of ours; fires when it has ended."""
        if self._connecting is not None:
            self._connecting.cancel()
        if not isinstance(self.client, Sampled) or self.client.transport is None:
            return succeed(None)
        if not self.client.over.called:
            self.client.transport.abortConnection()
        return self.client.over

    def _failed(self, reason: Failure) -> bytes:
        self._failures.append(reason)
        return b""

    def _check(self) -> bool:
        """Fail at once when an end has failed: nothing more will come."""
        if self._failures:
            self._case.fail(f"after {self.seconds():.1f} s: {self._failures[0]}")
        if isinstance(self.client, Process) and self.client.status:
            self._case.fail(f"{self.client.status}: {self.client.errors}")
        return True

    def _arrived(self, end: Sampled | Process, way: str) -> int:
        if not isinstance(end, Process):
            return end.arrived
        path = os.path.join(self._case.directory, f"{self.name}.{way}.got")
        return os.path.getsize(path) if os.path.exists(path) else 0


class FaultTestCase(StreamTestCase):
    """A test of streams on a bad network.

    :cvar patience: seconds until a wait has failed.
    """

    patience = PATIENCE

    async def until(self, condition: Callable[[], T], what: str) -> T:
        """Wait until ``condition()`` is true, and give what it returned."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            await deferLater(reactor, POLL)
        return self.fail("\n".join((f"in vain: {what}", *self._state())))

    def dial(self, port: int, protocol: Protocol, **options: Any) -> Deferred[Any]:
        """Connect a protocol in this process with a server.

        :param options: as for ``CurveCPClientEndpoint``.
        """
        endpoint = CurveCPClientEndpoint(
            cast(ICurveCPReactor, reactor),
            serverKey=self.key,
            serverName=NAME,
            serverExtension=EXTENSION,
            port=port,
            **{"hosts": [HOST], **options},
        )
        return endpoint.connect(Factory.forProtocol(lambda: protocol))

    def make_proxy(self, port: int, there: Link = CLEAR, **options: Any) -> Proxy:
        """Make a proxy in front of a port of this host; ``start`` opens it.

        :param options: as for :class:`~tests.faults.proxy.Proxy`.
        """
        return Proxy(cast(ICurveCPReactor, reactor), port, there=there, **options)

    def put_proxy(self, port: int, there: Link = CLEAR, **options: Any) -> Proxy:
        """Start a proxy; :attr:`port` is where clients are to send."""
        proxy = self.make_proxy(port, there, **options)
        self.port = proxy.start()
        self.addCleanup(proxy.stop)
        return proxy

    def behind(self, server: Server, there: Link = CLEAR, **options: Any) -> Server:
        """Start a proxy; give the server as its clients are to see it."""
        self.proxy = self.put_proxy(server.port, there, **options)
        return replace(server, port=self.port)

    async def begin(
        self,
        pair: str,
        up: bytes = b"",
        down: bytes = b"",
        *,
        there: Link = CLEAR,
        back: Link | None = None,
        seed: int = 1,
        rebinding: Rebinding | None = None,
        label: str = "",
    ) -> Transfer:
        """Start a server, a proxy and a client that send each other bytes.

        Each pair can be had once in a test with the same label: files are named
        after both.

        :param there: the way to the server.
        :param back: the way to the client; the same without.
        """
        name = f"{pair}{label}"
        transfer = Transfer(self, pair, name, up, down)
        for way, data in (("up", up), ("down", down)):
            self.write(f"{name}.{way}", data)
        if pair in OWN_SERVERS:
            transfer.server = Sampled(down, b"")
            port = await self.listen(transfer.build)
        else:
            command = carrier(REFERENCE, SERVER_SCRIPT.format(name=name))
            server = await self.serve(REFERENCE, command)
            transfer.server, port = server.process, server.port
        transfer.proxy = self.put_proxy(
            port, there, back=back, seed=seed, rebinding=rebinding
        )
        connecting: Deferred[Any] | None = None
        transfer.began = time.monotonic()
        if pair in OWN_CLIENTS:
            transfer.client = Sampled(up)
            connecting = self.dial(self.port, transfer.client)
        else:
            script = CLIENT_SCRIPT.format(name=name)
            operands = (NAME, self.key.hex(), HOST, str(self.port), EXTENSION.hex())
            transfer.client = self.launch(
                (
                    *tool(REFERENCE, "curvecpclient"),
                    *operands,
                    *carrier(REFERENCE, script, CLIENT_FIRST),
                )
            )
        transfer.begin(connecting)
        return transfer

    async def transfer(
        self, pair: str, up: bytes = b"", down: bytes = b"", **options: Any
    ) -> float:
        """Send bytes both ways; give the seconds until all had arrived.

        :param options: as for :meth:`begin`.
        """
        started = await self.begin(pair, up, down, **options)
        seconds = await started.finish()
        self.passed = started.proxy
        return seconds
