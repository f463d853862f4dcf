"""Tests for addresses and what programs are told of them."""

from __future__ import annotations

import dataclasses

from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from curvecp_tx.address import CurveCPAddress, handler_environment, plain_host

SERVER = CurveCPAddress(
    key=b"\xab" * 32,
    name="www.example.org",
    extension=bytes(range(16)),
    host="192.0.2.1",
    port=8080,
)
CLIENT = CurveCPAddress(
    key=b"\xcd" * 32, name=None, extension=b"\xff" * 16, host="2001:db8::7", port=65535
)


class PlainHostTests(SynchronousTestCase):
    """Tests for ``plain_host``."""

    def test_hosts(self) -> None:
        """IPv4 addresses lose the prefix that an IPv6 socket gives them."""
        for shown, plain in {
            "::ffff:192.0.2.1": "192.0.2.1",
            "192.0.2.1": "192.0.2.1",
            "2001:db8::1": "2001:db8::1",
            "::1": "::1",
            "::ffff:c000:201": "::ffff:c000:201",
            "": "",
        }.items():
            self.assertEqual(plain_host(shown), plain)


class CurveCPAddressTests(SynchronousTestCase):
    """Tests for ``CurveCPAddress``."""

    def test_interface(self) -> None:
        """It is an address as Twisted knows them."""
        self.assertTrue(verifyObject(IAddress, SERVER))

    def test_value(self) -> None:
        """Addresses compare by what they hold, and can be keys of a dictionary."""
        self.assertEqual(SERVER, dataclasses.replace(SERVER))
        self.assertEqual(len({SERVER, dataclasses.replace(SERVER), CLIENT}), 2)
        for change in (
            {"key": bytes(32)},
            {"name": None},
            {"extension": bytes(16)},
            {"host": "192.0.2.2"},
            {"port": 1},
        ):
            self.assertNotEqual(SERVER, dataclasses.replace(SERVER, **change))

    def test_frozen(self) -> None:
        """An address does not change."""
        with self.assertRaises(dataclasses.FrozenInstanceError):
            SERVER.port = 1  # type: ignore[misc]

    def test_defaults(self) -> None:
        """A key and a name make an address that nobody has been reached at."""
        address = CurveCPAddress(b"k" * 32, "name")
        self.assertEqual(address.extension, bytes(16))
        self.assertEqual((address.host, address.port), ("", 0))

    def test_variables(self) -> None:
        """A server's variables include its name."""
        self.assertEqual(
            SERVER.variables("X"),
            {
                "XIP": "192.0.2.1",
                "XPORT": "8080",
                "XKEY": "ab" * 32,
                "XEXTENSION": "000102030405060708090a0b0c0d0e0f",
                "XNAME": "www.example.org",
            },
        )

    def test_variables_without_name(self) -> None:
        """A client has no name, and an empty name is one."""
        self.assertNotIn("XNAME", CLIENT.variables("X"))
        nameless = dataclasses.replace(SERVER, name="")
        self.assertEqual(nameless.variables("X")["XNAME"], "")


class HandlerEnvironmentTests(SynchronousTestCase):
    """Tests for ``handler_environment``."""

    def test_server_side(self) -> None:
        """A server's program is told both ends, in both families of names."""
        self.assertEqual(
            handler_environment(SERVER, CLIENT),
            {
                "PROTO": "CURVECP",
                "CURVECPLOCALIP": "192.0.2.1",
                "CURVECPLOCALPORT": "8080",
                "CURVECPLOCALKEY": "ab" * 32,
                "CURVECPLOCALEXTENSION": "000102030405060708090a0b0c0d0e0f",
                "CURVECPLOCALNAME": "www.example.org",
                "CURVECPREMOTEIP": "2001:db8::7",
                "CURVECPREMOTEPORT": "65535",
                "CURVECPREMOTEKEY": "cd" * 32,
                "CURVECPREMOTEEXTENSION": "ff" * 16,
                "REMOTEPK": "cd" * 32,
                "TCPREMOTEIP": "2001:db8::7",
            },
        )

    def test_client_side(self) -> None:
        """A client's program is told the server's name."""
        environment = handler_environment(CLIENT, SERVER)
        self.assertEqual(environment["CURVECPREMOTENAME"], "www.example.org")
        self.assertNotIn("CURVECPLOCALNAME", environment)
        self.assertEqual(environment["REMOTEPK"], "ab" * 32)
