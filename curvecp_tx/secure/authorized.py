"""Which clients may come in, by their long-term keys: a file for people to edit.

One client a line: its key in hexadecimal, then maybe a name for logs and
programs, then maybe how many connections it may have at once::

    # the build machines
    6f1c…b2 builder-1 max=4
    90aa…07            # no name, no limit of its own
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from curvecp_tx.errors import BadAuthorizedKeys
from curvecp_tx.wire.names import parse_key

MAX_CLIENT_NAME_BYTES = 255
"""A name goes into an environment variable and into each line of the log."""

MAX_CLIENT_LIMIT = 65535
"""What a client can have at most: a port each."""

_COMMENT = re.compile(r"(?:^|\s)#.*")
_LIMIT = "max="
_DIGITS = re.compile(r"[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True)
class AuthorizedClient:
    """One line of the file.

    :ivar key: the client's long-term public key.
    :ivar name: what it is called here, if anything.
    :ivar limit: how many connections it may have at once, if that is said.
    """

    key: bytes
    name: str | None = None
    limit: int | None = None


class AuthorizedKeys:
    """The clients of one file.

    :param clients: no two with the same key.
    """

    __slots__ = ("_clients",)

    def __init__(self, *clients: AuthorizedClient) -> None:
        self._clients = {client.key: client for client in clients}

    @classmethod
    def parse(cls, text: str) -> AuthorizedKeys:
        """Read the text of a file.

        :raises BadAuthorizedKeys: at the first line that breaks a rule, since
            a file that is half understood lets in the wrong half.
        """
        clients: dict[bytes, AuthorizedClient] = {}
        # Not splitlines: it ends lines where editors see none, and miscounts.
        for number, line in enumerate(text.split("\n"), start=1):
            words = _COMMENT.sub("", line).split()
            if words:
                client = _client(words, number)
                if client.key in clients:
                    raise BadAuthorizedKeys("a key that was there before", number)
                clients[client.key] = client
        return cls(*clients.values())

    def __len__(self) -> int:
        """Count the clients."""
        return len(self._clients)

    def __iter__(self) -> Iterator[AuthorizedClient]:
        """Give the clients, in the file's order."""
        return iter(self._clients.values())

    def find(self, key: bytes) -> AuthorizedClient | None:
        """Look up a long-term key; ``None`` means that it may not come in."""
        return self._clients.get(key)


def _client(words: list[str], number: int) -> AuthorizedClient:
    key = parse_key(words.pop(0))
    if key is None:
        raise BadAuthorizedKeys("a key has 64 hexadecimal digits", number)
    name = limit = None
    if words and not words[0].startswith(_LIMIT):
        name = words.pop(0)
        if not _is_client_name(name):
            raise BadAuthorizedKeys(
                "a name is printable and has at most 255 bytes", number
            )
    if words and words[0].startswith(_LIMIT):
        limit = _limit(words.pop(0).removeprefix(_LIMIT))
        if limit is None:
            raise BadAuthorizedKeys("max= takes a number from 1 to 65535", number)
    if words:
        raise BadAuthorizedKeys("only a name and max= may follow a key", number)
    return AuthorizedClient(key, name, limit)


def _is_client_name(name: str) -> bool:
    # Lone surrogates are not printable, so the text can be encoded.
    return name.isprintable() and len(name.encode()) <= MAX_CLIENT_NAME_BYTES


def _limit(digits: str) -> int | None:
    if not _DIGITS.match(digits):
        return None
    limit = int(digits)
    return limit if 1 <= limit <= MAX_CLIENT_LIMIT else None
