"""Whom a server lets in, and what becomes of the others."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import IClientPolicy, IMessageProtocol
from curvecp_tx.net.listener import POLICY_TIMEOUT
from curvecp_tx.net.transport import WAITING_LIMIT
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.client import FIRST_FLIGHT
from tests.net.recording import (
    CLIENT,
    CLIENT_IDENTITY,
    Recorder,
    Recorders,
    WorldCase,
    echo,
    greeting,
    logged,
    message,
    number_of,
    raising,
)


@implementer(IClientPolicy)
class Policy:
    """Gives the verdict of a test, and notes who asked."""

    def __init__(self, verdict: Any) -> None:
        self.verdict = verdict
        self.asked: list[CurveCPAddress] = []

    def admit(self, client: CurveCPAddress) -> bool | Deferred[bool]:
        """Decide."""
        self.asked.append(client)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return cast("bool | Deferred[bool]", self.verdict)


class AccessCase(WorldCase):
    """Tests on a server that may refuse."""

    def attempt(self, verdict: Any, **options: Any) -> None:
        """Let a client ask a server with that policy."""
        self.policy = Policy(verdict)
        self.server = Recorders(received=echo)
        self.client = Recorders(greeting(message(0)))
        self.listener = self.serve(self.server, policy=self.policy, **options)
        self.dialer = self.dial(self.client)
        self.reactor.advance(0)

    def assertServed(self) -> None:
        """Fail unless the client is being served."""
        self.assertEqual(self.client.built[0].messages, [message(0)])
        self.assertEqual(self.listener.connections, 1)

    def assertRefused(self) -> None:
        """Fail unless the client was turned away in silence."""
        self.assertEqual(self.server.built, [])
        self.assertEqual(self.listener.connections, 0)
        self.assertEqual(self.listener.counters.refused_policy, 1)
        self.assertEqual(self.listener.counters.messages_sent, 0)


class PolicyTests(AccessCase):
    """Verdicts."""

    def test_yes(self) -> None:
        """A client that may come in is served; the policy saw its key and address."""
        self.attempt(True)
        self.assertServed()
        [asked] = self.policy.asked
        self.assertEqual(asked.key, CLIENT_IDENTITY.keys.public)
        self.assertEqual((asked.host, asked.port), CLIENT)

    def test_no(self) -> None:
        """A client that may not gets no answer; the log names its key."""
        with logged() as lines:
            self.attempt(False)
        self.assertRefused()
        key = CLIENT_IDENTITY.keys.public.hex()
        self.assertEqual(lines("refused"), [f"refused {CLIENT[0]}:4433 key {key}"])

    def test_refused_once(self) -> None:
        """A refused client that repeats its Initiate is not asked about again."""
        self.attempt(False)
        self.reactor.advance(5.0)
        self.assertRefused()
        self.assertEqual(len(self.policy.asked), 1)

    def test_deferred(self) -> None:
        """A verdict may come later; until then nothing is started."""
        verdict: Deferred[bool] = Deferred()
        self.attempt(verdict)
        self.assertEqual(self.server.built, [])
        verdict.callback(True)
        self.reactor.advance(0)
        self.assertServed()

    def test_deferred_no(self) -> None:
        """A refusal may come later, too."""
        verdict: Deferred[bool] = Deferred()
        self.attempt(verdict)
        verdict.callback(False)
        self.assertRefused()

    def test_fired(self) -> None:
        """A Deferred that has fired is an answer; nothing waits for another."""
        self.attempt(succeed(True))
        self.assertServed()
        self.reactor.advance(POLICY_TIMEOUT)
        self.assertServed()

    def test_raises(self) -> None:
        """A policy that raises is a bug, and a refusal."""
        self.attempt(ZeroDivisionError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertRefused()

    def test_fails(self) -> None:
        """A policy whose Deferred fails refuses; the log says why."""
        with logged() as lines:
            self.attempt(fail(OSError("no database")))
        self.assertRefused()
        self.assertEqual(len(lines("no database")), 1)

    def test_never_answers(self) -> None:
        """No answer within the time allowed is a refusal; a late one is no matter."""
        verdict: Deferred[bool] = Deferred()
        self.attempt(verdict)
        self.ports.pop().stopListening()
        self.reactor.advance(POLICY_TIMEOUT - 1.0)
        self.assertEqual(self.listener.connections, 1)
        self.reactor.advance(1.0)
        self.assertRefused()
        verdict.callback(True)
        self.assertRefused()

    def test_stop_while_deciding(self) -> None:
        """Closing the port ends deliberations, too, and says nothing about them."""
        self.attempt(Deferred())
        with logged() as lines:
            self.ports[0].stopListening()
        self.assertEqual(lines("policy failed"), [])
        self.assertEqual((self.server.built, self.listener.connections), ([], 0))

    def test_stop_in_policy(self) -> None:
        """A policy that closes the port lets nobody in."""
        self.server = Recorders()
        self.policy = Policy(True)

        def admit(client: CurveCPAddress) -> bool:
            self.ports[0].stopListening()
            return True

        self.patch(self.policy, "admit", admit)
        self.listener = self.serve(self.server, policy=self.policy)
        self.dial(Recorders(greeting(message(0))))
        self.reactor.advance(0)
        self.assertEqual((self.server.built, self.listener.connections), ([], 0))


class WaitingTests(AccessCase):
    """Messages that arrive before the verdict."""

    def test_order(self) -> None:
        """They are delivered in order, in one batch, after ``makeConnection``."""
        verdict: Deferred[bool] = Deferred()
        self.attempt(verdict)
        for number in (1, 2):
            self.client.built[0].transport.sendMessages([message(number)])
            self.reactor.advance(0)
        verdict.callback(True)
        [server] = self.server.built
        self.assertEqual(server.batches, [[message(n) for n in (0, 1, 2)]])

    def test_bound(self) -> None:
        """Only so many are kept; the rest is lost and counted."""
        verdict: Deferred[bool] = Deferred()
        self.attempt(verdict)
        flood = [message(number) for number in range(1, WAITING_LIMIT + 11)]
        self.client.built[0].transport.sendMessages(flood)
        self.reactor.advance(0)
        self.assertGreater(len(flood), FIRST_FLIGHT)
        verdict.callback(True)
        kept = [number_of(received) for received in self.server.built[0].messages]
        self.assertEqual(kept, list(range(WAITING_LIMIT)))
        self.assertEqual(self.listener.counters.lost_waiting_full, 11)


class FactoryTests(AccessCase):
    """Factories that fail."""

    def test_none(self) -> None:
        """A factory that gives no protocol refuses the client."""

        class Refusing(Recorders):
            def buildProtocol(self, address: CurveCPAddress) -> None:
                """Make none."""

        self.server = Refusing()
        self.listener = self.serve(self.server)
        self.dial(Recorders(greeting(message(0))))
        self.reactor.advance(0)
        self.assertRefused()

    def fail_first(self, times: int, error: Exception) -> Recorders:
        """Give a factory whose first protocols fail at their start."""
        left = [error] * times

        def connected(protocol: Recorder) -> None:
            if left:
                raise left.pop()

        return Recorders(connected, echo)

    def test_no_resources(self) -> None:
        """A protocol that cannot start frees the slot; the log says why, sometimes."""
        factory = self.fail_first(3, OSError(11, "Resource temporarily unavailable"))
        client = Recorders(greeting(message(0)))
        with logged() as lines:
            listener = self.serve(factory)
            self.dial(client)
            self.reactor.advance(0)
            self.assertEqual(listener.connections, 0)
            self.assertEqual(len(lines("status: 0/100")), 1)
            self.reactor.run(12.0, step=0.5)
        self.assertEqual(
            lines("unable"),
            [
                "unable to start message handler: [Errno 11] "
                "Resource temporarily unavailable"
            ],
        )
        # The client's copies of its Initiate have tried again, until it worked.
        self.assertEqual(listener.counters.refused_handler, 3)
        self.assertEqual(client.built[0].messages, [message(0)])
        self.assertEqual([protocol.lost for protocol in factory.built], [[]] * 4)

    def test_bug_at_start(self) -> None:
        """Any other error there is a bug, and frees the slot as well."""
        client = Recorders(greeting(message(0)))
        listener = self.serve(self.fail_first(1, ZeroDivisionError("a bug")))
        self.dial(client)
        self.reactor.advance(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(listener.connections, 0)
        self.reactor.run(4.0, step=0.5)
        self.assertEqual(client.built[0].messages, [message(0)])

    def test_build_raises(self) -> None:
        """The same holds for ``buildProtocol``."""
        factory = Recorders()
        self.patch(factory, "buildProtocol", raising(OSError("no room")))
        with logged() as lines:
            listener = self.serve(factory)
            self.dial(Recorders(greeting(message(0))))
            self.reactor.advance(0)
        self.assertEqual(len(lines("no room")), 1)
        self.assertEqual(listener.connections, 0)

    def test_stop_in_build(self) -> None:
        """A protocol that is built while the port closes is never connected."""

        class Stopping(Recorders):
            def buildProtocol(this, address: CurveCPAddress) -> IMessageProtocol | None:
                """Close the port, then make a protocol."""
                self.ports[0].stopListening()
                return super().buildProtocol(address)

        factory = Stopping(raising(AssertionError("connected")))
        listener = self.serve(factory)
        self.dial(Recorders(greeting(message(0))))
        self.reactor.advance(0)
        self.assertEqual((len(factory.built), listener.connections), (1, 0))

    def test_failure_after_stop(self) -> None:
        """A protocol may close the port and fail: nothing is left of it."""

        def stop_and_fail(protocol: Recorder) -> None:
            self.ports[0].stopListening()
            raise OSError("no room")

        listener = self.serve(Recorders(stop_and_fail))
        self.dial(Recorders(greeting(message(0))))
        self.reactor.advance(0)
        self.assertEqual(listener.connections, 0)


class LimitTests(WorldCase):
    """Slots."""

    def crowd(self, count: int) -> list[Recorders]:
        """Let some clients dial, each from its own port."""
        clients = []
        for number in range(1, count + 1):
            clients.append(Recorders(greeting(message(number))))
            self.dial(clients[-1], address=("203.0.113.1", number))
        self.reactor.advance(0)
        return clients

    def test_limit(self) -> None:
        """Beyond the limit nobody gets in; one log line a minute says so."""
        factory = Recorders(received=echo)
        with logged() as lines:
            listener = self.serve(factory, limits=Limits(clients=2))
            clients = self.crowd(4)
            self.reactor.run(20.0, step=0.5)
            self.assertEqual(
                lines("refused"),
                [
                    "the limit of 2 clients is reached; new ones are refused "
                    "(--clients sets it)"
                ],
            )
        self.assertEqual(listener.connections, 2)
        self.assertGreaterEqual(listener.counters.refused_limit, 4)
        self.assertEqual(
            [len(client.built[0].messages) for client in clients], [1, 1, 0, 0]
        )

    def test_free_slot(self) -> None:
        """A slot is free at once, and a client that waits gets it."""
        factory = Recorders(received=echo)
        listener = self.serve(factory, limits=Limits(clients=1))
        first, second = self.crowd(2)
        self.assertEqual(second.built[0].messages, [])
        factory.built[0].transport.loseConnection()
        self.assertEqual(listener.connections, 0)
        self.reactor.run(4.0, step=0.5)
        self.assertEqual(second.built[0].messages, [message(2)])
        self.assertEqual(len(first.built[0].messages), 1)

    def test_stop_accepting(self) -> None:
        """A server that lets nobody new in goes on serving the others."""
        factory = Recorders(received=echo)
        listener = self.serve(factory)
        [old] = self.crowd(1)
        listener.stopAccepting()
        new = Recorders(greeting(message(9)))
        self.dial(new)
        old.built[0].transport.sendMessages([message(5)])
        self.reactor.advance(0)
        self.assertEqual(old.built[0].messages, [message(1), message(5)])
        self.assertEqual(new.built[0].messages, [])
        self.assertEqual(listener.counters.refused_draining, 1)
        listener.loseConnections()
        self.assertEqual(listener.connections, 0)
