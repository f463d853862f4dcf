"""Many connections under heavy loss, over real sockets and with chosen seeds."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from curvecp_tx import CurveCPClientEndpoint, CurveCPServerEndpoint, Identity
from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.net.keydir import make_key_directory, read_public_key
from tests.faults.impairment import Link
from tests.faults.proxy import HOST, Proxy
from tests.faults.scenario import Sampled, noise
from tests.faults.virtual import quantiles

LOSSY = Link(loss=0.3, burst=3, delay=0.015)
NAME = "server.example"
SIZE = 1024
AT_ONCE = 50
PATIENCE = 180.0
"""Seconds until a connection hangs."""


class Trials:
    """Connections, each with a server and a proxy of its own.

    :ivar times: how long those took that were good.
    :ivar problems: what was wrong with others.
    """

    def __init__(self, directory: str) -> None:
        self.times: list[float] = []
        self.problems: list[str] = []
        self._reactor = cast(ICurveCPReactor, reactor)
        self._keys = os.path.join(directory, "key")
        make_key_directory(self._keys)

    async def try_one(self, seed: int) -> None:
        """Connect once, and exchange a little."""
        up, down = noise(SIZE, f"up {seed}"), noise(SIZE, f"down {seed}")
        began = time.monotonic()
        client, server = Sampled(up), Sampled(down)
        port: Any = await CurveCPServerEndpoint(
            self._reactor,
            identity=Identity.for_server(self._keys),
            name=NAME,
            interface=HOST,
        ).listen(Factory.forProtocol([server].pop))
        proxy = Proxy(self._reactor, port.getHost().port, there=LOSSY, seed=seed)
        endpoint = CurveCPClientEndpoint(
            self._reactor,
            serverKey=read_public_key(self._keys),
            serverName=NAME,
            hosts=[HOST],
            port=proxy.start(),
        )
        outcomes: list[Any] = []
        for end in (client, server):
            end.over.addBoth(outcomes.append)
        connecting = endpoint.connect(Factory.forProtocol(lambda: client))
        connecting.addErrback(outcomes.append)
        while len(outcomes) < 2 and not any(isinstance(o, Failure) for o in outcomes):
            if time.monotonic() - began > PATIENCE:
                outcomes.append("hangs")
                break
            await deferLater(reactor, 0.02)
        if sorted(map(repr, outcomes)) == sorted(map(repr, (up, down))):
            self.times.append(time.monotonic() - began)
        else:
            self.problems.append(f"seed {seed}: {outcomes}")
        proxy.stop()
        await port.stopListening()


async def run(count: int, seed: int) -> int:
    """Try so many; give the exit status."""
    with tempfile.TemporaryDirectory() as directory:
        trials = Trials(directory)
        limit = DeferredSemaphore(AT_ONCE)
        await DeferredList([limit.run(trials.try_one, seed + n) for n in range(count)])
    for problem in trials.problems:
        print(problem)
    good = len(trials.times)
    times = quantiles(trials.times or [PATIENCE])
    print(f"{good} of {count} intact, seeds from {seed}; {times}")
    return 0 if good == count else 1


def try_handshakes(count: int, seed: int) -> int:
    """Run the reactor for it."""
    statuses: list[int] = []

    def start() -> None:
        done = Deferred.fromCoroutine(run(count, seed))
        done.addCallbacks(statuses.append, lambda reason: reason.printTraceback())
        done.addBoth(lambda _: stop())

    stop = cast(Any, reactor).stop
    cast(Any, reactor).callWhenRunning(start)
    cast(Any, reactor).run()
    return statuses[0] if statuses else 1
