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
    """``curvecp:PORT:keydir=…:name=…[:extension=…][:interface=…][:clients=…]…``"""

    prefix = PREFIX

    def parseStreamServer(
        self, reactor: Any, *args: Any, **kwargs: Any
    ) -> CurveCPServerEndpoint:
        """Make a server endpoint; key directory and key file are read at once.

        :raises TypeError: for a part that is missing, or unknown.
        :raises ValueError: for a part that makes no sense.
        :raises KeyDirectoryError: if the key directory is unusable.
        :raises AuthorizedKeysFileError: if the file of authorized keys is.
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
    maxPerIP: str | None = None,
    maxPerKey: str | None = None,
    idleTimeout: str | None = None,
    authorizedKeys: str | None = None,
    workers: str = "1",
) -> CurveCPServerEndpoint:
    from curvecp_tx.net.authorized_file import read_authorized_keys
    from curvecp_tx.net.keydir import Identity
    from curvecp_tx.net.stream_endpoints import CurveCPServerEndpoint
    from curvecp_tx.secure.admission import Limits

    # First, since a key directory loses nonces to whoever reads it.
    authorized = (
        None if authorizedKeys is None else read_authorized_keys(authorizedKeys)
    )
    limits = Limits(
        clients=_count(clients, "clients"),
        per_ip=None if maxPerIP is None else _count(maxPerIP, "maxPerIP"),
        per_key=None if maxPerKey is None else _count(maxPerKey, "maxPerKey"),
    )
    count = _count(workers, "workers")
    return CurveCPServerEndpoint(
        reactor,
        identity=Identity.for_server(keydir),
        name=name,
        workers=count,
        extension=_extension(extension),
        interface=interface,
        port=int(port),
        limits=limits,
        authorized=authorized,
        idleTimeout=None if idleTimeout is None else float(idleTimeout),
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


def _count(text: str, what: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError(f"{what} must be at least 1")
    return count


def _extension(text: str) -> bytes:
    from curvecp_tx.wire.names import parse_extension

    extension = parse_extension(text)
    if extension is None:
        raise ValueError("extension must be exactly 32 hex characters")
    return extension
