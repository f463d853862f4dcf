"""A program for a reference client: round trips on descriptors 6 and 7."""

from __future__ import annotations

import json
import os
import sys
import time

BYTES = 32


def main(rounds: int) -> None:
    """Measure, and print the times."""
    times: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        os.write(7, bytes(BYTES))
        received = 0
        while received < BYTES:
            received += len(os.read(6, BYTES))
        times.append(time.perf_counter() - began)
    print(json.dumps({"times": times}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
