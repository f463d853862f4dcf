"""Names and addresses of hosts, to addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from curvecp_tx.net.resolution import resolve_hosts


@implementer(IHostResolution)
class Resolver:
    """A resolver that answers when it is told to; and the reactor that has it."""

    name = "resolution"

    def __init__(self) -> None:
        self.nameResolver = self
        self.asked: list[str] = []
        self._receivers: dict[str, IResolutionReceiver] = {}

    def resolveHostName(self, receiver: IResolutionReceiver, host: str) -> Any:
        """Take a question."""
        verifyObject(IResolutionReceiver, receiver)
        self.asked.append(host)
        self._receivers[host] = receiver
        receiver.resolutionBegan(self)
        return self

    def cancel(self) -> None:
        """Nothing: answers come when they come."""

    def answer(self, host: str, *addresses: str) -> None:
        """Answer a question."""
        receiver = self._receivers[host]
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("UDP", address, 0))
        receiver.resolutionComplete()


class ResolutionTests(SynchronousTestCase):
    """Tests for ``resolve_hosts``."""

    def setUp(self) -> None:
        """Make a resolver."""
        self.resolver = Resolver()

    def resolve(self, *hosts: str) -> Deferred[list[str]]:
        """Ask for some hosts."""
        return resolve_hosts(self.resolver, hosts)

    def assert_found(self, found: Deferred[list[str]], expected: Sequence[str]) -> None:
        """Check what was found."""
        self.assertEqual(self.successResultOf(found), list(expected))

    def test_addresses(self) -> None:
        """Addresses stand for themselves, and nobody is asked."""
        addresses = ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"]
        self.assert_found(self.resolve(*addresses), addresses)
        self.assertEqual(self.resolver.asked, [])

    def test_addresses_need_no_resolver(self) -> None:
        """Where there are no names, the reactor need not resolve any."""
        self.assert_found(resolve_hosts(object(), ["192.0.2.1"]), ["192.0.2.1"])

    def test_name(self) -> None:
        """A name stands for all its addresses, of either kind, each once."""
        found = self.resolve("a.example")
        self.assertNoResult(found)
        self.resolver.answer("a.example", "192.0.2.1", "2001:db8::1", "192.0.2.1")
        self.assert_found(found, ["192.0.2.1", "2001:db8::1"])

    def test_order(self) -> None:
        """The order is that of the hosts, whoever answers first."""
        found = self.resolve("a.example", "192.0.2.2", "b.example")
        self.resolver.answer("b.example", "192.0.2.3")
        self.assertNoResult(found)
        self.resolver.answer("a.example", "192.0.2.1")
        self.assert_found(found, ["192.0.2.1", "192.0.2.2", "192.0.2.3"])

    def test_no_address(self) -> None:
        """A name without an address is an error that names it."""
        found = self.resolve("192.0.2.1", "none.example")
        self.resolver.answer("none.example")
        failure = self.failureResultOf(found, DNSLookupError)
        self.assertIn("none.example", str(failure.value))

    def test_two_failures(self) -> None:
        """The first failure counts; the second one bothers nobody."""
        found = self.resolve("a.example", "b.example")
        self.resolver.answer("b.example")
        self.resolver.answer("a.example")
        failure = self.failureResultOf(found, DNSLookupError)
        self.assertIn("b.example", str(failure.value))

    def test_late_answer_after_failure(self) -> None:
        """So does an answer that comes when another name has failed."""
        found = self.resolve("a.example", "b.example")
        self.resolver.answer("b.example")
        self.failureResultOf(found, DNSLookupError)
        self.resolver.answer("a.example", "192.0.2.1")

    def test_cancel(self) -> None:
        """Whoever has cancelled hears so at once, and of no later answer."""
        found = self.resolve("a.example", "b.example")
        self.resolver.answer("a.example", "192.0.2.1")
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.resolver.answer("b.example", "192.0.2.2")

    def test_cancel_what_follows(self) -> None:
        """What a caller has chained to the answer can be cancelled as well."""
        following: Deferred[str] = Deferred()
        found = self.resolve("192.0.2.1")
        chained: Deferred[str] = found.addCallback(lambda _: following)
        chained.cancel()
        self.failureResultOf(chained, CancelledError)
