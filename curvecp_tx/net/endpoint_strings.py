"""Endpoint descriptions: ``curvecp:…`` wherever Twisted takes a string.

::

    curvecp:11000:keydir=/etc/keys:name=www.example:interface=192.0.2.1
    curvecp:192.0.2.1:11000:key=7b4e...:name=www.example:timeout=30

This module is imported by every program that looks for plugins, and so it loads
the rest of the package only when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import (
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

if TYPE_CHECKING:
    from curvecp_tx.net.stream_endpoints import (
        CurveCPClientEndpoint,
        CurveCPServerEndpoint,
    )

PREFIX = "curvecp"
NO_EXTENSION = "0" * 32


@implementer(IPlugin, IStreamServerEndpointStringParser)
class CurveCPServerParser:
    """``curvecp:PORT:keydir=…:name=…[:extension=…][:interface=…][:clients=…]``"""

    prefix = PREFIX

    def parseStreamServer(
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> CurveCPServerEndpoint:
        """Make a server endpoint; the key directory is read at once.

        :raises TypeError: for a part that is missing, or unknown.
        :raises ValueError: for a part that makes no sense.
        :raises KeyDirectoryError: if the key directory is unusable.
        """
        return _server(reactor, *args, **kwargs)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class CurveCPClientParser:
    """``curvecp:HOST:PORT:key=…:name=…[:extension=…][:keydir=…][:timeout=…]``"""

    prefix = PREFIX

    def parseStreamClient(
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> CurveCPClientEndpoint:
        """Make a client endpoint; its key directory, if any, is read at once.

        :raises TypeError: for a part that is missing, or unknown.
        :raises ValueError: for a part that makes no sense.
        :raises KeyDirectoryError: if the key directory is unusable.
        """
        return _client(reactor, *args, **kwargs)


def _server(
    reactor: Any,
    port: str,
    *,
    keydir: str,
    name: str,
    extension: str = NO_EXTENSION,
    interface: str = "0.0.0.0",  # noqa: S104 - a server's usual place
    clients: str = "100",
) -> CurveCPServerEndpoint:
    from curvecp_tx.net.keydir import Identity
    from curvecp_tx.net.stream_endpoints import CurveCPServerEndpoint

    return CurveCPServerEndpoint(
        reactor,
        identity=Identity.for_server(keydir),
        name=name,
        extension=_extension(extension),
        interface=interface,
        port=int(port),
        clients=int(clients),
    )


def _client(
    reactor: Any,
    host: str,
    port: str,
    *,
    key: str,
    name: str,
    extension: str = NO_EXTENSION,
    keydir: str | None = None,
    timeout: str = "60",
) -> CurveCPClientEndpoint:
    from curvecp_tx.net.keydir import Identity
    from curvecp_tx.net.stream_endpoints import CurveCPClientEndpoint
    from curvecp_tx.wire.names import parse_key

    server_key = parse_key(key)
    if server_key is None:
        raise ValueError("key must be exactly 64 hex characters")
    return CurveCPClientEndpoint(
        reactor,
        serverKey=server_key,
        serverName=name,
        serverExtension=_extension(extension),
        hosts=host.split(","),
        port=int(port),
        identity=None if keydir is None else Identity.for_client(keydir),
        timeout=float(timeout),
    )


def _extension(text: str) -> bytes:
    from curvecp_tx.wire.names import parse_extension

    extension = parse_extension(text)
    if extension is None:
        raise ValueError("extension must be exactly 32 hex characters")
    return extension
