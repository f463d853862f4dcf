"""Transfers over real sockets whose system calls fail."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from curvecp_tx.net.offload import SWITCH
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint, CurveCPServerEndpoint
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Address, Datagram
from tests.faults.figures import OURS, note
from tests.net.fake_socket import HAS_RUNS
from tests.net.recording import NAME, SERVER_IDENTITY

reactor: Any = installed_reactor

LOOPBACK = "127.0.0.1"
PATIENCE = 60
SHARE = 0.1
DATA = random.Random(5).randbytes(150_000)

SEND_ERRORS = (
    errno.EAGAIN,
    errno.ENOBUFS,
    errno.EPERM,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EMSGSIZE,
    errno.ECONNREFUSED,
    errno.EINVAL,
)
RUN_REFUSED = (errno.EMSGSIZE, errno.EINVAL)
RECEIVE_ERRORS = (errno.ENOMEM, errno.EHOSTUNREACH, errno.ECONNRESET)


class MoodySocket:
    """A real socket; a share of its calls fails, with one error after the other.

    :ivar lost: how many datagrams that was to cost.
    """

    def __init__(
        self,
        sock: socket.socket,
        seed: int,
        sending: Sequence[int] = (),
        receiving: Sequence[int] = (),
    ) -> None:
        self.failed: Counter[int] = Counter()
        self.lost = 0
        self.runs = 0
        self._socket = sock
        self._random = random.Random(seed)
        self._sending = sending
        self._receiving = receiving

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def sendto(self, datagram: bytes, address: Address) -> int:
        """Send, or fail."""
        try:
            self._try(self._sending)
        except OSError:
            self.lost += 1
            raise
        return self._socket.sendto(datagram, address)

    def sendmsg(
        self, run: Sequence[bytes], control: Any, flags: int, address: Address
    ) -> int:
        """Send a run, or fail; some errors mean that it may go datagram by datagram."""
        try:
            self._try(self._sending)
        except OSError as error:
            self.lost += 0 if error.errno in RUN_REFUSED else len(run)
            raise
        self.runs += 1
        return self._socket.sendmsg(run, control, flags, address)

    def recvfrom(self, size: int) -> Datagram:
        """Receive, or fail; what was to be received is still there then."""
        self._try(self._receiving)
        return self._socket.recvfrom(size)

    def recvmsg_into(self, buffers: Any, ancillary_bytes: int) -> Any:
        """Receive a run, or fail likewise."""
        self._try(self._receiving)
        return self._socket.recvmsg_into(buffers, ancillary_bytes)

    def _try(self, errors: Sequence[int]) -> None:
        if errors and self._random.random() < SHARE:
            number = errors[self.failed.total() % len(errors)]
            self.failed[number] += 1
            raise OSError(number, os.strerror(number))


class Speaker(Protocol):
    """Sends bytes again and again, ends when it is told, keeps what comes back."""

    def __init__(self) -> None:
        self.sent = b""
        self.received = b""
        self.enough: Callable[[], bool] = lambda: True
        self.over: Deferred[object] = Deferred()

    def speak(self, enough: Callable[[], bool]) -> None:
        """Begin, and go on until there was enough."""
        self.enough = enough
        transport: Any = self.transport
        transport.whenOver.addCallback(self.over.callback)
        self.write()

    def write(self) -> None:
        """Send another piece."""
        self.sent += DATA
        cast(Any, self.transport).write(DATA)

    def dataReceived(self, data: bytes) -> None:
        """Listen, and go on or end when everything is back."""
        self.received += data
        if len(self.received) >= len(self.sent):
            if self.enough():
                cast(Any, self.transport).loseConnection()
            else:
                self.write()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Expect a proper end."""
        if reason.check(ConnectionLost):
            self.received = b""


class Echo(Protocol):
    """Sends everything back."""

    def dataReceived(self, data: bytes) -> None:
        """Send it back."""
        cast(Any, self.transport).write(data)


