"""A load generator: opens connections with the client's core and a plain socket."""

from __future__ import annotations

import os
import socket
import time

from benchmarks.sides import ADDRESS, EXTENSION, NAME, PATIENCE
from curvecp_tx import Counters, Identity
from curvecp_tx.secure.client import Client, Phase
from curvecp_tx.wire.messages import encode_message
from curvecp_tx.wire.names import encode_server_name

RECEIVE_BYTES = 2048
POLL = 0.5


def open_connections(server_key: bytes, port: int, count: int) -> None:
    """Open connections one after another, from Hello to the first Message."""
    for _ in range(count):
        _open(server_key, port)


def _open(server_key: bytes, port: int) -> None:
    identity = Identity.ephemeral()
    address = (ADDRESS, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(POLL)
        client = Client(
            server_key=server_key,
            server_name=encode_server_name(NAME),
            server_extension=bytes.fromhex(EXTENSION),
            addresses=[address],
            keys=identity.keys,
            vouch_nonces=identity.nonces,
            extension=bytes(16),
            random_bytes=os.urandom,
            now=time.monotonic(),
            timeout=PATIENCE,
            counters=Counters(),
        )
        client.send([encode_message(message_id=1)])
        while client.phase is not Phase.OPEN:
            for datagram, where in client.take_datagrams():
                sock.sendto(datagram, where)
            try:
                received = sock.recvfrom(RECEIVE_BYTES)
            except TimeoutError:
                client.handle_timer(time.monotonic())
            else:
                client.receive([received], time.monotonic())
            if client.failure is not None:
                raise client.failure
