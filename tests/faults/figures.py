"""What fault tests have measured, for the table in the documentation.

A test notes its figures, whether anybody wants them or not. They are kept in the
file that the environment names, one JSON object a line; without it, nowhere.
"""

from __future__ import annotations

import json
import os
from typing import NamedTuple

PLACE = "TX_FAULT_FIGURES"
"""The environment variable that names the file."""

OURS = "TT"
OUR_CLIENT = "TR"
OUR_SERVER = "RT"
REFERENCE = "RR"
PAIRS = (OURS, OUR_CLIENT, OUR_SERVER, REFERENCE)
"""Who plays client and server: T for ours, R for the reference."""


class Figure(NamedTuple):
    """What one test has found for one row."""

    row: str
    pair: str
    text: str


def note(row: str, pair: str, text: str) -> None:
    """Keep a figure, in a few words."""
    if pair not in PAIRS:
        raise ValueError(f"no such pair: {pair}")
    place = os.environ.get(PLACE)
    if place:
        line = json.dumps(Figure(row, pair, text)._asdict())
        with open(place, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def read(place: str) -> list[Figure]:
    """Give what has been noted, in order."""
    with open(place, encoding="utf-8") as file:
        return [Figure(**json.loads(line)) for line in file]
