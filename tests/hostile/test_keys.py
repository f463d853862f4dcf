"""Public keys that are no keys, wherever one is read."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import LowOrderKey
from curvecp_tx.secure.boxes import COOKIE_NONCE, KeyPair, seal, shared_key
from curvecp_tx.secure.client import Phase
from curvecp_tx.secure.server import Received
from curvecp_tx.wire.packets import Cookie, CookieContents, Hello
from tests.faults.figures import note
from tests.hostile.scenes import open_server
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_EXTENSION,
    CLIENT_KEYS,
    LOW_ORDER_KEYS,
    LOW_ORDER_POINTS,
    SERVER_ADDRESS,
    SERVER_EXTENSION,
    SERVER_KEYS,
    RawClient,
    dropped,
    make_client,
)

PRIME = 2**255 - 19
TOP = 1 << 255


def encoded(number: int) -> bytes:
    """Write a number as a key."""
    return number.to_bytes(32, "little")


UNUSUAL = tuple(
    encoded(number | top) for number in range(PRIME, 2**255) for top in (0, TOP)
)
"""All 38 encodings of numbers that are not below the prime."""

FORGED = tuple(dict.fromkeys(LOW_ORDER_KEYS + UNUSUAL))
USABLE = tuple(key for key in UNUSUAL if key not in LOW_ORDER_KEYS)
"""Unusual ways to write usable keys."""


class KeyTests(SynchronousTestCase):
    """Each of them: dropped, counted once, and no exception."""

    def test_list(self) -> None:
        """The list is complete: the points of low order, and what stands for them."""
        self.assertEqual(len(LOW_ORDER_POINTS), 7)
        self.assertEqual((len(LOW_ORDER_KEYS), len(UNUSUAL)), (14, 38))
        self.assertEqual(len(FORGED), 48)
        for key in FORGED:
            found = shared_key(key, SERVER_KEYS.secret)
            self.assertEqual(found is None, key in LOW_ORDER_KEYS, key.hex())

    def test_hello(self) -> None:
        """No Hello with such a C' gets an answer."""
        server = open_server()
        hello = Hello.parse(RawClient().hello())
        assert hello is not None
        for key in FORGED:
            before = dropped(server.counters)
            packet = replace(hello, short_term_key=key).encode()
            received = server.receive([(packet, CLIENT_ADDRESS)], 0.0)
            self.assertEqual(received, Received())
            low = key in LOW_ORDER_KEYS
            reason = "dropped_low_order_key" if low else "dropped_bad_hello"
            before[reason] = before.get(reason, 0) + 1
            self.assertEqual(dropped(server.counters), before)
        note("C8", "TT", f"{len(FORGED)} encodings dropped in a Hello, no exception")

    def test_client_key(self) -> None:
        """No Initiate with such a C opens a connection."""
        server = open_server()
        client = RawClient().greet(server)
        for key in FORGED:
            before = dropped(server.counters)
            packet = client.initiate(client_key=key)
            received = server.receive([(packet, CLIENT_ADDRESS)], 0.0)
            self.assertEqual(received, Received())
            low = key in LOW_ORDER_KEYS
            reason = "dropped_low_order_key" if low else "dropped_bad_vouch"
            before[reason] = before.get(reason, 0) + 1
            self.assertEqual(dropped(server.counters), before)
        self.assertEqual(server.connections, 0)

    def test_server_short_term_key(self) -> None:
        """No Cookie with such an S' of low order is followed."""
        client = make_client()
        ((hello, _),) = client.take_datagrams()
        key = shared_key(hello[40:72], SERVER_KEYS.secret)
        assert key is not None
        for number, public in enumerate(LOW_ORDER_KEYS, 1):
            nonce = bytes([number]) * 16
            contents = CookieContents(public, bytes(96)).encode()
            cookie = Cookie(
                client_extension=CLIENT_EXTENSION,
                server_extension=SERVER_EXTENSION,
                nonce=nonce,
                box=seal(contents, COOKIE_NONCE + nonce, key),
            )
            client.receive([(cookie.encode(), SERVER_ADDRESS)], 0.0)
            self.assertIs(client.phase, Phase.HELLO)
            self.assertEqual(
                dropped(client.counters), {"dropped_low_order_key": number}
            )

    def test_server_key(self) -> None:
        """Nobody connects to a server whose long-term key is of low order."""
        for key in LOW_ORDER_KEYS:
            self.assertRaises(LowOrderKey, make_client, server_key=key)

    def test_other_spelling(self) -> None:
        """A usable key has one owner, however it is written."""
        for key in USABLE:
            one = shared_key(key, CLIENT_KEYS.secret)
            canonical = encoded((int.from_bytes(key, "little") & ~TOP) % PRIME)
            self.assertEqual(one, shared_key(canonical, CLIENT_KEYS.secret))
            self.assertNotEqual(
                one, shared_key(key, KeyPair.from_secret(b"x" * 32).secret)
            )
