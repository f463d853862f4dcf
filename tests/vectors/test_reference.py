"""Packets of the reference's programs, opened twice: by us, and by PyNaCl alone."""

from __future__ import annotations

import os
import socket
import sys
import time
from typing import Any

from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.client import Client
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import RandomNonces
from curvecp_tx.wire.names import encode_server_name
from tests.faults.figures import note
from tests.interop.processes import (
    EXTENSION,
    HANDLER,
    HOST,
    NAME,
    REFERENCE,
    Process,
    ProcessTestCase,
)
from tests.interop.processes import Server as ServerProcess
from tests.interop.rawclient import message
from tests.secure.scripted import dropped, make_server
from tests.vectors.check import MAGICS, Receiver

LONGEST = 2048
CLIENT_EXTENSION = bytes(16)
"""Of the reference, where no file tells it another."""

ASK_TWICE = """
import os, sys
for text in (b"a", b"b"):
    os.write(9, bytes([12]) + text * 192)
    got = b""
    while len(got) < 193:
        try:
            got += os.read(8, 193 - len(got))
        except BlockingIOError:
            pass
    if got[1:] != text * 192:
        sys.exit(1)
"""
"""A client's program: says something, awaits the echo, and does so once more."""

TEXTS = b"a" * 192, b"b" * 192


class Recorded:
    """Randomness that is written down."""

    def __init__(self) -> None:
        self.draws: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        """Draw."""
        drawn = os.urandom(size)
        if size == 32:
            self.draws.append(drawn)
        return drawn


class ReferenceTests(ProcessTestCase):
    """All five packets, as the reference makes and takes them."""

    def setUp(self) -> None:
        """Open a port, and draw keys."""
        super().setUp()
        self.random = Recorded()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.socket.close)
        self.socket.setblocking(False)
        self.socket.bind((HOST, 0))
        self.captured: list[bytes] = []

    def take(self) -> list[tuple[bytes, Any]]:
        """Give what has arrived, and keep it."""
        arrived = []
        while True:
            try:
                arrived.append(self.socket.recvfrom(LONGEST))
            except BlockingIOError:
                self.captured += [packet for packet, _ in arrived]
                return arrived

    def receiver(self, **secrets: bytes) -> Receiver:
        """Give an end that knows some of the secrets, without our code."""
        names = ("server", "server_short_term", "client_short_term")
        known = dict.fromkeys((*names, "minute", "previous_minute"), bytes(32))
        return Receiver(
            {
                "secrets": {k: v.hex() for k, v in {**known, **secrets}.items()},
                "extensions": {
                    "server": EXTENSION.hex(),
                    "client": CLIENT_EXTENSION.hex(),
                },
                "vouch_nonce": "",
                "server_name": NAME,
            }
        )

    def opened(self, receiver: Receiver, kind: str) -> list[dict[str, Any]]:
        """Open what was captured of one kind."""
        return [
            receiver.open(kind, packet, "")
            for packet in self.captured
            if packet[:8] == MAGICS[kind]
        ]

    async def test_client(self) -> None:
        """Hello, Initiate and Message of the reference's client."""
        keys = KeyPair.generate(os.urandom)
        server = make_server(
            keys=keys,
            name=encode_server_name(NAME),
            extension=EXTENSION,
            random_bytes=self.random,
            now=time.monotonic(),
            bind_address=False,
        )
        heard: list[bytes] = []

        def step() -> bool:
            received = server.receive(self.take(), time.monotonic())
            for datagram, address in received.replies:
                self.socket.sendto(datagram, address)
            for session, messages in received.messages.items():
                heard.extend(messages)
                for datagram, address in session.seal(messages):
                    self.socket.sendto(datagram, address)
            return process.status is not None

        process = self.ask(keys.public)
        await self.until(step, "the client ends")
        self.assertEqual(process.status, 0, process.errors)
        self.assertEqual(tuple(heard), TEXTS)
        self.assertEqual(dropped(server.counters), {})
        minute, previous, short_term, *_ = self.random.draws
        receiver = self.receiver(
            server=keys.secret,
            server_short_term=short_term,
            minute=minute,
            previous_minute=previous,
        )
        receiver.p["client_short_term"] = self.captured[0][40:72]
        hello, *_ = self.opened(receiver, "hello")
        self.assertEqual(hello["inside"], bytes(64))
        (initiate,) = self.opened(receiver, "initiate")
        (later,) = self.opened(receiver, "client message")
        self.assertEqual((initiate["message"], later["message"]), TEXTS)
        self.assertLess(initiate["nonce"], later["nonce"])
        note("G1", "RT", f"{len(self.captured)} captured packets open, by two codes")

    def ask(self, key: bytes) -> Process:
        """Start the reference's client."""
        _, port = self.socket.getsockname()
        # Of this server only the key and the place matter: it is no process.
        this = ServerProcess(None, key, port)  # type: ignore[arg-type]
        return self.call(REFERENCE, this, (sys.executable, "-I", "-c", ASK_TWICE))

    async def test_server(self) -> None:
        """Cookie and Message of the reference's server."""
        server = await self.serve(REFERENCE, HANDLER)
        keys = KeyPair.generate(os.urandom)
        client = Client(
            server_key=server.key,
            server_name=encode_server_name(NAME),
            server_extension=EXTENSION,
            addresses=[(HOST, server.port)],
            keys=keys,
            vouch_nonces=RandomNonces(os.urandom),
            extension=CLIENT_EXTENSION,
            random_bytes=self.random,
            now=time.monotonic(),
            timeout=None,
            counters=Counters(),
        )
        texts = message("echo", 192), message("once more", 192)
        client.send(texts[:1])
        heard: list[bytes] = []

        def step() -> bool:
            client.receive(self.take(), time.monotonic())
            heard.extend(client.take_messages())
            if len(heard) == 1 and client.counters.messages_sent == 1:
                client.send(texts[1:])
            for datagram, address in client.take_datagrams():
                self.socket.sendto(datagram, address)
            return len(heard) == len(texts)

        await self.until(step, "the server answers twice")
        self.assertEqual(tuple(heard), texts)
        self.assertEqual(dropped(client.counters), {})
        receiver = self.receiver(client_short_term=self.random.draws[0])
        receiver.p["server"] = server.key
        (cookie,) = self.opened(receiver, "cookie")
        self.assertEqual(len(cookie["value"]), 96)
        receiver.p["server_short_term"] = cookie["server_short_term_key"]
        found = self.opened(receiver, "server message")
        self.assertEqual(tuple(one["message"] for one in found), texts)
        note("G1", "TR", f"{len(self.captured)} captured packets open, by two codes")
