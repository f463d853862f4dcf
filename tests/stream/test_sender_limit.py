"""A limit of the peer's that lies where our stream has been already."""

from __future__ import annotations

from curvecp_tx.wire.messages import FAILURE, SUCCESS, Range, encode_message
from tests.stream.talking import StreamTestCase

SENT = 5000


class LowLimitTests(StreamTestCase):
    """Peers whose first word on how far they receive is below what was sent."""

    def setUp(self) -> None:
        """Send more than the peer will admit to have room for."""
        super().setUp()
        self.stream.write(bytes(SENT))
        sent = self.pass_time(0.5)
        self.assertEqual(sum(len(m.block or b"") for m in sent), SENT)
        self.first = sent[0]
        self.tell(0)

    def tell(self, limit: int, named: int = 0, *ranges: Range) -> None:
        """Have the peer say how far it receives."""
        told = encode_message(acknowledged_id=named, ranges=ranges, limit=limit)
        self.stream.receive([told], self.now)

    def test_end(self) -> None:
        """The end of the stream is where its bytes end."""
        self.stream.finish()
        ends = {(m.position, m.block) for m in self.pass_time(3) if m.ending == SUCCESS}
        self.assertEqual(ends, {(SENT, b"")})
        self.assertEqual(self.stream.unsent, 0)

    def test_abort(self) -> None:
        """So is a failure, and nothing follows it."""
        self.stream.abort(self.now)
        sent = self.pass_time(3)
        ends = {(m.position, m.block) for m in sent if m.ending == FAILURE}
        self.assertEqual(ends, {(SENT, b"")})
        self.assertEqual(self.stream.unsent, 0)

    def test_more(self) -> None:
        """What is written afterwards waits until there is room for it."""
        self.stream.write(b"more")
        waiting = self.pass_time(3)
        self.assertEqual({m.position for m in waiting if m.position >= SENT}, set())
        self.tell(SENT + 4, self.first.message_id, (0, SENT))
        self.assertIn(
            (SENT, b"more"), [(m.position, m.block) for m in self.pass_time(3)]
        )
