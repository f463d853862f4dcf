"""Runs one target for a while: ``python -m fuzz.engine NAME --seconds N``.

With atheris, coverage guides the search. Without, inputs of the corpus are changed
at random, which finds less. A finding is written to a file; with its name after
``--input``, it is tried again.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

try:
    import atheris
except ImportError:
    atheris = None

LAYERS = ["curvecp_tx.wire", "curvecp_tx.secure", "curvecp_tx.stream"]

MAX_INPUT_BYTES = 2000
MAX_SECONDS = 1
MAX_MEGABYTES = 512
"""What one input may cost, and the process may come to hold."""

CRASHED = 1


def instrumented() -> AbstractContextManager[Any]:
    """Have what is imported meanwhile report which branches are taken."""
    if atheris is None:
        return nullcontext()
    imports: AbstractContextManager[Any] = atheris.instrument_imports(include=LAYERS)
    return imports


def search_guided(
    target: Callable[[bytes], None],
    arguments: argparse.Namespace,
    seeds: Mapping[str, bytes],
) -> None:
    """Search with atheris; does not return."""
    found = os.path.join(arguments.found, "")
    flags = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={MAX_SECONDS}",
        f"-rss_limit_mb={MAX_MEGABYTES}",
        f"-artifact_prefix={found}{arguments.name}-",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    # It ends the process without any clearing up.
    grown = arguments.corpus or tempfile.mkdtemp()
    for name, data in seeds.items():
        with open(os.path.join(grown, name), "wb") as file:
            file.write(data)
    atheris.Setup([sys.argv[0], *flags, grown], target)
    atheris.Fuzz()


def search_blindly(
    target: Callable[[bytes], None],
    arguments: argparse.Namespace,
    seeds: Sequence[bytes],
) -> int:
    """Search without help from coverage."""
    chance = random.Random(arguments.name)
    pending = list(seeds)
    executions = 0
    ends = time.monotonic() + arguments.seconds
    while pending or time.monotonic() < ends:
        data = pending.pop() if pending else changed(chance, seeds)
        executions += 1
        problem = attempt(target, data)
        if problem:
            path = os.path.join(arguments.found, f"{arguments.name}-{executions}")
            with open(path, "wb") as file:
                file.write(data)
            print(f"{problem}; the input is in {path}", file=sys.stderr)
            return CRASHED
    print(f"stat::number_of_executed_units: {executions}")
    print(f"stat::peak_rss_mb: {peak_megabytes()}")
    return 0


def attempt(target: Callable[[bytes], None], data: bytes) -> str:
    """Try an input; tell what is wrong, if something is."""
    begin = time.monotonic()
    try:
        target(data)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if time.monotonic() - begin > MAX_SECONDS:
        return "it takes too long"
    return "it takes too much memory" if peak_megabytes() > MAX_MEGABYTES else ""


def changed(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Make an input from others."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 9)):
        place, size = chance.randrange(len(data) + 1), chance.randrange(1, 9)
        match chance.randrange(4):
            case 0:
                data[place : place + size] = chance.randbytes(size)
            case 1:
                del data[place : place + size]
            case 2:
                data[place:place] = chance.choice(seeds)[-chance.randrange(1, 200) :]
            case _:
                data[place:place] = bytes((chance.randrange(12),))
    return bytes(data[:MAX_INPUT_BYTES])


def peak_megabytes() -> int:
    """Give the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def main() -> int:
    """Run the target that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.engine")
    parser.add_argument("name")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", help="directory that keeps what the search finds")
    parser.add_argument("--found", default=".", help="directory for findings")
    parser.add_argument("--input", help="file with the only input to be tried")
    arguments = parser.parse_args()
    with instrumented():
        from fuzz.corpus import inputs
        from fuzz.targets import TARGETS
    target = TARGETS[arguments.name]
    if arguments.input is not None:
        with open(arguments.input, "rb") as file:
            target(file.read())
        return 0
    os.makedirs(arguments.found, exist_ok=True)
    if arguments.corpus is not None:
        os.makedirs(arguments.corpus, exist_ok=True)
    seeds = inputs(arguments.name)
    if atheris is not None:
        search_guided(target, arguments, seeds)
    return search_blindly(target, arguments, list(seeds.values()))


if __name__ == "__main__":
    sys.exit(main())
