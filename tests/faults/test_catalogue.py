"""The catalogue is whole, and each of its rows is held by tests that exist."""

from __future__ import annotations

from twisted.trial.runner import ErrorHolder, TestLoader
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.catalogue import ROWS, SECTIONS
from tests.faults.holders import CONTROLS, HOLDERS

COUNTS = {"A": 10, "B": 18, "C": 12, "D": 9, "E": 14, "F": 5, "G": 7}
LONG = {"D5"}
"""Only runs of hours can tell about it."""

EXPECTED = [
    name
    for letter, count in COUNTS.items()
    for number in range(1, count + 1)
    if (name := f"{letter}{number}") not in LONG
]


def tests_in(name: str) -> int:
    """Tell how many tests a dotted name stands for; 0 if it cannot be loaded."""
    suite = TestLoader().loadByName(name, recurse=True)
    if isinstance(suite, ErrorHolder):
        return 0
    if any(isinstance(test, ErrorHolder) for test in getattr(suite, "_tests", ())):
        return 0
    count: int = suite.countTestCases()
    return count


class CatalogueTests(SynchronousTestCase):
    """Rows, names and tests."""

    def test_rows(self) -> None:
        """Every case has one row, in its place."""
        self.assertEqual([row.name for row in ROWS], EXPECTED)
        self.assertEqual(set(SECTIONS), set(COUNTS))
        for row in ROWS:
            self.assertIn(row.priority, (0, 1), row.name)
            self.assertTrue(row.case, row.name)
            self.assertTrue(row.rule, row.name)

    def test_holders(self) -> None:
        """Each row is held by at least one test, and no other row is named."""
        without = [row.name for row in ROWS if not HOLDERS.get(row.name)]
        self.assertEqual(without, [])
        self.assertLessEqual(set(HOLDERS) | set(CONTROLS), set(EXPECTED))

    def test_names(self) -> None:
        """Each name is that of tests which can be loaded."""
        names = set[str]().union(*CONTROLS.values(), *HOLDERS.values())
        self.assertEqual([name for name in sorted(names) if not tests_in(name)], [])
