"""What a run of the catalogue has found, as a page of the documentation."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version

from tests.faults.catalogue import SECTIONS
from tests.faults.figures import OUR_CLIENT, OUR_SERVER, OURS, REFERENCE, Figure
from tests.faults.row import Row

PAIR_NAMES = {
    OURS: "both ours",
    OUR_CLIENT: "our client",
    OUR_SERVER: "our server",
}
COLUMNS = ("row", "case", "rule", "ours", "reference", "verdict")
WIDTHS = "6 18 24 26 16 10"

HEAD = """\
Reliability
===========

What must hold when networks, strangers, programs and systems do their worst, and
whether it does. ``make reliability`` has run the tests of each row, has tried the
reference at both ends where that tells something, and has written this page.

Rows of priority 0 must not fail in a release, those of priority 1 not in a stable one.
Link Q has a delay of 15 ms each way, 10 Mbit/s and a queue of 25 packets. Figures of
virtual time are marked; all others were measured on loopback, once, and vary. What
the reference did in earlier measurements, not in this run, is in brackets.

"""


@dataclass
class Outcomes:
    """How tests have ended, by their full names."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a row comes to.

    :ivar failed: whether the whole run has failed with it.
    """

    text: str
    failed: bool = False


def judge(row: Row, tests: Sequence[str], outcomes: Outcomes) -> Verdict:
    """Decide whether a row holds."""
    failed = [test for test in tests if test in outcomes.failed]
    if failed:
        names = ", ".join(test.rpartition("tests.")[2] for test in failed)
        return Verdict(f"FAILS: {names}", failed=True)
    skipped = [outcomes.skipped[test] for test in tests if test in outcomes.skipped]
    reasons = "; ".join(sorted(set(skipped)))
    passed = sum(test in outcomes.passed for test in tests)
    if passed + len(skipped) < len(tests) or not tests:
        return Verdict("FAILS: tests are missing", failed=True)
    if not passed:
        return Verdict(f"not run: {reasons}")
    holds = f"holds, {passed} test{'s' if passed > 1 else ''}"
    return Verdict(f"{holds}; {len(skipped)} not run: {reasons}" if skipped else holds)


def escape(text: str) -> str:
    """Make a text one that means nothing special in reStructuredText."""
    return re.sub(r"([\\*`|_])", r"\\\1", " ".join(text.split()))


def surroundings() -> list[tuple[str, str]]:
    """Name what the figures depend on."""
    packages = ("curvecp-tx", "twisted", "pynacl")
    return [
        ("date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        *((name, version(name)) for name in packages),
        ("nacl-tools", _debian_version("nacl-tools")),
        ("Python", platform.python_version()),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("processor", _processor()),
        ("seeds", "fixed, those that stand in the tests"),
    ]


def page(
    rows: Iterable[Row],
    verdicts: Mapping[str, Verdict],
    figures: Sequence[Figure],
    facts: Iterable[tuple[str, str]],
) -> str:
    """Write the page."""
    lines = [HEAD.rstrip(), ""]
    lines += [f":{name}: {escape(value)}" for name, value in facts]
    rows = list(rows)
    for letter, title in SECTIONS.items():
        found = [row for row in rows if row.section == letter]
        if found:
            lines += ["", "", title, "-" * len(title), ""]
            lines += _table(found, verdicts, figures)
    return "\n".join(lines) + "\n"


def _table(
    rows: Iterable[Row], verdicts: Mapping[str, Verdict], figures: Sequence[Figure]
) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {WIDTHS}", ""]
    lines += _cells([[name] for name in COLUMNS])
    for row in rows:
        own = [figure for figure in figures if figure.row == row.name]
        lines += _cells(
            [
                [f"{row.name}, P{row.priority}"],
                [row.case],
                [row.rule],
                _ours(own),
                _reference(row, own),
                [verdicts[row.name].text],
            ]
        )
    return lines


def _cells(cells: Iterable[Sequence[str]]) -> list[str]:
    """Lay out one row; a cell of several texts has a line for each."""
    lines = []
    for number, texts in enumerate(cells):
        start = "   * - " if number == 0 else "     - "
        if len(texts) > 1:
            texts = [f"| {escape(text)}" for text in texts]
        else:
            texts = [escape(text) for text in texts]
        lines.append(start + (texts[0] if texts else ""))
        lines += ["       " + text for text in texts[1:]]
    return [line.rstrip() for line in lines]


def _ours(figures: Iterable[Figure]) -> list[str]:
    return [
        f"{PAIR_NAMES[figure.pair]}: {figure.text}"
        for pair in PAIR_NAMES
        for figure in figures
        if figure.pair == pair
    ]


def _reference(row: Row, figures: Iterable[Figure]) -> list[str]:
    measured = [figure.text for figure in figures if figure.pair == REFERENCE]
    if row.reference is not None:
        measured.append(f"[{row.reference}]")
    return measured


def _debian_version(package: str) -> str:
    try:
        return subprocess.run(
            ("dpkg-query", "-W", "-f", "${Version}", package),
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = re.findall(r"model name\s*: (.+)", file.read())
    except OSError:
        models = []
    return f"{len(models)} x {models[0]}" if models else platform.machine()
