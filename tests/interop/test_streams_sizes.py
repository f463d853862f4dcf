"""Streams of sizes at which something might go wrong, and many at once."""

from __future__ import annotations

import random

from twisted.internet.defer import gatherResults

from tests.interop.processes import EXTENSION, HOST, NAME, REFERENCE, tool
from tests.interop.streaming import (
    CLIENT_FIRST,
    Echo,
    Exchange,
    StreamTestCase,
    carrier,
    digest,
)

SIZES = (
    *(0, 1, 512, 513, 640, 1023, 1024, 1025),
    *(65535, 65536, 65537, 131071, 131072, 131073),
)
"""Around the greatest blocks, and around pipes and windows."""

GREAT = 10 << 20
SOME = (0, 1, 513, 1025, 65537, 131073)

CROWD = 100
EACH = 20000


class SizeTests(StreamTestCase):
    """Both directions carry as much."""

    async def exchange(self, size: int) -> None:
        """Have two endpoints of ours send each other so many bytes at once."""
        noise = random.Random(size).randbytes
        up, down = noise(size), noise(size)
        server, client = Exchange(down), Exchange(up)
        port = await self.listen(lambda: server)
        await self.dial(port, client)
        at_server, at_client = await gatherResults([server.over, client.over])
        self.assertEqual(digest(at_server), digest(up))
        self.assertEqual(digest(at_client), digest(down))

    async def test_special_sizes(self) -> None:
        """Sizes around every limit arrive, nothing at all included."""
        for size in SIZES:
            await self.exchange(size)

    async def test_ten_mebibytes(self) -> None:
        """Many windows arrive."""
        await self.exchange(GREAT)

    async def test_client_with_reference(self) -> None:
        """Our client sends a program behind the reference's server these sizes."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, "cat"))
        noise = random.Random(1).randbytes
        sent = [noise(size) for size in SOME]
        exchanges = list(map(Exchange, sent))
        for exchange in exchanges:
            await self.dial(server.port, exchange)
        echoed = await gatherResults([exchange.over for exchange in exchanges])
        self.assertEqual(list(map(digest, echoed)), list(map(digest, sent)))

    async def test_server_with_reference(self) -> None:
        """Our server sends back to the reference's client these sizes."""
        port = await self.listen(Echo)
        noise = random.Random(2).randbytes
        sent = [noise(size) for size in SOME]
        clients = []
        for number, data in enumerate(sent):
            self.write(f"up{number}", data)
            script = f"cat <&6 7>&- >got{number} & cat up{number} >&7; exec 7>&-; wait"
            command = (
                *tool(REFERENCE, "curvecpclient"),
                *(NAME, self.key.hex(), HOST, str(port), EXTENSION.hex()),
                *carrier(REFERENCE, script, CLIENT_FIRST),
            )
            clients.append(self.launch(command))
        await self.succeed(*clients)
        for number, data in enumerate(sent):
            await self.assert_arrives(f"got{number}", data)


class CrowdTests(StreamTestCase):
    """Many streams at once."""

    async def test_a_hundred_streams(self) -> None:
        """A hundred clients of one server each get back what they have sent."""
        port = await self.listen(Echo)
        noise = random.Random(3).randbytes
        sent = [noise(EACH) for _ in range(CROWD)]
        exchanges = list(map(Exchange, sent))
        await gatherResults([self.dial(port, exchange) for exchange in exchanges])
        echoed = await gatherResults([exchange.over for exchange in exchanges])
        self.assertEqual(list(map(digest, echoed)), list(map(digest, sent)))
