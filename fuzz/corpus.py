"""The inputs that are kept beside the seeds, and which of them are worth it.

``python -m fuzz.corpus NAME FILE-OR-DIRECTORY ...`` takes more inputs into
consideration, and keeps as few small ones as reach everything that all reach and
the seeds do not.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

from fuzz.seed import SEEDS
from fuzz.targets import TARGETS, Target

PLACE = Path(__file__).parent / "corpus"

MAX_INPUT_BYTES = 2000
MAX_INPUTS = 50

LAYERS = tuple(f"/curvecp_tx/{layer}/" for layer in ("wire", "secure", "stream"))

Arc = tuple[str, int, int]
"""From one line of a file to another."""


def inputs(name: str) -> dict[str, bytes]:
    """Give a target's seeds, and the inputs that are kept, by names of files."""
    found = {f"seed-{number}": data for number, data in enumerate(SEEDS[name]())}
    for path in files([PLACE / name]):
        found[path.name] = path.read_bytes()
    return found


def files(places: Iterable[Path]) -> list[Path]:
    """Give the files that are there or in there, in order."""
    found: list[Path] = []
    for place in places:
        if place.is_dir():
            found += sorted(place.iterdir())
        elif place.exists():
            found.append(place)
    return found


def reached(target: Target, data: bytes) -> frozenset[Arc]:
    """Give the steps from line to line that an input leads to."""
    arcs: set[Arc] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        path = frame.f_code.co_filename
        if event != "call" or not any(layer in path for layer in LAYERS):
            return None
        last = 0

        def inside(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                arcs.add((path, last, frame.f_lineno))
                last = frame.f_lineno
            return inside

        return inside

    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(previous)
    return frozenset(arcs)


def choose(
    target: Target, seeds: Iterable[bytes], candidates: Iterable[bytes]
) -> list[bytes]:
    """Choose inputs that reach all that seeds do not: always the one with most news."""
    reach = {
        data: reached(target, data)
        for data in sorted(set(candidates), key=lambda data: (len(data), data))
        if len(data) <= MAX_INPUT_BYTES
    }
    chosen: list[bytes] = []
    known = {arc for data in seeds for arc in reached(target, data)}
    while reach and len(chosen) < MAX_INPUTS:
        best = max(reach, key=lambda data: len(reach[data] - known))
        news = reach.pop(best) - known
        if not news:
            break
        known |= news
        chosen.append(best)
    return chosen


def main() -> None:
    """Take more inputs, and keep the best of all."""
    name, *places = sys.argv[1:]
    old = files([PLACE / name])
    candidates = [path.read_bytes() for path in old]
    candidates += [path.read_bytes() for path in files(map(Path, places))]
    chosen = choose(TARGETS[name], SEEDS[name](), candidates)
    for path in old:
        path.unlink()
    for data in chosen:
        place = PLACE / name / sha256(data).hexdigest()[:16]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    print(f"{name}: {len(chosen)} of {len(candidates)} inputs")


if __name__ == "__main__":
    main()
