"""Descriptors 8 and 9 of this very process, as a message transport.

So does a program look from the inside that a superserver has started: messages
come in on 8 and go out on 9, and that is all it knows of the network.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from curvecp_tx.address import CurveCPAddress
from curvecp_tx.errors import HandlerFailed
from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.net.pipes import MessageReader, MessageWriter
from curvecp_tx.net.report import Report
from curvecp_tx.net.transport import MessageTransport
from curvecp_tx.secure.counters import Counters
from curvecp_tx.wire.names import parse_extension, parse_key
from curvecp_tx.wire.packets import (
    EXTENSION_BYTES,
    KEY_BYTES,
    MAX_INITIATE_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
)


class PipeTransport(MessageTransport):
    """Messages over a pair of pipes that are open already.

    :param readFrom: descriptor of incoming messages.
    :param writeTo: descriptor of outgoing messages.
    :param client: whether messages must be small until one has come in.
    :raises OSError: if one of the descriptors is not open.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        *,
        readFrom: int,
        writeTo: int,
        client: bool,
        report: Report,
        counters: Counters,
    ) -> None:
        super().__init__(reactor, report, counters)
        for descriptor in (readFrom, writeTo):
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)
        if client:
            self.messageLimit = MAX_INITIATE_MESSAGE_BYTES
        self._writer = MessageWriter(writeTo)
        self._reader = MessageReader(reactor, readFrom, self._came, self._ended_there)

    def start(self) -> None:
        """Begin to read."""
        self._reader.start()

    def getPeer(self) -> CurveCPAddress:
        """Tell what the environment says about the other end."""
        return _address_in_environment("CURVECPREMOTE")

    def getHost(self) -> CurveCPAddress:
        """Tell what the environment says about our end."""
        return _address_in_environment("CURVECPLOCAL")

    def _came(self, messages: Sequence[bytes]) -> None:
        self.messageLimit = MAX_MESSAGE_BYTES
        self._counters.messages_received += len(messages)
        self.deliver(messages)

    def _ended_there(self, problem: HandlerFailed | None) -> None:
        why = "nothing more on descriptor 8"
        # A superserver that stops still takes what we have to say to the peer.
        self.bid_farewell(str(problem or why))
        self.end(Failure(problem or ConnectionLost(why)))

    def _transmit(self, messages: Sequence[bytes]) -> None:
        try:
            self._counters.lost_handler_full += self._writer.write(messages)
        except OSError:
            self.end(Failure(ConnectionLost("nobody reads from descriptor 9")))

    def _release(self) -> None:
        self._reader.close()
        self._writer.close()


def _address_in_environment(prefix: str) -> CurveCPAddress:
    """Read what :func:`~curvecp_tx.address.handler_environment` has written.

    Older superservers set none of it, so anything may be missing.
    """
    variables = os.environ
    port = variables.get(f"{prefix}PORT", "")
    return CurveCPAddress(
        key=parse_key(variables.get(f"{prefix}KEY", "")) or bytes(KEY_BYTES),
        name=variables.get(f"{prefix}NAME"),
        extension=parse_extension(variables.get(f"{prefix}EXTENSION", ""))
        or bytes(EXTENSION_BYTES),
        host=variables.get(f"{prefix}IP", ""),
        port=int(port) if port.isascii() and port.isdigit() else 0,
    )
