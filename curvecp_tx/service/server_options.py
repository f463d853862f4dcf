"""The server's command line, as usage.Options for twistd and the console script."""

from __future__ import annotations

from twisted.python import usage

from curvecp_tx.net.shared_table import MAX_WORKERS
from curvecp_tx.net.udp import MAX_PORT
from curvecp_tx.secure.admission import (
    DEFAULT_CLIENTS,
    HELLO_RATE,
    PROGRAM_START_RATE,
    Limits,
)
from curvecp_tx.service.operands import (
    parse_extension_operand,
    parse_ip,
    parse_name,
    parse_number,
    parse_rate,
    parse_seconds,
)
from curvecp_tx.service.options import CommandOptions
from curvecp_tx.service.stopping import DEFAULT_GRACE

MAX_CLIENTS = 65535


class ServerOptions(CommandOptions):
    """The command line of curvecpserver."""

    command = "curvecpserver"
    synopsis = "[options] sname keydir ip port ext prog [args...]"
    longdesc = (
        "Serves CurveCP clients: starts prog for each of them, with messages from "
        "the client on descriptor 8 and messages to it on descriptor 9."
    )
    summary = (
        ("-q (optional)", "no error messages"),
        ("-Q (optional)", "print error messages (default)"),
        ("-v (optional)", "print extra information"),
        (
            "-c n (optional)",
            f"allow at most n clients at once (default {DEFAULT_CLIENTS})",
        ),
        ("--authorized-keys file (optional)", "let in only clients with these keys"),
        ("--max-per-ip n (optional)", "allow at most n clients from one address"),
        ("--max-per-key n (optional)", "allow at most n clients with one key"),
        (
            "--hello-rate n (optional)",
            f"answer n Hellos a second and address (default {HELLO_RATE:g})",
        ),
        (
            "--start-rate n (optional)",
            f"start n programs a second (default {PROGRAM_START_RATE:g})",
        ),
        (
            "--idle-timeout seconds (optional)",
            "end clients that are silent for so long",
        ),
        (
            "--grace seconds (optional)",
            f"when stopped, give clients so long to finish (default {DEFAULT_GRACE:g})",
        ),
        ("--workers n (optional)", "serve with n processes, for n cores"),
        ("-1 (optional)", "print the UDP port when it is bound"),
        ("--stream (optional)", "prog is a plain program, on descriptors 0 and 1"),
        ("--forward endpoint (optional)", "connect clients there; there is no prog"),
        ("--proxy-header (optional)", "with --forward: tell who the client is"),
        ("sname", "server's name"),
        ("keydir", "use this public-key directory"),
        ("ip", "server's IP address"),
        ("port", "server's UDP port"),
        ("ext", "server's extension"),
        ("prog", "run this server"),
    )

    def __init__(self) -> None:
        super().__init__()
        self["clients"] = DEFAULT_CLIENTS
        self["authorized-keys"] = None
        self["max-per-ip"] = None
        self["max-per-key"] = None
        self["hello-rate"] = HELLO_RATE
        self["start-rate"] = None
        self["idle-timeout"] = None
        self["grace"] = DEFAULT_GRACE
        self["workers"] = 1
        self["print-port"] = False
        self["stream"] = False
        self["forward"] = None
        self["proxy-header"] = False

    def opt_clients(self, n: str) -> None:
        """allow at most n clients at once (default 100)"""
        self["clients"] = parse_number(n, 1, MAX_CLIENTS, "n")

    opt_c = opt_clients

    def opt_authorized_keys(self, file: str) -> None:
        """let in only clients whose keys are in this file; read again at SIGHUP"""
        self["authorized-keys"] = file

    def opt_max_per_ip(self, n: str) -> None:
        """allow at most n clients at once from one address (IPv6: one /64 network)"""
        self["max-per-ip"] = parse_number(n, 1, MAX_CLIENTS, "max-per-ip")

    def opt_max_per_key(self, n: str) -> None:
        """allow at most n clients at once with one key"""
        self["max-per-key"] = parse_number(n, 1, MAX_CLIENTS, "max-per-key")

    def opt_hello_rate(self, n: str) -> None:
        """answer at most n Hellos a second from one address (default 200)"""
        self["hello-rate"] = parse_rate(n, "hello-rate")

    def opt_start_rate(self, n: str) -> None:
        """start at most n programs a second (default 50)"""
        self["start-rate"] = parse_rate(n, "start-rate")

    def opt_idle_timeout(self, seconds: str) -> None:
        """end connections whose clients have sent nothing for so long"""
        self["idle-timeout"] = parse_seconds(seconds, "idle-timeout")

    def opt_grace(self, seconds: str) -> None:
        """when told to stop, give clients so long to finish (default 10)"""
        self["grace"] = parse_seconds(seconds, "grace", zero=True)

    def opt_workers(self, n: str) -> None:
        """serve with n processes, so that n cores are used (default 1)"""
        self["workers"] = parse_number(n, 1, MAX_WORKERS, "workers")

    def opt_print_port(self) -> None:
        """print the UDP port on standard output when it is bound"""
        self["print-port"] = True

    opt_1 = opt_print_port

    def opt_stream(self) -> None:
        """prog is a plain program: it reads the client's bytes on 0, writes on 1"""
        self["stream"] = True

    def opt_forward(self, endpoint: str) -> None:
        """connect each client to this client endpoint (tcp:HOST:PORT, unix:PATH)"""
        self["forward"] = endpoint

    def opt_proxy_header(self) -> None:
        """with --forward: tell the client's address and key (PROXY protocol, v2)"""
        self["proxy-header"] = True

    def parseArgs(self, *operands: str) -> None:
        """Read the operands."""
        names = ("sname", "keydir", "ip", "port", "ext")
        forward = self["forward"] is not None
        if forward and self["stream"]:
            raise usage.UsageError("--stream and --forward exclude each other")
        if self["proxy-header"] and not forward:
            raise usage.UsageError("--proxy-header goes with --forward")
        if forward and self["start-rate"] is not None:
            raise usage.UsageError("--forward starts no programs: no --start-rate")
        if not forward and self["start-rate"] is None:
            self["start-rate"] = PROGRAM_START_RATE
        (name, keydir, ip, port, ext), program = self.operands(
            operands, names, program=not forward
        )
        self["name"] = parse_name(name)
        self["keydir"] = keydir
        self["interface"] = parse_ip(ip)
        self["port"] = parse_number(port, 0, MAX_PORT, "port")
        self["extension"] = parse_extension_operand(ext)
        self["program"] = program

    @property
    def limits(self) -> Limits:
        """How much the server lets in."""
        return Limits(
            clients=self["clients"],
            per_ip=self["max-per-ip"],
            per_key=self["max-per-key"],
            hello_rate=self["hello-rate"],
            start_rate=self["start-rate"],
        )
