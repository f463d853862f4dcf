"""The superserver as a Twisted service, and as ``twistd curvecpserver``."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import inlineCallbacks
from twisted.internet.error import CannotListenError

from curvecp_tx.errors import CurveCPError
from curvecp_tx.interfaces import IClientPolicy, ICurveCPReactor
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import DEFAULT_CLIENTS, MessageListener
from curvecp_tx.net.report import Report
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from curvecp_tx.service.exits import die
from curvecp_tx.service.options import ServerOptions

Options = ServerOptions


class CurveCPServerService(Service):
    """Runs a message-handler program for each CurveCP client.

    The port is bound by :meth:`bind`, or else when privileged services start, or
    else at the start; it is served from the start on. Stopping ends all
    connections, and is done when the last program has ended.

    :param command: the program and its arguments.
    :param interface: IP address to bind.
    :param port: UDP port to bind; 0 picks one.
    :param directory: where programs start; ``None`` for where the service is.
    :raises ProgramNotFound: if there is no such program.
    :raises BadName: if ``serverName`` cannot be a server's name.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        identity: Identity,
        serverName: str,
        extension: bytes,
        interface: str,
        port: int,
        policy: IClientPolicy | None = None,
        clients: int = DEFAULT_CLIENTS,
        directory: str | None = None,
        report: Report | None = None,
    ) -> None:
        self._report = report = report or Report()
        self._reactor = reactor
        self._interface = interface
        self._port_number = port
        self._socket: socket.socket | None = None
        self._port: DatagramPort | None = None
        self.counters = Counters()
        self.programs = HandlerProgramFactory(
            reactor,
            command,
            directory=directory,
            report=report,
            counters=self.counters,
        )
        self.listener = MessageListener(
            reactor,
            self.programs,
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
        yield self.programs.running.when_none()
        counted = {k: n for k, n in self.counters.as_dict().items() if n}
        self._report.info("counters: {counted}", counted=counted)


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
    try:
        service = CurveCPServerService(
            reactor,  # type: ignore[arg-type]
            options["program"],
            identity=Identity.for_server(options["keydir"]),
            serverName=options["name"],
            extension=options["extension"],
            interface=options["interface"],
            port=options["port"],
            clients=options["clients"],
            report=Report(options["verbosity"]),
        )
        port = service.bind()
    except CurveCPError as error:
        die(command, str(error), silent=silent)
    except CannotListenError as error:
        where = f"{options['interface']} port {options['port']}"
        reason = getattr(error.socketError, "strerror", None) or error.socketError
        die(command, f"unable to bind {where}: {reason}".lower(), silent=silent)
    if options["print-port"]:
        try:
            show(str(port))
        except OSError as error:
            reason = f"unable to write output: {error.strerror}".lower()
            die(command, reason, silent=silent)
    return service
