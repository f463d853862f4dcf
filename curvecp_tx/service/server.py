"""The superserver as a Twisted service, and as ``twistd curvecpserver``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import inlineCallbacks
from twisted.internet.endpoints import clientFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamClientEndpoint

from curvecp_tx.errors import CurveCPError
from curvecp_tx.interfaces import (
    IClientPolicy,
    ICurveCPReactor,
    IHandlerFactory,
)
from curvecp_tx.net.authorized_file import AuthorizedKeysFile
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.descriptors import SERVER_DESCRIPTORS
from curvecp_tx.net.forward import ForwardFactory
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.programs import (
    ProgramOnStream,
    StreamProgramFactory,
)
from curvecp_tx.net.report import Report
from curvecp_tx.net.reserve import Reserve
from curvecp_tx.net.steering import open_group
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.net.workers import Workers, WorkerSettings
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.counters import Counters
from curvecp_tx.secure.ledger import Ledger
from curvecp_tx.service.exits import die
from curvecp_tx.service.server_options import ServerOptions
from curvecp_tx.service.signals import SignalHandling, SignalledService
from curvecp_tx.service.stopping import DEFAULT_GRACE, FAREWELL, Waiting
from curvecp_tx.service.supervisor import SupervisorService

Options = ServerOptions


class CurveCPServerService(SignalledService):
    """Serves CurveCP clients.

    The port is bound by :meth:`bind`, or else when privileged services start, or
    else at the start; it is served from the start on. Stopping lets nobody new in,
    leaves the others some time to end by themselves, and then ends connections and
    programs.

    :param handlers: makes what serves a client: a program, a stream.
    :param interface: IP address to bind.
    :param port: UDP port to bind; 0 picks one.
    :param sock: a socket that is bound already, instead of these two.
    :param limits: as for :class:`~curvecp_tx.net.listener.MessageListener`, like
        ``policy`` and ``idleTimeout``.
    :param authorized: the file of the only keys that may come in.
    :param ledger: as for the listener, where this is one of several processes.
    :param grace: seconds that connections get when the service stops.
    :ivar reload: reads that file again; ``None`` if there is none.
    :raises BadName: if ``serverName`` cannot be a server's name.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        handlers: IHandlerFactory,
        *,
        identity: Identity,
        serverName: str,
        extension: bytes,
        interface: str,
        port: int,
        sock: socket.socket | None = None,
        policy: IClientPolicy | None = None,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        authorized: AuthorizedKeysFile | None = None,
        idleTimeout: float | None = None,
        bindAddress: bool = True,
        ledger: Ledger | None = None,
        grace: float = DEFAULT_GRACE,
        report: Report | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._report = report = report or Report()
        self._reactor = reactor
        self._interface = interface
        self._port_number = port
        self._socket = sock
        self._port: DatagramPort | None = None
        self._limits = limits
        self._authorized = authorized
        self._reserve = Reserve()
        self._grace = grace
        self._waiting = Waiting(reactor)
        self.reload = None if authorized is None else self._read_authorized_keys
        self.counters = counters or Counters()
        self.handlers = handlers
        self.listener = MessageListener(
            reactor,
            handlers,
            identity=identity,
            name=serverName,
            extension=extension,
            policy=policy,
            limits=limits,
            authorized=None if authorized is None else authorized.keys,
            idleTimeout=idleTimeout,
            bindAddress=bindAddress,
            ledger=ledger,
            report=report,
            counters=self.counters,
        )

    def bind(self) -> int:
        """Bind the port unless that is done.

        :return: the number of the port.
        :raises CannotListenError: if it cannot be bound.
        """
        if self._socket is None:
            self._socket = open_socket(self._interface, self._port_number)
        port: int = self._socket.getsockname()[1]
        return port

    def privilegedStartService(self) -> None:
        """Bind while that is allowed."""
        super().privilegedStartService()
        self.bind()

    def startService(self) -> None:
        """Serve."""
        super().startService()
        self._waiting = Waiting(self._reactor)
        self.bind()
        self._reserve.fill()
        assert self._socket is not None  # noqa: S101 - bind has seen to it
        self._port = DatagramPort(
            self._reactor, self.listener, self._socket, self.counters
        )
        self._port.startListening()

    @inlineCallbacks
    def stopService(self):  # type: ignore[no-untyped-def]
        """Let clients finish, end what is left, and wait for the programs' end."""
        yield super().stopService()
        report, listener, waiting = self._report, self.listener, self._waiting
        listener.stopAccepting()
        if listener.connections:
            report.info(
                "stopping: {count} clients may go on for {grace:g} s",
                count=listener.connections,
                grace=self._grace,
            )
            yield waiting.wait(listener.whenIdle(), self._grace)
        if listener.connections:
            report.info("stopping: {count} clients end now", count=listener.connections)
        listener.leave("the server stops")
        programs = self.handlers.whenIdle()
        yield waiting.wait(listener.whenIdle(), FAREWELL)
        listener.loseConnections()
        if self._port is not None:
            self._port.stopListening()
        elif self._socket is not None:
            self._socket.close()
        self._port = self._socket = None
        self._reserve.empty()
        yield programs
        self.tell_counters()

    def tell_counters(self) -> None:
        """Log what was counted."""
        counted = {k: n for k, n in self.counters.as_dict().items() if n}
        self._report.info("counters: {counted}", counted=counted)

    def kill(self) -> None:
        """Wait for nothing: end connections now, and kill programs."""
        self._report.info("stopping: at once")
        self._waiting.hurry()
        self.handlers.kill()

    def _read_authorized_keys(self) -> None:
        assert self._authorized is not None  # noqa: S101 - else nobody calls this
        keys = self._authorized.read_in_service(self._reserve, self._report)
        if keys is not None:
            self.listener.allow(self._limits, keys)


