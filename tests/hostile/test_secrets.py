"""Secrets: how they may be compared, and where they must not show up."""

from __future__ import annotations

import ast
import random
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import curvecp_tx
from curvecp_tx.net.dialer import MessageDialer
from curvecp_tx.net.keydir import Identity, KeyDirectory, make_key_directory
from curvecp_tx.net.listener import MessageListener
from curvecp_tx.secure.boxes import KeyPair
from curvecp_tx.secure.cookies import MinuteKey
from curvecp_tx.secure.nonces import LongTermNonces
from tests.faults.figures import note
from tests.net.recording import Recorders
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    RawClient,
    connect,
    make_client,
    make_server,
    message,
)

SOURCES = sorted(Path(curvecp_tx.__file__).parent.rglob("*.py"))
SECRETS = {
    "secret",
    "server_secret",
    "nonce_key",
    "_nonce_key",
    "_shared_key",
    "_session_key",
    "_hello_key",
    "_vouch_key",
    "_short_term",
    "_keys",
    "_cookie",
}
"""Names of what is secret, or has a secret in it."""


def identifiers(node: ast.AST) -> Iterator[str]:
    """Give the names that an expression uses, those of called functions apart."""
    if isinstance(node, ast.Call):
        # What a function makes of a secret is not the secret.
        return
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    for child in ast.iter_child_nodes(node):
        yield from identifiers(child)


def comparisons(source: str) -> list[int]:
    """Give the lines on which a secret is compared in time that tells something."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        if not any(
            isinstance(operator, (ast.Eq, ast.NotEq, ast.Lt, ast.Gt, ast.LtE, ast.GtE))
            for operator in node.ops
        ):
            continue
        if SECRETS.intersection(identifiers(node)):
            found.append(node.lineno)
    return found


class ComparisonTests(SynchronousTestCase):
    """Comparisons, found by reading the code."""

    def test_none(self) -> None:
        """Nowhere is a secret compared by an operator."""
        found = [
            f"{path}:{line}"
            for path in SOURCES
            for line in comparisons(path.read_text("utf-8"))
        ]
        self.assertEqual(found, [])
        self.assertGreater(len(SOURCES), 40)
        note("G7", "TT", f"no comparison of a secret in {len(SOURCES)} modules")

    def test_lint_sees_them(self) -> None:
        """The check finds what it has to find, and leaves other things alone."""
        for line, bad in (
            ("if self._shared_key == other: pass", True),
            ("x = key != self._keys.secret[:16]", True),
            ("x = a < pair.secret", True),
            ("x = self._shared_key is None", False),
            ("x = len(secret) == 32", False),
            ("x = digest(secret) == digest(other)", False),
            ("x = public == other", False),
        ):
            self.assertEqual(bool(comparisons(line)), bad, line)

    def test_names_are_in_use(self) -> None:
        """The list of names is that of the code: none is outdated."""
        used: set[str] = set()
        for path in SOURCES:
            if path.parent.name in ("secure", "net"):
                tree = ast.parse(path.read_text("utf-8"))
                for node in ast.walk(tree):
                    used.update(identifiers(node))
                    if isinstance(node, ast.arg):
                        used.add(node.arg)
        self.assertEqual(SECRETS - used, set())


def shows(text: str, secret: bytes) -> bool:
    """Tell whether a text gives a secret away, or a good part of it."""
    part = secret[4:20]
    return any(form in text for form in (repr(part)[2:-1], part.hex(), part.hex(" ")))


class RepresentationTests(SynchronousTestCase):
    """What is printed of objects that hold secrets."""

    def setUp(self) -> None:
        """Make some secrets, and everything that holds them."""
        self.dice = random.Random(21)
        self.secrets: list[bytes] = []
        self.identity = Identity.from_secret(self.draw(32), self.draw)
        path = self.mktemp()
        make_key_directory(path, self.draw)
        self.server = make_server(random_bytes=self.draw)
        self.client = make_client(
            random_bytes=self.draw, keys=KeyPair.generate(self.draw)
        )
        self.session = connect(self.server, self.client)
        self.secrets.append(self.session._shared_key)
        self.things: list[Any] = [
            self.identity,
            self.identity.keys,
            KeyDirectory.load(path),
            KeyDirectory.load(path).identity(10),
            LongTermNonces(
                nonce_key=self.draw(32), first=0, count=1, random_bytes=self.draw
            ),
            MinuteKey(self.draw(32)),
            self.server,
            self.server._jar,
            self.client,
            make_client(random_bytes=self.draw),
            self.session,
            MessageListener(Clock(), Recorders(), identity=self.identity, name="x"),
            MessageDialer(
                Clock(),
                Recorders(),
                identity=self.identity,
                serverKey=self.identity.keys.public,
                serverName="x",
                addresses=[CLIENT_ADDRESS],
            ),
        ]

    def draw(self, size: int) -> bytes:
        """Draw a random number, and keep it if it is long enough to be a secret."""
        drawn = self.dice.randbytes(size)
        if size == 32:
            self.secrets.append(drawn)
        return drawn

    def assert_secret(self, text: str) -> None:
        """Check that no secret shows in a text."""
        self.assertFalse([secret for secret in self.secrets if shows(text, secret)])

    def test_the_check(self) -> None:
        """A secret that does show is found."""
        for text in (repr(self.secrets), f"x{self.secrets[3].hex()}"):
            self.assertRaises(self.failureException, self.assert_secret, text)
        self.assertGreater(len(self.secrets), 10)

    def test_objects(self) -> None:
        """None shows, however an object is printed, alone or among others."""
        for thing in self.things:
            for text in (repr(thing), str(thing), f"{thing}", repr([{"x": thing}])):
                self.assert_secret(text)

    def raised(self, function: Callable[[], object]) -> None:
        """Have something fail; what is printed of that must show nothing."""
        try:
            function()
        except Exception:
            failure = Failure()
            texts = [traceback.format_exc(), repr(failure), str(failure.value)]
            texts += [failure.getTraceback(detail=d) for d in ("default", "brief")]
            texts.append(failure.getTraceback(detail="verbose"))
            for text in texts:
                self.assert_secret(text)
        else:
            self.fail("nothing was raised")

    def test_failures(self) -> None:
        """None shows in the traceback of what fails while it handles secrets."""

        def broken(*arguments: object) -> bytes:
            raise ZeroDivisionError("no entropy")

        raw = RawClient()
        hello, where = raw.hello(), CLIENT_ADDRESS
        server = make_server(random_bytes=self.draw)
        raw.greet(server)
        for source in ("_random_bytes", "_cookie_nonces"):
            patch = self.patch(server, source, broken)
            self.raised(lambda: server.receive([(hello, where)], 0.0))
            patch.restore()
        server._random_bytes = broken
        self.raised(lambda: server.receive([(raw.initiate(), where)], 0.0))
        self.raised(lambda: self.session.seal([message(1), None]))  # type: ignore[list-item]
        self.raised(lambda: self.client.send([None]))  # type: ignore[list-item]

    def test_sizes(self) -> None:
        """A secret key has 32 bytes: one of another size is refused, and not shown."""
        for size in (0, 1, 16, 31, 33, 64):
            secret = self.draw(32) + self.draw(32)
            self.raised(lambda secret=secret[:size]: Identity.from_secret(secret))  # type: ignore[misc]
