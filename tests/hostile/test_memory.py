"""What is left of a connection's secrets in memory, when it is over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from nacl.bindings import crypto_scalarmult_base
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from curvecp_tx.secure.boxes import derive_key, shared_key
from tests.faults.figures import note
from tests.hostile.memory import Unreadable, copies
from tests.hostile.remembering import CLIENT

TIMEOUT = 60.0
DRAW = 33
HERE = Path(__file__).parent.parent.parent
FEW = 16
MINUTE_KEYS = 4
"""Two at the beginning, and one for each of two rotations."""


class MemoryCase(SynchronousTestCase):
    """A process that had a connection, seen from outside."""

    def setUp(self) -> None:
        """Start it."""
        self.told, theirs = os.pipe()
        self.addCleanup(os.close, self.told)
        os.set_blocking(self.told, False)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.remembering", str(theirs)],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[theirs],
        )
        os.close(theirs)
        self.addCleanup(self.end)
        self.draws: list[tuple[bytes, bytes]] = []

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT)

    def wait_for(self, word: str) -> None:
        """Wait until it has come so far, and read what it has drawn."""
        assert self.process.stdout is not None
        self.assertEqual(self.process.stdout.readline().decode().strip(), word)
        told = os.read(self.told, 1 << 16)
        for place in range(0, len(told), DRAW):
            draw = told[place : place + DRAW]
            self.draws.append((draw[:1], draw[1:]))

    def go_on(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def drawn(self, who: bytes) -> list[bytes]:
        """Give what was drawn by somebody, in order."""
        return [draw for owner, draw in self.draws if owner == who]

    def secrets(self) -> dict[str, list[bytes]]:
        """Give all secrets there were, by their kind."""
        (s,), (c,) = self.drawn(b"S"), self.drawn(b"C")
        first, second, s_short, *later = self.drawn(b"s")
        (c_short,) = self.drawn(b"c")
        minutes = [first, second, *later]

        def common(one: bytes, other: bytes) -> bytes:
            key = shared_key(crypto_scalarmult_base(one), other)
            assert key is not None
            return key

        return {
            "long-term": [s, c],
            "minute": minutes,
            "derived": [derive_key(key, CLIENT[0].encode()) for key in minutes],
            "short-term": [s_short, c_short],
            "session": [common(c_short, s_short)],
            "hello": [common(c_short, s)],
        }

    def count(self) -> dict[str, list[int]]:
        """Look for all of them."""
        kinds = self.secrets()
        wanted = [secret for kind in kinds.values() for secret in kind]
        try:
            found = copies(self.process.pid, wanted)
        except Unreadable as reason:
            raise SkipTest(f"no look into another process: {reason}") from None
        return {
            kind: [found[secret] for secret in secrets]
            for kind, secrets in kinds.items()
        }


class MemoryTests(MemoryCase):
    """Best effort: nothing refers to what is over, but Python wipes no memory."""

    def test_after_the_end(self) -> None:
        """What is in use is found; of what is over, no object keeps a copy.

        Copies may remain in memory that is free, until it is used again: those are
        counted, and have to be few.
        """
        self.wait_for("open 1 1")
        in_use = self.count()
        for kind in ("long-term", "minute", "session"):
            self.assertGreaterEqual(min(in_use[kind]), 1, kind)
        self.go_on()
        self.wait_for("over 0 0")
        left = self.count()
        self.assertGreaterEqual(min(left["long-term"]), 1)
        self.assertEqual(len(left["minute"]), MINUTE_KEYS)
        *retired, previous, current = left.pop("minute")
        self.assertGreaterEqual(min(previous, current), 1)
        del left["long-term"]
        gone = {"retired minute": sum(retired)}
        gone |= {kind: sum(counts) for kind, counts in left.items()}
        self.assertEqual(gone["derived"], 0)
        self.assertLessEqual(sum(gone.values()), FEW, gone)
        figure = ", ".join(f"{kind} {count}" for kind, count in gone.items())
        note("G6", "TT", f"copies in freed memory: {figure}")
