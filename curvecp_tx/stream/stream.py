"""One reliable stream in each direction, over messages that may get lost.

The owner passes in messages as they arrive and bytes as they are written, and
after each call fetches what is to be sent with :meth:`Stream.messages_to_send`
and what is to be read with :meth:`Stream.read`. It calls
:meth:`Stream.handle_timer` when :meth:`Stream.next_deadline` comes.

Acknowledgments do not wait for the reader: they are taken and given even while
nobody reads.

How it ends
-----------

CurveCP has no packet for "closed". A stream ends in each direction with a block
that says so, and is over when both ends are acknowledged. Whoever sent the last
acknowledgment cannot know that it arrived. So each side, when all is done, sends
a *last ping*: an empty message one position after the end of its stream. It says
that all of this side's stream is acknowledged, acknowledges all of the other's,
and asks for an answer. Who gets the answer, or the other side's last ping, is
done; who gets neither stays for a while in order to repeat acknowledgments, and
is then done as well. A peer that knows nothing of this sees an ordinary empty
message.
"""

from __future__ import annotations

from collections.abc import Sequence

from curvecp_tx.errors import (
    PeerFailed,
    PeerStopped,
    StreamAborted,
    StreamBroken,
    StreamFailed,
    StreamTimedOut,
)
from curvecp_tx.stream.answers import Answers
from curvecp_tx.stream.bbr import Bbr
from curvecp_tx.stream.blocks import Block
from curvecp_tx.stream.congestion import ICongestionControl
from curvecp_tx.stream.randomness import IdSource, RandomBytes
from curvecp_tx.stream.receiver import Arrival, Receiver
from curvecp_tx.stream.sender import Sender
from curvecp_tx.wire.messages import (
    FAILURE,
    MAX_BLOCK_BYTES,
    MAX_RANGES,
    NO_READER,
    SMALL_BLOCK_BYTES,
    Message,
    decode_data,
    decode_message,
    encode_data,
    encode_message,
)

GIVE_UP = 120.0
"""Seconds without any message from the peer while an acknowledgment is due."""

OVERSLEPT_GRACE = 10.0
"""Seconds that a peer gets at the least when we come back from a long sleep."""

KEEPALIVE = 25.0
"""Seconds of silence before a ping: address translators forget after 30."""

EXPECTING = 1.0
"""Seconds of silence before a ping where the peer is expected to send: after a full
block, beyond a gap, or once it has all of our stream and has not ended its own; three
round trips if that is more. One ping for each silence."""

MIN_LINGER = 2.0
MAX_LINGER = 30.0
LINGER_TIMEOUTS = 3
"""How long a side stays that cannot know whether its last acknowledgment came
through: three of its own time-outs, within bounds."""

FAILED_LINGER = 4.0
"""The lower bound for a side that has failed by itself: the peer cannot guess it."""

ANSWERED_LINGER = 8.0
"""How long a side that has failed stays after each answer of the peer's, within the
same upper bound: two probes, if need be. The peer is to learn of the failure, and
takes note of it only when all that was sent before has arrived."""

LINGER_PROBES = 8
"""How often the last word is sent in that time: with a third of all packets lost,
all of them get lost in one case of several thousand."""


