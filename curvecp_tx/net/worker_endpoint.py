"""A server endpoint whose port is served by workers, for an application in one process.

See :mod:`curvecp_tx.net.hand_over` for how the two meet.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress, plain_host
from curvecp_tx.net.hand_over import LOOPBACK, SECRET_BYTES, Reception
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.report import Report, Verbosity
from curvecp_tx.net.shared_table import MAX_WORKERS
from curvecp_tx.net.steering import open_group
from curvecp_tx.net.udp import ANY_IPV4
from curvecp_tx.net.workers import Workers, WorkerSettings
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.authorized import AuthorizedKeys
from curvecp_tx.wire.names import encode_server_name
from curvecp_tx.wire.packets import EXTENSION_BYTES


@implementer(IListeningPort)
class WorkersPort:
    """An open port that workers serve.

    :ivar workers: keeps them running.
    :ivar whenStopped: fires when they are gone and the port is closed.
    """

    def __init__(
        self, reactor: Any, workers: Workers, reception: Any, host: CurveCPAddress
    ) -> None:
        self.workers = workers
        self.whenStopped: Deferred[None] = Deferred()
        self._reactor = reactor
        self._reception = reception
        self._host = host

    def startListening(self) -> None:
        """Start the workers, when the reactor runs and can notice their end.

        By then a daemon has become one, and given up its privileges.
        """
        self._reactor.callWhenRunning(self.workers.start)

    def stopListening(self) -> Deferred[None]:
        """End all connections, and close the port.

        :return: fires when the workers are gone.
        """
        if self.workers.stopping:
            return succeed(None)
        stopped: Deferred[None] = self.workers.stop().addCallback(self._stopped)
        return stopped

    def getHost(self) -> CurveCPAddress:
        """Tell the server's key, name, extension, address and port."""
        return self._host

    def _stopped(self, result: None) -> Any:
        # Not before: streams that end have their protocols behind this one.
        self.whenStopped.callback(None)
        return self._reception.stopListening()


class WorkersEndpoint:
    """A place to serve a Twisted protocol over CurveCP, with workers.

    :param workers: how many processes do the protocol and its cryptography.
    :raises ValueError: if that is not a possible number.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        workers: int,
        identity: Identity,
        name: str,
        interface: str = ANY_IPV4,
        port: int = 0,
        extension: bytes = bytes(EXTENSION_BYTES),
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        authorized: AuthorizedKeys | None = None,
        idleTimeout: float | None = None,
        bindAddress: bool = True,
        report: Report | None = None,
    ) -> None:
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"workers must be 1 to {MAX_WORKERS}, not {workers}")
        encode_server_name(name)
        if len(extension) != EXTENSION_BYTES:
            raise ValueError(f"an extension has {EXTENSION_BYTES} bytes")
        self._reactor = reactor
        self._workers = workers
        self._interface = interface
        self._port = port
        self._report = report or Report(Verbosity.ERRORS)
        self._settings: dict[str, Any] = {
            "identity": identity,
            "name": name,
            "extension": extension,
            "limits": limits,
            "authorized": authorized,
            "idle_timeout": idleTimeout,
            "bind_address": bindAddress,
            "grace": 0.0,
            "verbosity": self._report.verbosity,
        }

    def listen(self, factory: IProtocolFactory) -> Deferred[WorkersPort]:
        """Bind the port, and have it served.

        :return: fires with the port, or fails with ``CannotListenError`` or
            :class:`~curvecp_tx.errors.NoSteering`.
        """
        try:
            sockets = open_group(self._interface, self._port, self._workers)
        except Exception:
            return fail()
        bound = sockets[0].getsockname()
        host = CurveCPAddress(
            key=self._settings["identity"].keys.public,
            name=self._settings["name"],
            extension=self._settings["extension"],
            host=plain_host(bound[0]),
            port=bound[1],
        )
        secret = os.urandom(SECRET_BYTES)
        reception = Reception(self._reactor, factory, secret=secret, host=host)
        try:
            inside = self._reactor.listenTCP(0, reception, interface=LOOPBACK)
        except Exception:
            for sock in sockets:
                sock.close()
            return fail()
        number: int = inside.getHost().port
        settings = WorkerSettings(
            serve={"hand_over": (number, secret.hex())}, **self._settings
        )
        workers = Workers(self._reactor, sockets, settings, report=self._report)
        port = WorkersPort(self._reactor, workers, inside, host)
        port.startListening()
        return succeed(port)
