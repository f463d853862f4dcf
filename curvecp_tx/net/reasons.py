"""Why a stream connection ended, in terms that Twisted applications check for.

Each is one of our errors and one of Twisted's, so that code which knows nothing of
CurveCP takes it rightly, and code which does can tell more.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionLost, TimeoutError
from twisted.python.failure import Failure

from curvecp_tx.errors import (
    ConnectTimedOut,
    PeerFailed,
    PeerStopped,
    StreamAborted,
    StreamBroken,
    StreamFailed,
    StreamTimedOut,
)


class PeerFailure(PeerFailed, ConnectionLost):
    """peer reports a failure"""


class PeerGone(PeerStopped, ConnectionLost):
    """peer reads no more"""


class PeerSilent(StreamTimedOut, ConnectionLost):
    """peer has not answered for too long"""


class PeerBroken(StreamBroken, ConnectionLost):
    """peer broke the stream protocol"""


class Aborted(StreamAborted, ConnectionAborted):
    """connection was aborted on this side"""


class DialTimedOut(ConnectTimedOut, TimeoutError):
    """no connection within the time allowed"""


_IN_TWISTED: dict[type[StreamFailed], type[StreamFailed]] = {
    PeerFailed: PeerFailure,
    PeerStopped: PeerGone,
    StreamTimedOut: PeerSilent,
    StreamBroken: PeerBroken,
    StreamAborted: Aborted,
}


def loss_reason(failure: StreamFailed) -> Failure:
    """Give the reason for ``connectionLost`` that a stream's failure makes."""
    return Failure(_IN_TWISTED[type(failure)](failure.detail))


def dial_reason(reason: Failure) -> Failure:
    """Make a time-out of ours one of Twisted's; anything else stays as it is."""
    error = reason.value
    if isinstance(error, ConnectTimedOut | StreamTimedOut):
        return Failure(DialTimedOut(error.detail))
    return reason
