"""Whatever comes from the network: nothing raises, and nothing goes on for ever."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import StreamFailed
from curvecp_tx.secure.client import Phase
from curvecp_tx.stream.stream import Stream
from curvecp_tx.wire.messages import (
    FAILURE,
    MAX_STREAM_BYTES,
    NO_READER,
    SUCCESS,
    encode_message,
)
from curvecp_tx.wire.packets import MAX_DATAGRAM_BYTES
from tests.model.duo import MAGICS
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_EXTENSION,
    SERVER_ADDRESS,
    SERVER_EXTENSION,
    connect,
    make_client,
    make_server,
    message,
    to_client,
    to_server,
)

TURNS = 3000
"""How often a stream may be called before time has to pass, or it has to end."""

SIZES = st.sampled_from((0, 80, 96, 112, 200, 224, 560, 1152, 1184)) | st.integers(
    0, MAX_DATAGRAM_BYTES + 16
)


@st.composite
def datagrams(draw: st.DrawFn, receiver: bytes, sender: bytes) -> bytes:
    """Make up a packet with a true head, of any content and of any size."""
    head = draw(st.sampled_from(MAGICS)) + receiver + sender
    size = draw(SIZES)
    content = Random(draw(st.integers(0, 99))).randbytes(MAX_DATAGRAM_BYTES)
    return (head + draw(st.binary(max_size=48)) + content)[:size]


TO_SERVER = st.lists(
    st.binary(max_size=1300) | datagrams(SERVER_EXTENSION, CLIENT_EXTENSION),
    max_size=8,
)
TO_CLIENT = st.lists(
    st.binary(max_size=1300) | datagrams(CLIENT_EXTENSION, SERVER_EXTENSION),
    max_size=8,
)


class PacketTests(SynchronousTestCase):
    """What is no packet, but may look like one."""

    @given(TO_SERVER)
    def test_server(self, junk: list[bytes]) -> None:
        """A server answers nothing, opens nothing, and goes on."""
        server, client = make_server(), make_client()
        session = connect(server, client)
        received = server.receive([(one, CLIENT_ADDRESS) for one in junk], 1.0)
        self.assertEqual(received.replies, [])
        self.assertEqual(received.opened, [])
        self.assertEqual(received.messages, {})
        client.send([message(3)])
        self.assertEqual(
            to_server(server, client, 1.0).messages, {session: [message(3)]}
        )

    @given(TO_CLIENT, st.sampled_from((Phase.HELLO, Phase.INITIATE, Phase.OPEN)))
    def test_client(self, junk: list[bytes], phase: Phase) -> None:
        """A client takes nothing of it, whatever it waits for, and goes on."""
        server, client = make_server(), make_client()
        if phase is Phase.INITIATE:
            to_client(client, to_server(server, client, 0.0).replies, 0.0)
        elif phase is Phase.OPEN:
            connect(server, client)
        waiting = client.next_deadline()
        client.receive([(one, SERVER_ADDRESS) for one in junk], 0.5)
        self.assertIs(client.phase, phase)
        self.assertEqual(client.take_messages(), [])
        self.assertEqual(client.next_deadline(), waiting)


POSITIONS = st.integers(0, 3000) | st.integers(0, MAX_STREAM_BYTES)
MESSAGES = st.binary(max_size=1200) | st.builds(
    encode_message,
    message_id=st.integers(0, 3) | st.integers(0, 2**32 - 1),
    acknowledged_id=st.integers(0, 2**32 - 1),
    ranges=st.lists(POSITIONS, max_size=8, unique=True).map(
        lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
    ),
    position=POSITIONS,
    block=st.binary(max_size=1024),
    ending=st.sampled_from((0, 0, 0, SUCCESS, FAILURE)),
    limit=st.none() | POSITIONS | st.just(NO_READER),
)
STEPS = st.lists(
    st.lists(MESSAGES, max_size=4)
    | st.integers(0, 3000)
    | st.sampled_from(("read", "finish", "discard", "ping", "abort", "stop"))
    | st.floats(0, 30),
    max_size=30,
)


class MessageTests(SynchronousTestCase):
    """What an authenticated peer may send that has gone mad."""

    @given(STEPS, st.booleans())
    def test_stream(
        self, steps: list[list[bytes] | int | str | float], client: bool
    ) -> None:
        """A stream goes on or fails, and never goes round in circles."""
        self.now = 1000.0
        self.stream = Stream(
            random_bytes=Random(1).randbytes, now=self.now, client=client
        )
        for step in steps:
            self.take(step)
            self.stream.messages_to_send(self.now)
        self.pass_time(500.0)
        failure = self.stream.failure
        self.assertTrue(failure is None or isinstance(failure, StreamFailed))

    def take(self, step: list[bytes] | int | str | float) -> None:
        """Let something happen."""
        stream = self.stream
        if isinstance(step, list):
            stream.receive(step, self.now)
        elif isinstance(step, int):
            stream.write(bytes(step))
        elif isinstance(step, float):
            self.pass_time(step)
        elif step == "read" and stream.readable:
            self.assertGreater(len(stream.read()), 0)
        elif step == "abort":
            stream.abort(self.now)
        elif step == "stop":
            stream.stop_peer()
        elif step != "read":
            {"finish": stream.finish, "discard": stream.discard, "ping": stream.ping}[
                step
            ]()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all that is due."""
        end = self.now + seconds
        for _ in range(TURNS):
            deadline = self.stream.next_deadline(self.now)
            if deadline is None or deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self.stream.handle_timer(self.now)
            self.stream.messages_to_send(self.now)
        self.fail(f"still busy at {self.now}")
