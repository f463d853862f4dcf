"""Streams between our tools and the reference's, in every combination."""

from __future__ import annotations

import random
from itertools import product

from twisted.trial.unittest import TestCase

from tests.interop.processes import (
    EXTENSION,
    HOST,
    NAME,
    OURS,
    REFERENCE,
    Process,
    tool,
)
from tests.interop.streaming import (
    CLIENT_FIRST,
    KIBIBYTE,
    MEBIBYTE,
    Exchange,
    StreamTestCase,
    carrier,
    digest,
    noting,
    shell,
)

KINDS = (OURS, REFERENCE)
LITTLE = 100 * KIBIBYTE

SERVER = """read order
case $order in
client) cat down & cat >up.client; wait; cat small;;
server) cat down & exec 1>&-; cat >up.server; wait;;
esac"""
"""A server's part. Which end ends its stream first, the client decides; the other
has something to add then."""

CLIENT = {
    "client": "cat <&6 7>&- >got.client & cat up >&7; exec 7>&-; wait",
    "server": "cat up >&7 & cat <&6 >got.server; wait; cat small >&7",
}
"""A client's part, by the end that ends its stream first."""

ORDERED = {order: f"echo {order} >&7; {script}" for order, script in CLIENT.items()}
"""The same, which tells the server what it has decided."""


class MatrixTestCase(StreamTestCase):
    """Both ends send a mebibyte at once, and half-close in either order."""

    def setUp(self) -> None:
        super().setUp()
        noise = random.Random(self.id()).randbytes
        self.up, self.down, self.small = map(noise, (MEBIBYTE, MEBIBYTE, LITTLE))
        for name in ("up", "down", "small"):
            self.write(name, getattr(self, name))
        self.uploads = {"client": self.up, "server": self.up + self.small}
        self.downloads = {"client": self.down + self.small, "server": self.down}

    async def assert_carried(self, clients: dict[str, Process]) -> None:
        """Check what has arrived when clients have ended well."""
        await self.succeed(*clients.values())
        for order in clients:
            await self.assert_arrives(f"up.{order}", self.uploads[order])
            await self.assert_arrives(f"got.{order}", self.downloads[order])


def combination(
    server: str, client: str, server_message: str, client_message: str
) -> type[TestCase]:
    """Make the test of one kind of each of the four programs that take part."""
    kinds = (server, client, server_message, client_message)

    class Combination(MatrixTestCase):
        __doc__ = "Server {}, client {}, message tools {} and {}.".format(*kinds)

        async def test_carries_streams(self) -> None:
            """A mebibyte each way at once, and half-closes in both orders."""
            command = noting(carrier(server_message, SERVER))
            at = await self.serve(server, command)
            await self.assert_carried(
                {
                    order: self.call(
                        client, at, carrier(client_message, script, CLIENT_FIRST)
                    )
                    for order, script in ORDERED.items()
                }
            )
            if server_message == OURS and server == client:
                self.assertEqual(await self.statuses(len(CLIENT)), [0] * len(CLIENT))

    names = "".join(kind.title() for kind in kinds)
    Combination.__name__ = Combination.__qualname__ = f"{names}Tests"
    return Combination


for _kinds in product(KINDS, repeat=4):
    _case = combination(*_kinds)
    globals()[_case.__name__] = _case
del _case


class PlainProgramTests(MatrixTestCase):
    """Programs that know nothing of CurveCP, directly behind server or client."""

    async def test_server(self) -> None:
        """``curvecpserver --stream`` serves the reference's client and tool."""
        server = await self.serve(OURS, shell(SERVER), options=("--stream",))
        await self.assert_carried(
            {
                order: self.call(
                    REFERENCE, server, carrier(REFERENCE, script, CLIENT_FIRST)
                )
                for order, script in ORDERED.items()
            }
        )

    async def test_client(self) -> None:
        """``curvecpclient --stream`` calls the reference's server and tool."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, SERVER))
        await self.assert_carried(
            {
                order: self.call(OURS, server, shell(script), options=("--stream",))
                for order, script in ORDERED.items()
            }
        )

    async def test_both(self) -> None:
        """They also understand each other, and the program's status comes out."""
        server = await self.serve(OURS, shell(SERVER), options=("--stream",))
        await self.assert_carried(
            {
                order: self.call(OURS, server, shell(script), options=("--stream",))
                for order, script in ORDERED.items()
            }
        )
        script = ORDERED["client"] + "; exit 3"
        client = self.call(OURS, server, shell(script), options=("--stream",))
        self.assertEqual(await self.finish(client), 3)


class EndpointTests(MatrixTestCase):
    """Our endpoints in this process, the reference at the other end."""

    async def test_client_endpoint(self) -> None:
        """A Twisted protocol talks to a program behind the reference's server."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, SERVER))
        for order, added in (("client", None), ("server", self.small)):
            exchange = Exchange(f"{order}\n".encode() + self.up, added)
            await self.dial(server.port, exchange)
            arrived = await exchange.over
            self.assertEqual(digest(arrived), digest(self.downloads[order]))
            await self.assert_arrives(f"up.{order}", self.uploads[order])

    async def test_server_endpoint(self) -> None:
        """A program behind the reference's client talks to a Twisted protocol."""
        for order, added in (("client", self.small), ("server", None)):
            exchange = Exchange(self.down, added)
            port = await self.listen([exchange].pop)
            client = self.launch(
                (
                    *tool(REFERENCE, "curvecpclient"),
                    *(NAME, self.key.hex(), HOST, str(port), EXTENSION.hex()),
                    *carrier(REFERENCE, CLIENT[order], CLIENT_FIRST),
                )
            )
            arrived = await exchange.over
            await self.succeed(client)
            self.assertEqual(digest(arrived), digest(self.uploads[order]))
            await self.assert_arrives(f"got.{order}", self.downloads[order])
