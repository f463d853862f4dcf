"""The figures as tables: for the terminal, and for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isinf

from benchmarks.scenarios import (
    ALGORITHMS,
    ALONE,
    BESIDE,
    OUTAGES,
    TRANSFERS,
    Results,
    Scenario,
)

BEGIN = ".. Figures begin: written by the benchmark, not by hand."
END = ".. Figures end."

Cell = Callable[[Results, str, str], str]
Table = tuple[str, str, Sequence[Scenario], Cell]

NAMES = {"bbr": "BBR", "chicago": "Chicago", "cubic": "CUBIC", "reference": "reference"}


def _percent(value: float, digits: int = 0) -> str:
    return f"{100 * value:.{digits}f} %"


def _alone(results: Results, key: str, algorithm: str) -> str:
    mean = results.mean
    wait, high = mean(key, algorithm, "wait"), mean(key, algorithm, "high")
    return (
        f"{_percent(mean(key, algorithm, 'share'))}, {1e3 * wait:.0f}/{1e3 * high:.0f}"
        f" ms, {_percent(mean(key, algorithm, 'repeated'), 1)}"
    )


def _beside(results: Results, key: str, algorithm: str) -> str:
    mean = results.mean
    shares = [100 * run["share"] for run in results.runs[key, algorithm]]
    wait = mean(key, algorithm, "wait")
    return (
        f"{mean(key, algorithm, 'share') * 100:.0f} ({min(shares):.0f}-"
        f"{max(shares):.0f}) : {mean(key, algorithm, 'rival') * 100:.0f}, "
        f"{1e3 * wait:.0f} ms, {mean(key, algorithm, 'jain'):.2f}"
    )


def _outage(results: Results, key: str, algorithm: str) -> str:
    first = results.mean(key, algorithm, "first")
    recovered = _percent(results.mean(key, algorithm, "recovered"))
    return f"{_seconds(first)}, {recovered}"


def _transfer(results: Results, key: str, algorithm: str) -> str:
    return _seconds(results.mean(key, algorithm, "took"))


def _seconds(value: float) -> str:
    return "not in time" if isinf(value) else f"{value:.1f} s"


TABLES: Sequence[Table] = (
    (
        "One flow alone: share of the link; time in the queue, mean and 95th "
        "percentile; share of packets sent again",
        "link",
        ALONE,
        _alone,
    ),
    (
        "Two flows: own share in percent (range) and the other's, mean time in the "
        "queue, Jain's index of fairness",
        "10 Mbit/s, 30 ms, beside",
        BESIDE,
        _beside,
    ),
    (
        "After an outage: first byte, share of the old rate in the 15 s that follow",
        "outage",
        OUTAGES,
        _outage,
    ),
    (
        "2 MB over 10 Mbit/s, 30 ms, queue 25",
        "loss",
        TRANSFERS,
        _transfer,
    ),
)


def _rows(results: Results, table: Table) -> list[list[str]]:
    _, first, scenarios, cell = table
    algorithms = [
        name
        for name in ALGORITHMS
        if any(results.has(scenario.key, name) for scenario in scenarios)
    ]
    if not algorithms:
        return []
    rows = [[first, *(NAMES[name] for name in algorithms)]]
    for scenario in scenarios:
        cells = [
            cell(results, scenario.key, name)
            if results.has(scenario.key, name)
            else "-"
            for name in algorithms
        ]
        if set(cells) != {"-"}:
            rows.append([scenario.title, *cells])
    return rows


def as_text(results: Results) -> str:
    """Give all tables for a terminal."""
    lines: list[str] = []
    for table in TABLES:
        rows = _rows(results, table)
        if not rows:
            continue
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["", table[0]]
        for row in rows:
            cells = zip(row, widths, strict=True)
            lines.append("  ".join(f"{cell:<{width}}" for cell, width in cells))
    return "\n".join(lines[1:])


def as_rst(results: Results) -> str:
    """Give all tables for the documentation."""
    lines: list[str] = []
    for table in TABLES:
        rows = _rows(results, table)
        if not rows:
            continue
        lines += ["", f".. list-table:: {table[0]}", "   :header-rows: 1", ""]
        for row in rows:
            lines += [
                f"   {'*' if not number else ' '} - {cell}"
                for number, cell in enumerate(row)
            ]
    return "\n".join([*lines, ""])


def write(results: Results, path: str) -> None:
    """Put the tables between their marks in a file."""
    with open(path, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n{as_rst(results)}\n{END}{after}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
