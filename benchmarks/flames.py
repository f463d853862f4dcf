"""Where the processor time goes at both ends of the bulk benchmark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from benchmarks import sampling
from benchmarks.bulk import ask, our_commands
from benchmarks.sides import Keys, next_port, server, wait_bound

SENDER, RECEIVER = "sender", "receiver"
ENDS = (SENDER, RECEIVER)
MAIN_LOOP = "mainLoop ("
"""What is above it has begun before there was a connection."""

WORK: Mapping[str, str] = {
    "curvecp_tx/net/offload.py": "system calls that move datagrams, and their buffers",
    "curvecp_tx/net/udp.py": "system calls that move datagrams, and their buffers",
    "curvecp_tx/secure/boxes.py": "cipher",
    "nacl/": "cipher",
    "curvecp_tx/secure/": "packets: nonces, replay window, path",
    "curvecp_tx/wire/": "messages: encoding and decoding",
    "curvecp_tx/stream/bbr.py": "congestion control",
    "curvecp_tx/stream/": "blocks, acknowledgments, reassembly",
    "curvecp_tx/": "transport: turns, timers",
    "twisted/": "the reactor",
    "benchmarks/": "the application",
}
"""What a function does, by the beginning of its file's path: the first one that
fits."""

OTHER = "other"

WIDTH, ROW, LETTER = 1000.0, 15, 5.6
"""Pixels; a letter's is what it takes on average."""

LEAST = 1.5
"""Pixels; what is narrower is left out."""

Stacks = Mapping[tuple[str, ...], int]
"""Samples by stack, from the main loop down."""


def record(run: Keys, size: int) -> dict[str, Stacks]:
    """Move so many bytes, and look at both ends every so often."""
    port = next_port()
    source, sink = our_commands(run, port, size)
    with tempfile.TemporaryDirectory(prefix="curvecp-bench-") as directory:
        files = {end: os.path.join(directory, end) for end in ENDS}
        with server(_sampled(source, files[SENDER])):
            wait_bound(port)
            ask(_sampled(sink, files[RECEIVER]))
        return {end: read(file) for end, file in files.items()}


def _sampled(command: Sequence[str], path: str) -> list[str]:
    return ["env", f"{sampling.FILE}={path}", *command]


def read(path: str) -> Stacks:
    """Read what an end has written."""
    stacks: dict[tuple[str, ...], int] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            text, _, count = line.rpartition(" ")
            frames = text.split(";")
            for number, frame in enumerate(frames):
                if MAIN_LOOP in frame:
                    stack = tuple(frames[number:])
                    stacks[stack] = stacks.get(stack, 0) + int(count)
                    break
    return stacks


def kind_of_work(frame: str) -> str:
    """Tell what a function is there for."""
    path = frame.rpartition("(")[2]
    for beginning, work in WORK.items():
        if beginning in path:
            return work
    return OTHER


def shares(stacks: Stacks) -> dict[str, float]:
    """Give the part of the time for each kind of work, the greatest first."""
    counts: dict[str, int] = {}
    for stack, count in stacks.items():
        work = kind_of_work(stack[-1])
        counts[work] = counts.get(work, 0) + count
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return {work: count / total for work, count in ordered}


@dataclass
class Frame:
    """A function, with all that it was seen to call."""

    count: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)


def flame_graph(stacks: Stacks, title: str) -> str:
    """Draw the stacks as SVG, the main loop at the bottom."""
    root = Frame()
    for stack, count in stacks.items():
        frame = root
        frame.count += count
        for name in stack:
            frame = frame.calls.setdefault(name, Frame())
            frame.count += count
    scale = WIDTH / max(1, root.count)
    boxes = list(_boxes(root, 0.0, 0, scale))
    height = ROW * (2 + max((depth for *_, depth in boxes), default=0))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} '
        f'{height + ROW}" font-family="sans-serif" font-size="10">',
        f'<text x="4" y="11" font-weight="bold">{escape(title)}</text>',
    ]
    for name, left, width, depth in boxes:
        top = height - ROW * depth
        share = 100 * width / WIDTH
        label = escape(name.partition(" (")[0][: int(width / LETTER)])
        lines.append(
            f'<g><title>{escape(name)}, {share:.1f} %</title><rect x="{left:.1f}" '
            f'y="{top}" width="{width:.1f}" height="{ROW - 1}" '
            f'fill="{_colour(kind_of_work(name))}"/>'
            f'<text x="{left + 2:.1f}" y="{top + 11}">{label}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _boxes(
    parent: Frame, left: float, depth: int, scale: float
) -> Iterable[tuple[str, float, float, int]]:
    for name, frame in sorted(parent.calls.items()):
        width = frame.count * scale
        if width >= LEAST:
            yield name, left, width, depth
            yield from _boxes(frame, left, depth + 1, scale)
        left += width


def _colour(work: str) -> str:
    """Give a light colour that stands for a kind of work."""
    places = [*dict.fromkeys(WORK.values()), OTHER]
    hue = 360 * places.index(work) // len(places)
    return f"hsl({hue},65%,78%)"


def write(profiles: Mapping[str, Stacks], directory: str) -> None:
    """Draw both ends."""
    os.makedirs(directory, exist_ok=True)
    for end, stacks in profiles.items():
        path = os.path.join(directory, f"flame-{end}.svg")
        with open(path, "w", encoding="utf-8") as file:
            file.write(flame_graph(stacks, f"bulk, the {end}"))
