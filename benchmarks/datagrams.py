"""``python -m benchmarks.datagrams``: what the UDP port costs, with runs and without.

Both ends are in this process, and take turns, so that each one's processor time is
its own. The kernel does the delivery within the sender's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from curvecp_tx.net.offload import SWITCH
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.paths import Datagram
from curvecp_tx.testing import FakeReactor

PLACES = ("127.0.0.1", "::1")
DATAGRAM_BYTES = 1152
PAYLOAD_KIB = 1
"""A full Message of a server, and the data in it."""

BATCHES = (1, 2, 4, 8, 16, 32, 55)
AT_ONCE = 55
"""Datagrams that fit into the smallest socket buffer in use."""


class Figures(NamedTuple):
    """Of one round: rate, and microseconds of processor time per KiB of data."""

    per_second: float
    sender: float
    receiver: float


class Sink:
    """A datagram protocol that counts."""

    def __init__(self) -> None:
        self.received = 0
        self.turns = 0

    def makeConnection(self, transport: object) -> None:
        """Begin."""

    def datagramsReceived(self, datagrams: Sequence[Datagram]) -> None:
        """Count."""
        self.received += len(datagrams)
        self.turns += 1

    def doStop(self) -> None:
        """End."""


class Pair:
    """Two ports, and datagrams for the way from one to the other."""

    def __init__(self, place: str, *, runs: bool) -> None:
        os.environ[SWITCH] = "1" if runs else "0"
        reactor = FakeReactor()
        self.sink = Sink()
        self.sending, self.receiving = (
            DatagramPort(reactor, self.sink, open_socket(place, 0), Counters())
            for _ in range(2)
        )
        host = self.receiving.getHost()
        self.address = (host.host, host.port)

    def close(self) -> None:
        """Close both."""
        self.sending.stopListening()
        self.receiving.stopListening()

    def measure(self, total: int, batch: int) -> Figures:
        """Move datagrams, so many with each call of the sender."""
        # As from a session: the same address object, and new bytes, for each.
        packets = [os.urandom(DATAGRAM_BYTES) for _ in range(batch)]
        datagrams = [(packet, self.address) for packet in packets]
        calls = max(1, AT_ONCE // batch)
        sender = receiver = 0.0
        self.sink.received = moved = 0
        began = time.perf_counter()
        while moved < total:
            moved += calls * batch
            before = time.process_time()
            for _ in range(calls):
                self.sending.sendDatagrams(datagrams)
            between = time.process_time()
            while self.sink.received < moved:
                self.receiving.doRead()
            sender += between - before
            receiver += time.process_time() - between
        seconds = time.perf_counter() - began
        micro = 1e6 / (moved * PAYLOAD_KIB)
        return Figures(moved / seconds, sender * micro, receiver * micro)


def main() -> None:
    """Measure both ways alternately, and print medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datagrams")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--datagrams", type=int, default=20_000)
    arguments = parser.parse_args()
    print("                      single calls                 runs")
    print("place      batch   1000/s  send  receive    1000/s  send  receive  ratio")
    for place in PLACES:
        with (
            closing(Pair(place, runs=False)) as single,
            closing(Pair(place, runs=True)) as runs,
        ):
            for batch in BATCHES:
                rounds = [
                    (
                        single.measure(arguments.datagrams, batch),
                        runs.measure(arguments.datagrams, batch),
                    )
                    for _ in range(arguments.rounds)
                ]
                a, b = (
                    Figures(*map(statistics.median, zip(*side, strict=True)))
                    for side in zip(*rounds, strict=True)
                )
                print(
                    f"{place:10} {batch:5} {a.per_second / 1000:8.0f} {a.sender:5.2f} "
                    f"{a.receiver:8.2f} {b.per_second / 1000:9.0f} {b.sender:5.2f} "
                    f"{b.receiver:8.2f} {b.per_second / a.per_second:6.2f}",
                    flush=True,
                )
    print("send, receive: microseconds of processor time per KiB of data")


if __name__ == "__main__":
    main()
