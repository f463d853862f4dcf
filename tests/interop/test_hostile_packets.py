"""What a server does with packets that were not sent in good faith."""

from __future__ import annotations

import os
import random

from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.client import Phase
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    COOKIE_BYTES,
    COOKIE_MAGIC,
    HELLO_BYTES,
    HELLO_MAGIC,
    INITIATE_MAGIC,
)
from tests.interop.processes import EXTENSION, HANDLER, OURS, Server
from tests.interop.rawclient import RawClient, RawClientTestCase, message

OTHER_EXTENSION = bytes(16)
ELSEWHERE = "127.0.0.7"
MAGICS = (HELLO_MAGIC, INITIATE_MAGIC, CLIENT_MESSAGE_MAGIC, COOKIE_MAGIC, b"\0" * 8)
SIZES = (0, 1, 7, 8, 40, 79, 80, 112, 223, 224, 225, 544, 560, 1184, 1185, 1200, 9000)


class HostileTestCase(RawClientTestCase):
    """A server that reports the programs it starts."""

    async def start(self) -> Server:
        """Start the server."""
        return await self.serve(OURS, HANDLER, options=("-v",))

    def assert_unharmed(self, server: Server) -> None:
        """Check that nothing went wrong inside."""
        self.assertNotIn("Traceback", server.process.errors)
        self.assertIsNone(server.process.status)


class ReplayTests(HostileTestCase):
    """Copies of a packet that opened a connection."""

    async def replay(self, server: Server, client: RawClient) -> None:
        """Send a client's Initiates again: by itself, and from elsewhere."""
        here, there = (
            self.raw_socket(server),
            self.raw_socket(server, own_host=ELSEWHERE),
        )
        for initiate in client.initiates:
            for sock in (client.socket, here, there):
                sock.send(initiate)
        await self.until_handled(server)
        self.assertEqual(here.take() + there.take(), [])

    async def test_a_replay_during_the_connection_does_nothing(self) -> None:
        """A copied Initiate starts no program, and its message comes once."""
        server = await self.start()
        client = await self.connect(server, "echo")
        await self.replay(server, client)
        await self.exchange(client, "still here")
        self.assertEqual(client.messages, [message("echo"), message("still here")])
        self.assertEqual(server.programs_started, 1)
        self.assert_unharmed(server)

    async def test_a_replay_after_the_connection_does_nothing(self) -> None:
        """A copied Initiate starts no program when the connection has ended."""
        server = await self.start()
        client = await self.connect(server, "exit 0")
        await self.until(lambda: not server.process.children(), "the program ends")
        await self.replay(server, client)
        self.assertEqual(server.process.children(), [])
        self.assertEqual(server.programs_started, 1)
        self.assert_unharmed(server)


class RoamingTests(HostileTestCase):
    """Clients that come from a new address."""

    async def test_a_client_may_change_its_port(self) -> None:
        """Answers follow a client that goes on from another port."""
        server = await self.start()
        client = await self.connect(server, "echo")
        for n in range(30):
            if n % 10 == 5:
                client.move()
            await self.exchange(client, f"number {n}")
        self.assertEqual(len(client.messages), 31)
        self.assertEqual(server.programs_started, 1)

    async def test_messages_under_way_survive_the_change(self) -> None:
        """What was sent just before the change arrives, and is answered or lost."""
        server = await self.start()
        client = await self.connect(server, "echo")
        client.send(*(message(f"before {n}") for n in range(10)))
        client.move()
        client.send(*(message(f"after {n}") for n in range(10)))
        after = {message(f"after {n}") for n in range(10)}
        await self.until(
            lambda: client.step() and after <= set(client.messages),
            "the answers to the new port",
        )
        await self.exchange(client, "and on")


class BadPacketTests(HostileTestCase):
    """Packets that deserve no answer."""

    async def assert_silence(self, server: Server, *packets: bytes) -> None:
        """Send packets, and check that the server goes on without an answer."""
        sock = self.raw_socket(server)
        for packet in packets:
            sock.send(packet)
        await self.until_handled(server)
        self.assertEqual(sock.take(), [])
        self.assertEqual(server.programs_started, 0)
        self.assert_unharmed(server)

    async def test_junk_gets_no_answer(self) -> None:
        """Random bytes of any size after a right beginning are dropped."""
        server = await self.start()
        noise = random.Random(1)
        for size in SIZES:
            junk = [
                (magic + EXTENSION + noise.randbytes(size))[:size] for magic in MAGICS
            ]
            await self.assert_silence(server, *junk, noise.randbytes(size))

    async def test_only_a_whole_hello_gets_an_answer(self) -> None:
        """224 bytes get 200 bytes; one byte or block less or more gets nothing."""
        server = await self.start()
        client = self.raw_client(server)
        (hello,) = client.sent
        self.assertEqual(len(hello), HELLO_BYTES)
        await self.assert_silence(
            server,
            hello[:-1],
            hello[:-16],
            hello[:112],
            hello + b"\0",
            hello + bytes(16),
            hello + bytes(960),
            hello + bytes(5000),
        )
        sock = self.raw_socket(server)
        sock.send(hello)
        await self.until_handled(server)
        ((cookie, _),) = sock.take()
        self.assertEqual(len(cookie), COOKIE_BYTES)

    async def test_a_hello_to_another_key_gets_no_answer(self) -> None:
        """A client that expects another key to be here hears nothing."""
        server = await self.start()
        other = KeyPair.generate(os.urandom).public
        (hello,) = self.raw_client(server, key=other).sent
        await self.assert_silence(server, hello)

    async def test_a_hello_to_another_extension_gets_no_answer(self) -> None:
        """A client that expects another extension to be here hears nothing."""
        server = await self.start()
        (hello,) = self.raw_client(server, extension=OTHER_EXTENSION).sent
        await self.assert_silence(server, hello)

    async def test_a_client_that_asks_for_another_name_is_not_let_in(self) -> None:
        """Names must match to the letter; without, no program starts."""
        server = await self.start()
        for name in ("", "other.example", "Server.example", "server.example.com"):
            client = self.raw_client(server, name=name)
            client.send(message("echo"))
            await self.until_cookie(client)
            await self.until_handled(server)
            self.assertEqual(len(client.initiates), 1)
            self.assertIs(client.phase, Phase.INITIATE)
        self.assertEqual(server.programs_started, 0)
        self.assert_unharmed(server)

    async def test_a_damaged_initiate_opens_nothing(self) -> None:
        """An Initiate that is cut, longer or altered starts no program."""
        server = await self.start()
        client = self.raw_client(server)
        await self.until_cookie(client)
        client.muted = True
        client.send(message("echo", 64))
        (initiate,) = client.initiates
        flipped = [
            initiate[:at] + bytes([initiate[at] ^ 1]) + initiate[at + 1 :]
            for at in (0, 8, 40, 72, 168, 176, len(initiate) - 1)
        ]
        await self.assert_silence(
            server, initiate[:-1], initiate[:-16], initiate + bytes(16), *flipped
        )
        client.socket.send(initiate)
        await self.until(lambda: client.phase is Phase.OPEN, "the whole one opens it")
