"""Who is at one end of a connection."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress
from zope.interface import implementer

_MAPPED_IPV4 = "::ffff:"


def plain_host(host: str) -> str:
    """Show an IPv4 address that came through an IPv6 socket as what it is."""
    if host.startswith(_MAPPED_IPV4) and "." in host:
        return host[len(_MAPPED_IPV4) :]
    return host


@implementer(IAddress)
@dataclass(frozen=True, slots=True, repr=False)
class CurveCPAddress:
    """One end of a CurveCP connection.

    :ivar key: its long-term public key, 32 bytes. The cryptography vouches for
        this part, and only this part.
    :ivar name: the server's name. A client has none, unless its server has a list
        of authorized keys with a name for that key: then it is that one.
    :ivar extension: its 16-byte extension.
    :ivar host: its IP address, as text.
    :ivar port: its UDP port.
    """

    key: bytes
    name: str | None
    extension: bytes = bytes(16)
    host: str = ""
    port: int = 0

    def __repr__(self) -> str:
        return (
            f"CurveCPAddress(key={self.key.hex()!r}, name={self.name!r}, "
            f"extension={self.extension.hex()!r}, host={self.host!r}, "
            f"port={self.port})"
        )

    @property
    def described(self) -> str:
        """Where and who it is, as log lines have it."""
        text = f"{self.host}:{self.port} key {self.key.hex()}"
        return f"{text} name {self.name}" if self.name else text

    def variables(self, prefix: str) -> dict[str, str]:
        """Give environment variables ``{prefix}IP``, ``…PORT``, ``…KEY`` and so on."""
        variables = {
            f"{prefix}IP": self.host,
            f"{prefix}PORT": str(self.port),
            f"{prefix}KEY": self.key.hex(),
            f"{prefix}EXTENSION": self.extension.hex(),
        }
        if self.name is not None:
            variables[f"{prefix}NAME"] = self.name
        return variables


def handler_environment(
    local: CurveCPAddress, remote: CurveCPAddress
) -> dict[str, str]:
    """Give what a program is told about its connection, in the style of UCSPI.

    Beside the ``CURVECP…`` family stand ``REMOTEPK`` and ``TCPREMOTEIP``, which
    programs for older CurveCP servers read.
    """
    return {
        "PROTO": "CURVECP",
        **local.variables("CURVECPLOCAL"),
        **remote.variables("CURVECPREMOTE"),
        "REMOTEPK": remote.key.hex(),
        "TCPREMOTEIP": remote.host,
    }
