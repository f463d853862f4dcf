"""Tests for making and loading key directories."""

from __future__ import annotations

import builtins
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import KeyDirectoryError
from curvecp_tx.net import keydir
from curvecp_tx.net.keydir import (
    CLIENT_RESERVATION,
    SERVER_RESERVATION,
    Identity,
    KeyDirectory,
    make_key_directory,
    read_public_key,
)
from curvecp_tx.secure.boxes import KeyPair

LAYOUT = {
    "": (0o755, None),
    "publickey": (0o644, 32),
    ".expertsonly": (0o700, None),
    ".expertsonly/secretkey": (0o600, 32),
    ".expertsonly/lock": (0o600, 1),
    ".expertsonly/noncekey": (0o600, 32),
    ".expertsonly/noncecounter": (0o600, 8),
}

FILES = [name for name, (_, size) in LAYOUT.items() if size is not None]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Create files under another umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def survey(path: str) -> dict[str, tuple[int, int | None]]:
    """Give mode and size of everything in a directory, itself included."""
    found: dict[str, tuple[int, int | None]] = {}
    for directory, _, names in os.walk(path):
        for entry in (directory, *(os.path.join(directory, name) for name in names)):
            about = os.lstat(entry)
            name = "" if entry == path else os.path.relpath(entry, path)
            size = None if stat.S_ISDIR(about.st_mode) else about.st_size
            found[name] = (stat.S_IMODE(about.st_mode), size)
    return found


def failing(
    function: Callable[..., Any], at: int, error: BaseException
) -> Callable[..., Any]:
    """Give a function that works, but for its call number ``at``."""
    calls = iter(range(1 << 30))

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise error
        return function(*args, **kwargs)

    return wrapper


