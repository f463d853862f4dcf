"""Fakes for tests: a bad network in memory, and a reactor without a system.

Everything runs on a :class:`twisted.internet.task.Clock` and a seed, so that a
test of an hour's worth of loss takes milliseconds and ends the same each time::

    reactor = FakeReactor()
    network = MemoryNetwork(reactor, seed=1, conditions=Conditions(loss=0.3))
    server = CurveCPServerEndpoint(
        reactor, ..., interface="192.0.2.1", port=11000, openPort=network.openPort
    )
    client = CurveCPClientEndpoint(
        reactor, ..., hosts=["192.0.2.1"], port=11000, openPort=network.openPort
    )
    server.listen(serverFactory)
    connected = client.connect(clientFactory)
    reactor.run(60.0)
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import (
    IListeningPort,
    IProcessProtocol,
    IReactorTime,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.interfaces import ICurveCPReactor, IDatagramBatchTransport
from curvecp_tx.net.udp import ANY_IPV4, ANY_IPV6, IBatchReceiver
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram

Watch = Callable[[bytes, Address, Address], bool]
"""Sees each datagram with source and destination; ``False`` makes it vanish."""

GUEST_IPV4 = "198.51.100.{}"
GUEST_IPV6 = "2001:db8::{:x}"
FIRST_FREE_PORT = 49152
"""Where ports are put that ask for no place in particular."""

STEP = 0.01
"""Seconds by which :meth:`FakeReactor.run` advances at a time."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What happens to datagrams on their way.

    :ivar loss: share of datagrams that vanish, 0 to 1.
    :ivar duplicate: share that arrive twice.
    :ivar corrupt: share that arrive with one bit flipped.
    :ivar delay: seconds that each is under way.
    :ivar jitter: greatest random addition to that. Datagrams with less of it
        overtake the others.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0


@dataclass(slots=True)
class Traffic:
    """What a network has done so far, in datagrams."""

    sent: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    corrupted: int = 0
    unreachable: int = 0


class MemoryNetwork:
    """Carries datagrams between the ports that are attached to it.

    :param clock: whose time it lives in.
    :param seed: decides all that is random.
    :ivar conditions: may be changed at any time.
    :ivar watch: sees each datagram first, and may make it vanish.
    :ivar traffic: counts.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        seed: int = 0,
        conditions: Conditions | None = None,
    ) -> None:
        self.clock = clock
        self.conditions = conditions or Conditions()
        self.watch: Watch | None = None
        self.traffic = Traffic()
        self._random = random.Random(seed)
        self._ports: dict[tuple[str, int], MemoryPort] = {}
        self._guests = 0

    def attach(self, protocol: IBatchReceiver, host: str, port: int) -> MemoryPort:
        """Open a port at an address for a datagram protocol."""
        opened = MemoryPort(self, protocol, (host, port))
        opened.startListening()
        return opened

    def openPort(
        self, protocol: IBatchReceiver, interface: str, port: int, counters: Counters
    ) -> MemoryPort:
        """Make a port for an endpoint, as its ``openPort``.

        Who binds no address in particular, as clients do, gets one of their own.
        """
        if interface in (ANY_IPV4, ANY_IPV6):
            self._guests += 1
            pattern = GUEST_IPV4 if interface == ANY_IPV4 else GUEST_IPV6
            interface = pattern.format(self._guests)
        if not port:
            port = FIRST_FREE_PORT + self._guests
        return MemoryPort(self, protocol, (interface, port))

    def bind(self, port: MemoryPort) -> None:
        """Make a port reachable under its address."""
        if port.address in self._ports:
            raise ValueError(f"{port.address} is in use")
        self._ports[port.address] = port

    def unbind(self, port: MemoryPort) -> None:
        """Make a port's address free."""
        self._ports.pop(port.address, None)

    def send(self, datagram: bytes, source: Address, destination: Address) -> None:
        """Let a datagram meet its fate."""
        traffic, conditions, chance = self.traffic, self.conditions, self._random.random
        traffic.sent += 1
        unseen = self.watch is not None and not self.watch(
            datagram, source, destination
        )
        if unseen or chance() < conditions.loss:
            traffic.lost += 1
            return
        copies = 1
        if chance() < conditions.duplicate:
            traffic.duplicated += 1
            copies = 2
        for _ in range(copies):
            arriving = datagram
            if datagram and chance() < conditions.corrupt:
                traffic.corrupted += 1
                arriving = self._flip_bit(datagram)
            delay = conditions.delay + chance() * conditions.jitter
            self.clock.callLater(delay, self._arrive, arriving, source, destination)

    def _flip_bit(self, datagram: bytes) -> bytes:
        damaged = bytearray(datagram)
        bit = self._random.randrange(8 * len(damaged))
        damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)

    def _arrive(self, datagram: bytes, source: Address, destination: Address) -> None:
        port = self._ports.get((destination[0], destination[1]))
        if port is None:
            self.traffic.unreachable += 1
        else:
            self.traffic.delivered += 1
            port.arrived(datagram, source)


