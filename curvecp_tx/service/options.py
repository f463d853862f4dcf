"""The command lines, as usage.Options for twistd and for the console scripts.

They read as the reference's do: options come first and may be clustered, a lone
``-`` or ``--`` ends them, and from the program's name on everything is the
program's.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.python import usage

from curvecp_tx._version import __version__
from curvecp_tx.net.descriptors import StreamMode
from curvecp_tx.net.report import Verbosity
from curvecp_tx.net.udp import MAX_PORT
from curvecp_tx.secure.client import DEFAULT_TIMEOUT
from curvecp_tx.service.exits import die_of_usage
from curvecp_tx.service.operands import (
    parse_extension_operand,
    parse_ip,
    parse_name,
    parse_number,
    parse_seconds,
)
from curvecp_tx.wire.names import parse_key

MAX_ADDRESSES = 1000
"""As many server addresses as the reference takes."""


class CommandOptions(usage.Options):
    """Options common to the commands, and the exit code 100.

    :cvar command: the name under which messages are written.
    :cvar summary: one line for each operand, for the usage text.
    """

    command = ""
    summary: Sequence[tuple[str, str]] = ()

    def __init__(self) -> None:
        super().__init__()
        self["verbosity"] = Verbosity.ERRORS

    def opt_quiet(self) -> None:
        """no error messages"""
        self["verbosity"] = Verbosity.SILENT

    def opt_errors(self) -> None:
        """print error messages (default)"""
        self["verbosity"] = Verbosity.ERRORS

    def opt_verbose(self) -> None:
        """print extra information"""
        self["verbosity"] = Verbosity.INFORMATION

    opt_q = opt_quiet
    opt_Q = opt_errors
    opt_v = opt_verbose

    def opt_version(self) -> None:
        """Display the version of curvecp-tx and exit."""
        print(f"{self.command} (curvecp-tx) {__version__}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse a command line; exits with 100 if it makes no sense."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            die_of_usage(self.command, self.usage_lines(), str(error))

    def usage_lines(self) -> str:
        """Give the short usage text: a line for each option and operand."""
        return "\n".join(
            ("how to use:", *(f"  {what}: {text}" for what, text in self.summary))
        )

    def operands(
        self, given: Sequence[str], names: Sequence[str], *, program: bool = True
    ) -> tuple[list[str], list[str]]:
        """Split what follows the options into the named operands and the program.

        :param program: whether there has to be a program; otherwise, there must
            not be one.
        :raises usage.UsageError: naming the first that is missing.
        """
        # getopt takes a lone "-" for an operand; here it ends the options.
        if given and given[0] == "-":
            given = given[1:]
        wanted = [*names, "prog"] if program else names
        if len(given) < len(wanted):
            raise usage.UsageError(f"missing {wanted[len(given)]}")
        if not program and len(given) > len(names):
            raise usage.UsageError("there is no prog to be run with this option")
        return list(given[: len(names)]), list(given[len(names) :])


class ClientOptions(CommandOptions):
    """The command line of curvecpclient."""

    command = "curvecpclient"
    synopsis = "[options] sname pk ip[,ip...] port ext prog [args...]"
    longdesc = (
        "Connects to a CurveCP server and runs prog, with messages from the server "
        "on descriptor 8 and messages to it on descriptor 9."
    )
    summary = (
        ("-q (optional)", "no error messages"),
        ("-Q (optional)", "print error messages (default)"),
        ("-v (optional)", "print extra information"),
        ("-c keydir (optional)", "use this public-key directory"),
        ("-t seconds (optional)", "connect within this time (default 60)"),
        ("--stream (optional)", "prog is a plain program, on descriptors 6 and 7"),
        ("--program-on-stdio (optional)", "with --stream: on 0 and 1 instead"),
        ("--stdio (optional)", "connect standard input and output; there is no prog"),
        ("--listen endpoint (optional)", "connect what comes there; there is no prog"),
        ("sname", "server's name"),
        ("pk", "server's public key"),
        ("ip", "server's IP address"),
        ("port", "server's UDP port"),
        ("ext", "server's extension"),
        ("prog", "run this client"),
    )

    def __init__(self) -> None:
        super().__init__()
        self["keydir"] = None
        self["timeout"] = DEFAULT_TIMEOUT
        self["stream"] = False
        self["program-on-stdio"] = False
        self["stdio"] = False
        self["listen"] = None

    def opt_keydir(self, keydir: str) -> None:
        """use the key in this directory; without, one made for the occasion"""
        self["keydir"] = keydir

    opt_c = opt_keydir

    def opt_timeout(self, seconds: str) -> None:
        """give up when there is no connection after so many seconds (default 60)"""
        self["timeout"] = parse_seconds(seconds, "timeout")

    opt_t = opt_timeout

    def opt_stream(self) -> None:
        """prog is a plain program: it reads the server's bytes on 6, writes on 7"""
        self["stream"] = True

    def opt_program_on_stdio(self) -> None:
        """with --stream: prog reads on 0 and writes on 1 instead"""
        self["program-on-stdio"] = True

    def opt_stdio(self) -> None:
        """run no prog; connect standard input and output with the server"""
        self["stdio"] = True

    def opt_listen(self, endpoint: str) -> None:
        """run no prog; connect what comes to this server endpoint with the server"""
        self["listen"] = endpoint

    def parseArgs(self, *operands: str) -> None:
        """Read the operands."""
        names = ("sname", "pk", "ip", "port", "ext")
        listen = self["listen"] is not None
        if self["stream"] + self["stdio"] + listen > 1:
            raise usage.UsageError("--stream, --stdio, --listen exclude each other")
        if self["program-on-stdio"] and not self["stream"]:
            raise usage.UsageError("--program-on-stdio goes with --stream")
        (name, pk, ips, port, ext), program = self.operands(
            operands, names, program=not (self["stdio"] or listen)
        )
        self["name"] = parse_name(name)
        key = parse_key(pk)
        if key is None:
            raise usage.UsageError("pk must be exactly 64 hex characters")
        self["key"] = key
        hosts = ips.split(",")
        if len(hosts) > MAX_ADDRESSES:
            raise usage.UsageError(f"ip must be at most {MAX_ADDRESSES} addresses")
        self["hosts"] = [parse_ip(ip) for ip in hosts]
        self["port"] = parse_number(port, 1, MAX_PORT, "port")
        self["extension"] = parse_extension_operand(ext)
        self["program"] = program


