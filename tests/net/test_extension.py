"""Tests for the client's extension file."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.extension import (
    EXTENSION_FILE,
    NO_EXTENSION,
    REREAD_INTERVAL,
    ExtensionFile,
)

ONE = b"the first 16 byt"
TWO = b"another 16 bytes"


class ExtensionFileTests(SynchronousTestCase):
    """Tests for ``ExtensionFile``."""

    def setUp(self) -> None:
        """Choose a file that is not there yet."""
        self.path = self.mktemp()
        self.extension = ExtensionFile(self.path)

    def write(self, content: bytes) -> None:
        """Give the file other content."""
        with open(self.path, "wb") as file:
            file.write(content)

    def test_constants(self) -> None:
        """The path and the 30 seconds are the reference's."""
        self.assertEqual(EXTENSION_FILE, "/etc/curvecpextension")
        self.assertEqual(REREAD_INTERVAL, 30.0)
        self.assertEqual(NO_EXTENSION, bytes(16))

    def test_missing(self) -> None:
        """Without a file, the extension is zeros."""
        self.assertEqual(self.extension.read(0.0), bytes(16))

    def test_present(self) -> None:
        """The file's bytes are the extension."""
        self.write(ONE)
        self.assertEqual(self.extension.read(0.0), ONE)

    def test_long(self) -> None:
        """Of a longer file, the first 16 bytes count."""
        self.write(ONE + b"\n")
        self.assertEqual(self.extension.read(0.0), ONE)

    def test_first_read(self) -> None:
        """The file is looked at first whatever the time is, also before zero."""
        self.write(ONE)
        self.assertEqual(self.extension.read(-1e9), ONE)

    def test_reread(self) -> None:
        """A new content counts after 30 seconds, and not before."""
        self.write(ONE)
        self.extension.read(100.0)
        self.write(TWO)
        self.assertEqual(self.extension.read(100.0), ONE)
        self.assertEqual(self.extension.read(129.9), ONE)
        self.assertEqual(self.extension.read(130.0), TWO)

    def test_interval_restarts(self) -> None:
        """The 30 seconds count from the last look, not from the first."""
        self.extension.read(0.0)
        self.extension.read(45.0)
        self.write(ONE)
        self.assertEqual(self.extension.read(74.9), bytes(16))
        self.assertEqual(self.extension.read(75.0), ONE)

    def test_late_file(self) -> None:
        """A file that was missing is looked for again, but not at once."""
        self.extension.read(0.0)
        self.write(ONE)
        self.assertEqual(self.extension.read(29.9), bytes(16))
        self.assertEqual(self.extension.read(30.0), ONE)

    def test_removed(self) -> None:
        """When the file goes away, zeros come back."""
        self.write(ONE)
        self.extension.read(0.0)
        os.unlink(self.path)
        self.assertEqual(self.extension.read(30.0), bytes(16))

    def test_short(self) -> None:
        """A file that is too short leaves the extension as it was."""
        self.write(ONE[:15])
        self.assertEqual(self.extension.read(0.0), bytes(16))
        self.write(ONE)
        self.extension.read(30.0)
        for number, content in enumerate((b"", TWO[:1], TWO[:15]), 2):
            self.write(content)
            self.assertEqual(self.extension.read(30.0 * number), ONE)

    def test_unreadable(self) -> None:
        """A file that cannot be read leaves the extension as it was."""
        self.write(ONE)
        self.extension.read(0.0)
        os.unlink(self.path)
        os.mkdir(self.path)
        self.assertEqual(self.extension.read(30.0), ONE)
        os.rmdir(self.path)
        self.write(TWO)
        self.assertEqual(self.extension.read(60.0), TWO)
