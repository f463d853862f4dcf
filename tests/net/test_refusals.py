"""What the log says of clients that are kept out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.refusals import _TEXTS, Refusals
from curvecp_tx.net.report import REPEAT_INTERVAL, Report
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.counters import Counters
from curvecp_tx.service.server_options import ServerOptions
from tests.net.recording import (
    CLIENT_IDENTITY,
    Recorders,
    WorldCase,
    greeting,
    logged,
    message,
)

LATER_COUNTERS = {"refused_policy", "refused_handler", "refused_draining"}
"""What is told elsewhere, or needs no telling."""


class RefusalTests(SynchronousTestCase):
    """One line a minute for each kind."""

    def setUp(self) -> None:
        """Count what nobody has refused."""
        self.now = 0.0
        self.counters = Counters()
        report = Report(seconds=lambda: self.now)
        self.refusals = Refusals(report, self.counters)

    def look(self, limits: Limits) -> list[str]:
        """Look, and give what was said."""
        with logged() as lines:
            self.refusals.look(limits)
            return lines("")

    def test_all_kinds(self) -> None:
        """Each kind of refusal has a line; it names options that there are."""
        limits = Limits(clients=7, per_ip=2, per_key=3, hello_rate=4.0, start_rate=5.0)
        kinds = [name for name in Counters().as_dict() if name.startswith("refused_")]
        self.assertEqual({*kinds} - LATER_COUNTERS, {*_TEXTS})
        options = [f"--{name.rstrip('=')}" for name in ServerOptions().longOpt]
        for kind in _TEXTS:
            setattr(self.counters, kind, 1)
            [line] = self.look(limits)
            self.assertNotIn("{", line)
            for word in line.replace(")", "").replace("(", "").split():
                if word.startswith("--"):
                    self.assertIn(word, options)
            setattr(self.counters, kind, 2)
            self.assertEqual(self.look(limits), [])

    def test_once_a_minute(self) -> None:
        """Ten thousand refusals are one line, and another a minute later."""
        said = []
        for _ in range(10_000):
            self.counters.refused_hello_rate += 1
            said += self.look(Limits(hello_rate=12.5))
        self.now = REPEAT_INTERVAL
        self.assertEqual(self.look(Limits()), [])
        self.counters.refused_hello_rate += 1
        said += self.look(Limits(hello_rate=12.5))
        self.assertEqual(
            said,
            [
                "an address sends more than 12.5 Hellos a second; some get no answer "
                "(--hello-rate sets the limit)"
            ]
            * 2,
        )

    def test_nothing_refused(self) -> None:
        """Where nobody is refused, nothing is said."""
        self.assertEqual(self.look(Limits()), [])


class ListenerTests(WorldCase):
    """A listener with rules."""

    def crowd(self, count: int) -> list[Recorders]:
        """Let some clients dial, all from one address."""
        clients = []
        for number in range(1, count + 1):
            clients.append(Recorders(greeting(message(number))))
            self.dial(clients[-1], address=("203.0.113.1", number))
        self.reactor.advance(0)
        return clients

    def test_limits(self) -> None:
        """What is in force keeps clients out, and the log names it."""
        for limits, word in (
            (Limits(per_ip=2), "--max-per-ip"),
            (Limits(per_key=2), "--max-per-key"),
            (Limits(hello_rate=1.0), "--hello-rate"),
        ):
            with self.subTest(word=word), logged() as lines:
                self.build_world()
                listener = self.serve(Recorders(), limits=limits)
                self.crowd(4)
                self.assertEqual(listener.connections, 2)
                self.assertEqual(len(lines(word)), 1)
                self.close_world()

    def test_name(self) -> None:
        """A client with a name is called by it; one without a place stays out."""
        key = CLIENT_IDENTITY.keys.public
        factory = Recorders()
        authorized = AuthorizedKeys(AuthorizedClient(key, "alice"))
        with logged() as lines:
            listener = self.serve(factory, authorized=authorized)
            self.crowd(1)
            self.assertEqual(factory.addresses[0].name, "alice")
            peer = factory.built[0].transport.getPeer()
            self.assertEqual(
                peer.described, f"203.0.113.1:1 key {key.hex()} name alice"
            )
            listener.allow(Limits(), AuthorizedKeys())
            self.dial(Recorders(greeting(message(9))))
            self.reactor.advance(0)
            self.assertEqual(len(lines("not authorized")), 1)
        self.assertEqual(len(factory.built), 1)
        self.assertEqual((factory.built[0].lost, listener.connections), ([], 1))

    def test_allow(self) -> None:
        """Limits may be replaced; whoever is in stays in."""
        factory = Recorders()
        listener = self.serve(factory)
        self.crowd(3)
        listener.allow(Limits(clients=1), None)
        self.dial(Recorders(greeting(message(9))))
        self.reactor.advance(0)
        self.assertEqual(listener.connections, 3)
        self.assertEqual(listener.counters.refused_limit, 1)
        listener.allow(Limits(clients=4), None)
        self.reactor.run(5.0, step=0.5)
        self.assertEqual(listener.connections, 4)
