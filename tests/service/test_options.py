"""Tests for option objects as values, apart from any command."""

from __future__ import annotations

import os

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.admission import HELLO_RATE, PROGRAM_START_RATE
from curvecp_tx.service import server
from curvecp_tx.service.operands import (
    parse_extension_operand,
    parse_ip,
    parse_name,
    parse_number,
    parse_rate,
    parse_seconds,
)
from curvecp_tx.service.options import ClientOptions, CommandOptions
from curvecp_tx.service.server_options import ServerOptions
from curvecp_tx.service.stopping import DEFAULT_GRACE

SERVER = ("name", "no/such/keydir", "192.0.2.1", "1", "0" * 32, "no-such-program")


class OptionsTests(SynchronousTestCase):
    """Tests for the classes of options."""

    def test_twistd_finds_them(self) -> None:
        """The service module has the names that twistd asks for."""
        self.assertIs(server.Options, ServerOptions)
        self.assertTrue(callable(server.makeService))

    def test_nothing_is_touched(self) -> None:
        """Parsing looks at no file, no address and no program."""
        before = os.listdir()
        options = ServerOptions()
        options.parseOptions(SERVER)
        self.assertEqual(options["keydir"], "no/such/keydir")
        self.assertEqual(options["program"], ["no-such-program"])
        self.assertEqual(os.listdir(), before)

    def test_independent(self) -> None:
        """Two command lines share nothing."""
        one, two = ServerOptions(), ServerOptions()
        one.parseOptions(["-v1c5", *SERVER])
        two.parseOptions(SERVER)
        one["program"].append("argument")
        self.assertEqual((two["clients"], two["print-port"]), (100, False))
        self.assertEqual(two["program"], ["no-such-program"])

    def test_defaults_before_parsing(self) -> None:
        """What has a default has it from the start."""
        self.assertEqual(
            dict(ServerOptions()),
            {
                "verbosity": 1,
                "clients": 100,
                "authorized-keys": None,
                "max-per-ip": None,
                "max-per-key": None,
                "hello-rate": 200.0,
                "start-rate": None,
                "idle-timeout": None,
                "grace": 10.0,
                "workers": 1,
                "print-port": False,
                "stream": False,
                "forward": None,
                "proxy-header": False,
            },
        )
        self.assertEqual(
            dict(ClientOptions()),
            {
                "verbosity": 1,
                "keydir": None,
                "timeout": 60.0,
                "stream": False,
                "program-on-stdio": False,
                "stdio": False,
                "listen": None,
            },
        )

    def test_usage_tells_defaults(self) -> None:
        """The usage text names each default that the code has."""
        self.assertIn("(default 100)", ServerOptions().usage_lines())
        short, long = ServerOptions().usage_lines(), str(ServerOptions())
        for default in (HELLO_RATE, PROGRAM_START_RATE, DEFAULT_GRACE):
            self.assertIn(f"(default {default:g})", short)
            self.assertIn(f"(default {default:g})", " ".join(long.split()))
        self.assertIn("(default 60)", ClientOptions().usage_lines())

    def test_operands(self) -> None:
        """Operands are split off, a lone dash in front of them is not one."""
        options = CommandOptions()
        for given in (["1", "2", "prog", "-"], ["-", "1", "2", "prog", "-"]):
            self.assertEqual(
                options.operands(given, ["a", "b"]), (["1", "2"], ["prog", "-"])
            )

    def test_missing_operand(self) -> None:
        """The first operand that is missing is named."""
        options = CommandOptions()
        given: list[str] = []
        for name in ("a", "b", "prog"):
            error = self.assertRaises(UsageError, options.operands, given, ["a", "b"])
            self.assertEqual(str(error), f"missing {name}")
            given.append("x")


class ParserTests(SynchronousTestCase):
    """Tests for the readers of single operands."""

    def test_number(self) -> None:
        """Numbers are decimal and within bounds, both included."""
        self.assertEqual(parse_number("3", 3, 5, "n"), 3)
        self.assertEqual(parse_number("5", 3, 5, "n"), 5)
        for text in ("2", "6", "", "4 ", "4.0", "+4", "\N{SUPERSCRIPT TWO}"):
            error = self.assertRaises(UsageError, parse_number, text, 3, 5, "n")
            self.assertEqual(str(error), "n must be an integer between 3 and 5")

    def test_number_of_many_digits(self) -> None:
        """No number of digits is costly to refuse."""
        self.assertRaises(UsageError, parse_number, "1" * 10_000_000, 0, 9, "n")

    def test_seconds(self) -> None:
        """Seconds are positive and finite."""
        self.assertEqual(parse_seconds("0.5", "t"), 0.5)
        self.assertEqual(parse_seconds("3600", "t"), 3600.0)
        for text in ("0", "-1", "nan", "inf", "1e400", "soon", ""):
            error = self.assertRaises(UsageError, parse_seconds, text, "t")
            self.assertEqual(str(error), "t must be a positive number of seconds")

    def test_zero_seconds(self) -> None:
        """Where it makes sense, seconds may be 0."""
        for text in ("0", "0.0", "-0"):
            self.assertEqual(parse_seconds(text, "t", zero=True), 0.0)
        for text in ("-1", "nan", "inf", ""):
            error = self.assertRaises(UsageError, parse_seconds, text, "t", zero=True)
            self.assertEqual(str(error), "t must be 0 or a positive number of seconds")

    def test_rate(self) -> None:
        """Rates are positive and finite."""
        self.assertEqual(parse_rate("0.25", "r"), 0.25)
        for text in ("0", "-1", "nan", "inf", "often", ""):
            error = self.assertRaises(UsageError, parse_rate, text, "r")
            self.assertEqual(str(error), "r must be a positive number")

    def test_ip(self) -> None:
        """Addresses come back in their usual spelling."""
        self.assertEqual(parse_ip("2001:DB8::0"), "2001:db8::")
        self.assertRaises(UsageError, parse_ip, "300.1.1.1")

    def test_name(self) -> None:
        """A name comes back as it was typed."""
        self.assertEqual(parse_name("Www.Example.org."), "Www.Example.org.")
        self.assertRaises(UsageError, parse_name, "a" * 64)

    def test_extension(self) -> None:
        """An extension comes back as 16 bytes."""
        self.assertEqual(parse_extension_operand("fF" * 16), b"\xff" * 16)
        self.assertRaises(UsageError, parse_extension_operand, "ff" * 15)
