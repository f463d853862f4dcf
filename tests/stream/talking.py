"""A stream whose peer is written out message by message."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import Message, Range, decode_message, encode_message


class StreamTestCase(SynchronousTestCase):
    """Has a stream, and the time."""

    client = False

    def setUp(self) -> None:
        self.now = 100.0
        self.make()

    def make(self, **options: float | None) -> None:
        """Make a new stream."""
        self.stream = Stream(
            random_bytes=random.Random(1).randbytes,
            now=self.now,
            client=self.client,
            **options,  # type: ignore[arg-type]
        )

    def hear(
        self,
        message_id: int = 0,
        position: int = 0,
        block: bytes = b"",
        ending: int = 0,
        named: int = 0,
        ranges: tuple[Range, ...] = (),
        limit: int | None = None,
    ) -> None:
        """Have a message of the peer's arrive."""
        encoded = encode_message(
            message_id=message_id,
            acknowledged_id=named,
            ranges=ranges,
            position=position,
            block=block,
            ending=ending,
            limit=limit,
        )
        self.stream.receive([encoded], self.now)

    def said(self) -> list[Message]:
        """Give what the stream sends now."""
        messages = []
        for encoded in self.stream.messages_to_send(self.now):
            message = decode_message(encoded)
            assert message is not None
            messages.append(message)
        return messages

    def only(self) -> Message:
        """Give the one message that the stream sends now."""
        (message,) = self.said()
        return message

    def pass_time(self, seconds: float) -> list[Message]:
        """Let timers fire for a while; give what was sent."""
        until = self.now + seconds
        messages = self.said()
        while True:
            deadline = self.stream.next_deadline(self.now)
            if deadline is None or deadline > until:
                break
            self.now = max(self.now, deadline)
            self.stream.handle_timer(self.now)
            messages += self.said()
        self.now = until
        return messages
