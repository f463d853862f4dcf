"""Endpoints for Twisted protocols: streams over CurveCP, like TCP's.

::

    curvecp:11000:keydir=/etc/keys:name=www.example:interface=192.0.2.1
    curvecp:192.0.2.1:11000:key=7b4e...:name=www.example:timeout=30
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import CurveCPError
from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IMessageProtocol,
    IMessageProtocolFactory,
)
from curvecp_tx.net.client_endpoint import MessageClientEndpoint
from curvecp_tx.net.endpoints import MessagePort, MessageServerEndpoint
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.reasons import dial_reason
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.net.worker_endpoint import WorkersEndpoint, WorkersPort


@implementer(IStreamServerEndpoint)
class CurveCPServerEndpoint:
    """A place to serve a Twisted protocol over CurveCP.

    :param workers: how many processes do the protocol and its cryptography; with 1,
        that is the application's own. With more, each connection comes from one of
        them through this host's loopback interface. There can be no ``policy`` then,
        nor ``counters``, nor any ``openPort``.
    :param options: as for :class:`~curvecp_tx.net.endpoints.MessageServerEndpoint`.
    :raises TypeError: for an option that there cannot be.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        *,
        identity: Identity,
        name: str,
        workers: int = 1,
        **options: Any,
    ) -> None:
        self._reactor = reactor
        self._workers: WorkersEndpoint | None = None
        if workers != 1:
            self._workers = WorkersEndpoint(
                reactor, workers=workers, identity=identity, name=name, **options
            )
            return
        self._endpoint = MessageServerEndpoint(
            reactor, identity=identity, name=name, **options
        )

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Serve a protocol.

        :return: fires with a :class:`~curvecp_tx.net.endpoints.MessagePort`, or with
            workers a :class:`~curvecp_tx.net.worker_endpoint.WorkersPort`; or fails
            with ``CannotListenError``.
        """
        if self._workers is not None:
            served = self._workers.listen(protocolFactory)
            return served.addCallback(_started, protocolFactory)
        streams = StreamFactory(self._reactor, protocolFactory)
        listening = self._endpoint.listen(streams)
        return listening.addCallback(_started, protocolFactory)


def _started(
    port: MessagePort | WorkersPort, factory: IProtocolFactory
) -> IListeningPort:
    factory.doStart()
    port.whenStopped.addCallback(lambda _: factory.doStop())
    return port


@implementer(IStreamClientEndpoint)
class CurveCPClientEndpoint:
    """A server to speak a Twisted protocol with over CurveCP.

    :param options: as for
        :class:`~curvecp_tx.net.client_endpoint.MessageClientEndpoint`.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        *,
        serverKey: bytes,
        serverName: str,
        hosts: Iterable[str],
        port: int,
        **options: Any,
    ) -> None:
        self._reactor = reactor
        self._endpoint = MessageClientEndpoint(
            reactor,
            serverKey=serverKey,
            serverName=serverName,
            hosts=hosts,
            port=port,
            **options,
        )

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol.

        :return: fires with the protocol when the server has answered its first
            message; fails with ``TimeoutError``, ``NoProtocol`` or whatever
            keeps us from dialling. May be cancelled.
        """
        return _Attempt(self._reactor, self._endpoint, protocolFactory).start()


@implementer(IMessageProtocolFactory)
class _Attempt:
    """One connection on its way to a protocol."""

    def __init__(
        self,
        reactor: ICurveCPReactor,
        endpoint: MessageClientEndpoint,
        factory: IProtocolFactory,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._factory = factory
        self._result: Deferred[IProtocol] = Deferred(self._cancelled)
        self._connection: StreamConnection | None = None

    def start(self) -> Deferred[IProtocol]:
        """Dial."""
        self._factory.doStart()
        self._dialling = self._endpoint.connect(self)
        self._dialling.addErrback(self._failed)
        return self._result

    def buildProtocol(self, address: CurveCPAddress) -> IMessageProtocol:
        """Make the stream, for there is a cookie."""
        self._connection = StreamConnection(
            self._reactor,
            client=True,
            wait=True,
            accept=self._accept,
            accepted=self._deliver,
            failed=self._failed,
        )
        return self._connection

    def _accept(self, connection: StreamConnection) -> IProtocol | None:
        """Make the application's protocol, for the server has answered."""
        try:
            protocol = self._factory.buildProtocol(connection.getPeer())
        except Exception:
            self._failed(Failure())
            return None
        if protocol is None:
            self._failed(Failure(NoProtocol()))
            return None
        connection.whenOver.addCallback(self._over)
        return protocol

    def _deliver(self, protocol: IProtocol) -> None:
        if not self._result.called:
            self._result.callback(protocol)

    def _over(self, problem: CurveCPError | None) -> CurveCPError | None:
        self._factory.doStop()
        return problem

    def _failed(self, reason: Failure) -> None:
        self._factory.doStop()
        if not self._result.called:
            self._result.errback(dial_reason(reason))

    def _cancelled(self, deferred: Deferred[IProtocol]) -> None:
        if self._connection is None:
            self._dialling.addErrback(lambda reason: reason.trap(CancelledError))
            self._dialling.cancel()
        else:
            self._connection.abortConnection()
