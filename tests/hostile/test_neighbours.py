"""Two servers behind one address, told apart by their extensions alone."""

from __future__ import annotations

from curvecp_tx.secure.paths import Address
from curvecp_tx.testing import MemoryPort
from tests.faults.figures import note
from tests.net.recording import SERVER, Recorders, WorldCase, echo, greeting, message

EXTENSIONS = b"first extension.", b"second extension"
SECOND = (SERVER[0], SERVER[1] + 1)
PLACES = SERVER, SECOND
PAIRS = 20
SECONDS = 3.0


class NeighbourTests(WorldCase):
    """Same key, same name, same network; every packet reaches both of them."""

    def setUp(self) -> None:
        """Start both servers, and a network that mixes their packets up."""
        super().setUp()
        self.doubled = 0
        self.network.watch = self.double
        self.servers = [Recorders(received=echo) for _ in EXTENSIONS]
        self.listeners = [
            self.serve(factory, address=place, extension=extension)
            for factory, place, extension in zip(
                self.servers, PLACES, EXTENSIONS, strict=True
            )
        ]

    def double(self, datagram: bytes, source: Address, destination: Address) -> bool:
        """Deliver what is for one server to the other as well."""
        if destination in PLACES:
            other = SECOND if destination == SERVER else SERVER
            port = next(port for port in self.ports if port.address == other)
            assert isinstance(port, MemoryPort)
            self.reactor.callLater(0, port.arrived, datagram, source)
            self.doubled += 1
        return True

    def test_no_cross_talk(self) -> None:
        """Each server hears its own clients, and each client its own server."""
        clients = []
        for number in range(2 * PAIRS):
            which = number % 2
            factory = Recorders(greeting(message(number)))
            self.dial(
                factory,
                address=(f"198.51.100.{number + 1}", 4433),
                addresses=[PLACES[which]],
                serverExtension=EXTENSIONS[which],
            )
            clients.append((which, factory))
        self.reactor.run(SECONDS)
        for which, server in enumerate(self.servers):
            heard = sorted(text for one in server.built for text in one.messages)
            expected = sorted(
                message(number) for number in range(2 * PAIRS) if number % 2 == which
            )
            self.assertEqual(heard, expected)
        for number, (which, factory) in enumerate(clients):
            (client,) = factory.built
            self.assertEqual(client.messages, [message(number)])
            self.assertEqual(client.transport.getPeer().extension, EXTENSIONS[which])
        wrong = sum(one.counters.dropped_wrong_extension for one in self.listeners)
        self.assertEqual(wrong, self.doubled)
        note("F5", "TT", f"{2 * PAIRS} clients of 2 servers, no cross-talk")
