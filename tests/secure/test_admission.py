"""Who may come in."""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure import admission
from curvecp_tx.secure.admission import (
    HELLO_RATE,
    MAX_HELLO_RATE,
    PROGRAM_START_RATE,
    START_BURST,
    Admission,
    Limits,
    accounting_host,
)
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.counters import Counters
from tests.secure.scripted import dropped

HERE = "198.51.100.7"
THERE = "203.0.113.9"
KEY = b"K" * 32
OTHER = b"O" * 32
BURST = int(2 * HELLO_RATE)


class LimitsTests(SynchronousTestCase):
    """The limits themselves."""

    def test_defaults(self) -> None:
        """By default 100 clients, whoever they are, 200 handshakes a second each."""
        limits = Limits()
        self.assertEqual((limits.clients, limits.hello_rate), (100, 200.0))
        self.assertEqual((limits.per_ip, limits.per_key), (None, None))
        self.assertIsNone(limits.start_rate)
        self.assertEqual((PROGRAM_START_RATE, START_BURST), (50.0, 100.0))

    def test_rates(self) -> None:
        """A rate is above 0 and finite."""
        for rate in (0.0, -1.0, inf, nan):
            self.assertRaises(ValueError, Limits, hello_rate=rate)
            self.assertRaises(ValueError, Limits, start_rate=rate)
        self.assertEqual(Limits(start_rate=0.5).start_rate, 0.5)


