"""Who has ended its stream and then fails."""

from __future__ import annotations

from curvecp_tx.wire.messages import NO_READER, SUCCESS
from tests.stream.talking import StreamTestCase


class AbortAfterEndTests(StreamTestCase):
    """Its end cannot be taken back, and the peer still has to learn of it."""

    def end_and_abort(self, acknowledged: bool) -> None:
        """Say the end of our stream, maybe have it acknowledged, and fail."""
        self.stream.write(b"x")
        self.stream.finish()
        sent = self.only()
        self.assertEqual(sent.ending, SUCCESS)
        if acknowledged:
            self.hear(named=sent.message_id, ranges=((0, 2),))
        self.stream.abort(self.now)
        if not acknowledged:
            self.hear(named=sent.message_id, ranges=((0, 2),))

    def test_told(self) -> None:
        """The peer is told to stop, and we stay until it has ended."""
        for acknowledged in (True, False):
            self.make()
            self.end_and_abort(acknowledged)
            self.assertFalse(self.stream.over)
            self.hear(7, 0, b"more")
            self.assertEqual({m.limit for m in self.pass_time(0.1)}, {NO_READER})
            self.hear(8, 4, b"", ending=4096)
            self.assertTrue(self.stream.over)
