"""The message handler as a Twisted service: descriptors 8 and 9, one program."""

from __future__ import annotations

from collections.abc import Sequence

from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.net.child import MESSAGES_IN, MESSAGES_OUT
from curvecp_tx.net.descriptors import StreamMode
from curvecp_tx.net.own_pipes import PipeTransport
from curvecp_tx.net.report import Report
from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.secure.counters import Counters
from curvecp_tx.service.one_program import StreamProgramService


class CurveCPMessageService(StreamProgramService):
    """Runs a program on the stream that descriptors 8 and 9 carry.

    :raises OSError: if descriptor 8 or 9 is not open.
    """

    def __init__(
        self,
        reactor: ICurveCPReactor,
        command: Sequence[str],
        *,
        mode: StreamMode,
        report: Report | None = None,
    ) -> None:
        report = report or Report()
        super().__init__(reactor, command, descriptors=mode.descriptors, report=report)
        self._reactor = reactor
        self._mode = mode
        self._transport = PipeTransport(
            reactor,
            readFrom=MESSAGES_IN,
            writeTo=MESSAGES_OUT,
            client=mode is not StreamMode.SERVER,
            report=report,
            counters=Counters(),
        )

    def startService(self) -> None:
        """Start the program, and the stream."""
        super().startService()
        program = self._program
        stream = StreamConnection(
            self._reactor,
            client=self._mode is not StreamMode.SERVER,
            ping=self._mode.value,
            accept=lambda connection: program,
            report=self._report,
        )
        self._transport.attach(stream)
        self._transport.start()
