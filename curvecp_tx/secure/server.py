"""What a server does with each datagram.

The connection index is a dictionary by C'; addresses play no part in it, so a
client may move. A Hello leaves no trace but a mark in a bounded table of rates.
An Initiate costs symmetric operations only until its cookie has opened and there
is room; then come two Diffie-Hellman operations, and whatever fails ends in silence
and a count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

from curvecp_tx.errors import NoncesExhausted
from curvecp_tx.secure.admission import Admission, Limits
from curvecp_tx.secure.authorized import AuthorizedKeys
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
from curvecp_tx.secure.cookies import CookieJar
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.ledger import Ledger
from curvecp_tx.secure.nonces import (
    LongTermNonceSource,
    NonceCounter,
    ReplayWindow,
    first_nonce,
)
from curvecp_tx.secure.paths import Address, Datagram, Path
from curvecp_tx.secure.session import SERVER, Session
from curvecp_tx.wire.packets import (
    CLIENT_MESSAGE_MAGIC,
    HELLO_BYTES,
    HELLO_MAGIC,
    INITIATE_MAGIC,
    MAX_DATAGRAM_BYTES,
    MESSAGE_UNIT,
    MIN_CLIENT_MESSAGE_BYTES,
    RECEIVER_EXTENSION,
    SHORT_TERM_KEY,
    Cookie,
    CookieContents,
    Hello,
    Initiate,
    InitiateContents,
    server_message_head,
)

VOUCH_KEY_CACHE = 1024
"""Clients whose long-term shared key is kept: each hit saves one of the four
curve operations of a connection."""

_INITIATE_PLAINTEXT_HEAD = 352
_INITIATE_NONCE = slice(168, 176)


@dataclass(slots=True)
class Received:
    """What came of one batch of datagrams."""

    replies: list[Datagram] = field(default_factory=list)
    """Cookies to be sent."""
    opened: list[Session] = field(default_factory=list)
    """New connections; the first message of each is under ``messages``."""
    messages: dict[Session, list[bytes]] = field(default_factory=dict)
    """Messages in order of arrival, by connection."""


class Server:
    """All connections of one listening port, without the port.

    :param keys: the server's long-term key pair.
    :param name: the server's name as the 256-byte field of an Initiate.
    :param extension: the server's 16-byte extension; packets for another one
        are not ours.
    :param cookie_nonces: source of nonces under the long-term key.
    :param limits: how much is let in.
    :param authorized: the only keys that may come in; ``None`` for any.
    :param bind_address: see :class:`~curvecp_tx.secure.cookies.CookieJar`.
    :param ledger: knows who is in, where other processes serve clients, too.
    """

    def __init__(
        self,
        *,
        keys: KeyPair,
        name: bytes,
        extension: bytes,
        cookie_nonces: LongTermNonceSource,
        random_bytes: RandomBytes,
        now: float,
        limits: Limits,
        counters: Counters,
        authorized: AuthorizedKeys | None = None,
        bind_address: bool = True,
        ledger: Ledger | None = None,
    ) -> None:
        self._keys = keys
        self._name = name
        self._extension = extension
        self._cookie_nonces = cookie_nonces
        self._random_bytes = random_bytes
        self._jar = CookieJar(
            random_bytes=random_bytes, now=now, bind_address=bind_address
        )
        self._admission = Admission(
            limits=limits,
            authorized=authorized,
            counters=counters,
            now=now,
            ledger=ledger,
        )
        self._sessions: dict[bytes, Session] = {}
        self._origins: dict[Session, str] = {}
        self._vouch_key = lru_cache(VOUCH_KEY_CACHE)(
            lambda public: shared_key(public, keys.secret)
        )
        self.accepting = True
        self.counters = counters

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._sessions)

    @property
    def occupied(self) -> int:
        """How many connections count towards the limit, here and elsewhere."""
        return self._admission.occupied

    @property
    def limits(self) -> Limits:
        """How much is let in."""
        return self._admission.limits

    def allow(
        self, limits: Limits, authorized: AuthorizedKeys | None, now: float
    ) -> None:
        """Replace the limits and the authorized keys, for newcomers only."""
        self._admission.authorized = authorized
        self._admission.set_limits(limits, now)

    def rotate(self, now: float) -> None:
        """Retire what has had its time; due at least once a minute."""
        self._jar.rotate(now)
        self._admission.forget(now)

    def close(self, session: Session, *, forget: bool = False) -> None:
        """Free the connection's slot; its client gets no further answer.

        :param forget: let a retransmitted Initiate open it again, because it
            never came to anything.
        """
        key = session.short_term_key
        # After a failed start the key may belong to the next attempt already.
        if self._sessions.get(key) is not session:
            return
        del self._sessions[key]
        self._admission.closed(self._origins.pop(session), session.peer_key)
        if forget:
            self._jar.forget(key)

    def receive(self, batch: Sequence[Datagram], now: float) -> Received:
        """Handle a batch of datagrams that arrived at ``now``."""
        self._jar.rotate(now)
        counters = self.counters
        counters.datagrams_received += len(batch)
        received = Received()
        extension = self._extension
        sessions = self._sessions
        for datagram, address in batch:
            size = len(datagram)
            if (
                size < MIN_CLIENT_MESSAGE_BYTES
                or size > MAX_DATAGRAM_BYTES
                or size % MESSAGE_UNIT
            ):
                counters.dropped_bad_size += 1
            elif datagram[RECEIVER_EXTENSION] != extension:
                counters.dropped_wrong_extension += 1
            elif address[1] == 0:
                counters.dropped_bad_source += 1
            elif datagram[:8] == CLIENT_MESSAGE_MAGIC:
                session = sessions.get(datagram[SHORT_TERM_KEY])
                if session is None:
                    counters.dropped_unknown_connection += 1
                else:
                    message = session.open(datagram, address)
                    if message is not None:
                        received.messages.setdefault(session, []).append(message)
            else:
                self._handshake(datagram, address, received, now)
        return received

    def _handshake(
        self, datagram: bytes, address: Address, received: Received, now: float
    ) -> None:
        magic = datagram[:8]
        if magic == HELLO_MAGIC:
            # A flood of Hellos should cost next to nothing.
            if len(datagram) == HELLO_BYTES and not self._admission.hello(
                address[0], now
            ):
                return
            hello = Hello.parse(datagram)
            if hello is None:
                self.counters.dropped_bad_size += 1
            else:
                self._hello(hello, address, received)
        elif magic == INITIATE_MAGIC:
            initiate = Initiate.parse(datagram)
            if initiate is None:
                self.counters.dropped_bad_size += 1
            else:
                self._initiate(initiate, datagram, address, received, now)
        else:
            self.counters.dropped_bad_magic += 1

    def _hello(self, hello: Hello, address: Address, received: Received) -> None:
        counters = self.counters
        key = shared_key(hello.short_term_key, self._keys.secret)
        if key is None:
            counters.dropped_low_order_key += 1
            return
        nonce = HELLO_NONCE + hello.nonce.to_bytes(8, "little")
        if unseal(hello.box, nonce, key) is None:
            counters.dropped_bad_hello += 1
            return
        counters.hellos += 1
        try:
            cookie_nonce = self._cookie_nonces()
        except NoncesExhausted:
            counters.dropped_no_nonce += 1
            return
        short_term = KeyPair.generate(self._random_bytes)
        value = self._jar.seal(
            client_key=hello.short_term_key,
            server_secret=short_term.secret,
            host=address[0],
            nonce=cookie_nonce,
        )
        contents = CookieContents(short_term.public, value).encode()
        cookie = Cookie(
            client_extension=hello.client_extension,
            server_extension=self._extension,
            nonce=cookie_nonce,
            box=seal(contents, COOKIE_NONCE + cookie_nonce, key),
        )
        counters.cookies += 1
        received.replies.append((cookie.encode(), address))

    def _initiate(
        self,
        initiate: Initiate,
        datagram: bytes,
        address: Address,
        received: Received,
        now: float,
    ) -> None:
        session = self._sessions.get(initiate.short_term_key)
        if session is not None:
            message = session.accept(
                nonce=initiate.nonce,
                full_nonce=INITIATE_NONCE + datagram[_INITIATE_NONCE],
                box=initiate.box,
                datagram=datagram,
                address=address,
                plaintext_head=_INITIATE_PLAINTEXT_HEAD,
            )
            if message is not None:
                received.messages.setdefault(session, []).append(message)
            return
        secret = self._cookie_secret(initiate, address[0])
        if secret is None or not self._admission.may_start(address[0], now):
            return
        key = shared_key(initiate.short_term_key, secret)
        if key is None:
            self.counters.dropped_low_order_key += 1
            return
        contents = self._verified(initiate, datagram, key)
        if contents is None:
            return
        client = self._admission.admit(address[0], contents.client_key, now)
        if client is None:
            return
        session = Session(
            role=SERVER,
            peer_key=contents.client_key,
            short_term_key=initiate.short_term_key,
            shared_key=key,
            counter=NonceCounter(first_nonce(self._random_bytes)),
            window=ReplayWindow(initiate.nonce),
            path=Path(
                address,
                initiate.client_extension,
                validated=self._jar.binds_address,
            ),
            head=partial(server_message_head, server_extension=self._extension),
            counters=self.counters,
        )
        session.peer_name = client.name
        session.path.received(len(datagram), contents.message)
        self._sessions[initiate.short_term_key] = session
        self._origins[session] = address[0]
        self._jar.remember(initiate.short_term_key)
        self.counters.initiates += 1
        self.counters.connections += 1
        self.counters.messages_received += 1
        received.opened.append(session)
        received.messages[session] = [contents.message]

    def _cookie_secret(self, initiate: Initiate, host: str) -> bytes | None:
        counters = self.counters
        if self._jar.was_used(initiate.short_term_key):
            counters.dropped_used_key += 1
            return None
        if not self.accepting:
            counters.refused_draining += 1
            return None
        secret = self._jar.open(
            initiate.cookie, client_key=initiate.short_term_key, host=host
        )
        if secret is None:
            counters.dropped_bad_cookie += 1
        elif self._jar.is_full:
            counters.refused_start_rate += 1
            return None
        return secret

    def _verified(
        self, initiate: Initiate, datagram: bytes, key: bytes
    ) -> InitiateContents | None:
        counters = self.counters
        nonce = INITIATE_NONCE + datagram[_INITIATE_NONCE]
        plaintext = unseal(initiate.box, nonce, key)
        if plaintext is None:
            counters.dropped_bad_initiate += 1
            return None
        contents = InitiateContents.parse(plaintext)
        if contents.server_name != self._name:
            counters.dropped_wrong_name += 1
            return None
        vouch_key = self._vouch_key(contents.client_key)
        if vouch_key is None:
            counters.dropped_low_order_key += 1
            return None
        vouched = unseal(contents.vouch, VOUCH_NONCE + contents.vouch_nonce, vouch_key)
        if vouched != initiate.short_term_key:
            counters.dropped_bad_vouch += 1
            return None
        return contents
