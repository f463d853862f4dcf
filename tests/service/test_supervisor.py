"""The superserver with workers as a service; they are never started here."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import NoSteering
from curvecp_tx.net.keydir import SERVER_RESERVATION
from curvecp_tx.net.workers import Workers
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedKeys
from curvecp_tx.service import server
from curvecp_tx.service.server import Options, makeService
from curvecp_tx.service.supervisor import SupervisorService
from tests.commands.running import EXTENSION, new_key_directory, run_here
from tests.net.recording import logged, open_descriptors
from tests.service.test_server import is_bound


class RunningClock(Clock):
    """A reactor that runs."""

    def callWhenRunning(self, function: Any, *arguments: Any) -> None:
        """Call it at once."""
        function(*arguments)


class SupervisorCase(SynchronousTestCase):
    """A service with workers, from a command line."""

    def setUp(self) -> None:
        """Leave the clock of the reactor that runs the tests alone."""
        self.patch(server, "make_monotonic", lambda reactor: None)
        self.shown: list[str] = []
        self.keydir = new_key_directory(self)

    def options(self, *arguments: str, **changes: str) -> Options:
        """Parse a command line that is good but for some changes."""
        operands = {
            "name": "www.example.org",
            "keydir": self.keydir,
            "ip": "127.0.0.1",
            "port": "0",
            "ext": EXTENSION,
            "prog": "true",
            **changes,
        }
        options = Options()
        options.parseOptions(["--workers", "3", *arguments, *operands.values()])
        return options

    def make(self, *arguments: str, **changes: str) -> SupervisorService:
        """Make a service."""
        service = makeService(self.options(*arguments, **changes), self.shown.append)
        assert isinstance(service, SupervisorService)
        self.addCleanup(service.stopService)
        return service

    def refusal(self, *arguments: str, **changes: str) -> tuple[int, str]:
        """Fail to make a service: exit code, and error output."""

        def make(_: object) -> None:
            makeService(self.options(*arguments, **changes), self.shown.append)

        finished = run_here(self, make)
        return finished.code, finished.err


class MakeTests(SupervisorCase):
    """What a command line makes."""

    def test_settings(self) -> None:
        """The workers get what the command line says."""
        service = self.make("-1", "-v", "-c", "7", "--idle-timeout=8", "--stream")
        self.assertEqual(self.shown, [str(service.bind())])
        self.assertTrue(is_bound(service.bind()))
        self.assertIsNotNone(service.signals)
        self.assertIsNone(service.reload)
        orders = service.workers.orders(2)
        self.assertEqual((orders["number"], orders["workers"]), (2, 3))
        self.assertEqual(Limits(**orders["limits"]), Limits(clients=7, start_rate=50.0))
        self.assertEqual(orders["extension"], EXTENSION)
        self.assertEqual((orders["idle_timeout"], orders["grace"]), (8.0, 10.0))
        self.assertEqual((orders["authorized"], orders["verbosity"]), (None, 2))
        self.assertEqual(
            orders["serve"],
            {
                "program": ["true"],
                "stream": True,
                "forward": None,
                "proxy-header": False,
            },
        )
        table = service.workers.table
        self.assertEqual(table.take_nonces(1 << 50), range(SERVER_RESERVATION))

    def test_one_worker(self) -> None:
        """One worker is the server itself."""
        service = makeService(self.options("--workers", "1"), self.shown.append)
        self.addCleanup(service.stopService)
        self.assertNotIsInstance(service, SupervisorService)

    def test_numbers(self) -> None:
        """There are 1 to 64 workers."""
        for number in ("0", "65", "-1", "many", ""):
            code, errors = self.refusal("--workers", number)
            self.assertEqual(code, 100)
            self.assertIn("workers must be an integer between 1 and 64", errors)

    def test_failures(self) -> None:
        """What cannot be done is known at once: 111, and why."""
        before = open_descriptors()
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
            taken.bind(("127.0.0.1", 0))
            port = str(taken.getsockname()[1])
            for changes, reason in (
                ({"keydir": "no/such"}, "unusable key directory: no/such"),
                ({"prog": "no-such-program"}, "unable to find program"),
                ({"port": port}, f"unable to bind 127.0.0.1 port {port}"),
            ):
                code, errors = self.refusal(**changes)
                self.assertEqual(code, 111)
                self.assertIn(f"fatal: {reason}", errors)
        self.assertEqual(open_descriptors(), before)

    def test_no_steering(self) -> None:
        """A system without groups of sockets says so."""

        def refuse(*arguments: object) -> None:
            raise NoSteering("no SO_REUSEPORT")

        self.patch(server, "open_group", refuse)
        code, errors = self.refusal()
        self.assertEqual(code, 111)
        self.assertIn("fatal: this system cannot spread a port's clients", errors)

    def test_stop(self) -> None:
        """When it has stopped, the port is free; to stop twice is to stop once."""
        service = self.make()
        port = service.bind()
        self.successResultOf(service.stopService())
        self.assertFalse(is_bound(port))
        self.successResultOf(service.stopService())


class RecordedWorkers(Workers):
    """Workers that only note what they are told."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.stopping = False
        self.counters = {"hellos": 1, "cookies": 0}
        self.gone: Deferred[None] = Deferred()

    def start(self) -> None:
        """Note it."""
        self.said.append("start")

    def allow(self, authorized: AuthorizedKeys) -> None:
        """Note it."""
        self.said.append([client.name for client in authorized])

    def stop(self) -> Deferred[None]:
        """Note it."""
        self.said.append("stop")
        return self.gone

    def kill(self) -> None:
        """Note it."""
        self.said.append("kill")


class RunTests(SupervisorCase):
    """What it has workers do."""

    def test_life(self) -> None:
        """They start, read keys, and stop when it does."""
        self.write(f"{bytes(32).hex()} ada\n")
        service = self.make("-v", "--authorized-keys", self.guests)
        self.successResultOf(service.workers.stop())
        workers = service.workers = RecordedWorkers()
        service._reactor = RunningClock()
        service.signals = None
        service.startService()
        self.write(f"{bytes(32).hex()} bob\n")
        assert service.reload is not None
        with logged() as lines:
            service.reload()
            self.write("nonsense\n")
            service.reload()
            stopped = service.stopService()
            service.kill()
            self.assertNoResult(stopped)
            workers.gone.callback(None)
            self.successResultOf(stopped)
        self.assertEqual(workers.said, ["start", ["bob"], "stop", "kill"])
        self.assertEqual(lines("authorized keys: "), ["authorized keys: 1"])
        self.assertEqual(len(lines("the keys before stay in force")), 1)
        self.assertEqual(lines("counters"), ["counters: {'hellos': 1}"])
        workers.stopping = True

    def write(self, text: str) -> None:
        """Write the file of authorized keys."""
        self.guests = os.path.join(self.keydir, "guests")
        with open(self.guests, "w") as file:
            file.write(text)
