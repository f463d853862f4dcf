"""``python -m benchmarks [bulk|echo|connect]``: run, and print a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

from benchmarks import dialling
from benchmarks.sides import (
    PATIENCE,
    Keys,
    cpu_seconds,
    has_reference,
    keys,
    next_port,
    our_peer,
    python,
    reference_client,
    reference_server,
    server,
    wait_bound,
)

Measure = Callable[[Keys, int], float]

COUNT_BYTES = (
    "import json,os,time;b=time.perf_counter();n=0\n"
    "while d:=os.read(6,65536):n+=len(d)\n"
    "print(json.dumps({'bytes':n,'seconds':time.perf_counter()-b}),flush=True)"
)
"""What counts at the end of a reference client."""


def ask(command: list[str]) -> dict[str, object]:
    """Run a client to its end, and give what it reports."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, timeout=PATIENCE, check=False
    )
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    if "error" in result:
        raise RuntimeError(result["error"])
    return result


def rate(result: dict[str, object], wanted: int) -> float:
    """Give megabytes per second, if all has arrived."""
    seconds = result["seconds"]
    assert isinstance(seconds, float)
    if result["bytes"] != wanted:
        raise RuntimeError(f"{result['bytes']} of {wanted} bytes arrived")
    return wanted / seconds / 1e6


def bulk_ours(run: Keys, size: int) -> float:
    """Server to client over endpoints, MB/s."""
    port = next_port()
    with server(our_peer("source", run.path, str(port), str(size))):
        wait_bound(port)
        return rate(ask(our_peer("sink", run.public.hex(), str(port))), size)


def bulk_reference(run: Keys, size: int) -> float:
    """The same between the reference's tools, MB/s."""
    port = next_port()
    with server(reference_server(run.path, port, "head", "-c", str(size), "/dev/zero")):
        wait_bound(port)
        program = python("-S", "-c", f"import os;os.close(7)\n{COUNT_BYTES}")
        return rate(ask(reference_client(run.public, port, *program)), size)


def median_trip(result: dict[str, object]) -> float:
    """Give the median round trip in milliseconds."""
    times = result["times"]
    assert isinstance(times, list)
    return float(1000 * statistics.median(times))


def echo_ours(run: Keys, rounds: int) -> float:
    """Round trip of 32 bytes over endpoints, ms."""
    port = next_port()
    with server(our_peer("echo", run.path, str(port))):
        wait_bound(port)
        return median_trip(
            ask(our_peer("ping", run.public.hex(), str(port), str(rounds)))
        )


def echo_reference(run: Keys, rounds: int) -> float:
    """The same between the reference's tools, ms."""
    port = next_port()
    with server(reference_server(run.path, port, "cat")):
        wait_bound(port)
        program = python("-S", "benchmarks/refpinger.py", str(rounds))
        return median_trip(ask(reference_client(run.public, port, *program)))


def connect_with(command: list[str], run: Keys, port: int, count: int) -> float:
    """Open connections one after another; give server processor time each, ms."""
    with server(command) as process:
        wait_bound(port)
        dialling.open_connections(run.public, port, 5)
        before = cpu_seconds(process.pid)
        dialling.open_connections(run.public, port, count)
        return 1000 * (cpu_seconds(process.pid) - before) / count


def connect_ours(run: Keys, count: int) -> float:
    """Processor time of our server, streams served in process."""
    port = next_port()
    return connect_with(our_peer("echo", run.path, str(port)), run, port, count)


def connect_reference(run: Keys, count: int) -> float:
    """Processor time of the reference server, without its children's."""
    port = next_port()
    command = reference_server(run.path, port, "cat")
    command[1:1] = ["-c", "65535"]
    return connect_with(command, run, port, count)


def compare(
    title: str,
    unit: str,
    ours: Measure,
    reference: Measure,
    *,
    rounds: int,
    amount: int,
    more_is_better: bool,
) -> None:
    """Run both alternately, and print medians and their ratio."""
    figures: dict[str, list[float]] = {"ours": [], "reference": []}
    sides: list[tuple[str, Measure]] = [("ours", ours)]
    if has_reference():
        sides.append(("reference", reference))
    with keys() as run:
        for _ in range(rounds):
            for side, measure in sides:
                figures[side].append(measure(run, amount))
    cells = []
    for side, _ in sides:
        values = figures[side]
        middle = statistics.median(values)
        cells.append(f"{side} {middle:.3f} ({min(values):.3f}-{max(values):.3f})")
    if len(sides) == 2:
        ratio = statistics.median(figures["ours"]) / statistics.median(
            figures["reference"]
        )
        better = ratio if more_is_better else 1 / ratio
        cells.append(f"{better:.2f} times as good")
    print(f"{title} [{unit}]: {', '.join(cells)}", flush=True)


def main() -> None:
    """Run the benchmarks that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument(
        "which", nargs="*", default=["bulk", "echo", "connect"], metavar="benchmark"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=8)
    arguments = parser.parse_args()
    print(
        f"Python {platform.python_version()}, Twisted {version('twisted')}, "
        f"PyNaCl {version('pynacl')}, {platform.machine()}, {os.cpu_count()} processors"
    )
    if not has_reference():
        print("The reference tools (nacl-tools) are not installed.", file=sys.stderr)
    rounds = arguments.rounds
    if "bulk" in arguments.which:
        compare(
            f"bulk, {arguments.megabytes} MiB, server to client",
            "MB/s",
            bulk_ours,
            bulk_reference,
            rounds=rounds,
            amount=arguments.megabytes << 20,
            more_is_better=True,
        )
    if "echo" in arguments.which:
        compare(
            "echo of 32 bytes, median round trip",
            "ms",
            echo_ours,
            echo_reference,
            rounds=rounds,
            amount=1000,
            more_is_better=False,
        )
    if "connect" in arguments.which:
        compare(
            "connection set-up, processor time of the server",
            "ms",
            connect_ours,
            connect_reference,
            rounds=rounds,
            amount=200,
            more_is_better=False,
        )


if __name__ == "__main__":
    main()
