"""The round trip of a few bytes over an open connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.bulk import ask
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
    Keys,
    has_reference,
    next_port,
    our_peer,
    python,
    reference_client,
    reference_server,
    server,
    wait_bound,
)
from curvecp_tx.net.busy_poll import SWITCH

AWAKE = "ours, awake"
PATIENCE = 100


def _run(server_end: Sequence[str], client_end: Sequence[str], port: int) -> Figures:
    with server(server_end):
        wait_bound(port)
        times = ask(client_end)["times"]
    assert isinstance(times, list)
    milliseconds = sorted(1000 * time for time in times)
    return {
        "p50": milliseconds[len(milliseconds) // 2],
        "p99": milliseconds[len(milliseconds) * 99 // 100],
    }


def _ours(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    pinger = our_peer("ping", run.public.hex(), str(port), str(sizes.trips))
    return _run(our_peer("echo", run.path, str(port)), pinger, port)


def _awake(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    awake = ("env", f"{SWITCH}={PATIENCE}")
    pinger = our_peer("ping", run.public.hex(), str(port), str(sizes.trips))
    server_end = our_peer("echo", run.path, str(port))
    return _run([*awake, *server_end], [*awake, *pinger], port)


def _reference(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    pinger = python("-S", "benchmarks/refpinger.py", str(sizes.trips))
    return _run(
        reference_server(run.path, port, "cat"),
        reference_client(run.public, port, *pinger),
        port,
    )


def sides() -> Mapping[str, Measure]:
    """Give whoever can be measured here."""
    found: dict[str, Measure] = {OURS: _ours, AWAKE: _awake}
    if has_reference():
        found[REFERENCE] = _reference
    return found


def rows(sizes: Sizes) -> list[Row]:
    """Give the lines of the table."""
    p50, p99 = Place("echo", OURS, "p50"), Place("echo", OURS, "p99")
    reference = Place("echo", REFERENCE, "p50")
    awake = Place("echo", AWAKE, "p50")
    return [
        Row(
            "echo of 32 bytes over an open connection, p50",
            "ms",
            p50,
            reference,
            None,
            (times_at_most(p50, reference, 1, "the reference"),),
        ),
        Row(
            "the same, p99",
            "ms",
            p99,
            Place("echo", REFERENCE, "p99"),
            None,
            (at_most(p99, 1, "1 ms"),),
        ),
        Row(
            f"the same, p50, where our ends stay awake ({SWITCH}={PATIENCE})",
            "ms",
            awake,
            reference,
            None,
            (times_at_most(awake, reference, 1, "the reference"),),
        ),
    ]
