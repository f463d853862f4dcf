"""A worker, as far as it can be had in this process."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.control import Decoder, Saying, encode
from curvecp_tx.net.report import Report
from curvecp_tx.net.shared_table import SharedTable
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.service import worker as module
from curvecp_tx.service.worker import (
    ServerLog,
    Worker,
    WorkerService,
    make_service,
    take_signals,
)

SECRET = bytes(range(32))
GUEST = "61" * 32
PROGRAM = {"program": ["cat"], "stream": False, "forward": None, "proxy-header": False}


def orders(**changes: Any) -> Saying:
    """Give what a worker is told first."""
    return {
        "say": "start",
        "number": 1,
        "workers": 2,
        "secret": SECRET.hex(),
        "nonce_key": "6e" * 32,
        "name": "a.example",
        "extension": "65" * 16,
        "limits": {"clients": 5, "per_ip": 2},
        "authorized": [[GUEST, "ada", None]],
        "idle_timeout": 8.0,
        "bind_address": True,
        "grace": 2.5,
        "verbosity": 2,
        "serve": PROGRAM,
        **changes,
    }


class StoppableClock(Clock):
    """A reactor that notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stops = 0

    def stop(self) -> None:
        """Note it."""
        self.stops += 1

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        """Call it at once."""
        function(*arguments)


class FakeService:
    """A service that stops when a test says so."""

    def __init__(self) -> None:
        self.said: list[object] = []
        self.stopped: Deferred[None] = Deferred()
        self.listener = self.counters = self

    def startService(self) -> None:
        """Note it."""
        self.said.append("start")

    def stopService(self) -> Deferred[None]:
        """Note it."""
        self.said.append("stop")
        return self.stopped

    def kill(self) -> None:
        """Note it."""
        self.said.append("kill")

    def allow(self, limits: Limits, keys: Any) -> None:
        """Note it."""
        self.said.append([limits.clients, *(client.name for client in keys)])

    def as_dict(self) -> dict[str, int]:
        """Give what was counted."""
        return {"hellos": 3}


class WorkerCase(SynchronousTestCase):
    """A worker with a service that does nothing."""

    def setUp(self) -> None:
        self.reactor = StoppableClock()
        self.service = FakeService()
        self.patch(module, "make_service", lambda *_: self.service)
        self.worker = Worker(self.reactor)
        self.pipe = StringTransport()
        self.worker.makeConnection(self.pipe)

    def tell(self, *sayings: Saying) -> None:
        """Say something to it."""
        self.worker.dataReceived(b"".join(map(encode, sayings)))

    def said(self) -> list[Saying]:
        """Give what it has said."""
        return [*Decoder().feed(self.pipe.value())]


class OrderTests(WorkerCase):
    """What it does when it is told to."""

    def test_life(self) -> None:
        """It starts, gets new keys, stops, and has the last word before it ends."""
        keys = {"say": "authorized", "keys": [[GUEST, "bob", 1]]}
        self.tell(orders(), keys, {"say": "stop"}, {"say": "stop"})
        self.assertEqual(self.service.said, ["start", [5, "bob"], "stop"])
        self.assertEqual(self.said(), [])
        self.service.stopped.callback(None)
        self.assertEqual(self.said(), [{"say": "counters", "counters": {"hellos": 3}}])
        self.assertTrue(self.pipe.disconnecting)
        self.assertEqual(self.reactor.stops, 0)
        self.worker.connectionLost()
        self.assertEqual(self.reactor.stops, 1)

    def test_kill(self) -> None:
        """To be killed is to stop without waiting."""
        self.tell(orders(), {"say": "kill"})
        self.assertEqual(self.service.said, ["start", "stop", "kill"])

    def test_server_gone(self) -> None:
        """It stops when its server is gone, and says nothing to nobody."""
        self.tell(orders())
        self.worker.connectionLost()
        self.assertEqual(self.service.said, ["start", "stop"])
        self.service.stopped.callback(None)
        self.assertEqual((self.said(), self.reactor.stops), ([], 1))

    def test_before_the_start(self) -> None:
        """What comes before it has started is no matter."""
        self.tell({"say": "authorized", "keys": []}, {"say": "kill"})
        self.assertEqual(self.service.said, [])
        self.assertTrue(self.pipe.disconnecting)

    def test_bug(self) -> None:
        """A service that fails to stop is told of."""
        self.tell(orders())
        self.service.stopped = fail(ZeroDivisionError("a bug"))
        self.worker.stop()
        (line, counters) = self.said()
        self.assertEqual((line["level"], counters["say"]), ("critical", "counters"))
        self.assertIn("a bug", line["text"])


class SignalTests(WorkerCase):
    """Signals, of which most are the server's business."""

    def test_signals(self) -> None:
        """SIGTERM stops it; SIGINT and SIGHUP do nothing, unless ignored already."""
        numbers = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
        for number in numbers:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        take_signals(self.worker, self.reactor)
        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_IGN)
        self.tell(orders())
        os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual(self.service.said, ["start"])
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(self.service.said, ["start", "stop"])


class LogTests(WorkerCase):
    """What it logs."""

    def test_lines(self) -> None:
        """Our lines and everybody's errors go to the server, complaints by kind."""
        log = ServerLog(self.worker)
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        Report().error_sometimes("full", "{n} is full", n=1)
        Logger(namespace="curvecp_tx").info("something")
        for level in (LogLevel.info, LogLevel.error):
            Logger(namespace="elsewhere").emit(level, level.name)
        fields = [(s["level"], s["text"], s["complaint"]) for s in self.said()]
        self.assertEqual(
            fields,
            [
                ("error", "1 is full", "full"),
                ("info", "something", None),
                ("error", "error", None),
            ],
        )


class MakeTests(SynchronousTestCase):
    """The service that is ordered."""

    def make(self, **changes: Any) -> WorkerService:
        """Make one, with descriptors as a worker has them."""
        table = SharedTable.create(5, range(100, 200))
        self.addCleanup(table.close)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        copy = os.dup(table.descriptor)
        self.patch(module, "TABLE", copy)
        self.addCleanup(os.close, copy)
        self.patch(module, "SOCKET", sock.detach())
        order = orders(**changes)
        limits = Limits(**order["limits"])
        service = make_service(order, limits, installed_reactor)
        self.addCleanup(service.stopService)
        return service

    def test_settings(self) -> None:
        """All of it arrives."""
        service = self.make()
        host = service.listener.getHost()
        self.assertEqual(host.key, KeyPair.from_secret(SECRET).public)
        self.assertEqual((host.name, host.extension), ("a.example", b"e" * 16))
        server = service.listener._server
        self.assertEqual(server.limits, Limits(clients=5, per_ip=2))
        authorized = server._admission.authorized
        assert authorized is not None
        client = authorized.find(bytes.fromhex(GUEST))
        assert client is not None
        self.assertEqual(client.name, "ada")
        self.assertEqual(server._admission._ledger.shares, 2)
        self.assertEqual((service._grace, service.listener._idle_timeout), (2.5, 8.0))
        self.assertIsInstance(service.handlers, HandlerProgramFactory)
        self.assertEqual(len(service.listener._identity.nonces()), 16)

    def test_hand_over(self) -> None:
        """It may hand streams over to an application; keys and nonces may be random."""
        service = self.make(
            serve={"hand_over": [1, "00" * 32]}, nonce_key=None, authorized=None
        )
        self.assertIsInstance(service.handlers, StreamFactory)
        self.assertIsNone(service.listener._server._admission.authorized)
        self.assertEqual(len(service.listener._identity.nonces()), 16)