class AccountingHostTests(SynchronousTestCase):
    """What an address counts as."""

    def test_ipv4(self) -> None:
        """An IPv4 address is itself, however it is written."""
        for host in (HERE, f"::ffff:{HERE}", f"::FFFF:{HERE}", "::ffff:c633:6407"):
            self.assertEqual(accounting_host(host), HERE)

    def test_ipv6(self) -> None:
        """An IPv6 address is its network of 64 bits; a scope does not matter."""
        for host, expected in (
            ("2001:db8:1:2::", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
            ("2001:0DB8:1:2::7%eth0", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::", "2001:db8:1:3::/64"),
            ("fe80::1%2", "fe80::/64"),
            ("::1", "::/64"),
        ):
            self.assertEqual(accounting_host(host), expected)

    def test_neither(self) -> None:
        """A name that is no address stands for itself."""
        for host in ("", "nowhere", "a:b", "1:2:3:4:5:6:7:8:9"):
            self.assertEqual(accounting_host(host), host)

    @given(st.text() | st.ip_addresses().map(str))
    def test_anything(self, host: str) -> None:
        """No text is too odd, and to count twice is to count the same."""
        counted = accounting_host(host)
        self.assertEqual(accounting_host(counted), counted)


class AdmissionCase(SynchronousTestCase):
    """An admission without anybody in."""

    def setUp(self) -> None:
        """Set one up with the limits by default."""
        self.admit_with(Limits())

    def admit_with(
        self, limits: Limits, authorized: AuthorizedKeys | None = None
    ) -> None:
        """Set one up."""
        self.counters = Counters()
        self.admission = Admission(
            limits=limits, authorized=authorized, counters=self.counters, now=0.0
        )

    def come_in(self, host: str = HERE, key: bytes = KEY, now: float = 0.0) -> bool:
        """Come in, if allowed, and tell."""
        if not self.admission.may_start(host, now):
            return False
        return self.admission.admit(host, key, now) is not None

    def assert_refused(self, **counts: int) -> None:
        """Check the counts of what was refused, by the end of their names."""
        expected = {f"refused_{name}": count for name, count in counts.items()}
        self.assertEqual(dropped(self.counters), expected)


class HelloTests(AdmissionCase):
    """Hellos."""

    def test_per_address(self) -> None:
        """An address gets two seconds' worth at once, then its rate."""
        granted = sum(self.admission.hello(HERE, 0.0) for _ in range(1000))
        self.assertEqual(granted, BURST)
        self.assert_refused(hello_rate=1000 - BURST)
        granted = sum(self.admission.hello(HERE, 0.5) for _ in range(1000))
        self.assertEqual(granted, HELLO_RATE / 2)
        self.assertTrue(self.admission.hello(THERE, 0.5))

    def test_per_network(self) -> None:
        """An IPv6 network has one rate, whichever of its addresses asks."""
        granted = sum(
            self.admission.hello(f"2001:db8::{number:x}", 0.0) for number in range(1000)
        )
        self.assertEqual(granted, BURST)

    def test_in_all(self) -> None:
        """All addresses together have a rate, too."""
        granted = sum(self.admission.hello(f"a{n}", 0.0) for n in range(5000))
        self.assertEqual(granted, MAX_HELLO_RATE)
        self.assert_refused(hello_total=5000 - int(MAX_HELLO_RATE))
        granted = sum(self.admission.hello(f"b{n}", 0.5) for n in range(5000))
        self.assertEqual(granted, MAX_HELLO_RATE / 2)

    def test_one_address_does_not_use_up_all(self) -> None:
        """What an address is refused is not taken from the others."""
        for _ in range(10_000):
            self.admission.hello(HERE, 0.0)
        granted = sum(self.admission.hello(f"a{n}", 0.0) for n in range(5000))
        self.assertEqual(granted, MAX_HELLO_RATE - BURST)

    def test_table(self) -> None:
        """20,000 forged addresses take no more entries than Hellos are answered."""
        for number in range(20_000):
            self.admission.hello(f"a{number}", number / 20_000)
        self.assertLessEqual(len(self.admission._hellos), 2 * MAX_HELLO_RATE)
        self.admission.forget(60.0)
        self.assertEqual(len(self.admission._hellos), 0)

    def test_slow_rate(self) -> None:
        """Under one Hello in two seconds, the first one still gets through."""
        self.admit_with(Limits(hello_rate=0.1))
        for now, expected in ((0.0, True), (9.0, False), (10.0, True)):
            self.assertIs(self.admission.hello(HERE, now), expected)


class StartTests(AdmissionCase):
    """Initiates whose cookie has opened, and whose vouch has."""

    def test_clients(self) -> None:
        """There are as many slots as there are; a free one is a slot again."""
        self.admit_with(Limits(clients=2))
        self.assertTrue(self.come_in())
        self.assertTrue(self.come_in(THERE, OTHER))
        self.assertFalse(self.come_in())
        self.assert_refused(limit=1)
        self.admission.closed(THERE, OTHER)
        self.assertTrue(self.come_in())

    def test_per_ip(self) -> None:
        """An address has its number of connections, whatever their keys."""
        self.admit_with(Limits(per_ip=2))
        self.assertTrue(self.come_in())
        self.assertTrue(self.come_in(f"::ffff:{HERE}", OTHER))
        self.assertFalse(self.come_in())
        self.assert_refused(per_ip=1)
        self.assertTrue(self.come_in(THERE))
        self.admission.closed(HERE, KEY)
        self.assertTrue(self.come_in())

    def test_per_key(self) -> None:
        """A key has its number of connections, wherever they come from."""
        self.admit_with(Limits(per_key=1))
        self.assertTrue(self.come_in())
        self.assertFalse(self.come_in(THERE))
        self.assert_refused(per_key=1)
        self.assertTrue(self.come_in(HERE, OTHER))
        self.admission.closed(HERE, KEY)
        self.assertTrue(self.come_in(THERE))

    def test_authorized(self) -> None:
        """With a list of keys, nobody else comes in."""
        self.admit_with(Limits(), AuthorizedKeys(AuthorizedClient(KEY, "alice")))
        client = self.admission.admit(HERE, KEY, 0.0)
        self.assertEqual(client, AuthorizedClient(KEY, "alice"))
        self.assertIsNone(self.admission.admit(HERE, OTHER, 0.0))
        self.assert_refused(unauthorized=1)

    def test_anybody(self) -> None:
        """Without a list everybody comes in, without a name."""
        self.assertEqual(
            self.admission.admit(HERE, OTHER, 0.0), AuthorizedClient(OTHER)
        )

    def test_limit_of_its_own(self) -> None:
        """What the list says of a key goes before what holds for all."""
        clients = AuthorizedClient(KEY, limit=3), AuthorizedClient(OTHER)
        self.admit_with(Limits(per_key=1), AuthorizedKeys(*clients))
        came_in = [self.come_in() for _ in range(5)]
        self.assertEqual(came_in, [True, True, True, False, False])
        came_in = [self.come_in(key=OTHER) for _ in range(2)]
        self.assertEqual(came_in, [True, False])
        self.assert_refused(per_key=3)

    def test_start_rate(self) -> None:
        """New connections have a rate, all together."""
        self.admit_with(Limits(clients=1000, start_rate=50.0))
        came_in = sum(self.come_in(f"a{n}") for n in range(200))
        self.assertEqual(came_in, START_BURST)
        self.assert_refused(start_rate=200 - int(START_BURST))
        came_in = sum(self.come_in(f"a{n}", now=1.0) for n in range(200))
        self.assertEqual(came_in, 50)

    def test_starts_are_for_those_who_may(self) -> None:
        """Who is refused, or never proves a key, takes no start from others."""
        self.patch(admission, "START_BURST", 1.0)
        known = AuthorizedKeys(AuthorizedClient(KEY, limit=0), AuthorizedClient(OTHER))
        self.admit_with(Limits(start_rate=1.0), known)
        for key in (KEY, bytes(32)):
            self.assertTrue(self.admission.may_start(HERE, 0.0))
            self.assertIsNone(self.admission.admit(HERE, key, 0.0))
        self.assertTrue(self.come_in(key=OTHER))
        self.assertFalse(self.come_in(key=OTHER))
        self.assert_refused(per_key=1, unauthorized=1, start_rate=1)

    def test_last_start(self) -> None:
        """Of two that are being proved at once, one gets the last start."""
        self.patch(admission, "START_BURST", 1.0)
        self.admit_with(Limits(start_rate=1.0))
        for _ in range(2):
            self.assertTrue(self.admission.may_start(HERE, 0.0))
        self.assertIsNotNone(self.admission.admit(HERE, KEY, 0.0))
        self.assertIsNone(self.admission.admit(HERE, KEY, 0.0))
        self.assert_refused(start_rate=1)

    def test_initiate_rate(self) -> None:
        """An address pays for each Initiate that costs curve operations."""
        granted = sum(self.admission.may_start(HERE, 0.0) for _ in range(1000))
        self.assertEqual(granted, BURST)
        self.assert_refused(initiate_rate=1000 - BURST)
        self.assertTrue(self.admission.may_start(THERE, 0.0))
        self.assertTrue(self.admission.hello(HERE, 0.0))
        self.admission.forget(60.0)
        self.assertEqual(len(self.admission._initiates), 0)

    def test_order(self) -> None:
        """Of several reasons the first counts: slots, address, start, rate."""
        self.patch(admission, "START_BURST", 1.0)
        tight = Limits(clients=1, per_ip=1, start_rate=0.01, hello_rate=0.01)
        self.admit_with(tight)
        self.assertTrue(self.come_in())
        for looser, reason in (
            ({}, "limit"),
            ({"clients": 2}, "per_ip"),
            ({"per_ip": None}, "start_rate"),
            ({"start_rate": None}, "initiate_rate"),
        ):
            tight = replace(tight, **looser)
            self.admission.set_limits(tight, 0.0)
            before = dropped(self.counters)
            self.assertFalse(self.come_in())
            after = dropped(self.counters)
            self.assertEqual(after, {**before, f"refused_{reason}": 1})


class ReplacementTests(AdmissionCase):
    """New limits and keys while people are in."""

    def test_fewer(self) -> None:
        """Lower limits drop nobody; they hold for newcomers at once."""
        for _ in range(3):
            self.come_in()
        for limits, reason in (
            (Limits(clients=1), "limit"),
            (Limits(per_ip=1), "per_ip"),
            (Limits(per_key=1), "per_key"),
        ):
            self.admission.set_limits(limits, 0.0)
            self.assertEqual(self.admission.limits, limits)
            self.assertFalse(self.come_in(), reason)
            self.assertEqual(dropped(self.counters)[f"refused_{reason}"], 1)
        self.admission.set_limits(Limits(), 0.0)
        self.assertTrue(self.come_in())

    def test_counted_before_there_was_a_limit(self) -> None:
        """A limit that comes later counts who came before."""
        for _ in range(2):
            self.come_in()
        self.admission.set_limits(Limits(per_ip=3, per_key=3), 0.0)
        self.assertTrue(self.come_in())
        self.assertFalse(self.come_in())
        self.assertFalse(self.come_in(THERE))
        self.assert_refused(per_ip=1, per_key=1)

    def test_keys(self) -> None:
        """Other keys can be authorized at any time."""
        self.assertTrue(self.come_in())
        self.admission.authorized = AuthorizedKeys(AuthorizedClient(OTHER))
        self.assertFalse(self.come_in())
        self.assertTrue(self.come_in(key=OTHER))
        self.admission.authorized = None
        self.assertTrue(self.come_in())

    def test_same_rates(self) -> None:
        """Rates that stay the same give nobody a fresh burst."""
        self.admit_with(Limits(clients=1000, start_rate=50.0))
        while self.admission.hello(HERE, 0.0):
            pass
        while self.come_in():
            pass
        while self.admission.may_start(HERE, 0.0):
            pass
        limits = Limits(clients=2000, start_rate=50.0)
        self.admission.set_limits(limits, 0.0)
        self.assertFalse(self.admission.hello(HERE, 0.0))
        self.assertFalse(self.admission.may_start(HERE, 0.0))

    def test_other_rates(self) -> None:
        """Other rates begin with a full bucket."""
        while self.admission.hello(HERE, 0.0):
            pass
        while self.admission.may_start(HERE, 0.0):
            pass
        self.admission.set_limits(Limits(hello_rate=1.0, start_rate=1.0), 0.0)
        self.assertEqual(sum(self.admission.hello(HERE, 0.0) for _ in range(9)), 2)
        self.assertEqual(sum(self.come_in() for _ in range(9)), 2)
        self.admission.set_limits(Limits(hello_rate=1.0, start_rate=2.0), 1e3)
        self.assertEqual(sum(self.come_in(now=1e3) for _ in range(9)), 2)
