"""The same bad network in memory and in virtual time, and clients that try it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory

from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.net.udp import IBatchReceiver
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from curvecp_tx.testing import MemoryNetwork, MemoryPort
from tests.faults.impairment import CLEAR, Impairment, Kind, Link, kind_of
from tests.faults.scenario import Sampled, noise
from tests.interop.streaming import KIBIBYTE
from tests.net.streaming import Counted, StreamCase
from tests.secure.scripted import dropped

TO_CLIENTS = (Kind.COOKIE, Kind.SERVER_MESSAGE)


class ImpairedNetwork(MemoryNetwork):
    """A network in memory on which datagrams fare as behind the proxy.

    :ivar there: what happens on the way to servers.
    :ivar back: what happens on the way to clients.
    :ivar received: what was sent to ports, with the count of datagrams that the
        receiver dropped for it.
    :ivar missed: what was sent to ports that are closed by now.
    """

    def __init__(
        self, clock: IReactorTime, there: Link, back: Link, *, seed: int
    ) -> None:
        super().__init__(clock)
        self.there = Impairment(there, seed=f"there {seed}")
        self.back = Impairment(back, seed=f"back {seed}")
        self.received: list[tuple[bytes, int]] = []
        self.missed: list[bytes] = []
        self._under_way: set[IDelayedCall] = set()

    def attach(self, protocol: Any, host: str, port: int) -> MemoryPort:
        """Open a port, with a scale."""
        return super().attach(Scale(self, protocol, protocol.counters), host, port)

    def openPort(
        self, protocol: IBatchReceiver, interface: str, port: int, counters: Counters
    ) -> MemoryPort:
        """Make a port, with a scale."""
        scale = Scale(self, protocol, counters)
        return super().openPort(scale, interface, port, counters)

    def send(self, datagram: bytes, source: Address, destination: Address) -> None:
        """Let a datagram meet its fate."""
        if self.watch is not None and not self.watch(datagram, source, destination):
            return
        self.put(datagram, source, destination)

    def put(self, datagram: bytes, source: Address, destination: Address) -> None:
        """Send a datagram past the watch."""
        way = self.back if kind_of(datagram) in TO_CLIENTS else self.there
        now = self.clock.seconds()
        self._under_way = {call for call in self._under_way if call.active()}
        for due, arriving in way.pass_on(datagram, now):
            call = self.clock.callLater(
                due - now, self._arrive, arriving, source, destination
            )
            self._under_way.add(call)

    def _arrive(self, datagram: bytes, source: Address, destination: Address) -> None:
        if (destination[0], destination[1]) not in self._ports:
            self.missed.append(datagram)
        super()._arrive(datagram, source, destination)

    def close(self) -> None:
        """Let nothing arrive any more."""
        for call in self._under_way:
            if call.active():
                call.cancel()


class Scale:
    """Stands before a receiver and weighs what each datagram does to its counts."""

    def __init__(
        self, network: ImpairedNetwork, receiver: IBatchReceiver, counters: Counters
    ) -> None:
        self._network = network
        self._receiver = receiver
        self._counters = counters
        self._open = True
        self.makeConnection = receiver.makeConnection

    def doStop(self) -> None:
        """End; what is left of a batch finds nobody who counts."""
        self._open = False
        self._receiver.doStop()

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Hand on one by one."""
        for datagram, source in datagrams:
            if not self._open:
                self._network.missed.append(datagram)
                continue
            before = sum(dropped(self._counters).values())
            self._receiver.datagramsReceived([(datagram, source)])
            after = sum(dropped(self._counters).values())
            self._network.received.append((datagram, after - before))


