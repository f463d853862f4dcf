"""Reads the file of authorized keys."""

from __future__ import annotations

import os
import stat

from curvecp_tx.errors import AuthorizedKeysFileError, BadAuthorizedKeys
from curvecp_tx.net.report import Report
from curvecp_tx.net.reserve import Reserve
from curvecp_tx.secure.authorized import AuthorizedKeys

MAX_FILE_BYTES = 1 << 20
"""Some twelve thousand clients. Whoever is connected waits while a server reads it
again: less than a fifth of a second."""


class AuthorizedKeysFile:
    """A file of authorized keys, which may change.

    :param path: where it is; kept as an absolute path.
    :ivar keys: what it said when it was read last.
    :raises AuthorizedKeysFileError: if it cannot be used.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.keys = read_authorized_keys(self.path)

    def read(self) -> AuthorizedKeys:
        """Read it again; if it cannot be used any more, nothing changes.

        :raises AuthorizedKeysFileError: if that is so.
        """
        self.keys = read_authorized_keys(self.path)
        return self.keys

    def read_in_service(
        self, reserve: Reserve, report: Report
    ) -> AuthorizedKeys | None:
        """Read it again, even if no descriptor is left, and say what came of that.

        :return: ``None`` if it cannot be used any more; the keys before stay in force.
        """
        try:
            with reserve.lent():
                keys = self.read()
        except AuthorizedKeysFileError as error:
            report.error("{why}; the keys before stay in force", why=error)
            return None
        report.info("authorized keys: {count}", count=len(keys))
        return keys


def read_authorized_keys(path: str) -> AuthorizedKeys:
    """Read a file of authorized keys.

    :raises AuthorizedKeysFileError: naming the file, and the line if one is bad.
    """
    try:
        text = _read(path).decode()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise AuthorizedKeysFileError(f"{path}: {reason}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise AuthorizedKeysFileError(f"{path}: line {line}: not UTF-8") from error
    try:
        return AuthorizedKeys.parse(text)
    except BadAuthorizedKeys as error:
        raise AuthorizedKeysFileError(f"{path}: {error.detail}") from error


def _read(path: str) -> bytes:
    with open(path, "rb", opener=_open) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise AuthorizedKeysFileError(f"{path}: must be a file")
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise AuthorizedKeysFileError(f"{path}: longer than {MAX_FILE_BYTES} bytes")
    return content


def _open(path: str, flags: int) -> int:
    """Open it, if that does not block: a server in service comes back for it."""
    return os.open(path, flags | os.O_NONBLOCK)
