"""The endpoint where a message protocol is served."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IListeningPort
from zope.interface import implementer

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.interfaces import (
    ICurveCPReactor,
    IMessageProtocolFactory,
)
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.net.udp import ANY_IPV4, OpenPort, socket_ports
from curvecp_tx.secure.counters import Counters


@implementer(IListeningPort)
class MessagePort:
    """A server's open port.

    :ivar listener: the protocol under it, which knows the connections.
    :ivar whenStopped: fires when the port has been closed.
    """

    def __init__(self, port: IListeningPort, listener: MessageListener) -> None:
        self._port = port
        self.listener = listener
        self.whenStopped: Deferred[None] = Deferred()

    @property
    def counters(self) -> Counters:
        """What has happened on this port, by reason."""
        return self.listener.counters

    def startListening(self) -> None:
        """Begin to serve."""
        self._port.startListening()

    def stopListening(self) -> Deferred[None]:
        """End all connections and close the port.

        Streams tell their peers that they have failed, as far as they may send now.
        """
        self.listener.leave("the server stops")
        self._port.stopListening()
        if not self.whenStopped.called:
            self.whenStopped.callback(None)
        return succeed(None)

    def getHost(self) -> CurveCPAddress:
        """Tell the server's key, name, extension, address and port."""
        return self.listener.getHost()


class MessageServerEndpoint:
    """A place to serve a message protocol.

    :param interface: IP address to bind; ``::`` takes IPv4 as well.
    :param port: UDP port to bind; 0 picks one.
    :param openPort: what opens the port; a socket by default.
    :param options: as for :class:`~curvecp_tx.net.listener.MessageListener`.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        *,
        identity: Identity,
        name: str,
        interface: str = ANY_IPV4,
        port: int = 0,
        openPort: OpenPort | None = None,
        **options: Any,
    ) -> None:
        self._reactor = reactor
        self._open_port = openPort or socket_ports(reactor)
        self._identity = identity
        self._name = name
        self._interface = interface
        self._port = port
        self._options = options

    def listen(self, factory: IMessageProtocolFactory) -> Deferred[MessagePort]:
        """Bind the port and serve.

        :return: fires with the port, or fails with ``CannotListenError``.
        """
        try:
            listener = MessageListener(
                self._reactor,
                factory,
                identity=self._identity,
                name=self._name,
                **self._options,
            )
            below = self._open_port(
                listener, self._interface, self._port, listener.counters
            )
        except Exception:
            return fail()
        port = MessagePort(below, listener)
        port.startListening()
        return succeed(port)
