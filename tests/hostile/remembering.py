"""A process that has had a connection: what does it still remember?

It tells each random number that it draws through the descriptor named on its
command line, without keeping a copy of its own. Then it waits to be looked at.
"""

from __future__ import annotations

import gc
import os
import sys

from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.extension import ExtensionFile
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.secure.client import Client
from curvecp_tx.secure.cookies import MINUTE
from curvecp_tx.secure.session import Session
from curvecp_tx.testing import FakeReactor, MemoryNetwork
from tests.net.recording import NO_FILE, Recorders, echo, greeting, message

SERVER = ("192.0.2.1", 11000)
CLIENT = ("198.51.100.7", 4433)
NAME = "server.example"
MACHINES = Client, Session
"""What holds the secrets of a connection."""


class Teller:
    """Draws random numbers, and tells them to who asked."""

    def __init__(self, descriptor: int, who: bytes) -> None:
        self._descriptor = descriptor
        self._who = who

    def __call__(self, size: int) -> bytes:
        """Draw one."""
        drawn = os.urandom(size)
        if size == 32:
            os.write(self._descriptor, self._who)
            os.write(self._descriptor, drawn)
        return drawn


def look(word: str) -> None:
    """Wait until somebody has looked."""
    gc.collect()
    print(word, flush=True)
    sys.stdin.readline()


def main(descriptor: int) -> None:
    """Have a connection, end it, and let two minutes and more pass."""
    reactor = FakeReactor()
    network = MemoryNetwork(reactor)
    served, dialled = Recorders(received=echo), Recorders(greeting(message(1)))
    listener = MessageListener(
        reactor,
        served,
        identity=Identity.ephemeral(Teller(descriptor, b"S")),
        name=NAME,
        randomBytes=Teller(descriptor, b"s"),
    )
    network.attach(listener, *SERVER)
    dialer = MessageDialer(
        reactor,
        dialled,
        identity=Identity.ephemeral(Teller(descriptor, b"C")),
        serverKey=listener.getHost().key,
        serverName=NAME,
        addresses=[SERVER],
        extension=ExtensionFile(NO_FILE),
        randomBytes=Teller(descriptor, b"c"),
    )
    network.attach(dialer, *CLIENT)
    reactor.run(1.0)
    look(f"open {listener.connections} {len(dialled.built[0].messages)}")
    dialled.built[0].transport.loseConnection()
    served.built[0].transport.loseConnection()
    # An application that keeps a transport keeps what it needs for that.
    served.built.clear()
    dialled.built.clear()
    del dialer
    reactor.run(2 * MINUTE + 1.0, step=1.0)
    gc.collect()
    machines = [thing for thing in gc.get_objects() if isinstance(thing, MACHINES)]
    look(f"over {listener.connections} {len(machines)}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
