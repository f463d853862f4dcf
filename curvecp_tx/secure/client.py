"""What a client does from its first Hello to its first Message, and after.

::

    HELLO ── Cookie ──> INITIATE ── first server Message ──> OPEN
      ^                    │
      └── fresh start <────┘  (no answer: the cookie may have expired)

    HELLO, INITIATE ── time is up ──> FAILED

A fresh start needs a new short-term key, because nonces of an Initiate must not
be followed by those of a Hello. The messages of the first flight are kept until
the server has answered, so that a fresh start can send them again.

An unanswered Initiate is repeated byte for byte. If the server has it already,
the copy has a nonce that was used, and is dropped: nothing is delivered twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from curvecp_tx.errors import (
    BadMessageSize,
    ConnectionFailure,
    ConnectTimedOut,
    LowOrderKey,
)
from curvecp_tx.secure.boxes import (
    COOKIE_NONCE,
    HELLO_NONCE,
    INITIATE_NONCE,
    VOUCH_NONCE,
    KeyPair,
    RandomBytes,
    seal,
    shared_key,
    unseal,
)
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.nonces import (
    REPLAY_WINDOW,
    LongTermNonceSource,
    NonceCounter,
    ReplayWindow,
    first_nonce,
)
from curvecp_tx.secure.paths import Address, Datagram, Path
from curvecp_tx.secure.session import CLIENT, Session
from curvecp_tx.wire.packets import (
    COOKIE_BYTES,
    COUNTER_BYTES,
    HELLO_PLAINTEXT,
    MAX_INITIATE_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_SERVER_MESSAGE_BYTES,
    MESSAGE_UNIT,
    MIN_SERVER_MESSAGE_BYTES,
    RECEIVER_EXTENSION,
    SENDER_EXTENSION,
    SERVER_MESSAGE_MAGIC,
    SERVER_MESSAGE_NONCE,
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    InitiateContents,
    client_message_head,
    is_message_size,
)

HELLO_WAIT = 1.0
HELLO_WAIT_GROWTH = 1.5
MAX_HELLO_WAIT = 2.0
"""The reference's schedule, 1 s and half as much again each time; but it goes on to
17 s, and has tried eight times in a minute. Where a third of the packets is lost each
way, one client in 300 needs more. Each wait is stretched by a random factor in [1, 2)
to keep clients out of step, so that none is longer than 4 s."""

INITIATE_WAIT = 1.0
INITIATE_WAIT_GROWTH = 1.5
MAX_INITIATE_WAIT = 4.0
"""Repeats of an Initiate: capped, so that a server that has become reachable
again or has a free slot again is found within seconds."""

FRESH_START_AFTER = 30.0
"""Seconds without an answer to an Initiate. A cookie lives for at least 60 s, so
loss alone hardly gets here; a server that was restarted, and can never open the
cookie, is found out while there is time left for a second attempt."""

FIRST_FLIGHT = 16
"""Messages kept until the server answers: what a careful sender has in flight."""

DEFAULT_TIMEOUT = 60.0


class Phase(Enum):
    """Where a client stands; see the picture above."""

    HELLO = "waiting for a cookie"
    INITIATE = "waiting for the server's first message"
    OPEN = "connected"
    FAILED = "failed"


class Client:
    """One connection to a server, from the client's end, without the socket.

    The owner passes in what arrives and what is to be sent, fetches datagrams
    with :meth:`take_datagrams` and messages with :meth:`take_messages` after
    each call, and calls :meth:`handle_timer` when :meth:`next_deadline` comes.

    :param server_key: the server's long-term public key.
    :param server_name: its name, as the 256-byte field.
    :param server_extension: its 16-byte extension.
    :param addresses: where to look for it, in this order, round and round.
    :param keys: our long-term key pair.
    :param vouch_nonces: source of nonces under our long-term key.
    :param extension: our own 16-byte extension.
    :param timeout: seconds until a connection must stand; ``None`` for ever.
    :raises LowOrderKey: if no shared secret can be had with ``server_key``.
    """

    def __init__(
        self,
        *,
        server_key: bytes,
        server_name: bytes,
        server_extension: bytes,
        addresses: Sequence[Address],
        keys: KeyPair,
        vouch_nonces: LongTermNonceSource,
        extension: bytes,
        random_bytes: RandomBytes,
        now: float,
        timeout: float | None,
        counters: Counters,
    ) -> None:
        vouch_key = shared_key(server_key, keys.secret)
        if vouch_key is None:
            raise LowOrderKey
        self.phase = Phase.HELLO
        self.failure: ConnectionFailure | None = None
        self.counters = counters
        self._server_key = server_key
        self._server_name = server_name
        self._server_extension = server_extension
        self._addresses = list(addresses)
        self._tried: set[Address] = set()
        self._keys = keys
        self._vouch_key: bytes = vouch_key
        self._vouch_nonces = vouch_nonces
        self._extension = extension
        self._extensions = {extension}
        self._random_bytes = random_bytes
        self._give_up = None if timeout is None else now + timeout
        self._first_flight: list[bytes] = []
        self._repeatable: list[Datagram] = []
        self._outgoing: list[Datagram] = []
        self._incoming: list[bytes] = []
        self._session: Session | None = None
        self._had_cookie = False
        self._start_over(now)

    @property
    def path(self) -> Address:
        """The server's address: the one in use, or else the one to be tried."""
        if self._session is not None:
            return self._session.path.address
        return self._server_address

    @property
    def message_limit(self) -> int:
        """The greatest message that may be sent now, in bytes."""
        open_ = self.phase is Phase.OPEN
        return MAX_MESSAGE_BYTES if open_ else MAX_INITIATE_MESSAGE_BYTES

    @property
    def extension(self) -> bytes:
        """Our own extension; it may be changed at any time."""
        return self._extension

    @extension.setter
    def extension(self, extension: bytes) -> None:
        if extension == self._extension:
            return
        self._extension = extension
        # The server learns it from our next packet; until then it answers to the
        # one before, and an extension proves nothing anyway.
        self._extensions.add(extension)
        if self._session is not None:
            self._session.rebuild_head()

    def next_deadline(self) -> float | None:
        """When :meth:`handle_timer` is to be called, if nothing happens before."""
        if self.phase not in (Phase.HELLO, Phase.INITIATE):
            return None
        times = [self._next_send]
        if self._give_up is not None:
            times.append(self._give_up)
        if self.phase is Phase.INITIATE:
            times.append(self._fresh_start)
        return min(times)

    def take_datagrams(self) -> list[Datagram]:
        """Give what is to be sent now."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def take_messages(self) -> list[bytes]:
        """Give the messages that have arrived."""
        incoming, self._incoming = self._incoming, []
        return incoming

    def handle_timer(self, now: float) -> None:
        """Do what is due at ``now``: repeat, start over, or give up."""
        if self.phase not in (Phase.HELLO, Phase.INITIATE):
            return
        if self._give_up is not None and now >= self._give_up:
            self._fail()
        elif self.phase is Phase.INITIATE and now >= self._fresh_start:
            self._start_over(now)
        elif now >= self._next_send:
            if self.phase is Phase.HELLO:
                self._send_hello(now)
            else:
                self._repeat_first_flight(now)

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages; before the connection is open, in Initiate packets.

        :raises BadMessageSize: for a message that is too long now, or of a size
            that no message has. Nothing is sent then.
        :raises NoncesExhausted: when the connection has to end.
        """
        limit = self.message_limit
        for message in messages:
            if not is_message_size(len(message), limit):
                raise BadMessageSize(f"{len(message)} bytes, limit {limit}")
        if self.phase is Phase.OPEN and self._session is not None:
            self._outgoing += self._session.seal(messages)
            return
        for message in messages:
            keep = len(self._first_flight) < FIRST_FLIGHT
            if keep:
                self._first_flight.append(message)
            if self.phase is Phase.INITIATE:
                self._send_initiate(message, repeatable=keep)
            elif not keep:
                self.counters.lost_waiting_full += 1

    def receive(self, batch: Sequence[Datagram], now: float) -> None:
        """Handle a batch of datagrams that arrived at ``now``.

        :raises NoncesExhausted: when there is no nonce left for the vouch.
        """
        counters = self.counters
        counters.datagrams_received += len(batch)
        for datagram, address in batch:
            size = len(datagram)
            if (
                size < MIN_SERVER_MESSAGE_BYTES
                or size > MAX_SERVER_MESSAGE_BYTES
                or size % MESSAGE_UNIT
            ) and size != COOKIE_BYTES:
                counters.dropped_bad_size += 1
            elif (
                datagram[SENDER_EXTENSION] != self._server_extension
                or datagram[RECEIVER_EXTENSION] not in self._extensions
            ):
                counters.dropped_wrong_extension += 1
            elif address[1] == 0:
                counters.dropped_bad_source += 1
            elif datagram[:8] == SERVER_MESSAGE_MAGIC and not size % MESSAGE_UNIT:
                self._receive_message(datagram, address)
            else:
                self._receive_cookie(datagram, address, now)

    def _start_over(self, now: float) -> None:
        """Forget the short-term key, if there was one, and say Hello with another."""
        self.phase = Phase.HELLO
        self._short_term = KeyPair.generate(self._random_bytes)
        self._counter = NonceCounter(first_nonce(self._random_bytes))
        key = shared_key(self._server_key, self._short_term.secret)
        if key is None:
            raise LowOrderKey
        self._hello_key: bytes = key
        self._hellos = 0
        self._hello_wait = HELLO_WAIT
        self._repeatable = []
        self._session = None
        self._server_address: Address = self._addresses[0]
        self._send_hello(now)

    def _send_hello(self, now: float) -> None:
        self._server_address = self._addresses[self._hellos % len(self._addresses)]
        self._hellos += 1
        self._tried.add(self._server_address)
        nonce = self._counter.take()
        full_nonce = HELLO_NONCE + nonce.to_bytes(COUNTER_BYTES, "little")
        hello = Hello(
            server_extension=self._server_extension,
            client_extension=self._extension,
            short_term_key=self._short_term.public,
            nonce=nonce,
            box=seal(HELLO_PLAINTEXT, full_nonce, self._hello_key),
        )
        self.counters.hellos += 1
        self._outgoing.append((hello.encode(), self._server_address))
        self._next_send = now + self._hello_wait * self._stretch()
        self._hello_wait = min(self._hello_wait * HELLO_WAIT_GROWTH, MAX_HELLO_WAIT)

    def _stretch(self) -> float:
        """Give a random factor in [1, 2)."""
        return 1 + int.from_bytes(self._random_bytes(4), "little") / 2**32

    def _receive_cookie(self, datagram: bytes, address: Address, now: float) -> None:
        cookie = Cookie.parse(datagram)
        if cookie is None:
            self.counters.dropped_bad_magic += 1
        elif self.phase is not Phase.HELLO or address not in self._tried:
            self.counters.dropped_unexpected += 1
        else:
            nonce = COOKIE_NONCE + cookie.nonce
            plaintext = unseal(cookie.box, nonce, self._hello_key)
            if plaintext is None:
                self.counters.dropped_bad_box += 1
            else:
                self._initiate(CookieContents.parse(plaintext), address, now)

    def _initiate(self, contents: CookieContents, address: Address, now: float) -> None:
        key = shared_key(contents.server_short_term_key, self._short_term.secret)
        if key is None:
            self.counters.dropped_low_order_key += 1
            return
        vouch_nonce = self._vouch_nonces()
        self.counters.cookies += 1
        self._had_cookie = True
        self.phase = Phase.INITIATE
        self._server_address = address
        # A fresh start begins where somebody has answered.
        at = self._addresses.index(address)
        self._addresses = self._addresses[at:] + self._addresses[:at]
        self._session_key = key
        self._cookie = contents.value
        self._vouch_nonce = vouch_nonce
        self._vouch = seal(
            self._short_term.public, VOUCH_NONCE + vouch_nonce, self._vouch_key
        )
        self._initiate_wait = INITIATE_WAIT
        self._next_send = now + self._initiate_wait * self._stretch()
        self._fresh_start = now + FRESH_START_AFTER
        for message in self._first_flight:
            self._send_initiate(message, repeatable=True)

    def _send_initiate(self, message: bytes, *, repeatable: bool) -> None:
        contents = InitiateContents(
            client_key=self._keys.public,
            vouch_nonce=self._vouch_nonce,
            vouch=self._vouch,
            server_name=self._server_name,
            message=message,
        )
        nonce = self._counter.take()
        full_nonce = INITIATE_NONCE + nonce.to_bytes(COUNTER_BYTES, "little")
        initiate = Initiate(
            server_extension=self._server_extension,
            client_extension=self._extension,
            short_term_key=self._short_term.public,
            cookie=self._cookie,
            nonce=nonce,
            box=seal(contents.encode(), full_nonce, self._session_key),
        )
        datagram = (initiate.encode(), self._server_address)
        self.counters.initiates += 1
        self.counters.messages_sent += 1
        self._outgoing.append(datagram)
        if repeatable:
            self._repeatable.append(datagram)

    def _repeat_first_flight(self, now: float) -> None:
        self._outgoing += self._repeatable
        wait = min(self._initiate_wait * INITIATE_WAIT_GROWTH, MAX_INITIATE_WAIT)
        self._initiate_wait = wait
        self._next_send = now + wait * self._stretch()

    def _receive_message(self, datagram: bytes, address: Address) -> None:
        if self.phase is Phase.INITIATE:
            self._open(datagram, address)
        elif self.phase is Phase.OPEN and self._session is not None:
            message = self._session.open(datagram, address)
            if message is not None:
                self._incoming.append(message)
        else:
            self.counters.dropped_unexpected += 1

    def _open(self, datagram: bytes, address: Address) -> None:
        """Try a Message as the server's first."""
        nonce = int.from_bytes(
            datagram[SERVER_MESSAGE_NONCE : SERVER_MESSAGE_NONCE + COUNTER_BYTES],
            "little",
        )
        session = Session(
            role=CLIENT,
            peer_key=self._server_key,
            short_term_key=self._short_term.public,
            shared_key=self._session_key,
            counter=self._counter,
            # So far below that the packets which this one has overtaken count.
            window=ReplayWindow(nonce - REPLAY_WINDOW),
            path=Path(self._server_address, datagram[SENDER_EXTENSION], validated=True),
            head=self._message_head,
            counters=self.counters,
        )
        message = session.open(datagram, address)
        if message is None:
            return
        self.phase = Phase.OPEN
        self.counters.connections += 1
        self._session = session
        self._incoming.append(message)
        self._scrub()

    def _message_head(self, server_extension: bytes) -> bytes:
        return client_message_head(
            server_extension, self._extension, self._short_term.public
        )

    def _fail(self) -> None:
        self.phase = Phase.FAILED
        if self._had_cookie:
            detail = (
                "the server answers, but does not let us in: it has another name, "
                "or is full, or refuses our key"
            )
        else:
            detail = (
                "no response from server: no such host or port, or it has another "
                "key or extension"
            )
        self.failure = ConnectTimedOut(detail)
        self._scrub()

    def _scrub(self) -> None:
        """Drop what the handshake alone needed, secrets first."""
        self._short_term = KeyPair(self._short_term.public, b"")
        self._hello_key = self._vouch_key = self._session_key = b""
        self._cookie = self._vouch = b""
        self._first_flight = []
        self._repeatable = []
