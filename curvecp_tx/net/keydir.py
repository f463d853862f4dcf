"""Key directories: made, checked, and their nonce counter kept safe.

The layout is that of the reference tools, which can use our directories as we
use theirs::

    DIR/                        0755
    DIR/publickey               0644  32 bytes
    DIR/.expertsonly/           0700
    DIR/.expertsonly/secretkey  0600  32 bytes
    DIR/.expertsonly/lock       0600  1 byte, only ever locked
    DIR/.expertsonly/noncekey   0600  32 bytes
    DIR/.expertsonly/noncecounter  0600  8 bytes, little-endian

This module imports no Twisted: the key tools must start fast.
"""

from __future__ import annotations

import errno
import fcntl
import hmac
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from curvecp_tx.errors import KeyDirectoryError
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.nonces import LongTermNonces, LongTermNonceSource, RandomNonces
from curvecp_tx.wire.packets import KEY_BYTES

PUBLIC_KEY = "publickey"
PRIVATE = ".expertsonly"
SECRET_KEY = os.path.join(PRIVATE, "secretkey")
LOCK = os.path.join(PRIVATE, "lock")
NONCE_KEY = os.path.join(PRIVATE, "noncekey")
NONCE_COUNTER = os.path.join(PRIVATE, "noncecounter")
_NEW_COUNTER = os.path.join(PRIVATE, "noncecounter.new")

COUNTER_BYTES = 8
COUNTER_END = 1 << 64

SERVER_RESERVATION = 1 << 40
"""Nonces that a server sets aside at its start. At 10 000 Hellos a second they
last for three years, so a running server never writes to its key directory: it
may have dropped its privileges, moved into a chroot, or run out of disk. The
counter has room for 16 million starts."""

CLIENT_RESERVATION = 1 << 10
"""Nonces that a client sets aside: one for each connection and fresh start."""

LOCK_PATIENCE = 10.0
"""Seconds to wait for the lock, which others hold for milliseconds."""

_LOCK_POLL = 0.02
_WORLD_READABLE = stat.S_IRWXO

# Locks of fcntl are the process's: they do not keep two of its threads apart.
_in_this_process = threading.Lock()


