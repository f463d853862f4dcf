"""What a soak measures of its processes, and what it makes of that."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MEGABYTE = 1e6
HOUR = 3600.0

GREATEST_SLOPE = 1.0
"""Megabytes an hour that a process may grow in the second half."""

ALLOCATOR = 1.0
"""Megabytes that come and go with whoever happens to be connected: what a run of
minutes cannot tell from a leak."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One process at one moment.

    :ivar at: seconds since the begin.
    :ivar resident: bytes of memory.
    :ivar descriptors: how many are open.
    :ivar children: how many it has, the dead ones among them.
    """

    at: float
    resident: int
    descriptors: int
    children: int


def read(pid: int, at: float) -> Reading:
    """Look at a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return Reading(
        at,
        pages * os.sysconf("SC_PAGE_SIZE"),
        len(os.listdir(f"/proc/{pid}/fd")),
        sum(_parent(entry) == pid for entry in os.listdir("/proc") if entry.isdigit()),
    )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Give how much the second of each pair grows with the first: least squares."""
    count = len(points)
    if count < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def second_half(readings: Sequence[Reading]) -> Sequence[Reading]:
    """Leave out the readings in which everything gets going."""
    return readings[len(readings) // 2 :]


def growth(readings: Sequence[Reading]) -> float:
    """Give the slope of memory in the second half, in megabytes an hour."""
    points = [
        (reading.at, float(reading.resident)) for reading in second_half(readings)
    ]
    return slope(points) * HOUR / MEGABYTE


def complaints(
    name: str, before: Reading, during: Sequence[Reading], after: Reading
) -> list[str]:
    """Say what a process has kept that it should not have.

    :param before: when it had served one connection of each kind.
    :param during: while many came and went.
    :param after: when all of them were over.
    """
    found = []
    late = second_half(during)
    hours = (late[-1].at - late[0].at) / HOUR if late else 0.0
    rate = growth(during)
    if rate * hours > max(ALLOCATOR, GREATEST_SLOPE * hours):
        found.append(f"{name} grows by {rate:.2f} MB an hour")
    if after.descriptors > before.descriptors:
        found.append(
            f"{name} keeps {after.descriptors - before.descriptors} descriptors"
        )
    if after.children > before.children:
        found.append(f"{name} keeps {after.children - before.children} children")
    return found


def failures(
    outcomes: Mapping[str, int], wrong: Sequence[str], errors: Sequence[str], left: int
) -> list[str]:
    """Say what went wrong among connections.

    :param outcomes: how many there were of each kind.
    :param wrong: what became of those that did not end as they should.
    :param errors: what the processes have complained of.
    :param left: connections that the server still has when all are over.
    """
    found = []
    if not sum(outcomes.values()):
        found.append("no connection was made")
    if wrong:
        found.append(f"{len(wrong)} connections failed, the first: {wrong[0]}")
    if errors:
        found.append(f"{len(errors)} lines of errors, the first: {errors[0]}")
    if left:
        found.append(f"the server still has {left} connections")
    return found


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0