class MakeTests(SynchronousTestCase):
    """Tests for ``make_key_directory``."""

    def setUp(self) -> None:
        """Choose a path where nothing is."""
        self.path = self.mktemp()

    def test_layout(self) -> None:
        """A new directory has the reference's files, modes and sizes."""
        make_key_directory(self.path)
        self.assertEqual(survey(self.path), LAYOUT)

    def test_any_umask(self) -> None:
        """The modes do not depend on the umask."""
        for mask in (0, 0o077, 0o177, 0o277, 0o777):
            path = self.mktemp()
            with umask(mask):
                make_key_directory(path)
            self.assertEqual(survey(path), LAYOUT, f"umask {mask:o}")

    def test_owner(self) -> None:
        """Everything belongs to whoever made it."""
        make_key_directory(self.path)
        owners = {
            os.lstat(os.path.join(self.path, name)).st_uid for name in LAYOUT if name
        }
        self.assertEqual(owners, {os.geteuid()})

    def test_contents(self) -> None:
        """The keys come from the random source, the counter starts at zero."""
        draws = iter([b"s" * 32, b"n" * 32])
        make_key_directory(self.path, lambda size: next(draws))
        contents = {}
        for name in FILES:
            with open(os.path.join(self.path, name), "rb") as file:
                contents[name] = file.read()
        self.assertEqual(
            contents,
            {
                "publickey": KeyPair.from_secret(b"s" * 32).public,
                ".expertsonly/secretkey": b"s" * 32,
                ".expertsonly/lock": b"\0",
                ".expertsonly/noncekey": b"n" * 32,
                ".expertsonly/noncecounter": bytes(8),
            },
        )

    def test_keys_differ(self) -> None:
        """No two directories have a key in common."""
        other = self.mktemp()
        make_key_directory(self.path)
        make_key_directory(other)
        for name in ("publickey", ".expertsonly/secretkey", ".expertsonly/noncekey"):
            with (
                open(os.path.join(self.path, name), "rb") as one,
                open(os.path.join(other, name), "rb") as two,
            ):
                self.assertNotEqual(one.read(), two.read(), name)

    def test_existing_path(self) -> None:
        """Whatever is at the path already is refused and left as it is."""
        directory, file, link = self.mktemp(), self.mktemp(), self.mktemp()
        os.mkdir(directory, 0o711)
        with open(file, "w") as stream:
            stream.write("mine")
        os.symlink("nowhere", link)
        for path in (directory, file, link):
            before = os.lstat(path)
            with self.assertRaises(FileExistsError):
                make_key_directory(path)
            after = os.lstat(path)
            self.assertEqual(
                (before.st_ino, before.st_mode, before.st_size, before.st_mtime_ns),
                (after.st_ino, after.st_mode, after.st_size, after.st_mtime_ns),
            )
        self.assertEqual(os.listdir(directory), [])

    def test_existing_key_directory(self) -> None:
        """A second run does not touch the keys of the first."""
        make_key_directory(self.path)
        key = read_public_key(self.path)
        self.assertRaises(FileExistsError, make_key_directory, self.path)
        self.assertEqual(KeyDirectory.load(self.path).keys.public, key)

    def test_no_parent(self) -> None:
        """A parent that is missing is an error of the system."""
        path = os.path.join(self.path, "inner")
        self.assertRaises(FileNotFoundError, make_key_directory, path)
        self.assertFalse(os.path.lexists(self.path))

    def test_disk_full(self) -> None:
        """Wherever the disk runs full, nothing is left behind."""
        real = os.fsync
        steps = 0
        while True:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            patch = self.patch(os, "fsync", failing(real, steps, full))
            try:
                make_key_directory(self.path)
            except OSError as error:
                self.assertIs(error, full)
            else:
                break
            finally:
                patch.restore()
            self.assertFalse(os.path.lexists(self.path), f"step {steps}")
            steps += 1
        # Five files, two directories, and the directory around them.
        self.assertEqual(steps, 8)

    def test_open_fails(self) -> None:
        """Wherever a file cannot be made, nothing is left behind."""
        real = os.open
        for step in range(8):
            denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            patch = self.patch(os, "open", failing(real, step, denied))
            try:
                with self.assertRaises(PermissionError):
                    make_key_directory(self.path)
            finally:
                patch.restore()
            self.assertFalse(os.path.lexists(self.path), f"step {step}")

    def test_no_randomness(self) -> None:
        """A random source that fails leaves nothing behind."""
        for step in range(2):
            broken = failing(os.urandom, step, RuntimeError("no entropy"))
            with self.assertRaises(RuntimeError):
                make_key_directory(self.path, broken)
            self.assertFalse(os.path.lexists(self.path), f"draw {step}")

    def test_interrupted(self) -> None:
        """An interrupt leaves nothing behind either."""
        self.patch(os, "fsync", failing(os.fsync, 3, KeyboardInterrupt()))
        with self.assertRaises(KeyboardInterrupt):
            make_key_directory(self.path)
        self.assertFalse(os.path.lexists(self.path))


def missing(name: str) -> Callable[[str], None]:
    """Take one thing out of a key directory."""
    return lambda path: os.rename(os.path.join(path, name), path + ".gone")


def holding(name: str, content: bytes) -> Callable[[str], None]:
    """Put other content into a file of a key directory."""

    def breaking(path: str) -> None:
        with open(os.path.join(path, name), "wb") as file:
            file.write(content)

    return breaking


def moded(name: str, mode: int) -> Callable[[str], None]:
    """Give a file of a key directory another mode."""
    return lambda path: os.chmod(os.path.join(path, name), mode)


def directory_at(name: str) -> Callable[[str], None]:
    """Put a directory where a key directory has a file."""

    def breaking(path: str) -> None:
        os.unlink(os.path.join(path, name))
        os.mkdir(os.path.join(path, name))

    return breaking


def file_at(name: str) -> Callable[[str], None]:
    """Put a file where a key directory has a directory."""

    def breaking(path: str) -> None:
        missing(name)(path)
        with open(os.path.join(path, name), "w"):
            pass

    return breaking


SECRET_KEY = ".expertsonly/secretkey"
LOCK = ".expertsonly/lock"
NONCE_KEY = ".expertsonly/noncekey"
COUNTER = ".expertsonly/noncecounter"
OPEN = "must be secret, but is open to everybody"

