"""``python -m benchmarks.soak``: many connections for a long time, and what is left.

Some fifty connections at a time come and go behind a network that loses packets:
streams of all sizes, some of them hung up half-way, some idle for a while, some to
programs. The server, the server with programs and the clients are processes of
their own, so that what each keeps is its own. The end is a verdict.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater, react

from benchmarks.sides import ADDRESS, EXTENSION, NAME, Keys, keys, python
from benchmarks.soak_ends import PLACES
from benchmarks.soak_figures import (
    MEGABYTE,
    Reading,
    complaints,
    failures,
    growth,
    read,
)
from tests.faults.impairment import Link
from tests.faults.proxy import Proxy

reactor: Any = installed

POLL = 0.05
"""Seconds between looks; at most one connection is begun at each."""

PATIENCE = 200.0
"""Seconds until what does not end is given up: more than a stream needs for that."""

AFTERWARDS = 5.0
"""Seconds for which a client that has ended can still be reached."""

FAREWELL = 60.0
"""Seconds after the last client's end in which the servers have to know of all."""

LARGEST = 1 << 20
LEAST_ABORTED = 1 << 16
"""Bytes: what is over before it can be hung up proves nothing."""


class Kind(NamedTuple):
    """A kind of connection.

    :ivar share: how many of a hundred.
    :ivar programs: whether a program is at the other end.
    :ivar aborted: whether the client hangs up half-way.
    :ivar idle: seconds for which it may be silent, at most.
    """

    share: int
    programs: bool = False
    aborted: bool = False
    idle: float = 0.0


KINDS = {
    "stream": Kind(40),
    "aborted": Kind(15, aborted=True),
    "idle": Kind(20, idle=40.0),
    "program": Kind(15, programs=True),
    "program, aborted": Kind(5, programs=True, aborted=True),
    "program, idle": Kind(5, programs=True, idle=40.0),
}


