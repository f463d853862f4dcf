"""Tests for command lines of curvecpserver and curvecpclient that make sense."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.commands import client, server
from curvecp_tx.net.report import Verbosity
from curvecp_tx.secure.admission import Limits
from curvecp_tx.service.options import ClientOptions, CommandOptions
from curvecp_tx.service.server_options import ServerOptions
from tests.commands.running import EXTENSION, run_here
from tests.commands.test_arguments import (
    CLIENT,
    EXT,
    IP,
    KEY,
    LONGEST_NAME,
    NAME,
    PK,
    PORT,
    PROG,
    SERVER,
    changed,
)


class GoodCommandLineTests(SynchronousTestCase):
    """What makes sense is understood as the reference does."""

    def parse(self, kind: type[CommandOptions], *arguments: str) -> dict[str, Any]:
        """Parse a good command line into a plain dictionary."""
        options = kind()
        options.parseOptions(arguments)
        return dict(options)

    def test_server(self) -> None:
        """A plain command line has the defaults and its operands."""
        self.assertEqual(
            self.parse(ServerOptions, *SERVER),
            {
                "verbosity": Verbosity.ERRORS,
                "clients": 100,
                "authorized-keys": None,
                "max-per-ip": None,
                "max-per-key": None,
                "hello-rate": 200.0,
                "start-rate": 50.0,
                "idle-timeout": None,
                "grace": 10.0,
                "workers": 1,
                "print-port": False,
                "stream": False,
                "forward": None,
                "proxy-header": False,
                "name": "www.example.org",
                "keydir": "keydir",
                "interface": "127.0.0.1",
                "port": 8080,
                "extension": bytes.fromhex(EXTENSION),
                "program": ["prog"],
            },
        )

    def test_client(self) -> None:
        """A plain command line has the defaults and its operands."""
        self.assertEqual(
            self.parse(ClientOptions, *CLIENT),
            {
                "verbosity": Verbosity.ERRORS,
                "keydir": None,
                "timeout": 60.0,
                "stream": False,
                "program-on-stdio": False,
                "stdio": False,
                "listen": None,
                "name": "www.example.org",
                "key": bytes.fromhex(KEY),
                "hosts": ["127.0.0.1"],
                "port": 8080,
                "extension": bytes.fromhex(EXTENSION),
                "program": ["prog"],
            },
        )

    def test_verbosity(self) -> None:
        """Of ``-q``, ``-Q`` and ``-v`` the last wins, clustered or not."""
        for arguments, expected in (
            ([], Verbosity.ERRORS),
            (["-q"], Verbosity.SILENT),
            (["-Q"], Verbosity.ERRORS),
            (["-v"], Verbosity.INFORMATION),
            (["-qv"], Verbosity.INFORMATION),
            (["-vq"], Verbosity.SILENT),
            (["-vqQ"], Verbosity.ERRORS),
            (["-q", "-v", "-Q"], Verbosity.ERRORS),
            (["-v", "-q"], Verbosity.SILENT),
            (["--verbose", "--quiet"], Verbosity.SILENT),
            (["--quiet", "--errors"], Verbosity.ERRORS),
            (["-q", "--verbose"], Verbosity.INFORMATION),
        ):
            for kind, operands in ((ServerOptions, SERVER), (ClientOptions, CLIENT)):
                parsed = self.parse(kind, *arguments, *operands)
                self.assertIs(parsed["verbosity"], expected, arguments)

    def test_clients(self) -> None:
        """``-c`` takes its number attached, apart, or in its long form."""
        for arguments, expected in (
            (["-c100"], 100),
            (["-c", "1"], 1),
            (["-c", "65535"], 65535),
            (["-qvc7"], 7),
            (["-qc", "8"], 8),
            (["-c1", "-c2"], 2),
            (["--clients=9"], 9),
            (["--clients", "10"], 10),
            (["-c", "007"], 7),
        ):
            parsed = self.parse(ServerOptions, *arguments, *SERVER)
            self.assertEqual(parsed["clients"], expected, arguments)
            self.assertEqual(parsed["program"], ["prog"], arguments)

    def test_access(self) -> None:
        """Limits come out as they were asked for."""
        parsed = ServerOptions()
        arguments = ("--authorized-keys=guests", "--max-per-ip=3", "--max-per-key=2")
        rates = ("--hello-rate", "0.5", "--start-rate", "7", "--idle-timeout", "1.5")
        parsed.parseOptions([*arguments, *rates, "--grace=0", "-c5", *SERVER])
        self.assertEqual(parsed["authorized-keys"], "guests")
        self.assertEqual((parsed["idle-timeout"], parsed["grace"]), (1.5, 0.0))
        self.assertEqual(parsed.limits, Limits(5, 3, 2, 0.5, 7.0))

    def test_start_rate(self) -> None:
        """Programs have a rate of their own; without programs there is none."""
        parsed = ServerOptions()
        parsed.parseOptions(SERVER)
        self.assertEqual(parsed.limits, Limits(start_rate=50.0))
        parsed = ServerOptions()
        parsed.parseOptions(["--forward=tcp:127.0.0.1:1", *SERVER[:PROG]])
        self.assertEqual(parsed.limits, Limits())

    def test_print_port(self) -> None:
        """``-1`` asks for the port, alone, in a cluster or in its long form."""
        for option in ("-1", "-v1", "-1c5", "--print-port"):
            self.assertIs(
                self.parse(ServerOptions, option, *SERVER)["print-port"], True
            )

    def test_keydir_and_timeout(self) -> None:
        """The client's ``-c`` and ``-t`` take their argument in each form."""
        for arguments, keydir, timeout in (
            (["-ckeys"], "keys", 60.0),
            (["-c", "keys", "-t5"], "keys", 5.0),
            (["-vt", "0.25"], None, 0.25),
            (["--keydir=k e", "--timeout=1e3"], "k e", 1000.0),
        ):
            parsed = self.parse(ClientOptions, *arguments, *CLIENT)
            self.assertEqual((parsed["keydir"], parsed["timeout"]), (keydir, timeout))

    def test_end_of_options(self) -> None:
        """A lone ``-`` or ``--`` ends the options."""
        for ending in ("-", "--"):
            for options in ([], ["-v"], ["-c", "5"]):
                parsed = self.parse(ServerOptions, *options, ending, *SERVER)
                self.assertEqual(parsed["name"], "www.example.org")
                self.assertEqual(parsed["program"], ["prog"])
            dashed = self.parse(ServerOptions, ending, "-v", *SERVER[1:])
            self.assertEqual(dashed["name"], "-v")
            self.assertIs(dashed["verbosity"], Verbosity.ERRORS)

    def test_program_has_its_own_dashes(self) -> None:
        """From the program on, nothing is an option of ours."""
        for kind, operands in ((ServerOptions, SERVER), (ClientOptions, CLIENT)):
            line = [*operands, "-q", "--", "-", "-c", "0", "--version", "", "-x"]
            parsed = self.parse(kind, *line)
            self.assertEqual(parsed["program"], line[PROG:])
            self.assertIs(parsed["verbosity"], Verbosity.ERRORS)

    def test_names(self) -> None:
        """Names at the limits are taken as they are, the empty one included."""
        for name in ("", ".", "a" * 63, LONGEST_NAME, "\N{SNOWMAN}" * 21, "UPPER.case"):
            self.assertEqual(
                self.parse(ServerOptions, *changed(SERVER, NAME, name))["name"], name
            )

    def test_addresses(self) -> None:
        """IPv4 and IPv6 are taken, and IPv6 in any spelling."""
        for given, expected in {
            "0.0.0.0": "0.0.0.0",
            "255.255.255.255": "255.255.255.255",
            "::": "::",
            "::1": "::1",
            "2001:DB8:0::0001": "2001:db8::1",
            "::ffff:192.0.2.1": "::ffff:c000:201",
            "fe80::1%lo": "fe80::1%lo",
        }.items():
            parsed = self.parse(ServerOptions, *changed(SERVER, IP, given))["interface"]
            self.assertIn(parsed, (expected, given), given)

    def test_several_hosts(self) -> None:
        """The client takes a list of addresses, up to 1000, in its order."""
        given = "192.0.2.2,2001:db8::1,192.0.2.1"
        parsed = self.parse(ClientOptions, *changed(CLIENT, IP, given))
        self.assertEqual(parsed["hosts"], given.split(","))
        many = ",".join(["192.0.2.1"] * 1000)
        parsed = self.parse(ClientOptions, *changed(CLIENT, IP, many))
        self.assertEqual(len(parsed["hosts"]), 1000)

    def test_ports(self) -> None:
        """Ports reach to 65535, and the server may let the system choose."""
        for text, port in {"0": 0, "1": 1, "65535": 65535, "0080": 80}.items():
            parsed = self.parse(ServerOptions, *changed(SERVER, PORT, text))
            self.assertEqual(parsed["port"], port)

    def test_upper_case_hexadecimal(self) -> None:
        """Hexadecimal digits may be of either case."""
        line = changed(CLIENT, EXT, EXTENSION.upper())
        line[PK] = KEY.upper()
        parsed = self.parse(ClientOptions, *line)
        self.assertEqual(parsed["extension"], bytes.fromhex(EXTENSION))
        self.assertEqual(parsed["key"], bytes.fromhex(KEY))

    def test_help_and_version(self) -> None:
        """``--help`` and ``--version`` answer on standard output, with code 0."""
        for main, name in (
            (server.main, "curvecpserver"),
            (client.main, "curvecpclient"),
        ):
            version = run_here(self, main, "--version")
            self.assertEqual((version.code, version.err), (0, ""))
            self.assertRegex(version.out, rf"\A{name} \(curvecp-tx\) \d+\.\d+")
            shown = run_here(self, main, "--help")
            self.assertEqual((shown.code, shown.err), (0, ""))
            for word in ("sname", "prog [args...]", "-q, --quiet", "-c, --"):
                self.assertIn(word, shown.out)
