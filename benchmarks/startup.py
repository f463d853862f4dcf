"""How long the commands take until they do what they are for."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks.rows import (
    OURS,
    REFERENCE,
    Figures,
    Measure,
    Place,
    Row,
    Sizes,
    at_most,
    times_at_most,
)
from benchmarks.sides import (
    ADDRESS,
    EXTENSION,
    NAME,
    PATIENCE,
    Keys,
    has_reference,
    python,
    reference,
    script,
)

REACTOR = "Twisted's reactor"
RECEIVE_BYTES = 2048


def _first_hello(run: Keys, client: str) -> float:
    """Give the milliseconds from a client's start to its first packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind((ADDRESS, 0))
        port = sock.getsockname()[1]
        command = [client, NAME, run.public.hex(), ADDRESS, str(port), EXTENSION]
        began = time.perf_counter()
        process = subprocess.Popen(
            [*command, "/bin/true"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sock.recv(RECEIVE_BYTES)
        took = time.perf_counter() - began
        process.kill()
        process.wait()
    return 1000 * took


def _took(command: Sequence[str]) -> float:
    """Give the milliseconds that a command takes."""
    began = time.perf_counter()
    # The end of its output is its own end. Without a pipe, a wait with a time limit
    # looks for that at intervals of up to 50 ms.
    subprocess.run(command, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    return 1000 * (time.perf_counter() - began)


def _commands(run: Keys, client: str, make: str, show: str) -> Figures:
    with tempfile.TemporaryDirectory(prefix="curvecp-bench-") as directory:
        return {
            "hello": _first_hello(run, client),
            "make": _took([make, os.path.join(directory, "keys")]),
            "print": _took([show, run.path]),
        }


def _ours(run: Keys, sizes: Sizes) -> Figures:
    names = "curvecpclient", "curvecpmakekey", "curvecpprintkey"
    return _commands(run, *map(script, names))


def _reference(run: Keys, sizes: Sizes) -> Figures:
    names = "curvecpclient", "curvecpmakekey", "curvecpprintkey"
    return _commands(run, *map(reference, names))


def _reactor(run: Keys, sizes: Sizes) -> Figures:
    return {"import": _took(python("-c", "from twisted.internet import reactor"))}


def sides() -> Mapping[str, Measure]:
    """Give whoever can be measured here."""
    found: dict[str, Measure] = {OURS: _ours, REACTOR: _reactor}
    if has_reference():
        found[REFERENCE] = _reference
    return found


def rows(sizes: Sizes) -> list[Row]:
    """Give the lines of the table."""

    def ours(figure: str) -> Place:
        return Place("startup", OURS, figure)

    def other(figure: str) -> Place:
        return Place("startup", REFERENCE, figure)

    imported = Place("startup", REACTOR, "import")
    return [
        Row(
            "start of curvecpclient to its first Hello",
            "ms",
            ours("hello"),
            other("hello"),
            None,
            (
                times_at_most(
                    ours("hello"), imported, 1.4, "1.4 times importing the reactor"
                ),
            ),
        ),
        Row("a Python that imports Twisted's reactor, and ends", "ms", imported),
        *(
            Row(
                name,
                "ms",
                ours(figure),
                other(figure),
                None,
                (at_most(ours(figure), 80, "80 ms"),),
            )
            for name, figure in (
                ("curvecpmakekey", "make"),
                ("curvecpprintkey", "print"),
            )
        ),
    ]
