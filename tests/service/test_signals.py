"""What signals mean to services."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.service.signals import SignalHandling, SignalledService


class Noting:
    """A reactor and a service in one, which note what is asked of them."""

    reload: Callable[[], object] | None = None

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.start: list[Callable[[], object]] = []

    def callFromThread(self, call: Callable[[], object]) -> None:
        """Call at once."""
        call()

    def callWhenRunning(self, call: Callable[[], object]) -> None:
        """Call later."""
        self.start.append(call)

    def stop(self) -> None:
        """Note."""
        if "stop" in self.asked:
            raise ReactorNotRunning
        self.asked.append("stop")

    def kill(self) -> None:
        """Note."""
        self.asked.append("kill")

    def reread(self) -> None:
        """Note."""
        self.asked.append("reload")


class SignalTests(SynchronousTestCase):
    """Signals in all orders."""

    def setUp(self) -> None:
        """Have handlers installed in a table instead of the system."""
        self.table: dict[int, Any] = dict.fromkeys(
            (signal.SIGHUP, signal.SIGINT, signal.SIGTERM), signal.SIG_DFL
        )
        self.patch(signal, "getsignal", self.table.__getitem__)
        self.patch(signal, "signal", self.table.__setitem__)
        self.noting = Noting()

    def asked_after(self, *numbers: int, chain: bool = False) -> list[str]:
        """Install, send signals, and tell what was asked for."""
        SignalHandling(self.noting, self.noting, chain=chain).install()
        for number in numbers:
            self.table[number](number, None)
        return self.noting.asked

    def test_first_and_second(self) -> None:
        """The first stops, all others are for the impatient, whichever they are."""
        for numbers in (
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGINT, signal.SIGTERM),
            (signal.SIGHUP, signal.SIGINT),
            (signal.SIGTERM, signal.SIGHUP),
        ):
            self.noting = Noting()
            self.assertEqual(self.asked_after(*numbers), ["stop", "kill"])
            self.table[numbers[0]](numbers[0], None)
            self.assertEqual(self.noting.asked, ["stop", "kill", "kill"])

    def test_reload(self) -> None:
        """Who can read files again does so at SIGHUP, and is not ended by it."""
        self.noting.reload = self.noting.reread
        hup, term = signal.SIGHUP, signal.SIGTERM
        self.assertEqual(
            self.asked_after(hup, hup, term, hup, term),
            ["reload", "reload", "stop", "reload", "kill"],
        )

    def test_chain(self) -> None:
        """The reactor's own handler has the first signal, where it is to."""

        def before(number: int, frame: object) -> None:
            self.noting.asked.append(f"before {number}")

        self.table[signal.SIGTERM] = before
        asked = self.asked_after(signal.SIGTERM, signal.SIGTERM, chain=True)
        self.assertEqual(asked, [f"before {signal.SIGTERM:d}", "kill"])

    def test_chain_without_handler(self) -> None:
        """Where there was none, the reactor is stopped all the same."""
        self.assertEqual(self.asked_after(signal.SIGHUP, chain=True), ["stop"])

    def test_ended_meanwhile(self) -> None:
        """A signal that comes when the reactor stops anyway is no error."""
        self.noting.asked.append("stop")
        self.assertEqual(self.asked_after(signal.SIGTERM), ["stop"])

    def test_nohup(self) -> None:
        """Who was started with SIGHUP ignored ignores it, unless it has a use."""
        self.table[signal.SIGHUP] = signal.SIG_IGN
        self.asked_after()
        self.assertEqual(self.table[signal.SIGHUP], signal.SIG_IGN)
        self.noting.reload = self.noting.reread
        self.assertEqual(self.asked_after(signal.SIGHUP), ["reload"])

    def test_service(self) -> None:
        """A service takes over the signals when the reactor has started, if at all."""
        plain = SignalledService()
        plain.startService()
        service = SignalledService()
        service.signals = SignalHandling(self.noting, self.noting)
        service.startService()
        self.assertEqual(self.table[signal.SIGTERM], signal.SIG_DFL)
        [install] = self.noting.start
        install()
        self.assertEqual(self.table[signal.SIGTERM], service.signals.handle)
