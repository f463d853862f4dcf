"""Tunnels to a CurveCP server: from standard input and output, or from a port."""

from __future__ import annotations

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.python.failure import Failure

from curvecp_tx.errors import CurveCPError
from curvecp_tx.net.clock import make_monotonic
from curvecp_tx.net.ending import FAILED_STATUS
from curvecp_tx.net.forward import ForwardFactory, Side
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report
from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint
from curvecp_tx.service.exits import die, die_of_usage
from curvecp_tx.service.options import ClientOptions
from curvecp_tx.service.signals import SignalHandling, SignalledService
from curvecp_tx.service.stopping import FAREWELL, Waiting

Options = ClientOptions


class _Terminal(Side):
    """Standard input and output.

    :ivar gone: fires when all output has been written, or cannot be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gone: Deferred[None] = Deferred()

    def writeConnectionLost(self) -> None:
        """Tell that nothing is left to write: more may never be heard from here."""
        super().writeConnectionLost()
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell that nothing is left to write."""
        super().connectionLost(reason)
        self._tell()

    def _tell(self) -> None:
        if not self.gone.called:
            self.gone.callback(None)


class _StandardIO(StandardIO):
    """Knows whether all could be written.

    :ivar written: false if the system has refused some of the output.
    """

    written = True

    def childConnectionLost(self, fd: str, reason: Failure) -> None:
        """Look at the reason, which nobody else is told."""
        if fd == "write" and not reason.check(ConnectionDone):
            self.written = False
        super().childConnectionLost(fd, reason)  # type: ignore[misc]


UNWRITTEN = "unable to write output"


class StdioService(Service):
    """Connects standard input and output with a server, like netcat.

    :ivar ended: fires with 0 if both directions are complete and acknowledged and
        all output is written, else with 111.
    """

    def __init__(
        self, reactor: Any, endpoint: CurveCPClientEndpoint, *, report: Report
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._report = report
        self._far: Side | None = None
        self._waiting = Waiting(reactor)
        self.ended: Deferred[int] = Deferred()

    def startService(self) -> None:
        """Dial; input is read when the connection stands."""
        super().startService()
        far = Side()
        self._connecting = self._endpoint.connect(Factory.forProtocol(lambda: far))
        self._connecting.addCallbacks(self._connected, self._failed)

    def stopService(self) -> Deferred[None]:
        """Give up, and tell the server that it is a failure."""
        super().stopService()
        if self._far is None:
            self._connecting.cancel()
            return succeed(None)
        self._far.transport.abortConnection()
        return self._waiting.wait(self._far.transport.whenOver, FAREWELL)

    def kill(self) -> None:
        """Wait for nothing."""
        self._waiting.hurry()

    def _connected(self, far: Any) -> None:
        self._far = far
        near = _Terminal()
        standard = _StandardIO(near, reactor=self._reactor)
        near.splice(far)
        far.transport.whenOver.addCallback(self._over, near, standard)

    def _over(
        self, problem: CurveCPError | None, near: _Terminal, standard: _StandardIO
    ) -> None:
        if problem is None:
            near.gone.addCallback(self._finished, standard)
        elif standard.written:
            self._fail(problem)
        else:
            # That is why the stream was aborted, if it was not over by then.
            self._fail(UNWRITTEN)

    def _finished(self, _: None, standard: _StandardIO) -> None:
        if standard.written:
            self.ended.callback(0)
        else:
            self._fail(UNWRITTEN)

    def _fail(self, why: object) -> None:
        self._report.error("fatal: {why}", why=why)
        self.ended.callback(FAILED_STATUS)

    def _failed(self, reason: Failure) -> None:
        if self.running:
            self._report.error("fatal: {why}", why=reason.value)
        self.ended.callback(FAILED_STATUS)


class ListenService(SignalledService):
    """Connects each connection to a local port with a server."""

    def __init__(
        self,
        reactor: Any,
        listen: str,
        endpoint: CurveCPClientEndpoint,
        *,
        report: Report,
    ) -> None:
        self._waiting = Waiting(reactor)
        self._endpoint = serverFromString(reactor, listen)
        self._factory = ForwardFactory(endpoint, report=report)
        self._listening: Deferred[IListeningPort] | None = None
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Bind while that is allowed."""
        super().privilegedStartService()
        self.bind()

    def startService(self) -> None:
        """Take connections."""
        super().startService()
        self.bind()

    def bind(self) -> None:
        """Bind the port unless that is done; fails as the endpoint does."""
        if self._listening is None:
            self._listening = self._endpoint.listen(self._factory)
            failures: list[Failure] = []
            self._listening.addCallbacks(self._bound, failures.append)
            for failure in failures:
                failure.raiseException()

    def _bound(self, port: IListeningPort) -> None:
        self._port = port

    @inlineCallbacks
    def stopService(self):  # type: ignore[no-untyped-def]
        """Take no more connections, and end those that there are."""
        yield super().stopService()
        port, self._port = self._port, None
        self._listening = None
        if port is not None:
            yield port.stopListening()
        over = [far.transport.whenOver for far in self._factory.end()]
        yield self._waiting.wait(DeferredList(over), FAREWELL)

    def kill(self) -> None:
        """Wait for nothing."""
        self._waiting.hurry()


def make_endpoint(reactor: Any, options: ClientOptions) -> CurveCPClientEndpoint:
    """Make the endpoint that a command line names.

    :raises CurveCPError: if its key directory is unusable.
    """
    keydir = options["keydir"]
    return CurveCPClientEndpoint(
        reactor,
        serverKey=options["key"],
        serverName=options["name"],
        serverExtension=options["extension"],
        hosts=options["hosts"],
        port=options["port"],
        identity=None if keydir is None else Identity.for_client(keydir),
        timeout=options["timeout"],
        report=Report(options["verbosity"]),
    )


def makeService(options: ClientOptions) -> ListenService:
    """Make the service for twistd, which leaves some signals to us."""
    from twisted.internet import reactor

    service = make_tunnel(options)
    service.signals = SignalHandling(reactor, service, chain=True)
    return service


def make_tunnel(options: ClientOptions) -> ListenService:
    """Make the service of ``--listen``, its port bound."""
    from twisted.internet import reactor

    if options["listen"] is None:
        die_of_usage(
            options.command, options.usage_lines(), "under twistd, --listen is needed"
        )
    make_monotonic(reactor)
    silent = options["verbosity"] == 0
    try:
        service = ListenService(
            reactor,
            options["listen"],
            make_endpoint(reactor, options),
            report=Report(options["verbosity"]),
        )
        service.bind()
    except Exception as error:
        die(options.command, f"unable to listen: {error}", silent=silent)
    return service