@implementer(IListeningPort, IDatagramBatchTransport)
class MemoryPort:
    """A port of a :class:`MemoryNetwork`.

    :ivar address: host and port number.
    """

    def __init__(
        self, network: MemoryNetwork, protocol: IBatchReceiver, address: tuple[str, int]
    ) -> None:
        self.address = address
        self._network = network
        self._protocol = protocol
        self._inbox: list[Datagram] = []
        self._open = False
        self._started = False

    def rebind(self, host: str, port: int) -> None:
        """Move to another address, as a client does that changes networks."""
        before = self.address
        self._network.unbind(self)
        self.address = (host, port)
        try:
            self._network.bind(self)
        except ValueError:
            self.address = before
            self._network.bind(self)
            raise

    def startListening(self) -> None:
        """Open the port."""
        self._network.bind(self)
        self._open = True
        self._protocol.makeConnection(self)
        self._started = True
        if not self._open:
            self._protocol.doStop()

    def stopListening(self) -> None:
        """Close the port."""
        if self._open:
            self._open = False
            self._network.unbind(self)
            if self._started:
                self._protocol.doStop()

    def getHost(self) -> IPv4Address | IPv6Address:
        """Tell the address."""
        kind = IPv6Address if ":" in self.address[0] else IPv4Address
        return kind("UDP", *self.address)

    def sendDatagrams(self, datagrams: Sequence[Datagram]) -> None:
        """Send datagrams."""
        if self._open:
            for datagram, address in datagrams:
                self._network.send(datagram, self._source, address)

    @property
    def _source(self) -> Address:
        """The address as sockets give it: with flow and scope for IPv6."""
        return (*self.address, 0, 0) if ":" in self.address[0] else self.address

    def write(self, datagram: bytes, address: Address) -> None:
        """Send one datagram."""
        self.sendDatagrams([(datagram, address)])

    def arrived(self, datagram: bytes, source: Address) -> None:
        """Take a datagram; those of one instant are handed on as one batch."""
        if not self._inbox:
            self._network.clock.callLater(0, self._hand_on)
        self._inbox.append((datagram, source))

    def _hand_on(self) -> None:
        batch, self._inbox = self._inbox, []
        if self._open:
            self._protocol.datagramsReceived(batch)


class FakeProcess:
    """A program that a :class:`FakeReactor` was asked to start, played by a test.

    :ivar signals: what it was sent, in order: ``"TERM"``, ``"KILL"``.
    :ivar descriptors: its own ends of the descriptors it was given, by their
        numbers in the program; closed by :meth:`exit`.
    """

    def __init__(
        self,
        protocol: IProcessProtocol,
        executable: bytes,
        arguments: Sequence[bytes],
        environment: Mapping[bytes, bytes],
        path: str | None,
        childFDs: Mapping[int, int],
        pid: int,
    ) -> None:
        self.protocol = protocol
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.path = path
        self.pid: int | None = pid
        self.signals: list[str] = []
        self.descriptors = {
            number: os.dup(descriptor)
            for number, descriptor in childFDs.items()
            if number > 2
        }

    def signalProcess(self, signalID: str) -> None:
        """Note a signal; it has no other effect."""
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(signalID)

    def close(self, number: int) -> None:
        """Close one descriptor, as the program may."""
        os.close(self.descriptors.pop(number))

    def exit(self, status: int = 0, signal: int | None = None) -> None:
        """Let the program end."""
        for number in tuple(self.descriptors):
            self.close(number)
        self.pid = None
        if status == 0 and signal is None:
            reason = Failure(ProcessDone(0))
        else:
            reason = Failure(
                ProcessTerminated(None if signal is not None else status, signal)
            )
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)


@implementer(ICurveCPReactor)
class FakeReactor(Clock):
    """A clock that also takes readers and starts programs, none of them real.

    :ivar processes: the programs started, in order.
    :ivar spawnError: raised instead of starting a program, if set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.spawnError: OSError | None = None
        self._readers: dict[IReadDescriptor, None] = {}
        self._writers: dict[IWriteDescriptor, None] = {}

    def run(self, seconds: float, step: float = STEP) -> None:
        """Let time pass, and let descriptors be read and written all along."""
        end = self.seconds() + seconds
        while self.seconds() < end:
            self.advance(min(step, end - self.seconds()))
            self.poll()

    def poll(self) -> None:
        """Let every reader read and every writer write, once each."""
        for reader in tuple(self._readers):
            if reader in self._readers:
                reader.doRead()
        for writer in tuple(self._writers):
            if writer in self._writers:
                writer.doWrite()

    def spawnProcess(  # type: ignore[override]
        self,
        processProtocol: IProcessProtocol,
        executable: bytes,
        args: Sequence[bytes] = (),
        env: Mapping[bytes, bytes] | None = None,
        path: str | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: bool = False,
        childFDs: Mapping[int, int] | None = None,
    ) -> FakeProcess:
        """Note a program; it runs as far as a test makes it run."""
        if self.spawnError is not None:
            raise self.spawnError
        process = FakeProcess(
            processProtocol,
            executable,
            args,
            env or {},
            path,
            childFDs or {},
            1000 + len(self.processes),
        )
        self.processes.append(process)
        processProtocol.makeConnection(process)  # type: ignore[arg-type]
        return process

    def addReader(self, reader: IReadDescriptor) -> None:
        """Watch a reader."""
        self._readers[reader] = None

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Watch a writer."""
        self._writers[writer] = None

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Watch a reader no more."""
        self._readers.pop(reader, None)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Watch a writer no more."""
        self._writers.pop(writer, None)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """Watch nothing any more, and give what was watched."""
        watched: list[IReadDescriptor | IWriteDescriptor] = []
        watched += self._readers
        watched += self._writers
        self._readers.clear()
        self._writers.clear()
        return watched

    def getReaders(self) -> list[IReadDescriptor]:
        """Give the readers that are watched."""
        return list(self._readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        """Give the writers that are watched."""
        return list(self._writers)