BROKEN: list[tuple[Callable[[str], None], str]] = [
    (lambda path: os.rename(path, path + ".gone"), ": no such file or directory"),
    (missing("publickey"), "/publickey: no such file or directory"),
    (missing(".expertsonly"), "/.expertsonly: no such directory"),
    (missing(SECRET_KEY), f"/{SECRET_KEY}: no such file or directory"),
    (missing(LOCK), f"/{LOCK}: no such file or directory"),
    (missing(NONCE_KEY), f"/{NONCE_KEY}: no such file or directory"),
    (missing(COUNTER), f"/{COUNTER}: no such file or directory"),
    (holding("publickey", b"k" * 31), "/publickey: must have 32 bytes, has 31"),
    (holding("publickey", b"k" * 33), "/publickey: must have 32 bytes, has over 32"),
    (holding("publickey", b""), "/publickey: must have 32 bytes, has 0"),
    (holding("publickey", b"k" * 32), "/publickey: does not match the secret key"),
    (holding(SECRET_KEY, b"k" * 31), f"/{SECRET_KEY}: must have 32 bytes, has 31"),
    (holding(SECRET_KEY, b"k" * 33), f"/{SECRET_KEY}: must have 32 bytes, has over 32"),
    (holding(SECRET_KEY, b""), f"/{SECRET_KEY}: must have 32 bytes, has 0"),
    (holding(SECRET_KEY, b"k" * 32), "/publickey: does not match the secret key"),
    (holding(NONCE_KEY, b"k" * 31), f"/{NONCE_KEY}: must have 32 bytes, has 31"),
    (holding(NONCE_KEY, b"k" * 33), f"/{NONCE_KEY}: must have 32 bytes, has over 32"),
    (holding(COUNTER, bytes(7)), f"/{COUNTER}: must have 8 bytes, has 7"),
    (holding(COUNTER, bytes(9)), f"/{COUNTER}: must have 8 bytes, has 9"),
    (holding(COUNTER, b""), f"/{COUNTER}: must have 8 bytes, has 0"),
    (holding(COUNTER, bytes(1 << 20)), f"/{COUNTER}: must have 8 bytes, has over 32"),
    (moded(SECRET_KEY, 0o604), f"/{SECRET_KEY}: {OPEN}"),
    (moded(SECRET_KEY, 0o602), f"/{SECRET_KEY}: {OPEN}"),
    (moded(NONCE_KEY, 0o644), f"/{NONCE_KEY}: {OPEN}"),
    (directory_at("publickey"), "/publickey: is a directory"),
    (directory_at(SECRET_KEY), f"/{SECRET_KEY}: is a directory"),
    (directory_at(LOCK), f"/{LOCK}: not a regular file"),
    (directory_at(COUNTER), f"/{COUNTER}: is a directory"),
    (file_at(".expertsonly"), "/.expertsonly: no such directory"),
    (file_at("."), ": not a directory"),
]


