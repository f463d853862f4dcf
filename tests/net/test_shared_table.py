"""What the workers of a server share, against what one process counts."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.net import shared_table
from curvecp_tx.net.shared_table import SharedLedger, SharedNonces, SharedTable
from curvecp_tx.secure.ledger import Full, OwnLedger, Quota

PLACES = 5
WORKERS = 3
HOSTS = ["192.0.2.1", "192.0.2.2", "2001:db8::/64"]
KEYS = [bytes([number]) * 32 for number in range(3)]
SOME = st.none() | st.integers(0, 3)
QUOTAS = st.builds(Quota, clients=st.integers(0, PLACES), per_ip=SOME, per_key=SOME)
COMING = st.tuples(
    st.integers(0, WORKERS - 1), st.sampled_from(HOSTS), st.sampled_from(KEYS), QUOTAS
)
OPERATIONS = st.lists(COMING | st.integers(0, 20), max_size=50)
"""Who comes to which worker, or the number of one who goes."""

ANYBODY = Quota(PLACES, None, None)

TAKER = """
import sys
from curvecp_tx.net.shared_table import SharedTable
table = SharedTable(int(sys.argv[1]), int(sys.argv[2]))
for _ in range(int(sys.argv[3])):
    print(table.take_nonces(3).start)
"""


class TableCase(SynchronousTestCase):
    """A test with a table."""

    def make(self, places: int = PLACES, nonces: range = range(0)) -> SharedTable:
        """Make a table."""
        table = SharedTable.create(places, nonces)
        self.addCleanup(table.close)
        return table


class LedgerTests(TableCase):
    """Ledgers that share a table."""

    @given(OPERATIONS)
    def test_like_one(
        self, operations: list[tuple[int, str, bytes, Quota] | int]
    ) -> None:
        """All workers together answer as one process does."""
        with closing(SharedTable.create(PLACES)) as table:
            ledgers = [SharedLedger(table, n, WORKERS) for n in range(WORKERS)]
            one = OwnLedger()
            inside: list[tuple[SharedLedger, str, bytes]] = []
            for operation in operations:
                if isinstance(operation, int):
                    if inside:
                        ledger, host, key = inside.pop(operation % len(inside))
                        ledger.release(host, key)
                        one.release(host, key)
                else:
                    number, host, key, quota = operation
                    ledger = ledgers[number]
                    self.assertEqual(ledger.look(host, quota), one.look(host, quota))
                    full = ledger.take(host, key, quota)
                    self.assertEqual(full, one.take(host, key, quota))
                    if full is None:
                        inside.append((ledger, host, key))
                self.assertEqual({len(ledger) for ledger in ledgers}, {len(one)})
            for ledger, host, key in inside:
                ledger.release(host, key)
            self.assertEqual([ledger._places for ledger in ledgers], [{}] * WORKERS)
            self.assertEqual(table._memory[64:].strip(b"\0"), b"")

    def test_a_worker_dies(self) -> None:
        """Its places are free; those of the others are not."""
        table = self.make()
        ledgers = [SharedLedger(table, number, 2) for number in range(2)]
        for number in (0, 1, 0, 1, 0):
            self.assertIsNone(ledgers[number].take(HOSTS[0], KEYS[0], ANYBODY))
        self.assertEqual(ledgers[1].take(HOSTS[0], KEYS[0], ANYBODY), Full.CLIENTS)
        table.clear(0)
        self.assertEqual((len(table), table.at_host(HOSTS[0])), (2, 2))
        self.assertEqual(table.of_key(KEYS[0]), 2)
        for _ in range(3):
            self.assertIsNone(ledgers[1].take(HOSTS[1], KEYS[1], ANYBODY))
        table.clear(1)
        self.assertEqual((len(table), table.at_host(HOSTS[1])), (0, 0))

    def test_no_more_than_there_is_room_for(self) -> None:
        """Limits beyond the table's size do not break it."""
        ledger = SharedLedger(self.make(1), 0, 1)
        quota = Quota(100, None, None)
        self.assertIsNone(ledger.take(HOSTS[0], KEYS[0], quota))
        self.assertEqual(ledger.take(HOSTS[0], KEYS[0], quota), Full.CLIENTS)

    def test_two_views(self) -> None:
        """Two processes that map the memory see the same."""
        table = self.make()
        other = SharedTable(os.dup(table.descriptor), PLACES)
        self.addCleanup(other.close)
        SharedLedger(other, 1, 2).take(HOSTS[2], KEYS[2], ANYBODY)
        self.assertEqual((table.at_host(HOSTS[2]), table.of_key(KEYS[2])), (1, 1))


class NonceTests(TableCase):
    """Nonces of one key, in several processes."""

    def test_no_nonce_twice(self) -> None:
        """Processes that take at the same time never take the same."""
        table = self.make(nonces=range(10, 100_000))
        count = 2000
        command = [sys.executable, "-c", TAKER, str(table.descriptor), str(PLACES)]
        takers = [
            subprocess.Popen(
                [*command, str(count)],
                stdout=subprocess.PIPE,
                pass_fds=[table.descriptor],
            )
            for _ in range(2)
        ]
        taken: list[int] = []
        for taker in takers:
            output, _ = taker.communicate(timeout=60)
            taken += map(int, output.split())
        self.assertEqual(sorted(taken), [*range(10, 10 + 6 * count, 3)])

    def test_source(self) -> None:
        """A worker takes some at a time, until there are none."""
        self.patch(shared_table, "NONCES_AT_ONCE", 4)
        table = self.make(nonces=range(100, 110))
        sources = [
            SharedNonces(table, bytes(32), random_bytes=lambda size: bytes(size))
            for _ in range(2)
        ]
        taken = [sources[n % 2]() for n in range(8)]
        taken += [sources[1]() for _ in range(2)]
        self.assertEqual(len(set(taken)), 10)
        for source in sources:
            self.assertRaises(NoncesExhausted, source)
        self.assertRaises(NoncesExhausted, table.take_nonces, 1)
