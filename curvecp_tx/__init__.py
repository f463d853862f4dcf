"""CurveCP for Twisted: encrypted, authenticated transport over UDP.

The names below are the public interface. They are loaded when first used, so
that the key tools, which need no Twisted, start without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from curvecp_tx._version import __version__

if TYPE_CHECKING:
    from curvecp_tx.address import CurveCPAddress
    from curvecp_tx.interfaces import (
        IClientPolicy,
        ILeavingProtocol,
        IMessageProtocol,
        IMessageProtocolFactory,
        IMessageTransport,
    )
    from curvecp_tx.net.authorized_file import read_authorized_keys
    from curvecp_tx.net.child import HandlerProgramFactory
    from curvecp_tx.net.client_endpoint import MessageClientEndpoint
    from curvecp_tx.net.endpoints import MessagePort, MessageServerEndpoint
    from curvecp_tx.net.keydir import Identity, KeyDirectory, make_key_directory
    from curvecp_tx.net.report import Report, Verbosity
    from curvecp_tx.net.stream_endpoints import (
        CurveCPClientEndpoint,
        CurveCPServerEndpoint,
    )
    from curvecp_tx.secure.admission import Limits
    from curvecp_tx.secure.authorized import AuthorizedKeys
    from curvecp_tx.secure.counters import Counters

__all__ = [
    "AuthorizedKeys",
    "Counters",
    "CurveCPAddress",
    "CurveCPClientEndpoint",
    "CurveCPServerEndpoint",
    "HandlerProgramFactory",
    "IClientPolicy",
    "ILeavingProtocol",
    "IMessageProtocol",
    "IMessageProtocolFactory",
    "IMessageTransport",
    "Identity",
    "KeyDirectory",
    "Limits",
    "MessageClientEndpoint",
    "MessagePort",
    "MessageServerEndpoint",
    "Report",
    "Verbosity",
    "__version__",
    "make_key_directory",
    "read_authorized_keys",
]

_HOMES = {
    "AuthorizedKeys": "curvecp_tx.secure.authorized",
    "Counters": "curvecp_tx.secure.counters",
    "CurveCPAddress": "curvecp_tx.address",
    "CurveCPClientEndpoint": "curvecp_tx.net.stream_endpoints",
    "CurveCPServerEndpoint": "curvecp_tx.net.stream_endpoints",
    "HandlerProgramFactory": "curvecp_tx.net.child",
    "IClientPolicy": "curvecp_tx.interfaces",
    "ILeavingProtocol": "curvecp_tx.interfaces",
    "IMessageProtocol": "curvecp_tx.interfaces",
    "IMessageProtocolFactory": "curvecp_tx.interfaces",
    "IMessageTransport": "curvecp_tx.interfaces",
    "Identity": "curvecp_tx.net.keydir",
    "KeyDirectory": "curvecp_tx.net.keydir",
    "Limits": "curvecp_tx.secure.admission",
    "MessageClientEndpoint": "curvecp_tx.net.client_endpoint",
    "MessagePort": "curvecp_tx.net.endpoints",
    "MessageServerEndpoint": "curvecp_tx.net.endpoints",
    "Report": "curvecp_tx.net.report",
    "Verbosity": "curvecp_tx.net.report",
    "make_key_directory": "curvecp_tx.net.keydir",
    "read_authorized_keys": "curvecp_tx.net.authorized_file",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