class LoadTests(SynchronousTestCase):
    """Tests for ``KeyDirectory.load`` and ``read_public_key``."""

    def setUp(self) -> None:
        """Make a good directory."""
        self.path = self.mktemp()
        make_key_directory(self.path)

    def problem(self, path: str) -> str:
        """Load a directory that must be refused, and give the reason."""
        error = self.assertRaises(KeyDirectoryError, KeyDirectory.load, path)
        return str(error)

    def test_good(self) -> None:
        """A good directory is loaded, and loading writes nothing."""
        before = survey(self.path)
        loaded = KeyDirectory.load(self.path)
        self.assertEqual(loaded.path, self.path)
        self.assertEqual(loaded.keys.public, read_public_key(self.path))
        self.assertEqual(loaded.keys, KeyPair.from_secret(loaded.keys.secret))
        self.assertEqual(survey(self.path), before)

    def test_group_readable(self) -> None:
        """A secret that the group may read is the administrator's affair."""
        moded(SECRET_KEY, 0o640)(self.path)
        self.assertEqual(KeyDirectory.load(self.path).path, self.path)

    def test_broken(self) -> None:
        """Each broken directory is refused, with the file and the reason."""
        expected, found = [], []
        for breaking, reason in BROKEN:
            path = self.mktemp()
            make_key_directory(path)
            if reason == ": not a directory":
                path = os.path.join(path, "publickey")
            else:
                breaking(path)
            expected.append(f"unusable key directory: {path}{reason}")
            found.append(self.problem(path))
        self.assertEqual(found, expected)

    def test_unreadable(self) -> None:
        """Each file that may not be read is named."""
        real = builtins.open
        for name in FILES:
            if name == LOCK:
                # It is opened when it is locked, and not before.
                continue
            target = os.path.join(self.path, name)

            def denied(file: Any, *args: Any, target: str = target, **kw: Any) -> Any:
                if file == target:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                return real(file, *args, **kw)

            patch = self.patch(builtins, "open", denied)
            try:
                found = self.problem(self.path)
            finally:
                patch.restore()
            self.assertEqual(
                found, f"unusable key directory: {target}: permission denied"
            )

    def test_no_secret_in_error(self) -> None:
        """An error shows no byte of any key."""
        secret = b"TOP SECRET KEY THAT NOBODY SEES!"
        holding(SECRET_KEY, secret)(self.path)
        error = self.assertRaises(KeyDirectoryError, KeyDirectory.load, self.path)
        self.assertNotIn("SECRET KEY", repr(error) + str(error))
        self.assertNotIn(secret.hex(), repr(error) + str(error))

    def test_public_key_alone(self) -> None:
        """The public key can be read from a directory that has nothing else."""
        path = self.mktemp()
        os.mkdir(path)
        holding("publickey", b"k" * 32)(path)
        self.assertEqual(read_public_key(path), b"k" * 32)


class IdentityTests(SynchronousTestCase):
    """Tests for the four ways to an identity."""

    def counter(self, path: str) -> int:
        """Read the nonce counter of a directory."""
        with open(os.path.join(path, COUNTER), "rb") as file:
            return int.from_bytes(file.read(), "little")

    def test_from_directory(self) -> None:
        """A directory's identity has its keys, and nonces set aside on disk."""
        for load, reservation in (
            (Identity.for_server, SERVER_RESERVATION),
            (Identity.for_client, CLIENT_RESERVATION),
        ):
            path = self.mktemp()
            make_key_directory(path)
            identity = load(path)
            self.assertEqual(identity.keys.public, read_public_key(path))
            self.assertEqual(self.counter(path), reservation)
            self.assertEqual(len({identity.nonces() for _ in range(100)}), 100)
            load(path)
            self.assertEqual(self.counter(path), 2 * reservation)

    def test_from_broken_directory(self) -> None:
        """An unusable directory gives an error and no identity."""
        path = self.mktemp()
        for load in (Identity.for_server, Identity.for_client):
            self.assertRaises(KeyDirectoryError, load, path)

    def test_ephemeral(self) -> None:
        """An ephemeral identity is random, keys and nonces alike."""
        one, two = Identity.ephemeral(), Identity.ephemeral()
        self.assertNotEqual(one.keys.public, two.keys.public)
        self.assertEqual(one.keys, KeyPair.from_secret(one.keys.secret))
        nonces = {one.nonces() for _ in range(100)}
        self.assertEqual(len(nonces), 100)
        self.assertEqual({len(nonce) for nonce in nonces}, {16})

    def test_from_secret(self) -> None:
        """A secret key kept elsewhere gives its key pair and random nonces."""
        identity = Identity.from_secret(b"\x11" * 32, lambda size: b"r" * size)
        self.assertEqual(identity.keys, KeyPair.from_secret(b"\x11" * 32))
        self.assertEqual(identity.nonces(), b"r" * 16)

    def test_repr(self) -> None:
        """What is printed of an identity does not show its secret."""
        identity = Identity.from_secret(b"Z" * 32)
        self.assertNotIn("ZZZZ", repr(identity))

    def test_reservation_fits(self) -> None:
        """The counter has room for millions of starts of a server."""
        self.assertGreater(keydir.COUNTER_END // SERVER_RESERVATION, 10_000_000)