@dataclass(frozen=True, slots=True)
class Identity:
    """A long-term key pair, with nonces to use it."""

    keys: KeyPair
    nonces: LongTermNonceSource

    @classmethod
    def ephemeral(cls, random_bytes: Callable[[int], bytes] = os.urandom) -> Identity:
        """Make a new key pair that will not outlive the process."""
        return cls(KeyPair.generate(random_bytes), RandomNonces(random_bytes))

    @classmethod
    def from_secret(
        cls, secret: bytes, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> Identity:
        """Use a 32-byte secret key that is kept elsewhere, with random nonces."""
        return cls(KeyPair.from_secret(secret), RandomNonces(random_bytes))

    @classmethod
    def for_server(cls, path: str) -> Identity:
        """Load a server's key directory; see :meth:`KeyDirectory.identity`."""
        return KeyDirectory.load(path).identity(SERVER_RESERVATION)

    @classmethod
    def for_client(cls, path: str) -> Identity:
        """Load a client's key directory; see :meth:`KeyDirectory.identity`."""
        return KeyDirectory.load(path).identity(CLIENT_RESERVATION)


class KeyDirectory:
    """A key directory that has been found usable.

    :ivar path: where it is.
    :ivar keys: the key pair in it.
    """

    def __init__(self, path: str, keys: KeyPair, nonce_key: bytes) -> None:
        self.path = path
        self.keys = keys
        self._nonce_key = nonce_key

    @classmethod
    def load(cls, path: str) -> KeyDirectory:
        """Read a directory and check all of it.

        :raises KeyDirectoryError: naming the file and what is wrong with it.
        """
        public = read_public_key(path)
        if not os.path.isdir(os.path.join(path, PRIVATE)):
            raise _unusable(path, PRIVATE, "no such directory")
        secret = _read_file(path, SECRET_KEY, KEY_BYTES, private=True)
        nonce_key = _read_file(path, NONCE_KEY, KEY_BYTES, private=True)
        _check_lock(path)
        _read_file(path, NONCE_COUNTER, COUNTER_BYTES)
        keys = KeyPair.from_secret(secret)
        if not hmac.compare_digest(keys.public, public):
            raise _unusable(path, PUBLIC_KEY, "does not match the secret key")
        return cls(path, keys, nonce_key)

    def identity(self, reservation: int) -> Identity:
        """Set aside ``reservation`` nonces, and give the keys with them.

        Writes files and may wait for the directory's lock: call it before the
        reactor runs, or in a thread.

        :raises KeyDirectoryError: naming the file and what is wrong with it.
        """
        return Identity(self.keys, self.reserve_nonces(reservation))

    def reserve_nonces(
        self,
        count: int,
        *,
        patience: float = LOCK_PATIENCE,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> LongTermNonces:
        """Set aside counter values on disk, then give the nonces made of them.

        A crash at any point loses values and never repeats one: the new counter
        replaces the old in one step, and before the first value is used.

        :param patience: seconds to wait while another process holds the lock.
        :raises KeyDirectoryError: if the counter cannot be moved on.
        """
        with _locked(self.path, patience):
            counter = _read_file(self.path, NONCE_COUNTER, COUNTER_BYTES)
            first = int.from_bytes(counter, "little")
            if first + count >= COUNTER_END:
                raise _unusable(self.path, NONCE_COUNTER, "used up; make a new key")
            _replace_counter(self.path, first + count)
        return LongTermNonces(
            nonce_key=self._nonce_key,
            first=first,
            count=count,
            random_bytes=random_bytes,
        )


def read_public_key(path: str) -> bytes:
    """Read the public key of a directory, which may lack all else.

    :raises KeyDirectoryError: naming the file and what is wrong with it.
    """
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise KeyDirectoryError(f"{path}: not a directory")
    except OSError as error:
        raise KeyDirectoryError(f"{path}: {_reason(error)}") from error
    return _read_file(path, PUBLIC_KEY, KEY_BYTES)


def make_key_directory(
    path: str, random_bytes: Callable[[int], bytes] = os.urandom
) -> None:
    """Make a directory with a new key pair.

    :raises FileExistsError: if there is something at ``path`` already.
    :raises OSError: if it cannot be made; nothing is left behind then.
    """
    keys = KeyPair.generate(random_bytes)
    os.mkdir(path, 0o755)
    try:
        # The modes are part of the layout, whatever the umask.
        os.chmod(path, 0o755)  # noqa: S103 - holds a public key
        private = os.path.join(path, PRIVATE)
        os.mkdir(private, 0o700)
        os.chmod(private, 0o700)
        _create_file(path, PUBLIC_KEY, keys.public, 0o644)
        _create_file(path, SECRET_KEY, keys.secret, 0o600)
        _create_file(path, LOCK, b"\0", 0o600)
        _create_file(path, NONCE_KEY, random_bytes(KEY_BYTES), 0o600)
        _create_file(path, NONCE_COUNTER, bytes(COUNTER_BYTES), 0o600)
        for directory in (private, path, os.path.dirname(os.path.abspath(path))):
            _sync_directory(directory)
    except BaseException:
        _remove(path)
        raise


def _create_file(path: str, name: str, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    _write(os.open(os.path.join(path, name), flags, mode), content, mode)


def _replace_counter(path: str, value: int) -> None:
    """Put a new counter in the place of the old, owner and mode kept."""
    target = os.path.join(path, NONCE_COUNTER)
    draft = os.path.join(path, _NEW_COUNTER)
    try:
        old = os.stat(target)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(draft, flags, 0o600)
        content = value.to_bytes(COUNTER_BYTES, "little")
        _write(descriptor, content, stat.S_IMODE(old.st_mode), old)
        os.rename(draft, target)
        _sync_directory(os.path.join(path, PRIVATE))
    except OSError as error:
        raise _unusable(path, NONCE_COUNTER, f"not writable: {_reason(error)}") from (
            error
        )


def _write(
    descriptor: int, content: bytes, mode: int, owner: os.stat_result | None = None
) -> None:
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        if owner is not None and owner.st_uid != os.geteuid():
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _read_file(path: str, name: str, size: int, *, private: bool = False) -> bytes:
    """Read a small file; ``size`` is what it must have.

    :raises KeyDirectoryError: naming the file and what is wrong with it.
    """
    try:
        with open(os.path.join(path, name), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise _unusable(path, name, _reason(error)) from error
    if len(content) != size:
        found = f"over {KEY_BYTES}" if len(content) > KEY_BYTES else str(len(content))
        raise _unusable(path, name, f"must have {size} bytes, has {found}")
    if private and mode & _WORLD_READABLE:
        raise _unusable(path, name, "must be secret, but is open to everybody")
    return content


def _check_lock(path: str) -> None:
    """See that there is a file to lock."""
    # Not by opening it: the close would end a lock that another thread holds.
    try:
        mode = os.stat(os.path.join(path, LOCK)).st_mode
    except OSError as error:
        raise _unusable(path, LOCK, _reason(error)) from error
    if not stat.S_ISREG(mode):
        raise _unusable(path, LOCK, "not a regular file")


@contextmanager
def _locked(path: str, patience: float) -> Iterator[None]:
    """Hold the directory's lock, as the reference does, against all others."""
    deadline = time.monotonic() + patience
    if not _in_this_process.acquire(timeout=patience):
        raise _unusable(path, LOCK, "held by another thread")
    try:
        try:
            descriptor = os.open(os.path.join(path, LOCK), os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise _unusable(path, LOCK, _reason(error)) from error
        try:
            while not _try_lock(path, descriptor):
                if time.monotonic() >= deadline:
                    raise _unusable(path, LOCK, "held by another process")
                time.sleep(_LOCK_POLL)
            yield
        finally:
            os.close(descriptor)
    finally:
        _in_this_process.release()


def _try_lock(path: str, descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise _unusable(path, LOCK, f"cannot be locked: {_reason(error)}") from error
    return True


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    """Remove what :func:`make_key_directory` made, as far as it had come."""
    names = (PUBLIC_KEY, SECRET_KEY, LOCK, NONCE_KEY, NONCE_COUNTER)
    for name in names:
        target = os.path.join(path, name)
        if os.path.exists(target):
            os.unlink(target)
    for directory in (os.path.join(path, PRIVATE), path):
        if os.path.isdir(directory):
            os.rmdir(directory)


def _unusable(path: str, name: str, problem: str) -> KeyDirectoryError:
    return KeyDirectoryError(f"{os.path.join(path, name)}: {problem}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
