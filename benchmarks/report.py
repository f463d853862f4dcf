"""The table, for the terminal and for the documentation."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import distributions, version

from benchmarks.bulk import QUIC_PACKAGES
from benchmarks.flames import ENDS, OTHER, WORK
from benchmarks.rows import OURS, Place, Row, Samples
from benchmarks.tables import BEGIN, END

HEADER = ("work", "unit", "ours", "reference", "aioquic", "times as good", "goals")
WIDTHS = (26, 5, 14, 14, 14, 7, 20)

Shares = Mapping[str, Mapping[str, float]]
"""By end, and by kind of work."""


def circumstances(rounds: int) -> str:
    """Say where, with what and when this was measured."""
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{package} {version(package)}" for package in ("Twisted", "PyNaCl")]
    quic = next(iter(distributions(name="aioquic", path=[QUIC_PACKAGES])), None)
    versions.append(f"aioquic {quic.version}" if quic else "no aioquic")
    versions.append(_nacl_tools())
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return (
        f"{_processor()}, {os.cpu_count()} processors, {platform.system()} "
        f"{platform.release()}, load {load}; {', '.join(versions)}; {rounds} rounds; "
        f"{date}."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _nacl_tools() -> str:
    command = ["dpkg-query", "--show", "--showformat=${Version}", "nacl-tools"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "reference of unknown version"
    return f"nacl-tools {done.stdout}"


def lines_of(rows: Sequence[Row], samples: Samples) -> list[list[str]]:
    """Give the cells of each line that there are figures for."""
    return [
        [row.work, row.unit, *row.cells(samples)]
        for row in rows
        if samples.all(row.ours)
    ]


def as_text(lines: Sequence[Sequence[str]]) -> str:
    """Give the table for a terminal."""
    shown = []
    for number, line in enumerate(lines):
        shown.append(f"{line[0]} [{line[1]}]")
        cells = zip(HEADER[2:-1], line[2:-1], strict=True)
        parts = [f"{name} {cell}" for name, cell in cells if cell != "-"]
        shown.append("    " + ", ".join(parts))
        if line[-1] != "-":
            shown.append(f"    goals: {line[-1]}")
        if number < len(lines) - 1:
            shown.append("")
    return "\n".join(shown)


def as_rst(lines: Sequence[Sequence[str]], said: str) -> str:
    """Give the table for the documentation."""
    widths = " ".join(map(str, WIDTHS))
    text = [
        said,
        "",
        ".. list-table:: Medians, and in brackets the least and the greatest",
        "   :header-rows: 1",
        f"   :widths: {widths}",
        "",
    ]
    for line in (HEADER, *lines):
        text += [f"   {'-' if n else '* -'} {cell}" for n, cell in enumerate(line)]
    return "\n".join(
        f"     {line.strip()}" if line.startswith("   - ") else line for line in text
    )


def shares_as_rst(shares: Shares, samples: Samples) -> str:
    """Give what each kind of work takes at each end, in µs for each KiB."""
    costs = {}
    for end in ENDS:
        place = Place("bulk", OURS, end)
        if end not in shares or not samples.all(place):
            return ""
        costs[end] = samples.median(place)
    text = [
        "",
        ".. list-table:: Processor time for each KiB, µs",
        "   :header-rows: 1",
        "",
        "   * - work",
        *(f"     - {end}" for end in ENDS),
    ]
    for work in (*dict.fromkeys(WORK.values()), OTHER):
        cells = [shares[end].get(work, 0.0) * costs[end] for end in ENDS]
        if any(cell >= 0.005 for cell in cells):
            text.append(f"   * - {work}")
            text += [f"     - {cell:.2f}" for cell in cells]
    text.append("   * - together")
    text += [f"     - {costs[end]:.2f}" for end in ENDS]
    return "\n".join(text)


def write(text: str, path: str) -> None:
    """Put it between the marks in a file."""
    with open(path, encoding="utf-8") as file:
        before, _, rest = file.read().partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
