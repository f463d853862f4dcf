"""Our server and client with the reference's, and with each other.

The reference's message tool stands at both ends, so that what is compared is
the server and the client. Its program has to read all before it writes much.
"""

from __future__ import annotations

import hashlib
import random

from twisted.trial.unittest import TestCase

from tests.interop.processes import OURS, REFERENCE, Process, ProcessTestCase, tool

MEBIBYTE = 1 << 20
CROWD = 20

CLIENT_FIRST = "-C"
SERVER_FIRST = "-c"


def handler(*program: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Give the reference's message tool with a program behind it."""
    return (*tool(REFERENCE, "curvecpmessage"), *options, *program)


def shell(script: str) -> tuple[str, ...]:
    """Give a shell that runs a script."""
    return ("sh", "-c", script)


class PairingTestCase(ProcessTestCase):
    """A server of one kind, and clients that take their part in a dialogue."""

    async def start(self, kind: str, *program: str) -> None:
        """Start the server with a program behind the message tool."""
        self.server = await self.serve(kind, handler(*program))

    def take_part(self, kind: str, script: str, first: str) -> Process:
        """Start a client whose script has the stream on descriptors 6 and 7."""
        program = handler(*shell(script), options=(first,))
        return self.call(kind, self.server, program)

    async def succeed(self, *clients: Process) -> None:
        """Wait for clients to end well."""
        for client in clients:
            self.assertEqual(await self.finish(client), 0, client.errors)


def pairing(server: str, client: str) -> type[TestCase]:
    """Make the tests of one kind of server with one kind of client."""

    class Pairing(PairingTestCase):
        __doc__ = f"Server: {server}. Client: {client}."

        async def test_carries_a_mebibyte_each_way(self) -> None:
            """Bulk data arrives unchanged; a half-close leaves the way back open."""
            noise = random.Random(f"{server} {client}")
            up, down = noise.randbytes(MEBIBYTE), noise.randbytes(MEBIBYTE)
            self.write("up", up)
            self.write("down", down)
            await self.start(server, *shell("sha256sum >up.sum; cat down"))
            script = "cat up >&7; exec 7>&-; cat <&6 >got"
            await self.succeed(self.take_part(client, script, CLIENT_FIRST))
            arrived = self.read("up.sum").decode().partition(" ")[0]
            self.assertEqual(arrived, hashlib.sha256(up).hexdigest())
            self.assertEqual(
                hashlib.sha256(self.read("got")).digest(),
                hashlib.sha256(down).digest(),
            )

        async def test_server_may_speak_first(self) -> None:
            """A client that only listens at first hears the server's greeting."""
            script = 'echo greeting; read answer; echo "heard: $answer"'
            await self.start(server, *shell(script))
            script = 'read line <&6; echo "to $line" >&7; cat <&6 >got'
            await self.succeed(self.take_part(client, script, SERVER_FIRST))
            self.assertEqual(self.read("got"), b"heard: to greeting\n")

        async def test_client_may_speak_first(self) -> None:
            """A server that only listens at first gets the client's request."""
            await self.start(server, *shell('read line; echo "heard: $line"'))
            script = "echo request >&7; cat <&6 >got"
            await self.succeed(self.take_part(client, script, CLIENT_FIRST))
            self.assertEqual(self.read("got"), b"heard: request\n")

        async def test_runs_programs_that_filter_text(self) -> None:
            """An ordinary filter serves: what it prints at the end arrives."""
            await self.start(server, "sort")
            script = r"printf 'pear\napple\nquince\n' >&7; exec 7>&-; cat <&6 >got"
            await self.succeed(self.take_part(client, script, CLIENT_FIRST))
            self.assertEqual(self.read("got"), b"apple\npear\nquince\n")

    Pairing.__name__ = f"{server.title()}Server{client.title()}ClientTests"
    Pairing.__qualname__ = Pairing.__name__
    return Pairing


OursServerOursClientTests = pairing(OURS, OURS)
OursServerReferenceClientTests = pairing(OURS, REFERENCE)
ReferenceServerOursClientTests = pairing(REFERENCE, OURS)
ReferenceServerReferenceClientTests = pairing(REFERENCE, REFERENCE)


class CrowdTests(PairingTestCase):
    """Many clients at once."""

    async def crowd(self, server: str, client: str) -> None:
        """Have many clients talk to one server, each about something else."""
        await self.start(server, "cat")
        clients = [
            self.take_part(
                client, f"echo {n} >&7; exec 7>&-; cat <&6 >got{n}", CLIENT_FIRST
            )
            for n in range(CROWD)
        ]
        await self.succeed(*clients)
        self.assertEqual(
            [self.read(f"got{n}") for n in range(CROWD)],
            [f"{n}\n".encode() for n in range(CROWD)],
        )

    async def test_our_server_serves_many_reference_clients(self) -> None:
        """Each of many clients of our server gets its own answer."""
        await self.crowd(OURS, REFERENCE)

    async def test_reference_server_serves_many_of_our_clients(self) -> None:
        """Each of many of our clients gets its own answer."""
        await self.crowd(REFERENCE, OURS)
