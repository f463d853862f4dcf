"""One UDP port with several sockets, where a client always meets the same one.

Linux has groups of sockets that are bound to one port, and a program of its packet
filter that picks one of them for each datagram. Ours looks at the client's short-term
key, which stands at the same place in every packet that a client sends. So Hello,
Initiate and Messages of a connection come to one socket, wherever they come from.

The number that the program gives is an index into the group, whose order is that of
binding until a socket is closed. Whoever opens a group must keep all of its sockets
open for as long as one of them is in use.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress

from curvecp_tx.errors import NoSteering
from curvecp_tx.net.udp import open_socket
from curvecp_tx.wire.packets import MAX_DATAGRAM_BYTES, SHORT_TERM_KEY

_SO_ATTACH_REUSEPORT_CBPF = 51
"""Linux's; the socket module has no name for it."""

_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_MODULO = 0x94  # BPF_ALU | BPF_MOD | BPF_K
_RETURN = 0x16  # BPF_RET | BPF_A


def steering_program(count: int) -> bytes:
    """Build the program that picks one of ``count`` sockets.

    For a datagram that is too short to have a key it gives 0.
    """
    instructions = (
        (_LOAD_WORD, SHORT_TERM_KEY.start),
        (_MODULO, count),
        (_RETURN, 0),
    )
    return b"".join(struct.pack("=HBBI", code, 0, 0, k) for code, k in instructions)


def index_of(short_term_key: bytes, count: int) -> int:
    """Tell which of ``count`` sockets the datagrams of a client come to."""
    return int.from_bytes(short_term_key[:4], "big") % count


def open_group(interface: str, port: int, count: int) -> list[socket.socket]:
    """Make and bind the sockets of one port.

    :param interface: an IP address of this host. ``::`` takes IPv4, too.
    :param port: the port; 0 picks one.
    :return: the sockets, in the order in which the program counts them.
    :raises CannotListenError: if the port cannot be bound, or belongs to another
        server, be it one with a group.
    :raises NoSteering: if this system has no such groups.
    """
    # The first one is bound alone, and lets others join only then.
    sockets = [open_socket(interface, port)]
    try:
        _attach(sockets, interface, count)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    for sock in sockets:
        _drain(sock)
    return sockets


def _attach(sockets: list[socket.socket], interface: str, count: int) -> None:
    """Bind the other sockets, and have the kernel run the program."""
    first = sockets[0]
    if not hasattr(socket, "SO_REUSEPORT"):
        raise NoSteering("no SO_REUSEPORT")
    number = first.getsockname()[1]
    program = steering_program(count)
    # The program's length in instructions, and a pointer to it.
    text = ctypes.create_string_buffer(program, len(program))
    option = struct.pack("@HP", len(program) // 8, ctypes.addressof(text))
    try:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        raise NoSteering(_reason(error)) from error
    for _ in range(count - 1):
        sockets.append(open_socket(interface, number, join=True))
    try:
        first.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)
    except OSError as error:
        raise NoSteering(_reason(error)) from error


def _drain(sock: socket.socket) -> None:
    """Forget what came before the program did; it may be at the wrong socket."""
    with suppress(OSError):
        while True:
            sock.recv(MAX_DATAGRAM_BYTES)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