def _print_now(text: str) -> None:
    """Print past the buffer: whoever waits for the line reads a pipe or a file."""
    print(text, flush=True)


def makeService(
    options: ServerOptions, show: Callable[[str], object] = _print_now
) -> CurveCPServerService | SupervisorService:
    """Make the service for twistd, which leaves some signals to us."""
    from twisted.internet import reactor

    service = make_server(options, show)
    service.signals = SignalHandling(reactor, service, chain=True)
    return service


def make_server(
    options: ServerOptions, show: Callable[[str], object] = _print_now
) -> CurveCPServerService | SupervisorService:
    """Make the service that a command line asks for, its port bound.

    Everything that may go wrong goes wrong here: before twistd turns into a
    daemon, before it gives up its privileges, and with exit code 111.
    """
    from twisted.internet import reactor

    command, silent = options.command, options["verbosity"] == 0
    make_monotonic(reactor)
    make = _make_single if options["workers"] == 1 else _make_supervisor
    try:
        service = make(options, reactor)
    except CurveCPError as error:
        die(command, str(error), silent=silent)
    except CannotListenError as error:
        where = f"{options['interface']} port {options['port']}"
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        die(command, f"unable to bind {where}: {reason}".lower(), silent=silent)
    port = service.bind()
    if options["print-port"]:
        try:
            show(str(port))
        except OSError as error:
            reason = f"unable to write output: {error.strerror}".lower()
            die(command, reason, silent=silent)
    return service


def _make_single(options: ServerOptions, reactor: Any) -> CurveCPServerService:
    report = Report(options["verbosity"])
    counters = Counters()
    handlers = make_handlers(options, reactor, report, counters)
    authorized = _authorized_keys(options)
    sock = open_socket(options["interface"], options["port"])
    return CurveCPServerService(
        reactor,
        handlers,
        # Last, since it uses up nonces for good.
        identity=Identity.for_server(options["keydir"]),
        serverName=options["name"],
        extension=options["extension"],
        interface=options["interface"],
        port=options["port"],
        sock=sock,
        limits=options.limits,
        authorized=authorized,
        idleTimeout=options["idle-timeout"],
        grace=options["grace"],
        report=report,
        counters=counters,
    )


def _make_supervisor(options: ServerOptions, reactor: Any) -> SupervisorService:
    report = Report(options["verbosity"])
    # The workers make theirs; whether it can be done should be known now.
    make_handlers(options, reactor, report, Counters())
    authorized = _authorized_keys(options)
    sockets = open_group(options["interface"], options["port"], options["workers"])
    settings = WorkerSettings(
        identity=Identity.for_server(options["keydir"]),
        name=options["name"],
        extension=options["extension"],
        limits=options.limits,
        authorized=None if authorized is None else authorized.keys,
        idle_timeout=options["idle-timeout"],
        grace=options["grace"],
        verbosity=options["verbosity"],
        serve={
            name: options[name]
            for name in ("program", "stream", "forward", "proxy-header")
        },
    )
    workers = Workers(reactor, sockets, settings, report=report)
    return SupervisorService(reactor, workers, authorized=authorized, report=report)


def _authorized_keys(options: ServerOptions) -> AuthorizedKeysFile | None:
    path = options["authorized-keys"]
    return None if path is None else AuthorizedKeysFile(path)


def make_handlers(
    options: ServerOptions, reactor: Any, report: Report, counters: Counters
) -> IHandlerFactory:
    """Make what serves the clients, as the options say."""
    if options["forward"] is not None:
        endpoint = _forward_endpoint(options, reactor)
        forward = ForwardFactory(
            endpoint, proxyHeader=options["proxy-header"], report=report
        )
        return StreamFactory(reactor, forward, report=report)
    if options["stream"]:
        settings = ProgramOnStream(
            reactor,
            options["program"],
            descriptors=SERVER_DESCRIPTORS,
            report=report,
        )
        return StreamProgramFactory(settings)
    return HandlerProgramFactory(
        reactor, options["program"], report=report, counters=counters
    )


def _forward_endpoint(options: ServerOptions, reactor: Any) -> IStreamClientEndpoint:
    """Make the endpoint that ``--forward`` names; it may be none."""
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, options["forward"])
    except (ValueError, TypeError, LookupError) as error:
        die(
            options.command,
            f"unable to forward to {options['forward']}: {error}",
            silent=options["verbosity"] == 0,
        )
    return endpoint
