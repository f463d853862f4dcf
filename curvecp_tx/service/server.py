"""The superserver as a Twisted service, and as ``twistd curvecpserver``."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
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
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.forward import ForwardFactory
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import DEFAULT_CLIENTS, MessageListener
from curvecp_tx.net.programs import (
    SERVER_DESCRIPTORS,
    ProgramOnStream,
    StreamProgramFactory,
)
from curvecp_tx.net.report import Report
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.service.exits import die
from curvecp_tx.service.options import ServerOptions

Options = ServerOptions


class CurveCPServerService(Service):
    """Serves CurveCP clients.

    The port is bound by :meth:`bind`, or else when privileged services start, or
    else at the start; it is served from the start on. Stopping ends all
    connections, and is done when the last program has ended.

    :param handlers: makes what serves a client: a program, a stream.
    :param interface: IP address to bind.
    :param port: UDP port to bind; 0 picks one.
    :param sock: a socket that is bound already, instead of these two.
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
        clients: int = DEFAULT_CLIENTS,
        report: Report | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._report = report = report or Report()
        self._reactor = reactor
        self._interface = interface
        self._port_number = port
        self._socket = sock
        self._port: DatagramPort | None = None
        self.counters = counters or Counters()
        self.handlers = handlers
        self.listener = MessageListener(
            reactor,
            handlers,
            identity=identity,
            name=serverName,
            extension=extension,
            policy=policy,
            clients=clients,
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
        self.bind()
        assert self._socket is not None  # noqa: S101 - bind has seen to it
        self._port = DatagramPort(
            self._reactor, self.listener, self._socket, self.counters
        )
        self._port.startListening()

    @inlineCallbacks
    def stopService(self):  # type: ignore[no-untyped-def]
        """End all connections, and wait until the programs have ended."""
        yield super().stopService()
        self.listener.stopAccepting()
        self.listener.loseConnections()
        if self._port is not None:
            self._port.stopListening()
        elif self._socket is not None:
            self._socket.close()
        self._port = self._socket = None
        yield self.handlers.whenIdle()
        counted = {k: n for k, n in self.counters.as_dict().items() if n}
        self._report.info("counters: {counted}", counted=counted)

    def kill(self) -> None:
        """Kill what has been started for clients."""
        self.handlers.kill()


def _print_now(text: str) -> None:
    """Print past the buffer: whoever waits for the line reads a pipe or a file."""
    print(text, flush=True)


def makeService(
    options: ServerOptions, show: Callable[[str], object] = _print_now
) -> CurveCPServerService:
    """Make the service that a command line asks for, its port bound.

    Everything that may go wrong goes wrong here: before twistd turns into a
    daemon, before it gives up its privileges, and with exit code 111.
    """
    from twisted.internet import reactor

    command, silent = options.command, options["verbosity"] == 0
    make_monotonic(reactor)
    report = Report(options["verbosity"])
    counters = Counters()
    try:
        handlers = _make_handlers(options, reactor, report, counters)
        sock = open_socket(options["interface"], options["port"])
        # Last, since it uses up nonces for good.
        identity = Identity.for_server(options["keydir"])
    except CurveCPError as error:
        die(command, str(error), silent=silent)
    except CannotListenError as error:
        where = f"{options['interface']} port {options['port']}"
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        die(command, f"unable to bind {where}: {reason}".lower(), silent=silent)
    service = CurveCPServerService(
        reactor,  # type: ignore[arg-type]
        handlers,
        identity=identity,
        serverName=options["name"],
        extension=options["extension"],
        interface=options["interface"],
        port=options["port"],
        sock=sock,
        clients=options["clients"],
        report=report,
        counters=counters,
    )
    port = service.bind()
    if options["print-port"]:
        try:
            show(str(port))
        except OSError as error:
            reason = f"unable to write output: {error.strerror}".lower()
            die(command, reason, silent=silent)
    return service


def _make_handlers(
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
