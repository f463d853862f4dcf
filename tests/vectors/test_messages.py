"""Our stream format and our names, given all known answers."""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import BadName, StreamBroken
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import FAILURE, SUCCESS, decode_message, encode_message
from curvecp_tx.wire.names import decode_server_name, encode_server_name
from curvecp_tx.wire.packets import NAME_BYTES
from tests.vectors.files import MESSAGES, read

CONTENT = read(MESSAGES)
VECTORS: list[dict[str, Any]] = CONTENT["messages"]
ENDINGS = {None: 0, "success": SUCCESS, "failure": FAILURE}


class MessageTests(SynchronousTestCase):
    """Messages."""

    def test_decode(self) -> None:
        """Each message says what the file says; an impossible block is none."""
        for vector in VECTORS:
            found = decode_message(bytes.fromhex(vector["message"]))
            says = vector.get("decodes")
            if says is None:
                self.assertIsNone(found, vector["name"])
                continue
            assert found is not None
            self.assertEqual(
                (found.message_id, found.acknowledged_id),
                (says["id"], says["acknowledged"]),
            )
            self.assertEqual([list(pair) for pair in found.ranges], says["ranges"])
            if "block" not in says:
                self.assertIsNone(found.block, vector["name"])
                continue
            assert found.block is not None
            self.assertEqual(found.block.hex(), says["block"])
            self.assertEqual(found.position, says["position"])
            self.assertEqual(found.ending, ENDINGS[says["end"]])

    def test_encode(self) -> None:
        """The canonical ones come out byte for byte."""
        count = 0
        for vector in VECTORS:
            if not vector.get("canonical"):
                continue
            count += 1
            says = vector["decodes"]
            encoded = encode_message(
                message_id=says["id"],
                acknowledged_id=says["acknowledged"],
                ranges=[(start, end) for start, end in says["ranges"]],
                position=says["position"],
                block=bytes.fromhex(says["block"]),
                ending=ENDINGS[says["end"]],
            )
            self.assertEqual(encoded.hex(), vector["message"], vector["name"])
        self.assertGreaterEqual(count, 20)

    def test_never_sent(self) -> None:
        """Who acknowledges more than was sent has broken the stream."""
        vectors = [vector for vector in VECTORS if "sent" in vector]
        self.assertEqual(len(vectors), 4)
        for vector in vectors:
            stream = Stream(
                random_bytes=random.Random(1).randbytes, now=0.0, client=False
            )
            stream.write(bytes(vector["sent"]))
            (ours,) = stream.messages_to_send(0.0)
            encoded = bytearray.fromhex(vector["message"])
            # An acknowledgment counts only if it names an ID that was sent.
            encoded[4:8] = ours[:4]
            stream.receive([bytes(encoded)], 0.1)
            broken = isinstance(stream.failure, StreamBroken)
            self.assertEqual(broken, "error" in vector, vector["name"])


class NameTests(SynchronousTestCase):
    """Server names."""

    def test_names(self) -> None:
        """Each text has the form of the file, or none; each form is a name, or not."""
        for vector in CONTENT["names"]:
            if "field" in vector:
                field = bytes.fromhex(vector["field"]).ljust(NAME_BYTES, b"\0")
                self.assertIsNone(decode_server_name(field), vector)
            elif "error" in vector:
                self.assertRaises(BadName, encode_server_name, vector["text"])
            else:
                field = bytes.fromhex(vector["encoded"]).ljust(NAME_BYTES, b"\0")
                self.assertEqual(encode_server_name(vector["text"]), field)
                self.assertIsNotNone(decode_server_name(field))