class Stream:
    """Both directions of a connection.

    :param random_bytes: source of message IDs.
    :param now: the present.
    :param client: whether the first messages travel in Initiate packets, and so
        have to be small until the peer has answered.
    :param congestion: decides on the speed; BBR by default.
    :ivar failure: why the stream has failed, if it has.
    """

    def __init__(
        self,
        *,
        random_bytes: RandomBytes,
        now: float,
        client: bool,
        congestion: ICongestionControl | None = None,
        give_up: float = GIVE_UP,
        keepalive: float | None = KEEPALIVE,
    ) -> None:
        if congestion is None:
            congestion = Bbr(phase=random_bytes(1)[0])
        self.failure: StreamFailed | None = None
        self._congestion = congestion
        self._ids = IdSource(random_bytes)
        self._sender = Sender(
            congestion, block_limit=SMALL_BLOCK_BYTES if client else MAX_BLOCK_BYTES
        )
        self._receiver = Receiver()
        self._give_up = give_up
        self._keepalive = keepalive
        self._heard = now
        self._owing_since: float | None = None
        self._answers = Answers()
        self._limit_told = 0
        self._peer_listens = False
        self._peer_wants_more = False
        self._stopping = False
        self._expecting = False
        self._lingers_until: float | None = None
        self._linger_limit = 0.0
        self._peer_done = False
        self._over = False

    @property
    def readable(self) -> bool:
        """Whether there is something to read."""
        return self._receiver.waiting > 0

    @property
    def peer_ended(self) -> bool:
        """Whether the peer has ended its stream well, and all of it was read."""
        return self._receiver.succeeded and self._receiver.delivered

    @property
    def acknowledged(self) -> bool:
        """Whether the peer has all of our stream, and knows that it ended."""
        return self._sender.finished

    @property
    def complete(self) -> bool:
        """Whether both streams have ended well, and both ends have all of them."""
        return (
            self.failure is None and self._sender.finished and self._receiver.succeeded
        )

    @property
    def over(self) -> bool:
        """Whether nothing more has to be sent, or waited for."""
        return self._over

    @property
    def has_sent(self) -> bool:
        """Whether anything of ours was sent by now."""
        return self._sender.has_sent

    @property
    def unsent(self) -> int:
        """Bytes written, and not sent yet."""
        return self._sender.unsent

    @property
    def buffered(self) -> int:
        """Bytes written, and not acknowledged yet."""
        return self._sender.buffered

    @property
    def retransmissions(self) -> int:
        """How many messages had to be sent again."""
        return self._sender.retransmissions

    def write(self, data: bytes) -> None:
        """Send bytes; the caller bounds how many wait, see :attr:`buffered`."""
        self._sender.write(data)

    def finish(self) -> None:
        """End our stream, after what has been written."""
        self._sender.finish()

    def ping(self) -> None:
        """Make ourselves known, though there is nothing to say yet."""
        self._sender.ping()

    def read(self, most: int | None = None) -> bytes:
        """Take what has arrived; ``most`` bytes, or one block if that is longer."""
        return self._receiver.take(most)

    def discard(self) -> None:
        """Have everything that arrives acknowledged and thrown away."""
        self._receiver.discard()

    @property
    def discarded(self) -> int:
        """Bytes thrown away because nobody reads."""
        return self._receiver.discarded

    def stop_peer(self) -> None:
        """Have the peer stop, because nobody reads any more."""
        if not self._stopping and self._receiver.total is None:
            self._stopping = True
            self._answers.hurry()

    def abort(self, now: float, failure: StreamFailed | None = None) -> None:
        """End as a failure, and tell the peer; what is complete stays so."""
        if self.complete:
            self._over = True
        elif self.failure is None and not self._over:
            self._receiver.discard()
            self._fail(failure or StreamAborted(), now)

    def receive(self, messages: Sequence[bytes], now: float) -> None:
        """Take messages from the peer; no message makes this raise."""
        had_ended = self._sender.finished
        handled = self._receive_run(messages, now)
        for encoded in messages[handled:] if handled else messages:
            message = decode_message(encoded)
            if message is None:
                continue
            self._heard = now
            self._sender.block_limit = MAX_BLOCK_BYTES
            if message.limit is not None:
                self._peer_listens = True
                self._peer_wants_more |= message.wants_more
                self._sender.allow(message.limit, now)
                if message.limit == NO_READER and not self._sender.finished:
                    self.abort(now, PeerStopped())
            try:
                # Without anything to acknowledge, there is nothing to do here.
                if message.acknowledged_id or message.ranges:
                    self._sender.acknowledge(
                        message.acknowledged_id, message.ranges, now
                    )
                if message.block is not None:
                    self._accept(message, now)
            except StreamBroken as error:
                self.abort(now, error)
            if self.failure is not None and self._lingers_until is not None:
                # What was sent before the failure has to arrive before it. A peer that
                # has failed itself wants nothing but an acknowledgment.
                more = MIN_LINGER if self._peer_failed else ANSWERED_LINGER
                extended = min(now + more, self._linger_limit)
                self._lingers_until = max(self._lingers_until, extended)
        if self._sender.finished and not had_ended:
            self._expecting = True
        if self._heard == now:
            self._sender.peer_heard(now)
        self._settle(now)

    def _receive_run(self, messages: Sequence[bytes], now: float) -> int:
        """Take the full blocks in order that messages begin with; tell how many.

        The same as for messages one by one, for less.
        """
        receiver = self._receiver
        begin = position = receiver.next_in_order
        if position is None or begin is None or self.failure is not None:
            return 0
        last = receiver.limit - MAX_BLOCK_BYTES
        blocks: list[bytes] = []
        told = message_id = 0
        wanted = False
        for message in messages:
            data = decode_data(message)
            if data is None or data[1] != position or position > last or not data[0]:
                break
            message_id, _, limit, wants_more = data
            wanted |= wants_more
            if limit is not None:
                if limit == NO_READER:
                    break
                told = max(told, limit)
            position += MAX_BLOCK_BYTES
            blocks.append(message[-MAX_BLOCK_BYTES:])
        if not blocks:
            return 0
        receiver.append(blocks, position)
        self._heard = now
        self._sender.block_limit = MAX_BLOCK_BYTES
        self._expecting = True
        self._peer_wants_more |= wanted
        if told:
            self._peer_listens = True
            self._sender.allow(told, now)
        rtt, patient = self._congestion.rtt, self._peer_listens
        self._answers.owe(len(blocks), now, rtt, patient=patient)
        self._answers.cite(message_id, position - MAX_BLOCK_BYTES, position)
        return len(blocks)

    def overslept(self, now: float) -> None:
        """Learn that we have not listened for a while: silence proves nothing."""
        self._heard = max(self._heard, now - self._give_up + OVERSLEPT_GRACE)

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``."""
        self._sender.handle_timer(now)
        if self._lingers_until is not None:
            if now >= self._lingers_until:
                self._over = True
        elif self._owing_since is not None and now >= self._silence_ends:
            self.failure = StreamTimedOut(f"{self._give_up:g} seconds")
            self._over = True
        elif (due := self._ping_due) is not None and now >= due:
            self._expecting = False
            self._sender.ping()

    def next_deadline(self, now: float) -> float | None:
        """When :meth:`handle_timer` and :meth:`messages_to_send` are due next."""
        if self._over:
            return None
        times = [self._answers.by, self._sender.deadline(), self._lingers_until]
        if self._sender.wants_to_send:
            times.append(self._congestion.next_time(now, self._sender.in_flight))
        if self._lingers_until is None:
            if self._owing_since is not None:
                times.append(self._silence_ends)
            elif not self._sender.pinging:
                times.append(self._ping_due)
        due = [time for time in times if time is not None]
        return min(due) if due else None

    def messages_to_send(self, now: float) -> list[bytes]:
        """Give the messages that may leave now.

        An acknowledgment travels with a block if one may leave, else alone.
        """
        answers = self._answers
        over = self._over
        if over and not answers.pending:
            return []
        messages: list[bytes] = []
        sender = self._sender
        while not over:
            if not answers.pending:
                run = sender.next_run(now, self._ids.take_many)
                if run is not None:
                    ids, blocks = run
                    pieces = ((block.position, block.data) for block in blocks)
                    limit = self._tell_limit()
                    messages += encode_data(ids, pieces, limit, sender.limited)
            block = sender.next(now)
            if block is None:
                break
            messages.append(self._encode(block, now))
        if sender.word_due:
            # At the end it would be a last ping; at the beginning it is nothing.
            message_id = self._new_id()
            sender.word_sent(message_id, now)
            limit = self._tell_limit()
            messages.append(encode_message(message_id=message_id, limit=limit))
        if self._peer_listens:
            receiver = self._receiver
            receiver.tune(now, self._peer_wants_more)
            self._peer_wants_more = False
            # The peer may be waiting for the room that its reader has made.
            grown = receiver.limit - self._limit_told
            if receiver.total is None and grown >= receiver.window // 2:
                answers.hurry()
        if answers.pending and (over or answers.is_due(now)):
            messages.append(self._encode_acknowledgment())
        if not sender.owes:
            self._owing_since = None
        elif self._owing_since is None:
            self._owing_since = now
        return messages

    @property
    def _ping_due(self) -> float | None:
        """When the peer is to be asked whether it is there, if nothing is owed.

        Where it is expected to send, after a moment: we may have moved, and it may not
        know to where.
        """
        if self._owing_since is not None:
            return None
        patience = self._keepalive
        if self._expecting:
            soon = max(EXPECTING, 3 * self._congestion.rtt)
            patience = soon if patience is None else min(soon, patience)
        return None if patience is None else self._heard + patience

    @property
    def _silence_ends(self) -> float:
        """When the peer counts as gone, if it stays silent."""
        # A ping that follows a silence is part of it.
        silent_for = self._keepalive or 0.0
        began = (self._owing_since or 0.0) - silent_for
        return max(self._heard, began) + self._give_up

    def _accept(self, message: Message, now: float) -> None:
        """Take the block of a message, and see to its acknowledgment."""
        assert message.block is not None  # noqa: S101 - checked by the caller
        receiver = self._receiver
        position, block, ending = message.position, message.block, message.ending
        arrival = Arrival.FRESH
        if block or ending:
            arrival = receiver.receive(position, block, ending)
            # A full block is seldom the last one; a short one often is, for a while.
            full = len(block) == MAX_BLOCK_BYTES and not ending
            self._expecting = full or receiver.has_gaps
        elif receiver.complete and position == receiver.acknowledgment()[0][1]:
            # Neither of the two facts is ever taken back, so that it does not
            # matter when this message left.
            self._peer_done = self._sender.finished
        if not message.message_id:
            return
        rtt, patient = self._congestion.rtt, self._peer_listens
        self._answers.owe(1, now, rtt, patient=patient)
        # A refused block gets an answer as well, without its ID: the peer has to
        # know that we are there, however long the application does not read.
        if arrival is not Arrival.REFUSED:
            start, end = position, position + len(block)
            if ending and not block:
                # For the reference, a range acknowledges such an end at either edge.
                start, end = start - 1, end + 1
            self._answers.cite(message.message_id, start, end)
        if arrival is Arrival.REPEATED or not block or ending or receiver.has_gaps:
            self._answers.hurry()

    @property
    def _peer_failed(self) -> bool:
        return isinstance(self.failure, PeerFailed)

    def _new_id(self) -> int:
        message_id = self._ids.take()
        while self._sender.knows(message_id):
            message_id = self._ids.take()
        return message_id

    def _encode(self, block: Block, now: float) -> bytes:
        message_id = self._new_id()
        self._sender.transmitted(block, message_id, now)
        receiver = self._receiver
        alone = receiver.has_gaps and receiver.gaps >= MAX_RANGES and self._peer_listens
        if (not self._answers.pending or alone) and not block.is_ping:
            return encode_message(
                message_id=message_id,
                position=block.position,
                block=block.data,
                ending=block.ending,
                limit=self._tell_limit(),
                wants_more=self._sender.limited,
            )
        acknowledged_id, ranges = self._take_acknowledgment()
        return encode_message(
            message_id=message_id,
            acknowledged_id=acknowledged_id,
            ranges=ranges,
            position=block.position,
            block=block.data,
            ending=block.ending,
            limit=self._tell_limit(),
            wants_more=self._sender.limited,
        )

    def _encode_acknowledgment(self) -> bytes:
        acknowledged_id, ranges = self._take_acknowledgment()
        return encode_message(
            acknowledged_id=acknowledged_id, ranges=ranges, limit=self._tell_limit()
        )

    def _tell_limit(self) -> int:
        if self._stopping:
            return NO_READER
        self._limit_told = self._receiver.limit
        return self._limit_told

    def _take_acknowledgment(self) -> tuple[int, list[tuple[int, int]]]:
        """Give what is to be acknowledged, each ID once."""
        ranges = self._receiver.acknowledgment()
        return self._answers.take(ranges, self._receiver.window), ranges

    def _settle(self, now: float) -> None:
        """See whether something has come to its end."""
        if self._receiver.total is None and self.failure is None:
            return
        if self._receiver.complete and self._receiver.ending == FAILURE:
            if self.failure is None:
                self._fail(PeerFailed(), now)
        elif self.complete and self._lingers_until is None:
            self._sender.ping()
            self._linger(now)
        if self.failure is not None:
            heard = self._receiver.complete or not self._stopping
            self._over |= self._sender.finished and heard
        elif self.complete:
            last_ping_answered = not self._sender.owes and not self._sender.pinging
            self._over |= self._peer_done or last_ping_answered

    def _fail(self, failure: StreamFailed, now: float) -> None:
        self.failure = failure
        if not self._sender.fail():
            # An end that was said is not taken back: the peer has to stop instead.
            self._stopping = True
            self._answers.hurry()
        self._linger(now)

    def _linger(self, now: float) -> None:
        linger = LINGER_TIMEOUTS * self._congestion.timeout
        told = self.complete or self._peer_failed
        least = MIN_LINGER if told else FAILED_LINGER
        linger = max(least, min(linger, MAX_LINGER))
        self._lingers_until = now + linger
        self._linger_limit = now + MAX_LINGER
        self._sender.probe_interval = linger / LINGER_PROBES
