"""The system's ``posix_spawnp``, with what Python's own can do from 3.13 on.

Before, it cannot be asked to close all descriptors from a number upwards. Then somebody
has to look at each descriptor of ours for each program; with hundreds of programs that
takes longer than all the rest of a start.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Protocol

CLOSE_FROM: int = getattr(os, "POSIX_SPAWN_CLOSEFROM", 3)
"""Closes a descriptor and all above it; 3 stands for nothing else in older Pythons."""

_SET_DEFAULT_SIGNALS = 4
"""``POSIX_SPAWN_SETSIGDEF`` in every C library for Linux."""

_WORDS = 128
"""Room for any of the C library's objects; the greatest takes 42 words of 8 bytes."""


class Spawn(Protocol):
    """What ``os.posix_spawnp`` is, as far as it is needed.

    :raises OSError: if the program does not start.
    :raises ValueError: if a text is none that a program can be given.
    """

    def __call__(
        self,
        path: bytes,
        argv: list[bytes],
        env: Mapping[bytes, bytes],
        /,
        *,
        file_actions: Sequence[tuple[int, ...]],
        setsigdef: tuple[int, ...],
    ) -> int: ...


@cache
def find_spawn() -> Spawn | None:
    """Give a ``posix_spawnp`` that knows :data:`CLOSE_FROM`, if there is one."""
    if hasattr(os, "POSIX_SPAWN_CLOSEFROM"):
        return os.posix_spawnp
    return libc_spawn()


def libc_spawn() -> Spawn | None:
    """Give the C library's, if it is one of Linux that knows it."""
    if sys.platform != "linux":
        return None
    try:
        return LibcSpawn(ctypes.CDLL(None))
    except (OSError, AttributeError):
        return None


class LibcSpawn:
    """Calls the C library.

    :raises AttributeError: if it lacks something.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._spawn = library.posix_spawnp
        self._open_actions = library.posix_spawn_file_actions_init
        self._close_actions = library.posix_spawn_file_actions_destroy
        self._add = {
            os.POSIX_SPAWN_CLOSE: library.posix_spawn_file_actions_addclose,
            os.POSIX_SPAWN_DUP2: library.posix_spawn_file_actions_adddup2,
            CLOSE_FROM: library.posix_spawn_file_actions_addclosefrom_np,
        }
        self._attributes: dict[tuple[int, ...], object] = {}

    def __call__(
        self,
        path: bytes,
        argv: list[bytes],
        env: Mapping[bytes, bytes],
        /,
        *,
        file_actions: Sequence[tuple[int, ...]],
        setsigdef: tuple[int, ...],
    ) -> int:
        """Start a program."""
        if b"=" in b"".join(env):
            raise ValueError("a variable's name contains =")
        variables = list(map(b"=".join, env.items()))
        if b"\0" in b"".join([path, *argv, *variables]):
            raise ValueError("a text contains a zero byte")
        sys.audit("os.posix_spawn", path, argv, env)
        attributes = self._attributes_with(setsigdef)
        number = ctypes.c_int()
        actions = _room()
        _check(self._open_actions(actions))
        try:
            for kind, *descriptors in file_actions:
                _check(self._add[kind](actions, *descriptors))
            _check(
                self._spawn(
                    ctypes.byref(number),
                    path,
                    actions,
                    attributes,
                    _texts(argv),
                    _texts(variables),
                )
            )
        finally:
            self._close_actions(actions)
        return number.value

    def _attributes_with(self, defaults: tuple[int, ...]) -> object:
        """Make attributes with these signals; they are kept for good."""
        found = self._attributes.get(defaults)
        if found is None:
            library, signals, found = self._library, _room(), _room()
            _check(library.posix_spawnattr_init(found))
            _check(library.sigemptyset(signals))
            for number in defaults:
                _check(library.sigaddset(signals, number))
            _check(library.posix_spawnattr_setsigdefault(found, signals))
            _check(library.posix_spawnattr_setflags(found, _SET_DEFAULT_SIGNALS))
            self._attributes[defaults] = found
        return found


def _room() -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * _WORDS)()


def _texts(texts: Sequence[bytes]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(texts) + 1))(*texts)


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))
