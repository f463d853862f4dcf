"""Runs of messages with full blocks, handled together."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.stream.receiver import RECEIVE_WINDOW
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import (
    decode_data,
    decode_message,
    encode_data,
    encode_message,
)
from tests.stream.wire_between import data_of


class RunTests(SynchronousTestCase):
    """Runs of full blocks, taken for less."""

    def test_same(self) -> None:
        """However messages are grouped, the same comes out of them."""
        data = data_of(40 * 1024)
        messages = encode_data(
            range(1, 41), ((n, data[n : n + 1024]) for n in range(0, 40960, 1024)), 9
        )
        messages[7], messages[20] = messages[20], messages[7]
        messages.insert(12, messages[3])
        results = []
        for group in (1, 3, 41):
            stream = Stream(
                random_bytes=random.Random(1).randbytes, now=0.0, client=False
            )
            for start in range(0, len(messages), group):
                stream.receive(messages[start : start + group], 1.0)
            answer = decode_message(stream.messages_to_send(1.0)[-1])
            assert answer is not None
            results.append((stream.read(), answer.ranges, answer.acknowledged_id))
        self.assertEqual(results[0][0], data)
        self.assertEqual(results[0][1], [(0, 40960)])
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0], results[2])

    def test_beyond_the_window(self) -> None:
        """A run ends where there is no more room."""
        blocks = RECEIVE_WINDOW // 1024 + 5
        messages = encode_data(
            range(1, blocks + 1), ((1024 * n, bytes(1024)) for n in range(blocks)), 9
        )
        stream = Stream(random_bytes=random.Random(1).randbytes, now=0.0, client=False)
        stream.receive(messages, 1.0)
        self.assertEqual(len(stream.read()), RECEIVE_WINDOW)

    @given(st.binary(max_size=1200), st.integers(0, 2**64 - 1), st.integers(0, 2**32))
    def test_decoding(self, block: bytes, position: int, message_id: int) -> None:
        """What is decoded for less is what is decoded otherwise."""
        encoded = encode_message(
            message_id=message_id % 2**32,
            position=position,
            block=block[:1024],
            limit=7,
        )
        data, message = decode_data(encoded), decode_message(encoded)
        assert message is not None
        plain = len(block) >= 1024 and message.block is not None
        self.assertEqual(data is not None, plain)
        if data is not None:
            self.assertEqual(
                data, (message.message_id, message.position, message.limit, False)
            )
            self.assertEqual(encoded[-1024:], message.block)
