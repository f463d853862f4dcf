"""Bulk from a server to a client: how fast, and at which cost in processor time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence

from benchmarks.rows import (
    OURS,
    QUIC,
    REFERENCE,
    Figures,
    Measure,
    Place,
    Row,
    Sizes,
    at_least,
    at_most,
    times_at_least,
)
from benchmarks.sides import (
    PATIENCE,
    Keys,
    has_reference,
    next_port,
    our_peer,
    python,
    reference_client,
    reference_server,
    server,
    tree_cpu_seconds,
    wait_bound,
)

TO_REFERENCE = "ours to the reference"
FROM_REFERENCE = "the reference to ours"

QUIC_PACKAGES = os.path.join(sys.prefix, "quic")
"""Where aioquic and all that it needs are installed. With that on the usual path,
Twisted would find OpenSSL, and importing the reactor would take longer."""

COUNT_BYTES = (
    "import json,os,time;os.close(7)\n"
    "b=time.perf_counter();c=time.process_time();n=0\n"
    "while d:=os.read(6,65536):n+=len(d)\n"
    "print(json.dumps({'bytes':n,'seconds':time.perf_counter()-b,'before':c}),"
    "flush=True)"
)
"""What counts at the end of a reference client."""


def ask(command: Sequence[str]) -> dict[str, object]:
    """Run a client to its end, and give what it reports.

    Reported processor time is replaced by that of everything it has started, less
    what it had used ``before`` the work began.
    """
    used = _children()
    done = subprocess.run(
        command, stdout=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    used = _children() - used
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    if "error" in result:
        raise RuntimeError(result["error"])
    before = result.pop("before", None)
    if isinstance(before, float):
        result["cpu"] = used - before
    return result


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(source: Sequence[str], sink: Sequence[str], port: int, size: int) -> Figures:
    with server(source) as process:
        wait_bound(port)
        before = tree_cpu_seconds(process.pid)
        result = ask(sink)
        sender = tree_cpu_seconds(process.pid) - before
    seconds, receiver = result["seconds"], result["cpu"]
    assert isinstance(seconds, float)
    assert isinstance(receiver, float)
    if result["bytes"] != size:
        raise RuntimeError(f"{result['bytes']} of {size} bytes arrived")
    return {
        "rate": size / seconds / 1e6,
        "sender": 1e6 * sender / (size / 1024),
        "receiver": 1e6 * receiver / (size / 1024),
        "both": 1e6 * (sender + receiver) / (size / 1024),
    }


def our_commands(run: Keys, port: int, size: int) -> tuple[list[str], list[str]]:
    """Give those of both ends of ours."""
    return (
        our_peer("source", run.path, str(port), str(size)),
        our_peer("sink", run.public.hex(), str(port)),
    )


def _reference_commands(run: Keys, port: int, size: int) -> tuple[list[str], list[str]]:
    return (
        reference_server(run.path, port, "head", "-c", str(size), "/dev/zero"),
        reference_client(run.public, port, *python("-S", "-c", COUNT_BYTES)),
    )


def _ours(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    return _run(*our_commands(run, port, sizes.bulk), port, sizes.bulk)


def _reference(run: Keys, sizes: Sizes) -> Figures:
    port, size = next_port(), sizes.reference_bulk
    return _run(*_reference_commands(run, port, size), port, size)


def _to_reference(run: Keys, sizes: Sizes) -> Figures:
    port, size = next_port(), sizes.reference_bulk
    source, _ = our_commands(run, port, size)
    _, sink = _reference_commands(run, port, size)
    return _run(source, sink, port, size)


def _from_reference(run: Keys, sizes: Sizes) -> Figures:
    port, size = next_port(), sizes.reference_bulk
    source, _ = _reference_commands(run, port, size)
    _, sink = our_commands(run, port, size)
    return _run(source, sink, port, size)


def _quic(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    paths = os.pathsep.join([QUIC_PACKAGES, os.environ.get("PYTHONPATH", "")])
    command = ["env", f"PYTHONPATH={paths}", *python("-m", "benchmarks.quic")]
    source = [*command, "source", str(port), str(sizes.bulk)]
    return _run(source, [*command, "sink", str(port)], port, sizes.bulk)


def sides() -> Mapping[str, Measure]:
    """Give whoever can be measured here."""
    found: dict[str, Measure] = {OURS: _ours}
    if os.path.isdir(QUIC_PACKAGES):
        found[QUIC] = _quic
    if has_reference():
        found[REFERENCE] = _reference
        found[TO_REFERENCE] = _to_reference
        found[FROM_REFERENCE] = _from_reference
    return found


def _place(side: str, figure: str) -> Place:
    return Place("bulk", side, figure)


def rows(sizes: Sizes) -> list[Row]:
    """Give the lines of the table."""
    ours, reference = _place(OURS, "rate"), _place(REFERENCE, "rate")
    quic, both = _place(QUIC, "rate"), _place(OURS, "both")
    to, back = _place(TO_REFERENCE, "rate"), _place(FROM_REFERENCE, "rate")
    size, small = _mebibytes(sizes.bulk), _mebibytes(sizes.reference_bulk)
    return [
        Row(
            f"bulk, one connection, {size}, server to client, two processes "
            f"(reference: {small})",
            "MB/s",
            ours,
            reference,
            quic,
            (
                at_least(ours, 100, "100 MB/s"),
                times_at_least(ours, reference, 40, "40 times the reference"),
                times_at_least(ours, quic, 3, "3 times aioquic"),
            ),
            more=True,
        ),
        Row(
            "processor time per KiB moved, both ends together",
            "µs",
            both,
            _place(REFERENCE, "both"),
            _place(QUIC, "both"),
            (at_most(both, 20, "20 µs"),),
        ),
        Row(
            "of it, the sender",
            "µs",
            _place(OURS, "sender"),
            _place(REFERENCE, "sender"),
            _place(QUIC, "sender"),
        ),
        Row(
            "of it, the receiver",
            "µs",
            _place(OURS, "receiver"),
            _place(REFERENCE, "receiver"),
            _place(QUIC, "receiver"),
        ),
        Row(
            f"our server to the reference's client, {small}",
            "MB/s",
            to,
            reference,
            None,
            (times_at_least(to, reference, 3, "3 times the reference"),),
            more=True,
        ),
        Row(
            f"the reference's server to our client, {small}",
            "MB/s",
            back,
            reference,
            None,
            (times_at_least(back, reference, 1, "the reference"),),
            more=True,
        ),
    ]


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):g} MiB"
