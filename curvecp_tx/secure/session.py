"""One established connection: keys, nonces and the path to the peer.

Both ends use the same class; they differ in their :class:`Role` and in who made
the packets before. What arrives changes state only after its box has opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curvecp_tx.secure.boxes import (
    CLIENT_MESSAGE_NONCE,
    SERVER_MESSAGE_NONCE,
    seal,
    unseal,
)
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import NonceCounter, ReplayWindow
from curvecp_tx.secure.paths import Address, Datagram, Path
from curvecp_tx.wire import packets
from curvecp_tx.wire.packets import COUNTER_BYTES, SENDER_EXTENSION

HeadBuilder = Callable[[bytes], bytes]
"""From the peer's extension to the constant first bytes of our Messages."""


@dataclass(frozen=True, slots=True)
class Role:
    """What distinguishes the Messages of one end from those of the other."""

    seal_prefix: bytes
    open_prefix: bytes
    open_nonce: int
    overhead: int


SERVER = Role(
    seal_prefix=SERVER_MESSAGE_NONCE,
    open_prefix=CLIENT_MESSAGE_NONCE,
    open_nonce=packets.CLIENT_MESSAGE_NONCE,
    overhead=packets.SERVER_MESSAGE_OVERHEAD,
)
CLIENT = Role(
    seal_prefix=CLIENT_MESSAGE_NONCE,
    open_prefix=SERVER_MESSAGE_NONCE,
    open_nonce=packets.SERVER_MESSAGE_NONCE,
    overhead=packets.CLIENT_MESSAGE_OVERHEAD,
)


class Session:
    """A connection after its handshake.

    :ivar peer_name: what the peer's key is called here, if anything.
    :param peer_key: the long-term key of the other end.
    :param short_term_key: C', which names the connection on both ends.
    :param window: holds the nonce of the packet that opened the connection.
    :param head: builds the first bytes of our Messages for a path.
    """

    __slots__ = (
        "_counter",
        "_counters",
        "_head",
        "_head_builder",
        "_role",
        "_shared_key",
        "_window",
        "path",
        "peer_key",
        "peer_name",
        "short_term_key",
    )

    def __init__(
        self,
        *,
        role: Role,
        peer_key: bytes,
        short_term_key: bytes,
        shared_key: bytes,
        counter: NonceCounter,
        window: ReplayWindow,
        path: Path,
        head: HeadBuilder,
        counters: Counters,
    ) -> None:
        self._role = role
        self.peer_key = peer_key
        self.peer_name: str | None = None
        self.short_term_key = short_term_key
        self._shared_key = shared_key
        self._counter = counter
        self._window = window
        self.path = path
        self._head_builder = head
        self._head = head(path.extension)
        self._counters = counters

    def seal(self, messages: Sequence[bytes]) -> list[Datagram]:
        """Turn messages of legal size into datagrams for the current path.

        Messages that the path may not carry yet go to where the peer was last known to
        be; before it was anywhere, they are lost, and counted.

        :raises NoncesExhausted: when the connection has to end; nothing of what
            was passed in is to be sent then.
        """
        path = self.path
        if path.validated:
            return self._seal_for(path.address, self._head, messages)
        overhead = self._role.overhead
        allowed: list[bytes] = []
        rest: list[bytes] = []
        for message in messages:
            may_go = path.allows(len(message) + overhead, message)
            (allowed if may_go else rest).append(message)
        datagrams = self._seal_for(path.address, self._head, allowed)
        last = path.fallback
        if last is None:
            self._counters.lost_unvalidated_path += len(rest)
        elif rest:
            head = self._head_builder(last.extension)
            datagrams += self._seal_for(last.address, head, rest)
        return datagrams

    def _seal_for(
        self, address: Address, head: bytes, messages: Sequence[bytes]
    ) -> list[Datagram]:
        key, prefix = self._shared_key, self._role.seal_prefix
        datagrams: list[Datagram] = []
        numbers = self._counter.take_many(len(messages))
        for number, message in zip(numbers, messages, strict=True):
            nonce = number.to_bytes(COUNTER_BYTES, "little")
            box = seal(message, prefix + nonce, key)
            datagrams.append((head + nonce + box, address))
        self._counters.messages_sent += len(datagrams)
        return datagrams

    def open(self, datagram: bytes, address: Address) -> bytes | None:
        """Open a Message of the peer; ``None``, and a count, if it is not one."""
        role = self._role
        box = role.open_nonce + COUNTER_BYTES
        compressed = datagram[role.open_nonce : box]
        return self.accept(
            int.from_bytes(compressed, "little"),
            role.open_prefix + compressed,
            datagram[box:],
            datagram,
            address,
        )

    def accept(
        self,
        nonce: int,
        full_nonce: bytes,
        box: bytes,
        datagram: bytes,
        address: Address,
        plaintext_head: int = 0,
    ) -> bytes | None:
        """Open a box under the connection's key, and follow its sender.

        :param plaintext_head: bytes that stand before the message in the box.
        """
        if not self._window.is_fresh(nonce):
            self._counters.dropped_replay += 1
            return None
        plaintext = unseal(box, full_nonce, self._shared_key)
        if plaintext is None:
            self._counters.dropped_bad_box += 1
            return None
        message = plaintext[plaintext_head:] if plaintext_head else plaintext
        path = self.path
        if self._window.mark(nonce):
            extension = datagram[SENDER_EXTENSION]
            if extension != path.extension or address != path.address:
                self._follow(address, extension)
                path = self.path
        if not path.validated and address == path.address:
            path.received(len(datagram), message)
        self._counters.messages_received += 1
        return message

    def rebuild_head(self) -> None:
        """Take up a change of our own extension."""
        self._head = self._head_builder(self.path.extension)

    def _follow(self, address: Address, extension: bytes) -> None:
        if address != self.path.address:
            self._counters.path_changes += 1
        self.path = self.path.moved(address, extension)
        self._head = self._head_builder(extension)