class MessageOptions(CommandOptions):
    """The command line of curvecpmessage."""

    command = "curvecpmessage"
    synopsis = "[options] prog [args...]"
    longdesc = (
        "Runs prog on a reliable stream, whose messages come from a CurveCP server or "
        "client on descriptor 8 and go to it on descriptor 9."
    )
    summary = (
        ("-q (optional)", "no error messages"),
        ("-Q (optional)", "print error messages (default)"),
        ("-v (optional)", "print extra information"),
        ("-c (optional)", "program is a client; server starts first"),
        ("-C (optional)", "program is a client that starts first"),
        ("-s (optional)", "program is a server (default)"),
        ("prog", "run this program"),
    )

    def __init__(self) -> None:
        super().__init__()
        self["mode"] = StreamMode.SERVER

    def opt_client(self) -> None:
        """program is a client; server starts first"""
        self["mode"] = StreamMode.CLIENT

    def opt_client_first(self) -> None:
        """program is a client that starts first"""
        self["mode"] = StreamMode.CLIENT_FIRST

    def opt_server(self) -> None:
        """program is a server (default)"""
        self["mode"] = StreamMode.SERVER

    opt_c = opt_client
    opt_C = opt_client_first
    opt_s = opt_server

    def parseArgs(self, *operands: str) -> None:
        """Read the operands."""
        _, self["program"] = self.operands(operands, ())