class CrowdCase(StreamCase):
    """A test in which clients send a server a little, and get a little back.

    :ivar last_heard: when a server had its latest bytes.
    """

    last_heard = 0.0

    network: ImpairedNetwork

    def setUp(self) -> None:
        """Make a stream's randomness depend on the seed, as all else does."""
        super().setUp()
        function: Any = StreamConnection.__init__
        defaults = {**function.__kwdefaults__, "randomBytes": self._draw}
        self.patch(function, "__kwdefaults__", defaults)

    def _draw(self, size: int) -> bytes:
        return self.random(size)

    def impair(
        self, there: Link = CLEAR, back: Link | None = None, seed: int = 1
    ) -> None:
        """Make a world whose network does this; the same both ways without ``back``."""
        self.build_world(seed)
        self.network = ImpairedNetwork(
            self.reactor, there, there if back is None else back, seed=seed
        )

    def close_world(self) -> None:
        """End all that is under way, too."""
        if isinstance(self.network, ImpairedNetwork):
            self.network.close()
        super().close_world()

    def open_port(
        self, protocol: Any, interface: str, port: int, counters: Counters
    ) -> MemoryPort:
        """Give each client an address of its own."""
        self.ports.append(self.network.openPort(protocol, interface, port, counters))
        return self.ports[-1]

    def open_server(self, down: bytes = b"", **options: Any) -> Counted:
        """Serve some bytes; give the factory, which knows all that were started."""
        factory = Counted(lambda: Sampled(down, moved=self._heard))
        streams = StreamFactory(self.reactor, factory, report=self.report)
        self.listener = self.serve(streams, **options)
        return factory

    def _heard(self) -> None:
        self.last_heard = self.reactor.seconds()

    def send_client(self, up: bytes = b"", **options: Any) -> Call:
        """Have one more client connect and send some bytes."""
        call = Call(self.reactor, up)
        factory = Factory.forProtocol(lambda: call.exchange)
        connecting = self.endpoint(**options).connect(factory)
        connecting.addErrback(call.failed)
        return call

    def run_until(self, condition: Callable[[], object], limit: float) -> None:
        """Go from one event to the next, until a virtual time at the most."""
        while not condition():
            due = min(call.getTime() for call in self.reactor.getDelayedCalls())
            self.assertLessEqual(due, limit)
            self.reactor.advance(max(0.0, due - self.reactor.seconds()))

    def run_crowd(
        self, count: int, size: int = KIBIBYTE, limit: float = 180.0, **options: Any
    ) -> list[float]:
        """Have clients exchange bytes with a server, all at once; check what came.

        :return: how long each waited for the server's bytes.
        """
        up, down = noise(size, "up"), noise(size, "down")
        factory = self.open_server(down)
        calls = [self.send_client(up, **options) for _ in range(count)]
        self.run_until(lambda: all(call.over for call in calls), limit)
        self.assertEqual([call.outcome for call in calls], [down] * count)
        servers = [exchange.over for exchange in factory.built]
        self.run_until(lambda: all(over.called for over in servers), limit)
        arrived = [self.successResultOf(over) for over in servers]
        self.assertEqual(arrived, [up] * count)
        return [call.took for call in calls]


class Call:
    """One client's connection.

    :ivar over: whether it has ended.
    :ivar outcome: what came, or why it failed.
    :ivar took: seconds from the first Hello to the last bytes.
    """

    def __init__(self, clock: IReactorTime, up: bytes) -> None:
        self._clock = clock
        self._began = clock.seconds()
        self.over = False
        self.outcome: Any = None
        self.took = 0.0
        self.exchange = Sampled(up, moved=self._moved)
        self.exchange.over.addBoth(self.failed)

    def failed(self, outcome: Any) -> None:
        """Note the end."""
        self.over = True
        self.outcome = outcome

    def _moved(self) -> None:
        self.took = self._clock.seconds() - self._began


def quantiles(times: Sequence[float]) -> str:
    """Say how long it took half, nearly all and all of those who waited."""
    times = sorted(times)
    half, most = (times[int(share * (len(times) - 1))] for share in (0.5, 0.95))
    return f"p50 {half:.2f} s, p95 {most:.2f} s, max {times[-1]:.2f} s"
