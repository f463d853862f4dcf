"""Minute keys: cookies, and the memory of used keys."""

from __future__ import annotations

import tracemalloc
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure import cookies
from curvecp_tx.secure.cookies import MAX_USED_KEYS, MINUTE, CookieJar, MinuteKey
from tests.faults.figures import note
from tests.secure.scripted import flip

CLIENT_KEY = b"C" * 32
SECRET = b"s" * 32
NONCE = b"n" * 16
HOST = "192.0.2.1"


class CookieJarCase(SynchronousTestCase):
    """A jar that was made at time 1000."""

    def setUp(self) -> None:
        """Make the jar."""
        self.jar = self.make()

    def make(self, *, bind_address: bool = True) -> CookieJar:
        """Make another jar; no two have the same keys."""
        self.seed = getattr(self, "seed", 0) + 1
        return CookieJar(
            random_bytes=Random(self.seed).randbytes,
            now=1000.0,
            bind_address=bind_address,
        )

    def seal(self, jar: CookieJar | None = None) -> bytes:
        """Seal a cookie for the client."""
        return (jar or self.jar).seal(
            client_key=CLIENT_KEY, server_secret=SECRET, host=HOST, nonce=NONCE
        )

    def open(self, value: bytes, host: str = HOST) -> bytes | None:
        """Open a cookie that the client has brought."""
        return self.jar.open(value, client_key=CLIENT_KEY, host=host)


class CookieTests(CookieJarCase):
    """Sealing and opening."""

    def test_round_trip(self) -> None:
        """A cookie has 96 bytes, shows only its nonce, and gives back s'."""
        value = self.seal()
        self.assertEqual(len(value), 96)
        self.assertEqual(value[:16], NONCE)
        self.assertEqual(self.open(value), SECRET)

    def test_every_bit(self) -> None:
        """A cookie with one bit turned over does not open."""
        value = self.seal()
        for bit in range(8 * len(value)):
            self.assertIsNone(self.open(flip(value, bit)))

    def test_other_client_key(self) -> None:
        """A cookie is for one C'."""
        value = self.seal()
        opened = self.jar.open(value, client_key=b"D" * 32, host=HOST)
        self.assertIsNone(opened)

    def test_other_jar(self) -> None:
        """Another server's cookie does not open."""
        self.assertIsNone(self.open(self.seal(self.make())))

    def test_bound_to_address(self) -> None:
        """A cookie opens only for the address that it was sent to."""
        self.assertTrue(self.jar.binds_address)
        for host in ("192.0.2.2", "192.0.2.10", "192.0.2", "::ffff:192.0.2.1", ""):
            self.assertIsNone(self.open(self.seal(), host))

    def test_not_bound_to_address(self) -> None:
        """A jar that binds no address opens its cookies for any."""
        self.jar = self.make(bind_address=False)
        self.assertFalse(self.jar.binds_address)
        self.assertEqual(self.open(self.seal(), "2001:db8::1"), SECRET)


class RotationTests(CookieJarCase):
    """How long a cookie lives."""

    def test_period(self) -> None:
        """Minute keys live by the minute."""
        self.assertEqual(MINUTE, 60.0)

    def test_one_rotation(self) -> None:
        """A cookie from the start opens until two minutes are over."""
        value = self.seal()
        for now in (1000.0, 1059.9, 1060.0, 1119.9):
            self.jar.rotate(now)
            self.assertEqual(self.open(value), SECRET, now)
        self.jar.rotate(1120.0)
        self.assertIsNone(self.open(value))

    def test_late_cookie(self) -> None:
        """A cookie from the end of a minute opens for one minute more."""
        self.jar.rotate(1059.0)
        value = self.seal()
        self.jar.rotate(1060.0)
        self.jar.rotate(1119.0)
        self.assertEqual(self.open(value), SECRET)
        self.jar.rotate(1120.0)
        self.assertIsNone(self.open(value))

    def test_no_drift(self) -> None:
        """A rotation that comes late does not put off the next one."""
        value = self.seal()
        self.jar.rotate(1110.0)
        self.assertEqual(self.open(value), SECRET)
        self.jar.rotate(1120.0)
        self.assertIsNone(self.open(value))

    def test_often(self) -> None:
        """Asking for rotation ahead of time does nothing."""
        value = self.seal()
        for tenth in range(600):
            self.jar.rotate(1000.0 + tenth / 10)
        self.jar.rotate(1060.0)
        self.assertEqual(self.open(value), SECRET)

    def test_overslept(self) -> None:
        """After two minutes of sleep both keys are gone, and new ones last."""
        value = self.seal()
        self.jar.rotate(1120.0)
        self.assertIsNone(self.open(value))
        value = self.seal()
        self.jar.rotate(1179.9)
        self.jar.rotate(1180.0)
        self.assertEqual(self.open(value), SECRET)

    def test_overslept_by_far(self) -> None:
        """After a sleep of days, the next rotation is a minute away."""
        self.jar.rotate(1e6)
        value = self.seal()
        self.jar.rotate(1e6 + 60)
        self.assertEqual(self.open(value), SECRET)
        self.jar.rotate(1e6 + 120)
        self.assertIsNone(self.open(value))


