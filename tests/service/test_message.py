"""The message handler: two of them back to back, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.pipes import open_pipe
from tests.commands.running import TIMEOUT, Finished

LAUNCHER = """
import os, sys
for source, target in ((int(sys.argv[1]), 8), (int(sys.argv[2]), 9)):
    os.dup2(source, target)
os.execv(sys.executable, [sys.executable, "-m", "curvecp_tx.commands.message",
                          *sys.argv[3:]])
"""
"""Runs a handler on two descriptors."""


def start(pair: tuple[int, int], *arguments: str) -> subprocess.Popen[bytes]:
    """Start a handler on two descriptors, which are closed here."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *map(str, pair), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pair,
    )
    for descriptor in pair:
        os.close(descriptor)
    return process


def finish(process: subprocess.Popen[bytes]) -> Finished:
    """Wait for a handler's end."""
    out, err = process.communicate(timeout=TIMEOUT)
    return Finished(process.returncode, out.decode(), err.decode())


class MessageTests(SynchronousTestCase):
    """Handlers at work."""

    def connect(
        self, client: Sequence[str], server: Sequence[str]
    ) -> tuple[Finished, Finished]:
        """Run two handlers, each reading what the other writes."""
        to_server, to_client = open_pipe(), open_pipe()
        processes = (
            start((to_client[0], to_server[1]), *client),
            start((to_server[0], to_client[1]), *server),
        )
        first, second = map(finish, processes)
        return first, second

    def test_back_to_back(self) -> None:
        """Data goes both ways, and both ends exit with 0."""
        ask = ["/bin/sh", "-c", "head -c 200000 /dev/zero >&7; exec 7>&-; wc -c <&6"]
        for mode in ("-c", "-C"):
            with self.subTest(mode=mode):
                client, server = self.connect(
                    [mode, *ask],
                    ["-s", "/bin/sh", "-c", "cat; head -c 100000 /dev/zero"],
                )
                self.assertEqual((client.code, client.err), (0, ""))
                self.assertEqual((server.code, server.err), (0, ""))
                self.assertEqual(int(client.out), 300_000)

    def test_statuses(self) -> None:
        """Each exits with the status of its own program."""
        client, server = self.connect(
            ["-c", "/bin/sh", "-c", "cat <&6 >&2; exec 7>&-; exit 3"],
            ["-s", "/bin/sh", "-c", "echo hello; exit 4"],
        )
        self.assertEqual((client.code, server.code), (3, 4))
        self.assertEqual(client.err, "hello\n")

    def test_signal(self) -> None:
        """A program that a signal kills is a failure at both ends."""
        client, server = self.connect(
            ["-c", "/bin/sh", "-c", "cat <&6; exec 7>&-"],
            ["-s", "/bin/sh", "-c", "kill -KILL $$"],
        )
        self.assertEqual((client.code, server.code), (111, 111))
        self.assertIn("peer reports a failure", client.last)
        self.assertIn("signal 9", server.last)

    def test_superserver_gone(self) -> None:
        """A handler whose descriptors end before its streams exits with 111."""
        to_handler, from_handler = open_pipe(), open_pipe()
        handler = start((to_handler[0], from_handler[1]), "-s", "cat")
        os.close(to_handler[1])
        os.close(from_handler[0])
        finished = finish(handler)
        self.assertEqual(finished.code, 111)
        self.assertIn("fatal: ", finished.last)

    def test_signal_to_the_handler(self) -> None:
        """A signal ends the handler, and its program."""
        to_handler, from_handler = open_pipe(), open_pipe()
        handler = start(
            (to_handler[0], from_handler[1]),
            *("-c", "/bin/sh", "-c", "echo up; exec sleep 60"),
        )
        assert handler.stdout is not None
        self.assertEqual(handler.stdout.readline(), b"up\n")
        handler.terminate()
        self.assertEqual(finish(handler).code, 111)
        os.close(to_handler[1])
        os.close(from_handler[0])

    def test_not_open(self) -> None:
        """Without descriptors 8 and 9 there is nothing to do."""
        done = subprocess.run(
            [sys.executable, "-m", "curvecp_tx.commands.message", "-s", "cat"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
        )
        self.assertEqual(done.returncode, 111)
        self.assertIn(b"descriptors 8 and 9 must be open", done.stderr)