class Side(ProcessProtocol):
    """One of the processes.

    :ivar answers: what it has said and nobody has taken yet.
    :ivar errors: the lines that it has written to standard error.
    """

    transport: Any

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.answers: list[str] = []
        self.errors: list[str] = []
        self.readings: list[Reading] = []
        self.ended = False
        self._half = {1: "", 2: ""}
        reactor.spawnProcess(self, command[0], command, env=None)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Take whole lines."""
        text = self._half[childFD] + data.decode(errors="replace")
        *lines, self._half[childFD] = text.split("\n")
        (self.answers if childFD == 1 else self.errors).extend(lines)

    def processEnded(self, reason: Any) -> None:
        """Note it: this must not happen while we need the process."""
        self.ended = True

    def end(self) -> None:
        """End it, if it has not."""
        if not self.ended:
            self.transport.signalProcess("TERM")

    def say(self, **order: object) -> None:
        """Tell it something."""
        self.transport.write(json.dumps(order).encode() + b"\n")

    def look(self, began: float) -> Reading:
        """See what it holds."""
        return read(self.transport.pid, time.monotonic() - began)

    async def answer(self) -> str:
        """Wait for it to say something."""
        deadline = time.monotonic() + PATIENCE
        while not self.answers:
            if self.ended or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer: {self.errors}")
            await pause()
        return self.answers.pop(0)


def pause(seconds: float = POLL) -> Deferred[None]:
    """Wait."""
    return deferLater(reactor, seconds)


class Soak:
    """One run.

    :param seconds: for how long connections are made.
    :param at_once: how many there are at a time.
    :param loss: share of packets lost, each way.
    """

    def __init__(self, *, seconds: float, at_once: int, loss: float, seed: int) -> None:
        self._seconds = seconds
        self._at_once = at_once
        self._link = Link(loss=loss)
        self._dice = random.Random(seed)
        self._under_way: dict[int, tuple[str, Proxy]] = {}
        self._made: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._bytes = 0
        self._number = 0
        self._sides: tuple[Side, ...] = ()

    async def run(self) -> list[str]:
        """Do all of it.

        :return: what is wrong.
        """
        self._began = time.monotonic()
        with keys() as pair:
            try:
                await self._start(pair)
                found = await self._observe()
            finally:
                for side in self._sides:
                    side.end()
            while not all(side.ended for side in self._sides):
                await pause()
            return found

    async def _start(self, pair: Keys) -> None:
        ours = python("-m", "benchmarks.soak_ends")
        operands = (NAME, pair.path, ADDRESS, "0", EXTENSION, "cat")
        options = ("-1", "--stream", "-c", str(PLACES))
        tool = python("-m", "curvecp_tx.commands.server", *options, *operands)
        self._server = Side("server", [*ours, "server", pair.path])
        self._programs = Side("programs", tool)
        self._clients = Side("clients", [*ours, "clients", pair.public.hex()])
        self._sides = (self._server, self._programs, self._clients)
        self._port = json.loads(await self._server.answer())["port"]
        self._programs_port = int(await self._programs.answer())

    async def _observe(self) -> list[str]:
        for name in KINDS:
            self._call(name, idle=1.0)
        await self._finish()
        before = [side.look(self._began) for side in self._sides]
        began = time.monotonic()
        await self._churn(began)
        await self._finish()
        after = [side.look(self._began) for side in self._sides]
        self._report("end")
        self._server.say()
        left = json.loads(await self._server.answer())["connections"]
        errors = [
            f"{side.name}: {line}" for side in self._sides for line in side.errors
        ]
        found = failures(self._made, self._wrong, errors, left)
        for side, first, last in zip(self._sides, before, after, strict=True):
            rate = growth(side.readings)
            print(
                f"{side.name}: {rate:+.2f} MB an hour in the second half; "
                f"descriptors {first.descriptors}, then {last.descriptors}; "
                f"children {first.children}, then {last.children}"
            )
            found += complaints(side.name, first, side.readings, last)
        return found

    async def _churn(self, began: float) -> None:
        """Have connections come and go; look at the processes ten times or more."""
        interval = min(10.0, self._seconds / 10)
        due = began + interval
        while time.monotonic() < began + self._seconds:
            self._collect()
            if len(self._under_way) < self._at_once:
                shares = [kind.share for kind in KINDS.values()]
                (name,) = self._dice.choices(list(KINDS), shares)
                self._call(name)
            if time.monotonic() >= due:
                due += interval
                for side in self._sides:
                    side.readings.append(side.look(self._began))
                self._report(f"{time.monotonic() - began:.0f} s")
            await pause()

    def _call(self, name: str, idle: float | None = None) -> None:
        """Begin a connection.

        :param idle: how long it is idle, if it is to be; drawn if not given.
        """
        kind = KINDS[name]
        self._number += 1
        number, size = self._number, int(LARGEST ** self._dice.random())
        if kind.aborted:
            size = self._dice.randint(LEAST_ABORTED, LARGEST)
        if idle is None:
            idle = self._dice.uniform(0.0, kind.idle)
        target = self._programs_port if kind.programs else self._port
        proxy = Proxy(reactor, target, there=self._link, seed=number)
        self._under_way[number] = name, proxy
        self._clients.say(
            number=number,
            port=proxy.start(),
            size=size,
            seed=number,
            idle=idle if kind.idle else 0.0,
            abort=self._dice.randint(1, size // 2) if kind.aborted else None,
        )

    def _collect(self) -> None:
        """Take what has become of connections."""
        if any(side.ended for side in self._sides):
            errors = [line for side in self._sides for line in side.errors]
            raise RuntimeError(f"a process has ended: {errors}")
        answers, self._clients.answers = self._clients.answers, []
        for answer in map(json.loads, answers):
            name, proxy = self._under_way.pop(answer["number"])
            reactor.callLater(AFTERWARDS, proxy.stop)
            self._made[name] += 1
            self._bytes += answer["bytes"]
            if not answer["well"]:
                self._wrong.append(f"{name}: {answer['why']}")

    async def _finish(self) -> None:
        """Wait until all connections are over, at the other end as well."""
        deadline = time.monotonic() + PATIENCE
        while self._under_way and time.monotonic() < deadline:
            self._collect()
            await pause()
        for name, proxy in self._under_way.values():
            self._wrong.append(f"{name}: does not end")
            proxy.stop()
        self._under_way.clear()
        left = 1
        deadline = time.monotonic() + FAREWELL
        while left and time.monotonic() < deadline:
            await pause(AFTERWARDS + 1.0)
            self._server.say()
            left = json.loads(await self._server.answer())["connections"]
            left += self._programs.look(self._began).children

    def _report(self, when: str) -> None:
        held = []
        for side in self._sides:
            reading = side.look(self._began)
            held.append(
                f"{side.name} {reading.resident / MEGABYTE:.1f} MB, "
                f"{reading.descriptors} descriptors, {reading.children} children"
            )
        print(
            f"{when}: {sum(self._made.values())} made, {len(self._wrong)} failed, "
            f"{self._bytes / MEGABYTE:.1f} MB back, {len(self._under_way)} open; "
            f"{'; '.join(held)}; "
            f"{sum(len(side.errors) for side in self._sides)} errors",
            flush=True,
        )

    @property
    def made(self) -> str:
        """How many connections of each kind there were."""
        return ", ".join(f"{name} {count}" for name, count in self._made.items())


def main(arguments: Sequence[str]) -> None:
    """Run, and exit with 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--loss", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    options = vars(parser.parse_args(arguments))

    verdict: list[list[str]] = []

    async def run() -> None:
        soak = Soak(**options)
        found = await soak.run()
        print(soak.made)
        print("\n".join(("broken:", *found)) if found else "all is well")
        verdict.append(found)

    try:
        react(lambda reactor: ensureDeferred(run()))
    finally:
        # Who is interrupted has not found that all is well.
        if verdict != [[]]:
            sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