class MoodyTransferTests(TestCase):
    """A stream each way, while a tenth of the system calls fails."""

    timeout = 2 * PATIENCE
    switch = "1"

    def setUp(self) -> None:
        """Note what is opened."""
        self.patch(os, "environ", {**os.environ, SWITCH: self.switch})
        self.sockets: list[MoodySocket] = []
        self.counters: list[Counters] = []

    async def transfer(self, **errors: Sequence[int]) -> str:
        """Send bytes there and back until each error has come up at both ends.

        All of them have to come.
        """
        wanted = {number for numbers in errors.values() for number in numbers}

        def open_port(
            protocol: Any, interface: str, port: int, counters: Counters
        ) -> DatagramPort:
            sock = MoodySocket(
                open_socket(interface, port), len(self.sockets), **errors
            )
            self.sockets.append(sock)
            self.counters.append(counters)
            return DatagramPort(reactor, protocol, cast(socket.socket, sock), counters)

        server = CurveCPServerEndpoint(
            reactor,
            identity=SERVER_IDENTITY,
            name=NAME,
            interface=LOOPBACK,
            openPort=open_port,
        )
        port: Any = await server.listen(Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        client = CurveCPClientEndpoint(
            reactor,
            serverKey=SERVER_IDENTITY.keys.public,
            serverName=NAME,
            hosts=[LOOPBACK],
            port=port.getHost().port,
            openPort=open_port,
        )
        speaker: Any = await client.connect(Factory.forProtocol(Speaker))
        speaker.speak(lambda: all(set(s.failed) == wanted for s in self.sockets))
        await speaker.over
        self.assertEqual(len(speaker.received), len(speaker.sent))
        self.assertEqual(speaker.received, speaker.sent)
        self.assertEqual(len(self.sockets), 2)
        met = sum(sock.failed.total() for sock in self.sockets)
        kind = type(reactor).__name__
        return f"{kind}: {len(speaker.sent)} bytes each way intact, {met} calls failed"

    async def test_send_errors(self) -> None:
        """Whatever error sending meets is a lost datagram, counted and made up for."""
        figure = await self.transfer(sending=SEND_ERRORS)
        for sock, counters in zip(self.sockets, self.counters, strict=True):
            self.assertEqual(counters.lost_send_error, sock.lost)
            self.assertEqual(sock.runs > 0, self.switch == "1" and HAS_RUNS)
        note("E5", OURS, figure)

    async def test_receive_errors(self) -> None:
        """Whatever error receiving meets, what comes next is received."""
        figure = await self.transfer(receiving=RECEIVE_ERRORS)
        for sock, counters in zip(self.sockets, self.counters, strict=True):
            self.assertEqual(counters.lost_receive_error, sock.failed.total())
        note("E6", OURS, figure)


class SinglyMoodyTransferTests(MoodyTransferTests):
    """The same with a system call for each datagram."""

    switch = "0"


class Batches:
    """A datagram protocol that notes what it gets."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.stopped = False

    def makeConnection(self, transport: object) -> None:
        """Begin."""

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Note a batch."""
        self.datagrams += [datagram for datagram, _ in datagrams]

    def doStop(self) -> None:
        """Note the end."""
        self.stopped = True


class WaitingErrorTests(TestCase):
    """An error that waits in the socket while there is no datagram."""

    timeout = PATIENCE

    def setUp(self) -> None:
        """Open a port, and tie its socket to a peer, which makes it hear of errors."""
        self.counters = Counters()
        self.protocol = Batches()
        sock = open_socket(LOOPBACK, 0)
        self.peer = self.open_peer(0)
        self.place = self.peer.getsockname()
        sock.connect(self.place)
        self.port = DatagramPort(reactor, self.protocol, sock, self.counters)
        self.port.startListening()
        self.addCleanup(self.port.stopListening)
        self.address = sock.getsockname()

    def open_peer(self, port: int) -> socket.socket:
        """Open a plain socket."""
        peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(peer.close)
        peer.bind((LOOPBACK, port))
        return peer

    async def until(self, condition: Any) -> None:
        """Wait, at most until the test has taken too long."""
        while not condition():
            await deferLater(reactor, 0.01)

    async def test_refused(self) -> None:
        """The port outlives it, counts it, and takes the next datagram."""
        self.peer.close()
        for count in (1, 2, 3):
            self.port.write(b"to nobody", self.place)
            await self.until(lambda n=count: self.counters.lost_receive_error == n)
        self.open_peer(self.place[1]).sendto(b"here again", self.address)
        await self.until(lambda: self.protocol.datagrams)
        self.assertEqual(self.protocol.datagrams, [b"here again"])
        self.assertEqual(self.counters.lost_receive_error, 3)
        self.assertFalse(self.protocol.stopped)
        kind = type(reactor).__name__
        note("E6", OURS, f"{kind}: open after 3 errors that waited in the socket")
