"""A worker: one of the processes of ``curvecpserver --workers``.

It is started with its socket and a pipe each way, is told the rest, and serves. It
ends when it is told to, or when its server is gone. What it has to say goes to its
server's log.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from typing import Any

from twisted.internet import stdio
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsText,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.interfaces import IHandlerFactory
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.control import (
    CONTROL_IN,
    CONTROL_OUT,
    SOCKET,
    TABLE,
    Decoder,
    Saying,
    encode,
    unpack_keys,
)
from curvecp_tx.net.hand_over import HandOverFactory
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.shared_table import SharedLedger, SharedNonces, SharedTable
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import LongTermNonceSource, RandomNonces
from curvecp_tx.service.server import CurveCPServerService, make_handlers
from curvecp_tx.service.server_options import ServerOptions


class WorkerService(CurveCPServerService):
    """A server whose counts are its worker's to tell."""

    def tell_counters(self) -> None:
        """Tell nobody."""


class Worker(Protocol):
    """Listens to the server, and does what it says.

    :ivar service: what serves clients, once the server has said what that is.
    """

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self.service: WorkerService | None = None
        self._reactor = reactor
        self._decoder = Decoder()
        self._limits = Limits()
        self._connected = False
        self._stopping = False
        self._over = False

    def connectionMade(self) -> None:
        """Begin to listen."""
        self._connected = True

    def dataReceived(self, data: bytes) -> None:
        """Do what is said."""
        for saying in self._decoder.feed(data):
            what = saying["say"]
            if what == "start":
                self._start(saying)
            elif what == "authorized" and self.service is not None:
                keys = unpack_keys(saying["keys"])
                self.service.listener.allow(self._limits, keys)
            elif what == "stop":
                self.stop()
            elif what == "kill":
                self.stop()
                if self.service is not None:
                    self.service.kill()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End: the server has, or we are about to."""
        self._connected = False
        if self._over:
            self._reactor.stop()
        else:
            self.stop()

    def say(self, saying: Saying) -> None:
        """Say something to the server."""
        if self._connected:
            self.transport.write(encode(saying))

    def stop(self) -> None:
        """Let clients finish, as far as there is time, and end."""
        if self._stopping:
            return
        self._stopping = True
        if self.service is None:
            self._end(None)
        else:
            self.service.stopService().addBoth(self._end)

    def _start(self, orders: Saying) -> None:
        self._limits = Limits(**orders["limits"])
        self.service = make_service(orders, self._limits, self._reactor)
        self.service.startService()

    def _end(self, result: object) -> None:
        if isinstance(result, Failure):
            self.say(log_line(LogLevel.critical, result.getTraceback()))
        if self.service is not None:
            counted = self.service.counters.as_dict()
            self.say({"say": "counters", "counters": counted})
        self._over = True
        if self._connected:
            # The last words have to be written first.
            self.transport.loseConnection()
        else:
            self._reactor.stop()


def make_service(orders: Saying, limits: Limits, reactor: Any) -> WorkerService:
    """Make the service that is ordered, on the descriptors that a worker has."""
    report = Report(Verbosity(orders["verbosity"]))
    counters = Counters()
    table = SharedTable(TABLE, limits.clients)
    nonces: LongTermNonceSource = RandomNonces(os.urandom)
    if orders["nonce_key"] is not None:
        nonces = SharedNonces(table, bytes.fromhex(orders["nonce_key"]))
    service = WorkerService(
        reactor,
        _handlers(orders, reactor, report, counters),
        identity=Identity(KeyPair.from_secret(bytes.fromhex(orders["secret"])), nonces),
        serverName=orders["name"],
        extension=bytes.fromhex(orders["extension"]),
        interface="",
        port=0,
        sock=socket.socket(fileno=SOCKET),
        limits=limits,
        idleTimeout=orders["idle_timeout"],
        bindAddress=orders["bind_address"],
        ledger=SharedLedger(table, orders["number"], orders["workers"]),
        grace=orders["grace"],
        report=report,
        counters=counters,
    )
    if orders["authorized"] is not None:
        service.listener.allow(limits, unpack_keys(orders["authorized"]))
    return service


def _handlers(
    orders: Saying, reactor: Any, report: Report, counters: Counters
) -> IHandlerFactory:
    serve = orders["serve"]
    if "hand_over" in serve:
        factory = HandOverFactory(reactor, *serve["hand_over"], report=report)
        return StreamFactory(reactor, factory, report=report)
    options = ServerOptions()
    options.update(serve, verbosity=report.verbosity)
    return make_handlers(options, reactor, report, counters)


def log_line(level: Any, text: str, complaint: str | None = None) -> Saying:
    """Make what is said for the log."""
    return {"say": "log", "level": level.name, "text": text, "complaint": complaint}


@implementer(ILogObserver)
class ServerLog:
    """Sends what is logged here to the server, as far as that wants to know."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __call__(self, event: LogEvent) -> None:
        """Send one event."""
        level = event.get("log_level", LogLevel.info)
        ours = event.get("log_namespace", "").startswith("curvecp_tx")
        if level >= LogLevel.error or (ours and level >= LogLevel.info):
            text = eventAsText(event, includeTimestamp=False, includeSystem=False)
            self._worker.say(log_line(level, text, event.get("complaint")))


def take_signals(worker: Worker, reactor: Any) -> None:
    """Take over the signals from the reactor.

    A terminal sends them to every process that it has, and so may a supervisor of
    services. What is the server's business will be told by the server.
    """

    def leave_alone(number: int, frame: object) -> None:
        """Do nothing. Unlike a signal that is ignored, programs do not inherit it."""

    def stop(number: int, frame: object) -> None:
        reactor.callFromThread(worker.stop)

    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, leave_alone)
    signal.signal(signal.SIGTERM, stop)


def main() -> None:
    """Run a worker."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    for descriptor in (SOCKET, TABLE, CONTROL_IN, CONTROL_OUT):
        os.set_inheritable(descriptor, False)
    make_monotonic(reactor)
    worker = Worker(reactor)
    globalLogBeginner.beginLoggingTo([ServerLog(worker)], redirectStandardIO=False)
    # Its type is taken from the one for Windows.
    standard_io: Any = stdio.StandardIO
    standard_io(worker, stdin=CONTROL_IN, stdout=CONTROL_OUT, reactor=reactor)
    reactor.callWhenRunning(take_signals, worker, reactor)
    with suppress(KeyboardInterrupt):
        reactor.run()
