"""The file of authorized keys, as a file."""

from __future__ import annotations

import os

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from curvecp_tx.errors import AuthorizedKeysFileError
from curvecp_tx.net.authorized_file import (
    MAX_FILE_BYTES,
    AuthorizedKeysFile,
    read_authorized_keys,
)

KEY = bytes(range(32))
LINE = f"{KEY.hex()} alice max=2\n"


class FileTests(SynchronousTestCase):
    """Good and bad files."""

    def write(self, content: bytes) -> str:
        """Make a file."""
        path: str = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(content)
        return path

    def refusal(self, path: str) -> str:
        """Fail to read; give the text after the file's name."""
        error = self.assertRaises(AuthorizedKeysFileError, read_authorized_keys, path)
        start = f"unusable authorized-keys file: {path}: "
        self.assertTrue(str(error).startswith(start), str(error))
        return str(error).removeprefix(start)

    def test_good(self) -> None:
        """A file is read; names may have any letters."""
        path = self.write("# café\n\n".encode() + LINE.encode())
        client = read_authorized_keys(path).find(KEY)
        assert client is not None
        self.assertEqual((client.name, client.limit), ("alice", 2))

    def test_bad_line(self) -> None:
        """A bad line is named, with what is wrong."""
        path = self.write(f"# mine\n{LINE}0123\n".encode())
        self.assertTrue(self.refusal(path).startswith("line 3: "))

    def test_not_text(self) -> None:
        """So is the first line that is no text."""
        path = self.write(LINE.encode() + b"# \xff\xfe\n")
        self.assertEqual(self.refusal(path), "line 2: not UTF-8")

    def test_unreadable(self) -> None:
        """What is no file, or cannot be read, is named with the reason."""
        directory = os.path.abspath(self.mktemp())
        self.assertEqual(self.refusal(directory), "no such file or directory")
        os.mkdir(directory)
        self.assertEqual(self.refusal(directory), "is a directory")
        pipe = os.path.join(directory, "pipe")
        os.mkfifo(pipe)
        self.assertEqual(self.refusal(pipe), "must be a file")
        self.assertEqual(self.refusal("/dev/zero"), "must be a file")

    def test_forbidden(self) -> None:
        """So is one that others may read, and we may not."""
        if os.geteuid() == 0:
            raise SkipTest("root may read everything")
        path = self.write(LINE.encode())
        os.chmod(path, 0)
        self.assertEqual(self.refusal(path), "permission denied")

    def test_too_long(self) -> None:
        """A file has a greatest length, so that reading it again has an end."""
        longest = LINE.encode()
        longest += b"#" * (MAX_FILE_BYTES - len(longest))
        self.assertEqual(len(read_authorized_keys(self.write(longest))), 1)
        path = self.write(longest + b"#")
        self.assertEqual(self.refusal(path), f"longer than {MAX_FILE_BYTES} bytes")

    def test_read_again(self) -> None:
        """A file may change; when it becomes unusable, what was read last stays."""
        path = self.write(LINE.encode())
        file = AuthorizedKeysFile(os.path.relpath(path))
        self.assertEqual((file.path, len(file.keys)), (path, 1))
        with open(path, "a") as appended:
            appended.write(f"{bytes(32).hex()}\n")
        self.assertEqual(len(file.read()), 2)
        with open(path, "a") as appended:
            appended.write("nonsense\n")
        self.assertRaises(AuthorizedKeysFileError, file.read)
        self.assertEqual(len(file.keys), 2)
