"""Any order of comings and goings, against a list of who is in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.admission import Admission, Limits, accounting_host
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.ledger import OwnLedger

HERE = "198.51.100.7"
THERE = "203.0.113.9"
SOME = st.none() | st.integers(0, 3)
LIMITS = st.builds(
    Limits,
    clients=st.integers(0, 6),
    per_ip=SOME,
    per_key=SOME,
    hello_rate=st.just(1e6),
)
KEYS = [bytes([number]) * 32 for number in range(3)]
HOSTS = [HERE, THERE, "2001:db8::1", "2001:db8::2", f"::ffff:{HERE}"]
AUTHORIZED = st.none() | st.lists(
    st.builds(AuthorizedClient, key=st.sampled_from(KEYS), limit=SOME),
    unique_by=lambda client: client.key,
).map(lambda clients: AuthorizedKeys(*clients))
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.sampled_from(KEYS))
    | st.integers(0, 20)
    | LIMITS
    | AUTHORIZED,
    max_size=60,
)
"""Somebody who comes, the number of one who goes, new limits, new keys."""


class ModelTests(SynchronousTestCase):
    """The limits hold, whatever happens."""

    @given(LIMITS, AUTHORIZED, OPERATIONS)
    def test_limits_hold(
        self,
        limits: Limits,
        authorized: AuthorizedKeys | None,
        operations: list[tuple[str, bytes] | int | Limits | AuthorizedKeys | None],
    ) -> None:
        """Whoever the limits leave room for comes in, nobody else, and all can go."""
        counters = Counters()
        ledger = OwnLedger()
        admission = Admission(
            limits=limits,
            authorized=authorized,
            counters=counters,
            now=0.0,
            ledger=ledger,
        )
        inside: list[tuple[str, bytes]] = []
        for operation in operations:
            if isinstance(operation, int):
                if inside:
                    admission.closed(*inside.pop(operation % len(inside)))
            elif isinstance(operation, Limits):
                limits = operation
                admission.set_limits(limits, 0.0)
            elif operation is None or isinstance(operation, AuthorizedKeys):
                authorized = admission.authorized = operation
            else:
                expected = self.has_room(limits, authorized, inside, *operation)
                host, key = operation
                came_in = (
                    admission.may_start(host, 0.0)
                    and admission.admit(host, key, 0.0) is not None
                )
                self.assertEqual(came_in, expected)
                if came_in:
                    inside.append(operation)
        for host, key in inside:
            admission.closed(host, key)
        self.assertEqual((ledger._by_host, ledger._by_key), ({}, {}))
        self.assertEqual(admission.occupied, 0)

    def has_room(
        self,
        limits: Limits,
        authorized: AuthorizedKeys | None,
        inside: list[tuple[str, bytes]],
        host: str,
        key: bytes,
    ) -> bool:
        """Tell whether one more may come in."""
        per_key = limits.per_key
        if authorized is not None:
            client = authorized.find(key)
            if client is None:
                return False
            if client.limit is not None:
                per_key = client.limit
        place = accounting_host(host)
        neighbours = sum(accounting_host(other) == place for other, _ in inside)
        namesakes = sum(other == key for _, other in inside)
        return (
            len(inside) < limits.clients
            and (limits.per_ip is None or neighbours < limits.per_ip)
            and (per_key is None or namesakes < per_key)
        )
