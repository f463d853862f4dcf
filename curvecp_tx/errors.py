"""The errors of curvecp-tx: one hierarchy.

The first line of each docstring is the text that a user reads, with what is
known about the case at hand after a colon.
"""

from __future__ import annotations

from collections.abc import Sequence


class CurveCPError(Exception):
    """CurveCP error"""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        # Others' subclasses may have no docstring, and python -OO leaves none.
        text = (type(self).__doc__ or type(self).__name__).splitlines()[0]
        return f"{text}: {self.detail}" if self.detail else text


class BadName(CurveCPError, ValueError):
    """server name must be at most 255 bytes, at most 63 bytes between dots"""


class BadMessageSize(CurveCPError, ValueError):
    """message size must be a multiple of 16 bytes, from 16 to the limit"""


class BadFrame(CurveCPError):
    """message handler wrote a length byte that is not 1 to 68

    :ivar messages: the complete messages that came before the bad byte.
    """

    def __init__(self, length_byte: int, messages: Sequence[bytes] = ()) -> None:
        super().__init__(str(length_byte))
        self.messages = list(messages)


class KeyDirectoryError(CurveCPError):
    """unusable key directory"""


class BadAuthorizedKeys(CurveCPError, ValueError):
    """unusable authorized-keys file

    :ivar line: the number of the line that breaks a rule, if it is about one.
    """

    def __init__(self, problem: str = "", line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.line = line


class AuthorizedKeysFileError(CurveCPError):
    """unusable authorized-keys file"""


class LowOrderKey(CurveCPError, ValueError):
    """public key is of low order and gives no shared secret"""


class NoncesExhausted(CurveCPError):
    """nonce space used up"""


class NoSteering(CurveCPError):
    """this system cannot spread a port's clients over several processes"""


class ProgramNotFound(CurveCPError):
    """unable to find program"""


class ConnectionFailure(CurveCPError):
    """connection failed"""


class ConnectTimedOut(ConnectionFailure):
    """no connection within the time allowed"""


class HandlerFailed(ConnectionFailure):
    """message handler failed"""


class RefusedByPolicy(ConnectionFailure):
    """client refused"""


class StreamFailed(ConnectionFailure):
    """stream failed"""


class StreamBroken(StreamFailed):
    """peer broke the stream protocol"""


class PeerFailed(StreamFailed):
    """peer reports a failure"""


class PeerStopped(StreamFailed):
    """peer reads no more"""


class StreamTimedOut(StreamFailed):
    """peer has not answered for too long"""


class StreamAborted(StreamFailed):
    """stream was aborted on this side"""
