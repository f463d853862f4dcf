"""Pieces of an outgoing stream: cut, sent, and known by the IDs they left under."""

from __future__ import annotations

from collections.abc import Iterable

REMEMBERED_IDS = 512
ID_SHARE = 4
"""IDs of transmissions that are remembered, acknowledged ones among them: so many,
or four times what is in flight. An acknowledgment that names an older one is no
news."""

_EXCESS_SHARE = 8
_EXCESS = REMEMBERED_IDS // _EXCESS_SHARE
"""More by this share are remembered before the oldest are forgotten."""

_COMPACT = 1 << 16


class Block:
    """A piece of the stream, cut once and for all when it is first sent.

    ``limit`` is the position up to which a range must reach in order to
    acknowledge the block: the end of the stream counts as a position. ``given_up``
    is the serial number of its last transmission that was presumed lost.
    """

    __slots__ = (
        "acknowledged",
        "data",
        "ending",
        "given_up",
        "limit",
        "position",
        "sent",
        "serial",
        "transmissions",
    )

    def __init__(
        self,
        position: int,
        data: bytes,
        ending: int,
        transmissions: int = 0,
        serial: int = 0,
        sent: float = 0.0,
    ) -> None:
        self.position = position
        self.data = data
        self.ending = ending
        self.limit = position + len(data) + (1 if ending else 0)
        self.acknowledged = False
        self.transmissions = transmissions
        self.serial = serial
        self.given_up = 0
        self.sent = sent

    @property
    def is_ping(self) -> bool:
        """Whether it holds nothing: only an ID acknowledges it."""
        return self.limit == self.position


class Unsent:
    """Bytes that have been written, and not been cut into blocks yet.

    :ivar size: how many.
    """

    __slots__ = ("_bytes", "_offset", "size")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._offset = 0
        self.size = 0

    def append(self, data: bytes) -> None:
        """Put bytes at the end."""
        self._bytes += data
        self.size += len(data)

    def clear(self) -> None:
        """Forget all of them."""
        self._bytes.clear()
        self._offset = self.size = 0

    def cut(self, size: int) -> bytes:
        """Take the first bytes; ``size`` must not be more than there are."""
        if size == self.size and not self._offset:
            data = bytes(self._bytes)
            self.clear()
            return data
        return self.cut_many(size, 1)[0]

    def cut_many(self, size: int, count: int) -> list[bytes]:
        """Take the first pieces of one size, which is not 0; there must be as many."""
        start = self._offset
        self._offset += size * count
        self.size -= size * count
        with memoryview(self._bytes) as view:
            pieces = [
                bytes(view[at : at + size]) for at in range(start, self._offset, size)
            ]
        # What has been sent is let go of in large pieces.
        if self._offset == len(self._bytes):
            self.clear()
        elif self._offset >= _COMPACT:
            del self._bytes[: self._offset]
            self._offset = 0
        return pieces


Transmission = tuple[Block, int, float, object]
"""What an ID stands for: a block, the serial number and the time of its transmission,
and what congestion control wants back with the answer."""


class Transmissions:
    """The latest transmissions by their IDs."""

    __slots__ = ("_by_id", "_order")

    def __init__(self) -> None:
        self._by_id: dict[int, Transmission] = {}
        self._order: list[int] = []

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._by_id

    def find(self, message_id: int) -> Transmission | None:
        """Give what left under an ID, if that was lately."""
        return self._by_id.get(message_id)

    def any_of(self, message_ids: Iterable[int]) -> bool:
        """Tell whether one of the IDs is taken."""
        return not self._by_id.keys().isdisjoint(message_ids)

    def add(self, message_id: int, sent: Transmission, in_flight: int) -> None:
        """Remember what leaves, and forget the oldest."""
        self._order.append(message_id)
        self._by_id[message_id] = sent
        if len(self._order) > REMEMBERED_IDS + _EXCESS:
            self._forget(in_flight)

    def add_many(
        self, message_ids: list[int], sent: Iterable[Transmission], in_flight: int
    ) -> None:
        """Do so for several."""
        self._order += message_ids
        self._by_id.update(zip(message_ids, sent, strict=True))
        self._forget(in_flight)

    def _forget(self, in_flight: int) -> None:
        by_id, order = self._by_id, self._order
        enough = max(REMEMBERED_IDS, ID_SHARE * in_flight)
        excess = len(order) - enough
        # All at once now and then: what is left has to be moved.
        if excess > enough // _EXCESS_SHARE:
            for message_id in order[:excess]:
                del by_id[message_id]
            del order[:excess]
