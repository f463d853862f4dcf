"""A TCP service that learns the keys of its CurveCP clients.

It knows nothing of CurveCP, and listens on the local host only. A curvecpserver
in front of it brings the clients, and tells who each is, in a header of the PROXY
protocol, version 2::

    python whoami.py 8000
    curvecpserver --forward tcp:127.0.0.1:8000 --proxy-header ...

Nothing but the standard library is needed.
"""

from __future__ import annotations

import socketserver
import struct
import sys
from ipaddress import ip_address
from typing import BinaryIO, NamedTuple

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HEAD = struct.Struct(">12sBBH")
IPV4, IPV6 = 0x11, 0x21
AUTHORITY, CLIENT_KEY = 0x02, 0xE0


class Client(NamedTuple):
    """Who is calling."""

    host: str
    port: int
    server_name: str
    key: str


def read_header(file: BinaryIO) -> Client:
    """Read a header from the beginning of a connection."""
    signature, command, family, size = HEAD.unpack(file.read(HEAD.size))
    if signature != SIGNATURE or command != 0x21 or family not in (IPV4, IPV6):
        raise ValueError("no PROXY header of version 2")
    body = file.read(size)
    width = 4 if family == IPV4 else 16
    host = str(ip_address(body[:width]))
    (port,) = struct.unpack_from(">H", body, 2 * width)
    fields: dict[int, str] = {}
    rest = body[2 * width + 4 :]
    while rest:
        kind, length = struct.unpack_from(">BH", rest)
        fields[kind] = rest[3 : 3 + length].decode()
        rest = rest[3 + length :]
    return Client(host, port, fields.get(AUTHORITY, ""), fields[CLIENT_KEY])


class WhoAmI(socketserver.StreamRequestHandler):
    """Tells each client what is known about it."""

    def handle(self) -> None:
        """Answer one client."""
        client = read_header(self.rfile)  # type: ignore[arg-type]
        self.wfile.write(
            f"You have the key {client.key}, call from {client.host}, "
            f"and asked for {client.server_name}.\n".encode()
        )


if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(
        ("127.0.0.1", int(sys.argv[1])), WhoAmI
    ) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
