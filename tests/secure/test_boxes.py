"""Keys and boxes."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure import boxes
from curvecp_tx.secure.boxes import KeyPair, derive_key, seal, shared_key, unseal
from tests.secure.scripted import CLIENT_KEYS, LOW_ORDER_KEYS, SERVER_KEYS, flip

KEY = bytes(range(32))
NONCE = bytes(range(24))


class KeyPairTests(SynchronousTestCase):
    """Key pairs."""

    def test_generate(self) -> None:
        """A new pair takes its secret from the randomness it is given."""
        pair = KeyPair.generate(Random(5).randbytes)
        self.assertEqual(pair, KeyPair.from_secret(Random(5).randbytes(32)))

    def test_representation(self) -> None:
        """The secret key is not shown."""
        shown = repr(SERVER_KEYS)
        self.assertIn("public=", shown)
        self.assertNotIn("secret", shown)
        self.assertNotIn(repr(SERVER_KEYS.secret)[2:-1], shown)


class SharedKeyTests(SynchronousTestCase):
    """Shared keys."""

    @given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
    def test_agreement(self, one: bytes, other: bytes) -> None:
        """Both parties compute the same key, of 32 bytes."""
        mine, theirs = KeyPair.from_secret(one), KeyPair.from_secret(other)
        key = shared_key(mine.public, theirs.secret)
        self.assertEqual(key, shared_key(theirs.public, mine.secret))
        self.assertEqual(len(key or b""), 32)

    def test_low_order(self) -> None:
        """No encoding of a low-order point gives a key, with whatever secret."""
        self.assertEqual(len(set(LOW_ORDER_KEYS)), 14)
        for public in LOW_ORDER_KEYS:
            for secret in (SERVER_KEYS.secret, CLIENT_KEYS.secret, b"\xff" * 32):
                self.assertIsNone(shared_key(public, secret))

    def test_unused_bit(self) -> None:
        """The topmost bit of a public key has no meaning, as X25519 demands."""
        self.assertEqual(
            shared_key(flip(CLIENT_KEYS.public, 255), SERVER_KEYS.secret),
            shared_key(CLIENT_KEYS.public, SERVER_KEYS.secret),
        )

    def test_other_secret(self) -> None:
        """A third party's secret gives another key."""
        key = shared_key(CLIENT_KEYS.public, SERVER_KEYS.secret)
        self.assertNotEqual(key, shared_key(CLIENT_KEYS.public, b"\x12" * 32))


class BoxTests(SynchronousTestCase):
    """Sealing and opening."""

    @given(
        st.binary(max_size=1100),
        st.binary(min_size=24, max_size=24),
        st.binary(min_size=32, max_size=32),
    )
    def test_round_trip(self, text: bytes, nonce: bytes, key: bytes) -> None:
        """A box is 16 bytes longer than its contents, and opens to them."""
        box = seal(text, nonce, key)
        self.assertEqual(len(box), len(text) + 16)
        self.assertEqual(unseal(box, nonce, key), text)

    def test_every_bit(self) -> None:
        """A box with one bit turned over, in tag or ciphertext, stays shut."""
        box = seal(b"m" * 32, NONCE, KEY)
        for bit in range(8 * len(box)):
            self.assertIsNone(unseal(flip(box, bit), NONCE, KEY))

    def test_every_length(self) -> None:
        """A box that was cut, to nothing or anything else, stays shut."""
        box = seal(b"m" * 32, NONCE, KEY)
        for length in range(len(box)):
            self.assertIsNone(unseal(box[:length], NONCE, KEY))
        self.assertIsNone(unseal(box + b"\0", NONCE, KEY))

    def test_other_nonce_or_key(self) -> None:
        """A box belongs to one nonce and one key."""
        box = seal(b"m" * 32, NONCE, KEY)
        self.assertIsNone(unseal(box, flip(NONCE, 191), KEY))
        self.assertIsNone(unseal(box, NONCE, flip(KEY, 0)))

    def test_prefixes(self) -> None:
        """Nonces of packets that share a key have prefixes that all differ."""
        short = [
            boxes.HELLO_NONCE,
            boxes.INITIATE_NONCE,
            boxes.CLIENT_MESSAGE_NONCE,
            boxes.SERVER_MESSAGE_NONCE,
        ]
        long = [boxes.COOKIE_NONCE, boxes.VOUCH_NONCE, boxes.MINUTE_NONCE]
        self.assertEqual([len(prefix) for prefix in short], [16] * 4)
        self.assertEqual([len(prefix) for prefix in long], [8] * 3)
        self.assertEqual(len({prefix[:8] for prefix in [short[0], *long]}), 4)
        self.assertEqual(len(set(short)), 4)
        # Within one short-term key, a counter alone keeps the nonces ascending.
        self.assertEqual(short[:3], sorted(short[:3]))


class DeriveKeyTests(SynchronousTestCase):
    """Keys for a context."""

    def test_derive(self) -> None:
        """Key and context both matter; 32 bytes come out, the same each time."""
        derived = derive_key(KEY, b"192.0.2.1")
        self.assertEqual(len(derived), 32)
        self.assertEqual(derived, derive_key(KEY, b"192.0.2.1"))
        others = {derive_key(KEY, b"192.0.2.2"), derive_key(KEY, b""), KEY}
        others.add(derive_key(flip(KEY, 0), b"192.0.2.1"))
        self.assertEqual(len(others - {derived}), 4)


class DirectTests(SynchronousTestCase):
    """The functions on the library itself, and those of PyNaCl's public part."""

    @given(st.binary(max_size=3000))
    def test_same(self, text: bytes) -> None:
        """Both make and open the same boxes, and refuse the same forgeries."""
        box = boxes.PUBLIC.seal(text, NONCE, KEY)
        self.assertEqual(seal(text, NONCE, KEY), box)
        for function in (unseal, boxes.PUBLIC.unseal):
            self.assertEqual(function(box, NONCE, KEY), text)
            self.assertIsNone(function(flip(box, 8 * len(text)), NONCE, KEY))

    def test_no_box(self) -> None:
        """What is too short to be a box is none."""
        for size in range(16):
            self.assertIsNone(unseal(bytes(size), NONCE, KEY))

    def test_sizes(self) -> None:
        """The library would read beyond a short nonce or key: neither gets there."""
        for nonce, key in ((NONCE[1:], KEY), (NONCE, KEY[1:]), (NONCE + b"x", KEY)):
            for function in (seal, unseal):
                self.assertRaises(ValueError, function, bytes(32), nonce, key)
        for public, secret in ((KEY[1:], KEY), (KEY, KEY + b"x")):
            self.assertRaises(ValueError, shared_key, public, secret)
        self.assertRaises(ValueError, boxes.public_key, KEY[1:])

    @given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
    def test_same_keys(self, one: bytes, other: bytes) -> None:
        """Both compute the same keys."""
        public = boxes.PUBLIC.public_key(one)
        self.assertEqual(boxes.public_key(one), public)
        for key in (public, other, bytes(32)):
            expected = boxes.PUBLIC.shared_key(key, other)
            self.assertEqual(shared_key(key, other), expected)

    def test_fall_back(self) -> None:
        """Without the private part, or with one that errs, the public one serves."""
        self.assertRaises(AttributeError, boxes.direct_functions, object(), object())
        for name in boxes.Functions._fields:
            wrong = boxes._functions._replace(**{name: lambda *_: b"wrong"})
            self.patch(boxes, "direct_functions", lambda *_, found=wrong: found)
            self.assertEqual(boxes._best_functions(), boxes.PUBLIC)
