"""What a benchmark gives, and how it stands beside others and beside its goals."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.sides import Keys

OURS, REFERENCE, QUIC = "ours", "reference", "aioquic"
"""Sides of most benchmarks."""


@dataclass(frozen=True)
class Sizes:
    """How much each benchmark does."""

    bulk: int = 32 << 20
    reference_bulk: int = 4 << 20
    connections: int = 300
    few: int = 10
    many: int = 10_000
    reference_many: int = 200
    programs: int = 300
    hellos: int = 1500
    trips: int = 2000
    seeds: int = 3


QUICK = Sizes(4 << 20, 1 << 18, 50, 10, 500, 20, 40, 200, 200, 1)
"""Enough to see that everything works."""

Figures = dict[str, float]

Measure = Callable[[Keys, Sizes], Figures]


class Place(NamedTuple):
    """Where a figure comes from."""

    benchmark: str
    side: str
    figure: str


@dataclass
class Samples:
    """The figures of all rounds."""

    values: dict[Place, list[float]] = field(default_factory=dict)

    def add(self, benchmark: str, side: str, figures: Mapping[str, float]) -> None:
        """Take those of one run."""
        for figure, value in figures.items():
            self.values.setdefault(Place(benchmark, side, figure), []).append(value)

    def all(self, place: Place) -> list[float]:
        """Give the figure of each round; none if it was not measured."""
        return self.values.get(place, [])

    def median(self, place: Place) -> float:
        """Give the median.

        :raises LookupError: if there is none.
        """
        return statistics.median(self.values[place])

    def ratio(self, place: Place, other: Place) -> float:
        """Give a median over another one."""
        return self.median(place) / self.median(other)


@dataclass(frozen=True)
class Goal:
    """What a figure should be.

    :ivar text: in words.
    :ivar value: works out the figure.
    :ivar bound: what it should be at least, or at most.
    :ivar least: which of the two.
    """

    text: str
    value: Callable[[Samples], float]
    bound: float
    least: bool = False

    def verdict(self, samples: Samples) -> str:
        """Say whether it is met, and if not, by which factor it is missed.

        :raises LookupError: if it was not measured.
        """
        value = self.value(samples)
        factor = self.bound / value if self.least else value / self.bound
        return "met" if factor <= 1 else f"missed by a factor of {factor:.2f}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :ivar more: whether more is better.
    """

    work: str
    unit: str
    ours: Place
    reference: Place | None = None
    quic: Place | None = None
    goals: Sequence[Goal] = ()
    more: bool = False

    def cells(self, samples: Samples) -> list[str]:
        """Give what the table shows: all columns but the first two."""
        cells = [_spread(samples, self.ours), _spread(samples, self.reference)]
        cells += [_spread(samples, self.quic), self._ratio(samples)]
        verdicts = []
        for goal in self.goals:
            try:
                verdicts.append(f"{goal.text}: {goal.verdict(samples)}")
            except LookupError:
                verdicts.append(f"{goal.text}: not measured")
        return [*cells, "; ".join(verdicts) or "-"]

    def _ratio(self, samples: Samples) -> str:
        if self.reference is None:
            return "-"
        try:
            ratio = samples.ratio(self.ours, self.reference)
        except LookupError:
            return "-"
        return f"{ratio if self.more else 1 / ratio:.2f}"


def at_most(place: Place, bound: float, text: str) -> Goal:
    """Make a goal for a figure itself."""
    return Goal(text, lambda samples: samples.median(place), bound)


def at_least(place: Place, bound: float, text: str) -> Goal:
    """Make a goal for a figure itself."""
    return Goal(text, lambda samples: samples.median(place), bound, least=True)


def times_at_most(place: Place, other: Place, bound: float, text: str) -> Goal:
    """Make a goal for a ratio."""
    return Goal(text, lambda samples: samples.ratio(place, other), bound)


def times_at_least(place: Place, other: Place, bound: float, text: str) -> Goal:
    """Make a goal for a ratio."""
    return Goal(text, lambda samples: samples.ratio(place, other), bound, least=True)


def _spread(samples: Samples, place: Place | None) -> str:
    values = samples.all(place) if place is not None else []
    if not values:
        return "-"
    texts = [_digits(value) for value in (min(values), max(values))]
    return f"{_digits(statistics.median(values))} ({texts[0]}-{texts[1]})"


def _digits(value: float) -> str:
    """Write with three digits that count."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
