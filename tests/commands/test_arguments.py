"""Tests for the command lines of curvecpserver and curvecpclient."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.commands import client, server
from curvecp_tx.service.options import ClientOptions
from curvecp_tx.service.server_options import ServerOptions
from tests.commands.running import EXTENSION, TWISTD, run_here, run_python, run_tool

KEY = "0123456789ABCDEFabcdef0123456789" * 2
SERVER = ("www.example.org", "keydir", "127.0.0.1", "8080", EXTENSION, "prog")
CLIENT = ("www.example.org", KEY, "127.0.0.1", "8080", EXTENSION, "prog")

NAME_RULE = "sname must be at most 255 bytes, at most 63 bytes between dots"
IP_RULE = "ip must be an IPv4 or IPv6 address"
PORT_RULE = "port must be an integer between 0 and 65535"
CLIENT_PORT_RULE = "port must be an integer between 1 and 65535"
EXTENSION_RULE = "ext must be exactly 32 hex characters"
KEY_RULE = "pk must be exactly 64 hex characters"
CLIENTS_RULE = "n must be an integer between 1 and 65535"
GRACE_RULE = "grace must be 0 or a positive number of seconds"
TIMEOUT_RULE = "timeout must be a positive number of seconds"

LONGEST_NAME = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
"""253 characters: 255 bytes with a length byte in front and zero at the end."""

NAME, KEYDIR, IP, PORT, EXT, PROG = range(6)
PK = KEYDIR


def changed(operands: tuple[str, ...], place: int, value: str) -> list[str]:
    """Give a good command line with one operand replaced."""
    return [*operands[:place], value, *operands[place + 1 :]]


def with_options(operands: tuple[str, ...], *options: str) -> list[str]:
    """Give a good command line with something in front."""
    return [*options, *operands]


BAD_NAMES = [
    "a" * 64,
    f"www.{'a' * 64}.org",
    f"{LONGEST_NAME}d",
    "\N{SNOWMAN}" * 22,
    ".".join("a" * 200),
]
BAD_IPS = [
    "300.1.1.1",
    "1.2.3",
    "1.2.3.4.5",
    "127.0.0.01",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "127.0.0.1 ",
    "2130706433",
    "localhost",
    "",
    "::1::",
    "[::1]",
    "1.2.3.4:80",
    "12345::1",
]
BAD_PORTS = [
    "99999",
    "65536",
    "-1",
    "x",
    "",
    "80x",
    "+80",
    " 80",
    "8_0",
    "0x50",
    "\N{ARABIC-INDIC DIGIT EIGHT}0",
]
BAD_EXTENSIONS = [
    EXTENSION[:31],
    EXTENSION + "0",
    EXTENSION[:30] + "0g",
    "",
    EXTENSION[:31] + "\n",
    "0x" + EXTENSION[:30],
    EXTENSION[:31] + " ",
    "\N{ARABIC-INDIC DIGIT ZERO}" * 32,
]
ZEROS = ("0", "0.0", "-0")
BAD_RATES = [*ZEROS, "-1", "x", "", "nan", "inf", "-inf", "1e999"]
PORTS_RULE = "must be an integer between 1 and 65535"
RATE_RULE = "must be a positive number"
IDLE_RULE = "idle-timeout must be a positive number of seconds"
BAD_COUNTS = ["0", "65536", "x", "", "-5", "1.5", "1e2", "9" * 5000]

BAD_COMMON: list[tuple[list[str], str]] = [
    (["-x"], "option -x not recognized"),
    (["-qx"], "option -x not recognized"),
    (["--no-such"], "option --no-such not recognized"),
    (["--quiet=1"], "option --quiet must not have an argument"),
    (["-c"], "option -c requires argument"),
    (["-qvc"], "option -c requires argument"),
]

BAD_SERVER: list[tuple[list[str], str]] = [
    *((changed(SERVER, NAME, name), NAME_RULE) for name in BAD_NAMES),
    *((changed(SERVER, IP, ip), IP_RULE) for ip in BAD_IPS),
    (changed(SERVER, IP, "127.0.0.1,127.0.0.2"), IP_RULE),
    *((changed(SERVER, PORT, port), PORT_RULE) for port in BAD_PORTS),
    *((changed(SERVER, EXT, ext), EXTENSION_RULE) for ext in BAD_EXTENSIONS),
    *((with_options(SERVER, "-c", count), CLIENTS_RULE) for count in BAD_COUNTS),
    (with_options(SERVER, "-c65536"), CLIENTS_RULE),
    (with_options(SERVER, "-qcv"), CLIENTS_RULE),
    (with_options(SERVER, "--clients=0"), CLIENTS_RULE),
    (["--clients"], "option --clients requires argument"),
    *(
        (with_options(SERVER, f"--{option}", count), f"{option} {PORTS_RULE}")
        for option in ("max-per-ip", "max-per-key")
        for count in BAD_COUNTS
    ),
    *(
        (with_options(SERVER, f"--{option}", rate), f"{option} {RATE_RULE}")
        for option in ("hello-rate", "start-rate")
        for rate in BAD_RATES
    ),
    *(
        (with_options(SERVER, "--idle-timeout", seconds), IDLE_RULE)
        for seconds in BAD_RATES
    ),
    *(
        (with_options(SERVER, "--grace", seconds), GRACE_RULE)
        for seconds in BAD_RATES
        if seconds not in ZEROS
    ),
    (["--authorized-keys"], "option --authorized-keys requires argument"),
    (
        with_options(SERVER, "--start-rate=5", "--forward=tcp:127.0.0.1:1"),
        "--forward starts no programs: no --start-rate",
    ),
    # -t is the client's.
    (with_options(SERVER, "-t", "5"), "option -t not recognized"),
    *BAD_COMMON,
    *(
        (list(SERVER[:count]), f"missing {name}")
        for count, name in enumerate(("sname", "keydir", "ip", "port", "ext", "prog"))
    ),
    (["-"], "missing sname"),
    (["--"], "missing sname"),
    (["-v"], "missing sname"),
]

BAD_CLIENT: list[tuple[list[str], str]] = [
    *((changed(CLIENT, NAME, name), NAME_RULE) for name in BAD_NAMES),
    *((changed(CLIENT, IP, ip), IP_RULE) for ip in BAD_IPS),
    (changed(CLIENT, IP, "127.0.0.1,"), IP_RULE),
    (changed(CLIENT, IP, ",127.0.0.1"), IP_RULE),
    (changed(CLIENT, IP, "127.0.0.1,,127.0.0.2"), IP_RULE),
    (changed(CLIENT, IP, "127.0.0.1, 127.0.0.2"), IP_RULE),
    (changed(CLIENT, IP, "127.0.0.1,300.1.1.1"), IP_RULE),
    (
        changed(CLIENT, IP, ",".join(["::1"] * 1001)),
        "ip must be at most 1000 addresses",
    ),
    *((changed(CLIENT, PORT, port), CLIENT_PORT_RULE) for port in BAD_PORTS),
    (changed(CLIENT, PORT, "0"), CLIENT_PORT_RULE),
    *((changed(CLIENT, EXT, ext), EXTENSION_RULE) for ext in BAD_EXTENSIONS),
    *(
        (changed(CLIENT, PK, pk), KEY_RULE)
        for pk in ("", KEY[:63], KEY + "0", KEY[:63] + "g", EXTENSION, KEY[:63] + "\n")
    ),
    *(
        (with_options(CLIENT, "-t", seconds), TIMEOUT_RULE)
        for seconds in ("0", "-1", "x", "", "nan", "inf", "-inf", "1e999", "0.0")
    ),
    (with_options(CLIENT, "-tx"), TIMEOUT_RULE),
    (with_options(CLIENT, "--timeout=0"), TIMEOUT_RULE),
    (["-t"], "option -t requires argument"),
    (["--keydir"], "option --keydir requires argument"),
    # -1 is the server's.
    (with_options(CLIENT, "-1"), "option -1 not recognized"),
    *BAD_COMMON,
    *(
        (list(CLIENT[:count]), f"missing {name}")
        for count, name in enumerate(("sname", "pk", "ip", "port", "ext", "prog"))
    ),
]


class BadCommandLineTests(SynchronousTestCase):
    """What makes no sense is refused with 100, the usage and the reason."""

    def refusals(
        self, main: Any, lines: list[tuple[list[str], str]]
    ) -> list[tuple[list[str], int, str, str]]:
        """Run each bad command line: its exit code, output and last line."""
        runs = [(line, run_here(self, main, *line)) for line, _ in lines]
        return [(line, run.code, run.out, run.last) for line, run in runs]

    def test_server(self) -> None:
        """Each bad command line of the server gets its own reason."""
        self.assertEqual(
            self.refusals(server.main, BAD_SERVER),
            [
                (line, 100, "", f"curvecpserver: fatal: {why}")
                for line, why in BAD_SERVER
            ],
        )

    def test_client(self) -> None:
        """Each bad command line of the client gets its own reason."""
        self.assertEqual(
            self.refusals(client.main, BAD_CLIENT),
            [
                (line, 100, "", f"curvecpclient: fatal: {why}")
                for line, why in BAD_CLIENT
            ],
        )

    def test_usage(self) -> None:
        """Before the reason comes the usage: each option and operand has a line."""
        for main, options in (
            (server.main, ServerOptions),
            (client.main, ClientOptions),
        ):
            finished = run_here(self, main)
            lines = finished.err.splitlines()
            prefix = f"{options.command}: "
            self.assertEqual(
                [line for line in lines if not line.startswith(prefix)], []
            )
            self.assertEqual(lines[0], f"{prefix}how to use:")
            shown = [line.removeprefix(prefix).split(":")[0] for line in lines[1:-1]]
            self.assertEqual(shown, [f"  {what}" for what, _ in options.summary])

    def test_quiet_usage(self) -> None:
        """``-q`` does not silence what is wrong with the command line itself."""
        finished = run_here(self, server.main, "-q")
        self.assertEqual(finished.last, "curvecpserver: fatal: missing sname")

    def test_processes(self) -> None:
        """The real commands give the same code and the same reason."""
        for name, arguments, reason in (
            ("server", [], "curvecpserver: fatal: missing sname"),
            ("server", ["-c", "0", *SERVER], f"curvecpserver: fatal: {CLIENTS_RULE}"),
            (
                "server",
                changed(SERVER, PORT, "99999"),
                f"curvecpserver: fatal: {PORT_RULE}",
            ),
            ("client", [], "curvecpclient: fatal: missing sname"),
            (
                "client",
                changed(CLIENT, IP, "300.1.1.1"),
                f"curvecpclient: fatal: {IP_RULE}",
            ),
        ):
            finished = run_tool(name, *arguments)
            self.assertEqual(
                (finished.code, finished.out, finished.last), (100, "", reason)
            )

    def test_twistd(self) -> None:
        """Under twistd it is the same, and twistd leaves no file behind."""
        directory = self.mktemp()
        os.mkdir(directory)
        for arguments, reason in (
            ((), "missing sname"),
            (("-q", "-x"), "option -x not recognized"),
            (changed(SERVER, EXT, EXTENSION[:31]), EXTENSION_RULE),
        ):
            finished = run_python(
                *TWISTD, "-n", "curvecpserver", *arguments, cwd=directory
            )
            self.assertEqual(finished.code, 100)
            self.assertEqual(finished.last, f"curvecpserver: fatal: {reason}")
            self.assertNotIn("Traceback", finished.err)
        self.assertEqual(os.listdir(directory), [])

    def test_not_utf8(self) -> None:
        """Bytes that are not UTF-8 are taken as they are, and shown somehow."""
        finished = run_tool("client", "caf\udce9", "pk", *CLIENT[IP:])
        self.assertEqual(finished.last, f"curvecpclient: fatal: {KEY_RULE}")
        finished = run_tool("server", "name", "-", "\udce9", *SERVER[PORT:])
        self.assertEqual(finished.last, f"curvecpserver: fatal: {IP_RULE}")
