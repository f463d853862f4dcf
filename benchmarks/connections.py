"""What connections cost a server: Hello, set-up, programs, and ten thousand of them."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.crowd import Crowd
from benchmarks.rows import (
    OURS,
    REFERENCE,
    Figures,
    Measure,
    Place,
    Row,
    Sizes,
    at_most,
    times_at_least,
    times_at_most,
)
from benchmarks.sides import (
    ADDRESS,
    EXTENSION,
    NAME,
    Keys,
    cpu_seconds,
    has_reference,
    next_port,
    our_peer,
    reference_server,
    resident_kib,
    script,
    server,
    tree_proportional_kib,
    wait_bound,
)

UNLIMITED = "1000000"
AT_ONCE = 8
HELLOS_AT_ONCE = 32
DIFFERENT_HELLOS = 16
ROOM = 50
"""Places beyond those that are needed: a client that repeats itself takes two."""

GREETING = bytes(4)
PROGRAM = "/bin/cat"


def _hellos(command: list[str], run: Keys, port: int, sizes: Sizes) -> Figures:
    """Have Hellos answered; all that come fit into what a server allows at once."""
    with server(command) as process, Crowd(run.public, port) as crowd:
        wait_bound(port)
        crowd.open(1)
        packets = crowd.hellos(sizes.hellos, DIFFERENT_HELLOS)
        before = cpu_seconds(process.pid)
        answers = crowd.exchange(packets, HELLOS_AT_ONCE)
        used = cpu_seconds(process.pid) - before
    if answers < len(packets):
        raise RuntimeError(f"{answers} answers to {len(packets)} Hellos")
    return {"cpu": 1e6 * used / answers}


def _hellos_ours(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    return _hellos(our_peer("echo", run.path, str(port)), run, port, sizes)


def _hellos_reference(run: Keys, sizes: Sizes) -> Figures:
    port = next_port()
    return _hellos(reference_server(run.path, port, PROGRAM), run, port, sizes)


def _accepted(pid: int, crowd: Crowd, count: int, at_once: int = AT_ONCE) -> float:
    """Open connections, so many at a time; give the server's µs for each.

    A server that falls asleep between any two packets takes longer for each.
    """
    before = cpu_seconds(pid)
    crowd.open(count, at_once=at_once)
    return 1e6 * (cpu_seconds(pid) - before) / count


def _echoed(pid: int, crowd: Crowd, trips: int) -> float:
    """Have every so-manieth client say something; give the server's µs for each."""
    members = crowd.members
    step = max(1, len(members) // trips)
    chosen = (members[::step] * trips)[:trips]
    before = cpu_seconds(pid)
    crowd.echo(chosen)
    return 1e6 * (cpu_seconds(pid) - before) / trips


def _crowd_ours(run: Keys, sizes: Sizes) -> Figures:
    """One server with few connections, and then with many.

    A server pings a client that is silent for a second in the middle of its stream. So
    what would be disturbed by that comes first.
    """
    port = next_port()
    with (
        server(our_peer("echo", run.path, str(port))) as process,
        Crowd(run.public, port) as crowd,
    ):
        wait_bound(port)
        pid = process.pid
        crowd.open(sizes.few)
        few_echo = _echoed(pid, crowd, sizes.trips)
        few_kib = resident_kib(pid)
        single_accept = _accepted(pid, crowd, sizes.connections, at_once=1)
        few_accept = _accepted(pid, crowd, sizes.connections)
        crowd.open(sizes.many - len(crowd.members), at_once=AT_ONCE)
        many_kib = resident_kib(pid)
        many_accept = _accepted(pid, crowd, sizes.connections)
        many_echo = _echoed(pid, crowd, sizes.trips)
        before = cpu_seconds(pid)
        crowd.echo(crowd.members, at_once=AT_ONCE)
        live = len(crowd.members)
        all_echo = 1e6 * (cpu_seconds(pid) - before) / live
        echoed_kib = resident_kib(pid)
    return {
        "single accept": single_accept,
        "few accept": few_accept,
        "many accept": many_accept,
        "few echo": few_echo,
        "many echo": many_echo,
        "all echo": all_echo,
        "memory": (many_kib - few_kib) / (sizes.many - sizes.few),
        "memory after": (echoed_kib - few_kib) / (live - sizes.few),
    }


def _crowd_reference(run: Keys, sizes: Sizes) -> Figures:
    """The same of the reference, but for its processes; many are not as many."""
    port, many = next_port(), sizes.reference_many
    places = many + sizes.connections + ROOM
    command = reference_server(run.path, port, PROGRAM, clients=places)
    with server(command) as process, Crowd(run.public, port) as crowd:
        wait_bound(port)
        pid = process.pid
        crowd.open(sizes.few)
        few_kib = tree_proportional_kib(pid)
        few_echo = _echoed(pid, crowd, sizes.trips)
        half = (many - sizes.few) // 2
        single_accept = _accepted(pid, crowd, half, at_once=1)
        accept = _accepted(pid, crowd, many - len(crowd.members))
        many_kib = tree_proportional_kib(pid)
        many_echo = _echoed(pid, crowd, sizes.trips)
    return {
        "single accept": single_accept,
        "few accept": accept,
        "few echo": few_echo,
        "many echo": many_echo,
        "memory": (many_kib - few_kib) / (many - sizes.few),
    }


def _programs(command: list[str], run: Keys, port: int, count: int) -> Figures:
    """Have a program started for each connection, and wait until it has answered."""
    with server(command), Crowd(run.public, port) as crowd:
        wait_bound(port)
        crowd.open(AT_ONCE, block=GREETING)
        began = time.perf_counter()
        crowd.open(count, at_once=AT_ONCE, block=GREETING)
        return {"rate": count / (time.perf_counter() - began)}


def _programs_ours(run: Keys, sizes: Sizes) -> Figures:
    port, count = next_port(), sizes.programs
    command = [
        script("curvecpserver"),
        "-q",
        *("-c", str(2 * count + ROOM), "--grace", "0", "--stream"),
        *("--hello-rate", UNLIMITED, "--start-rate", UNLIMITED),
        *(NAME, run.path, ADDRESS, str(port), EXTENSION, PROGRAM),
    ]
    return _programs(command, run, port, count)


def _programs_reference(run: Keys, sizes: Sizes) -> Figures:
    port, count = next_port(), sizes.programs
    places = 2 * count + ROOM
    command = reference_server(run.path, port, PROGRAM, clients=places)
    return _programs(command, run, port, count)


def _pair(ours: Measure, reference: Measure) -> Mapping[str, Measure]:
    sides = {OURS: ours}
    if has_reference():
        sides[REFERENCE] = reference
    return sides


def sides() -> Mapping[str, Mapping[str, Measure]]:
    """Give the benchmarks, and whoever can be measured here."""
    return {
        "crowd": _pair(_crowd_ours, _crowd_reference),
        "programs": _pair(_programs_ours, _programs_reference),
        "hello": _pair(_hellos_ours, _hellos_reference),
    }


def rows(sizes: Sizes) -> list[Row]:
    """Give the lines of the table."""

    def ours(figure: str) -> Place:
        return Place("crowd", OURS, figure)

    def reference(figure: str) -> Place:
        return Place("crowd", REFERENCE, figure)

    hello, programs = Place("hello", OURS, "cpu"), Place("programs", OURS, "rate")
    hello_reference = Place("hello", REFERENCE, "cpu")
    programs_reference = Place("programs", REFERENCE, "rate")
    few, many = f"{sizes.few}", f"{sizes.many:,}"
    return [
        Row(
            "accept a connection, stream served in process, processor time of the "
            f"server, {AT_ONCE} handshakes at a time, with up to "
            f"{sizes.few + 2 * sizes.connections} live connections",
            "µs",
            ours("few accept"),
            reference("few accept"),
            None,
            (at_most(ours("few accept"), 250, "250 µs"),),
        ),
        Row(
            "the same, one handshake after another",
            "µs",
            ours("single accept"),
            reference("single accept"),
            None,
            (at_most(ours("single accept"), 250, "250 µs"),),
        ),
        Row(
            f"the same, {AT_ONCE} at a time, with {many} live connections",
            "µs",
            ours("many accept"),
            goals=(
                times_at_most(
                    ours("many accept"), ours("few accept"), 1.2, "1.2 times that"
                ),
            ),
        ),
        Row(
            "accept, and start one program for each connection",
            "1/s",
            programs,
            programs_reference,
            None,
            (times_at_least(programs, programs_reference, 1, "the reference"),),
            more=True,
        ),
        Row(
            "Hello to Cookie, processor time of the server",
            "µs",
            hello,
            hello_reference,
            None,
            (at_most(hello, 90, "90 µs"),),
        ),
        Row(
            f"memory of an idle connection, at {many} "
            f"(reference: proportional, at {sizes.reference_many})",
            "KiB",
            ours("memory"),
            reference("memory"),
            None,
            (at_most(ours("memory"), 10, "10 KiB"),),
        ),
        Row(
            "the same when each has echoed 32 bytes",
            "KiB",
            ours("memory after"),
        ),
        Row(
            f"that echo of all {many}, processor time of the server for each",
            "µs",
            ours("all echo"),
        ),
        Row(
            f"echo of 32 bytes with {few} live connections, processor time of the "
            "server (reference: without its programs)",
            "µs",
            ours("few echo"),
            reference("few echo"),
        ),
        Row(
            f"the same with {many} live connections "
            f"(reference: {sizes.reference_many})",
            "µs",
            ours("many echo"),
            reference("many echo"),
            None,
            (
                times_at_most(
                    ours("many echo"),
                    ours("few echo"),
                    1.2,
                    f"1.2 times that at {few}",
                ),
            ),
        ),
    ]