class UsedKeyTests(CookieJarCase):
    """The memory of used short-term keys."""

    def test_outlives_cookies(self) -> None:
        """A used key is known while any cookie for it opens, then forgotten."""
        value = self.seal()
        self.jar.rotate(1060.0)
        self.jar.remember(CLIENT_KEY)
        for now in (1060.0, 1119.9, 1120.0, 1179.9):
            self.jar.rotate(now)
            self.assertTrue(self.jar.was_used(CLIENT_KEY), now)
        self.assertIsNone(self.open(value))
        self.jar.rotate(1180.0)
        self.assertFalse(self.jar.was_used(CLIENT_KEY))

    def test_overslept(self) -> None:
        """When all cookies are dead, no key needs to be known."""
        self.jar.remember(CLIENT_KEY)
        self.jar.rotate(1120.0)
        self.assertFalse(self.jar.was_used(CLIENT_KEY))

    def test_others(self) -> None:
        """Only the very key is known."""
        self.jar.remember(CLIENT_KEY)
        self.assertFalse(self.jar.was_used(b"D" * 32))

    def test_forget(self) -> None:
        """A key can be released, before and after a rotation."""
        self.jar.forget(CLIENT_KEY)
        for now in (1000.0, 1060.0):
            self.jar.remember(CLIENT_KEY)
            self.jar.rotate(now)
            self.assertTrue(self.jar.was_used(CLIENT_KEY))
            self.jar.forget(CLIENT_KEY)
            self.assertFalse(self.jar.was_used(CLIENT_KEY))

    def test_memory(self) -> None:
        """A full memory of one minute takes at most 100 bytes for each key."""
        minute_key = MinuteKey(bytes(32))
        keys = (number.to_bytes(32, "little") for number in range(MAX_USED_KEYS))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for key in keys:
            minute_key.add(key)
        after, _ = tracemalloc.get_traced_memory()
        self.assertEqual(len(minute_key), MAX_USED_KEYS)
        each = (after - before) / MAX_USED_KEYS
        self.assertLessEqual(each, 100)
        note("C2", "TT", f"{each:.0f} bytes for each used key, of {MAX_USED_KEYS}")

    def test_keyed(self) -> None:
        """What stands for a key in one minute says nothing in another."""
        digests = []
        for secret in (bytes(32), b"s" * 32):
            minute_key = MinuteKey(secret)
            minute_key.add(CLIENT_KEY)
            (digest,) = minute_key._used
            self.assertLess(digest, 1 << 60)
            digests.append(digest)
        self.assertNotEqual(*digests)

    def test_bound(self) -> None:
        """The memory of one minute is bounded, and empty in the next."""
        self.patch(cookies, "MAX_USED_KEYS", 3)
        for number in range(3):
            self.assertFalse(self.jar.is_full)
            self.jar.remember(bytes([number]) * 32)
        self.assertTrue(self.jar.is_full)
        self.jar.rotate(1060.0)
        self.assertFalse(self.jar.is_full)
        self.assertTrue(self.jar.was_used(bytes(32)))
