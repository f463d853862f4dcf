"""Tests for how command lines become superservers, and for the plugin."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import closing

from twisted.application.service import IServiceMaker
from twisted.internet import reactor
from twisted.plugin import getPlugins
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.keydir import SERVER_RESERVATION, read_public_key
from curvecp_tx.secure.admission import Limits
from curvecp_tx.service import server
from curvecp_tx.service.server import (
    CurveCPServerService,
    Options,
    make_server,
    makeService,
)
from tests.commands.running import (
    EXTENSION,
    TWISTD,
    new_key_directory,
    run_here,
    run_python,
)
from tests.service.test_server import is_bound


class MakeServiceTests(SynchronousTestCase):
    """Tests for ``makeService``."""

    def setUp(self) -> None:
        """Leave the clock of the reactor that runs the tests alone."""
        self.adjusted: list[object] = []
        self.patch(server, "make_monotonic", self.adjusted.append)
        self.shown: list[str] = []
        self.keydir = new_key_directory(self)

    def options(self, *arguments: str, **changes: str) -> Options:
        """Parse a command line that is good but for some changes."""
        operands = {
            "name": "www.example.org",
            "keydir": self.keydir,
            "ip": "127.0.0.1",
            "port": "0",
            "ext": EXTENSION,
            "prog": "true",
            **changes,
        }
        options = Options()
        options.parseOptions([*arguments, *operands.values()])
        return options

    def make(self, *arguments: str, **changes: str) -> CurveCPServerService:
        """Make a service from a command line."""
        service = makeService(self.options(*arguments, **changes), self.shown.append)
        self.addCleanup(service.stopService)
        assert isinstance(service, CurveCPServerService)
        return service

    def refusal(self, *arguments: str, **changes: str) -> tuple[int, str, str]:
        """Fail to make a service: exit code, output and error output."""
        options = self.options(*arguments, **changes)
        finished = run_here(self, lambda _: [makeService(options)].clear())
        return finished.code, finished.out, finished.err

    def test_bound_before_start(self) -> None:
        """The port is bound at once: before a daemon, and before it can fail."""
        service = self.make()
        self.assertFalse(service.running)
        self.assertTrue(is_bound(service.bind()))

    def test_print_port(self) -> None:
        """``-1`` shows the port that was bound, and nothing else shows it."""
        self.make()
        self.assertEqual(self.shown, [])
        service = self.make("-1")
        self.assertEqual(self.shown, [str(service.bind())])

    def test_arguments_arrive(self) -> None:
        """The service is what the command line asked for."""
        service = self.make("-c", "7", prog="cat")
        host = service.listener.getHost()
        self.assertEqual(host.key, read_public_key(self.keydir))
        self.assertEqual(host.name, "www.example.org")
        self.assertEqual(host.extension, bytes.fromhex(EXTENSION))
        assert isinstance(service.handlers, HandlerProgramFactory)
        self.assertEqual(service.handlers.arguments, ["cat"])

    def test_nonces_reserved(self) -> None:
        """The nonces are set aside now: later the files may be out of reach."""
        self.make()
        with open(os.path.join(self.keydir, ".expertsonly/noncecounter"), "rb") as file:
            self.assertEqual(int.from_bytes(file.read(), "little"), SERVER_RESERVATION)

    def test_monotonic_clock(self) -> None:
        """The reactor is put on a clock that nobody can set back."""
        self.make()
        self.assertEqual(self.adjusted, [reactor])

    def test_ipv6(self) -> None:
        """An IPv6 address can be bound."""
        try:
            with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as sock:
                sock.bind(("::1", 0))
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from error
        service = self.make(ip="::1")
        self.assertGreater(service.bind(), 0)

    def test_access_arrives(self) -> None:
        """So are limits, the file of authorized keys, and times."""
        guests = self.mktemp()
        with open(guests, "w") as file:
            file.write(f"{bytes(32).hex()}\n")
        arguments = ("--authorized-keys", guests, "--max-per-ip=3", "--grace=2.5")
        service = self.make(*arguments, "--idle-timeout=8")
        self.assertEqual(
            service.listener._server.limits, Limits(per_ip=3, start_rate=50.0)
        )
        keys = service.listener._server._admission.authorized
        assert keys is not None
        self.assertEqual(len(keys), 1)
        self.assertEqual((service._grace, service.listener._idle_timeout), (2.5, 8.0))

    def test_signals(self) -> None:
        """Under twistd the service handles signals itself, in a console it does not."""
        self.assertIsNotNone(self.make().signals)
        service = make_server(self.options(), self.shown.append)
        self.addCleanup(service.stopService)
        self.assertIsNone(service.signals)

    def test_bad_authorized_keys(self) -> None:
        """A file that cannot be used is named, before any nonce is used up."""
        path = os.path.abspath(self.mktemp())
        reason = f"unusable authorized-keys file: {path}: no such file or directory"
        expected = (111, "", f"curvecpserver: fatal: {reason}\n")
        self.assertEqual(self.refusal("--authorized-keys", path), expected)
        with open(path, "w") as file:
            file.write("# mine\nnonsense\n")
        code, out, err = self.refusal("--authorized-keys", path)
        self.assertEqual((code, out), (111, ""))
        self.assertRegex(err, rf"\Acurvecpserver: fatal: .*: {path}: line 2: .+\n\Z")
        with open(os.path.join(self.keydir, ".expertsonly/noncecounter"), "rb") as file:
            self.assertEqual(file.read(), bytes(8))

    def test_failures(self) -> None:
        """Each way to fail is 111 with one line, or with none under ``-q``."""
        taken = self.make().bind()
        for changes, reason in (
            (
                {"keydir": "no/such"},
                "unusable key directory: no/such: no such file or directory",
            ),
            ({"prog": "no-such-program"}, "unable to find program: no-such-program"),
            (
                {"port": str(taken)},
                f"unable to bind 127.0.0.1 port {taken}: address already in use",
            ),
        ):
            expected = f"curvecpserver: fatal: {reason}\n"
            self.assertEqual(self.refusal(**changes), (111, "", expected))
            self.assertEqual(self.refusal("-q", **changes), (111, "", ""))

    def test_output_full(self) -> None:
        """A port that cannot be shown is 111, too."""

        def full(text: str) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        options = self.options("-1")
        finished = run_here(self, lambda _: [makeService(options, full)].clear())
        self.assertEqual(finished.code, 111)
        self.assertEqual(
            finished.last,
            "curvecpserver: fatal: unable to write output: no space left on device",
        )


class PluginTests(SynchronousTestCase):
    """Tests for what twistd sees of this package."""

    def test_service_maker(self) -> None:
        """The plugin is a service maker by that name."""
        (plugin,) = (
            plugin
            for plugin in getPlugins(IServiceMaker)
            if plugin.tapname == "curvecpserver"
        )
        self.assertTrue(verifyObject(IServiceMaker, plugin))
        self.assertIs(plugin.options, Options)
        self.assertIs(plugin.makeService, makeService)

    def test_twistd_help(self) -> None:
        """``twistd --help`` lists the server without loading any of it."""
        finished = run_python("-X", "importtime", *TWISTD, "--help")
        self.assertEqual(finished.code, 0)
        self.assertRegex(finished.out, r"(?m)^ +curvecpserver +A CurveCP superserver")
        self.assertIn("twisted.application.service", finished.err)
        self.assertNotIn("nacl", finished.err)
        for layer in ("wire", "secure", "stream", "service"):
            self.assertNotIn(f"curvecp_tx.{layer}", finished.err)

    def test_twistd_command_help(self) -> None:
        """``twistd curvecpserver --help`` shows the operands and the options."""
        finished = run_python(*TWISTD, "curvecpserver", "--help")
        self.assertEqual((finished.code, finished.err), (0, ""))
        self.assertIn("sname keydir ip port ext prog [args...]", finished.out)
        self.assertIn("--print-port", finished.out)
