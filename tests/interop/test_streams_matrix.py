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
both) cat down & cat >up.both; wait;;
client) cat >up.client; cat small;;
server) cat small; exec 1>&-; cat >up.server;;
esac"""
"""A server's part: which end is to end its stream first, the client decides."""

CLIENT = {
    "both": "echo both >&7; cat <&6 7>&- >got.both & cat up >&7; exec 7>&-; wait",
    "client": "echo client >&7; cat small >&7; exec 7>&-; cat <&6 >got.client",
    "server": "echo server >&7; cat <&6 >got.server; cat small >&7",
}
"""A client's part, by the end that ends its stream first."""


class MatrixTestCase(StreamTestCase):
    """Both ends send at once, or one after the other; all of it arrives."""

    def setUp(self) -> None:
        super().setUp()
        noise = random.Random(self.id()).randbytes
        self.up, self.down, self.small = map(noise, (MEBIBYTE, MEBIBYTE, LITTLE))
        for name in ("up", "down", "small"):
            self.write(name, getattr(self, name))

    def expected(self, order: str, whole: bytes) -> bytes:
        """Give what has to arrive in this order."""
        return whole if order == "both" else self.small

    async def assert_carried(self, clients: dict[str, Process]) -> None:
        """Check what has arrived when clients have ended well."""
        await self.succeed(*clients.values())
        for order in clients:
            await self.assert_arrives(f"up.{order}", self.expected(order, self.up))
            await self.assert_arrives(f"got.{order}", self.expected(order, self.down))


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
                    for order, script in CLIENT.items()
                }
            )
            if server_message == OURS:
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
                for order, script in CLIENT.items()
            }
        )

    async def test_client(self) -> None:
        """``curvecpclient --stream`` calls the reference's server and tool."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, SERVER))
        await self.assert_carried(
            {
                order: self.call(OURS, server, shell(script), options=("--stream",))
                for order, script in CLIENT.items()
            }
        )

    async def test_both(self) -> None:
        """They also understand each other, and the program's status comes out."""
        server = await self.serve(OURS, shell(SERVER), options=("--stream",))
        await self.assert_carried(
            {
                order: self.call(OURS, server, shell(script), options=("--stream",))
                for order, script in CLIENT.items()
            }
        )
        script = CLIENT["client"] + "; exit 3"
        client = self.call(OURS, server, shell(script), options=("--stream",))
        self.assertEqual(await self.finish(client), 3)


class EndpointTests(MatrixTestCase):
    """Our endpoints in this process, the reference at the other end."""

    async def test_client_endpoint(self) -> None:
        """A Twisted protocol talks to a program behind the reference's server."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, SERVER))
        for order in CLIENT:
            data = f"{order}\n".encode()
            if order != "server":
                data += self.expected(order, self.up)
            exchange = Exchange(data)
            await self.dial(server.port, exchange)
            arrived = await exchange.over
            self.assertEqual(digest(arrived), digest(self.expected(order, self.down)))
            if order != "server":
                await self.assert_arrives(f"up.{order}", self.expected(order, self.up))

    async def test_server_endpoint(self) -> None:
        """A program behind the reference's client talks to a Twisted protocol."""
        scripts = {
            False: "cat <&6 7>&- >got.both & cat up >&7; exec 7>&-; wait",
            True: "cat up >&7; exec 7>&-; cat <&6 >got.client",
        }
        for last, script in scripts.items():
            exchange = Exchange(self.down, last=last)
            port = await self.listen(lambda exchange=exchange: exchange)
            client = self.launch(
                (
                    *tool(REFERENCE, "curvecpclient"),
                    *(NAME, self.key.hex(), HOST, str(port), EXTENSION.hex()),
                    *carrier(REFERENCE, script, CLIENT_FIRST),
                )
            )
            arrived = await exchange.over
            await self.succeed(client)
            self.assertEqual(digest(arrived), digest(self.up))
            name = "got.client" if last else "got.both"
            await self.assert_arrives(name, self.down)
