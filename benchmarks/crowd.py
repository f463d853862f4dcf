"""Many clients in one process and on one socket: what loads a server.

They have the client's core, and next to no stream: messages go out one at a time, and
whatever comes is acknowledged.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from benchmarks.sides import ADDRESS, EXTENSION, NAME, PATIENCE
from curvecp_tx import Counters, Identity
from curvecp_tx.secure.client import Client, Phase
from curvecp_tx.secure.paths import Datagram
from curvecp_tx.wire.messages import decode_message, encode_message
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import EXTENSION_BYTES, RECEIVER_EXTENSION

RECEIVE_BYTES = 2048
RECEIVE_BUFFER = 4 << 20
POLL = 0.5
"""Seconds of silence after which what has no answer is sent again."""

SILENCES = 60
ECHO_BYTES = 32


class Member:
    """One of the clients.

    :ivar received: how much of the server's stream has arrived.
    """

    __slots__ = ("_said", "client", "next_id", "received", "sent")

    def __init__(self, client: Client) -> None:
        self.client = client
        self.next_id = 1
        self.sent = self.received = 0

    def say(self, block: bytes) -> None:
        """Send a block, or ask for a sign of life if it is empty."""
        self._said = self.sent, block
        self.sent += len(block)
        self.repeat()

    def repeat(self) -> None:
        """Send that, or send it again."""
        position, block = self._said
        message = encode_message(
            message_id=self.next_id, position=position, block=block
        )
        self.next_id += 1
        self.client.send([message])

    def hear(self) -> None:
        """Take what has arrived, and acknowledge it."""
        for data in self.client.take_messages():
            message = decode_message(data)
            if message is None or not message.message_id:
                continue
            if message.block and message.position == self.received:
                self.received += len(message.block)
            answer = encode_message(
                acknowledged_id=message.message_id, ranges=[(0, self.received)]
            )
            self.client.send([answer])


class Crowd:
    """Clients of one server."""

    def __init__(self, server_key: bytes, port: int) -> None:
        self._address = (ADDRESS, port)
        self._server_key = server_key
        # With a key pair each, they would spend most of their time on making it.
        self._identity = Identity.ephemeral()
        self._members: dict[bytes, Member] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._socket.settimeout(POLL)
        self._silences = 0

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def members(self) -> list[Member]:
        """Whoever has been opened."""
        return list(self._members.values())

    def open(self, count: int, *, at_once: int = 1, block: bytes = b"") -> None:
        """Open connections, until the server has sent a Message to each.

        :param at_once: how many handshakes go on at a time.
        :param block: what each says first, and waits for to come back.
        """
        waiting: list[Member] = []
        for _ in range(count):
            waiting.append(self._newcomer(block))
            while len(waiting) >= at_once:
                waiting = self._wait(waiting, len(block))
        while waiting:
            waiting = self._wait(waiting, len(block))

    def echo(self, members: Sequence[Member], *, at_once: int = 1) -> None:
        """Have each send a few bytes, and wait until they have come back."""
        waiting: list[tuple[Member, int]] = []
        for member in members:
            waiting.append((member, member.received + ECHO_BYTES))
            member.say(bytes(ECHO_BYTES))
            self._flush(member)
            while len(waiting) >= at_once:
                self._turn([one for one, _ in waiting])
                waiting = [(one, end) for one, end in waiting if one.received < end]
        while waiting:
            self._turn([one for one, _ in waiting])
            waiting = [(one, end) for one, end in waiting if one.received < end]

    def hellos(self, count: int, different: int) -> list[bytes]:
        """Make Hello packets, so many of them of clients of their own."""
        made = [self._client(os.urandom(EXTENSION_BYTES)) for _ in range(different)]
        packets = [client.take_datagrams()[0][0] for client in made]
        return [packets[number % different] for number in range(count)]

    def exchange(self, packets: Sequence[bytes], at_once: int) -> int:
        """Send packets, so many at a time, and count the answers."""
        answers = 0
        for begin in range(0, len(packets), at_once):
            part = packets[begin : begin + at_once]
            for packet in part:
                self._socket.sendto(packet, self._address)
            try:
                for _ in part:
                    self._socket.recv(RECEIVE_BYTES)
                    answers += 1
            except TimeoutError:
                continue
        return answers

    def _newcomer(self, block: bytes) -> Member:
        extension = os.urandom(EXTENSION_BYTES)
        member = Member(self._client(extension))
        self._members[extension] = member
        member.say(block)
        self._flush(member)
        return member

    def _client(self, extension: bytes) -> Client:
        return Client(
            server_key=self._server_key,
            server_name=encode_server_name(NAME),
            server_extension=bytes.fromhex(EXTENSION),
            addresses=[self._address],
            keys=self._identity.keys,
            vouch_nonces=self._identity.nonces,
            extension=extension,
            random_bytes=os.urandom,
            now=time.monotonic(),
            timeout=PATIENCE,
            counters=Counters(),
        )

    def _wait(self, waiting: Sequence[Member], size: int) -> list[Member]:
        self._turn(waiting)
        return [
            member
            for member in waiting
            if member.client.phase is not Phase.OPEN or member.received < size
        ]

    def _turn(self, waiting: Sequence[Member]) -> None:
        """Take one datagram, whoever it is for, or see to what is overdue."""
        try:
            received: Datagram = self._socket.recvfrom(RECEIVE_BYTES)
        except TimeoutError:
            self._silences += 1
            if self._silences > SILENCES:
                raise
            for member in waiting:
                if member.client.phase is Phase.OPEN:
                    member.repeat()
                else:
                    member.client.handle_timer(time.monotonic())
                self._flush(member)
                if member.client.failure is not None:
                    raise member.client.failure from None
            return
        found = self._members.get(received[0][RECEIVER_EXTENSION])
        if found is not None:
            found.client.receive([received], time.monotonic())
            found.hear()
            self._flush(found)

    def _flush(self, member: Member) -> None:
        for datagram, where in member.client.take_datagrams():
            self._socket.sendto(datagram, where)
