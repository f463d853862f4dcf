"""Tunnels between real processes: standard input, local ports, servers behind."""

from __future__ import annotations

import os
import random
import socket
import struct
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol

from curvecp_tx.net.keydir import read_public_key
from tests.interop.processes import (
    HOST,
    NAME,
    OURS,
    REFERENCE,
    TWISTD,
    Process,
    Server,
    bound_ports,
    bound_udp_ports,
    tool,
)
from tests.interop.streaming import (
    MEBIBYTE,
    Echo,
    Exchange,
    StreamTestCase,
    carrier,
    digest,
)

LOCALS = 8
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
PROXY_OVER_TCP4 = b"\x21\x11"
AUTHORITY = 0x02
CLIENT_KEY = 0xE0


def free_tcp_port() -> int:
    """Find a TCP port that nobody has."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


class TunnelTestCase(StreamTestCase):
    """A test with a TCP server behind a CurveCP server."""

    async def listen_tcp(self, build: type[Protocol]) -> str:
        """Serve a protocol over TCP; give its endpoint's description."""
        endpoint = serverFromString(reactor, f"tcp:0:interface={HOST}")
        port: Any = await endpoint.listen(Factory.forProtocol(build))
        self.addCleanup(port.stopListening)
        return f"tcp:{HOST}:{port.getHost().port}"

    async def forward(self, target: str, *options: str) -> Server:
        """Start a server in front of it."""
        return await self.serve(OURS, (), options=(*options, "--forward", target))

    async def forward_to_echo(self) -> Server:
        """Start a server in front of a TCP server that sends everything back."""
        return await self.forward(await self.listen_tcp(Echo))

    def pipe(self, server: Server, script: str, *options: str) -> Process:
        """Run a script in which "$@" is a client on standard input and output."""
        client = (*tool(OURS, "curvecpclient"), "--stdio", *options)
        return self.launch(("sh", "-c", script, "sh", *client, *server.operands()))


class StandardTests(TunnelTestCase):
    """``curvecpclient --stdio``, as other programs use it for a way out."""

    async def test_pipes(self) -> None:
        """What comes in arrives, what arrives goes out, and the end is passed on."""
        data = random.Random(1).randbytes(MEBIBYTE)
        self.write("up", data)
        # A reference that gets an echo of so much stands still.
        behind = "cat up & cat >arrived; wait"
        script = '{ cat up | "$@"; echo $? >code; } | cat >got'
        for server in (
            await self.forward_to_echo(),
            await self.serve(REFERENCE, carrier(REFERENCE, behind)),
        ):
            self.write("got", b"")
            await self.succeed(self.pipe(server, script))
            self.assertEqual(self.read("code"), b"0\n")
            self.assertEqual(digest(self.read("got")), digest(data))
        await self.assert_arrives("arrived", data)

    async def test_files(self) -> None:
        """Standard input and output may be files as well."""
        data = random.Random(2).randbytes(MEBIBYTE)
        self.write("up", data)
        server = await self.forward_to_echo()
        await self.succeed(self.pipe(server, '"$@" <up >got'))
        self.assertEqual(digest(self.read("got")), digest(data))

    async def test_dialogue(self) -> None:
        """Bytes do not wait for others, in either direction."""
        server = await self.forward_to_echo()
        script = (
            "{ echo one; until test -s got; do sleep .05; done; cp got first;"
            ' echo two; } | "$@" >got'
        )
        await self.succeed(self.pipe(server, script))
        self.assertEqual(self.read("first"), b"one\n")
        self.assertEqual(self.read("got"), b"one\ntwo\n")

    async def test_nobody_behind_the_server(self) -> None:
        """When the server cannot pass a client on, the client fails, and says so."""
        server = await self.forward(f"tcp:{HOST}:{free_tcp_port()}")
        client = self.pipe(server, 'echo lost | exec "$@"')
        self.assertEqual(await self.finish(client), 111)
        self.assertIn("fatal", client.errors)
        await self.until(
            lambda: "unable to forward" in server.process.errors, "the server says so"
        )


class ListenTests(TunnelTestCase):
    """``curvecpclient --listen``."""

    async def exchange(self, description: str) -> None:
        """Have several local connections say different things at once."""
        noise = random.Random(description).randbytes
        sent = [noise(MEBIBYTE // LOCALS) for _ in range(LOCALS)]
        exchanges = list(map(Exchange, sent))
        for exchange in exchanges:
            endpoint = clientFromString(reactor, description)
            await endpoint.connect(Factory.forProtocol([exchange].pop))
        echoed = await gatherResults([exchange.over for exchange in exchanges])
        self.assertEqual(list(map(digest, echoed)), list(map(digest, sent)))

    async def test_tcp(self) -> None:
        """Each connection to a local port gets a stream of its own."""
        server = await self.forward_to_echo()
        port = free_tcp_port()
        listen = ("--listen", f"tcp:{port}:interface={HOST}")
        client = self.call(OURS, server, (), options=listen)
        await self.until_ready(client, lambda: port in bound_ports("tcp"))
        await self.exchange(f"tcp:{HOST}:{port}")
        self.assertIsNone(client.status)

    async def test_under_twistd(self) -> None:
        """The same as a plugin of twistd; any endpoint will do."""
        server = await self.serve(REFERENCE, carrier(REFERENCE, "cat"))
        # The name of a socket has to be short.
        path = os.path.relpath(os.path.join(self.directory, "socket"))
        pidfile = os.path.join(self.directory, "pid")
        client = self.launch(
            (
                *(*TWISTD, "--nodaemon", f"--pidfile={pidfile}", "curvecpclient"),
                *("--listen", f"unix:{path}", *server.operands()),
            ),
            cwd=os.getcwd(),
        )
        await self.until_ready(client, lambda: os.path.exists(path))
        await self.exchange(f"unix:{path}")
        self.assertNotIn("Traceback", client.output + client.errors)


class Headers(Protocol):
    """Keeps what comes first, and says goodbye.

    :cvar came: fires with it.
    """

    came: Deferred[bytes]
    transport: Any

    def __init__(self) -> None:
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        """Wait for the end of a header, and of the first line behind it."""
        self._data += data
        if self._data.endswith(b"a line\n"):
            self.transport.loseConnection()
            self.came.callback(self._data)


class ProxyHeaderTests(TunnelTestCase):
    """``curvecpserver --forward --proxy-header``."""

    async def test_header(self) -> None:
        """A server behind learns the client's address, its key, and our name."""
        Headers.came = Deferred()
        server = await self.forward(await self.listen_tcp(Headers), "--proxy-header")
        keydir = self.key_directory("client.key")
        client = self.pipe(server, '{ echo a line; sleep 60; } | "$@"', "-c", keydir)
        header = await Headers.came
        self.assertEqual(header[:12], SIGNATURE)
        self.assertEqual(header[12:14], PROXY_OVER_TCP4)
        (length,) = struct.unpack(">H", header[14:16])
        body, rest = header[16 : 16 + length], header[16 + length :]
        self.assertEqual(rest, b"a line\n")
        local = socket.inet_aton(HOST)
        source, destination, source_port, port = struct.unpack(">4s4sHH", body[:12])
        self.assertEqual((source, destination, port), (local, local, server.port))
        self.assertIn(source_port, bound_udp_ports())
        key = read_public_key(keydir).hex().encode()
        fields = b""
        for kind, value in ((AUTHORITY, NAME.encode()), (CLIENT_KEY, key)):
            fields += struct.pack(">BH", kind, len(value)) + value
        self.assertEqual(body[12:], fields)
        client.kill()
