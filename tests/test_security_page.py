"""The page on security claims what tests hold, and what it admits is so."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from twisted.python.reflect import namedAny
from twisted.trial.runner import ErrorHolder, TestLoader
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.boxes import KeyPair, shared_key
from curvecp_tx.secure.client import Client
from curvecp_tx.service.server_options import ServerOptions
from tests.secure.scripted import (
    CLIENT_ADDRESS,
    CLIENT_KEYS,
    NAME,
    SERVER_KEYS,
    RawClient,
    connect,
    make_client,
    make_server,
    message,
)

PAGE = Path(__file__).parent.parent / "docs" / "security.rst"
TEST = re.compile(r"``(tests\.[\w.]+)``")
CLAIM = re.compile(r"^(\S.*)\n(    \S.*\n(?:(?:    .*)?\n)*)", re.MULTILINE)
"""A line with lines under it that are indented."""
ROW = re.compile(r"^   \* - .*\n     - ``(\S+)``\n     - (.+)\n", re.MULTILINE)
LEAST_CLAIMS = 35
LEAST_ROWS = 15
KEY = slice(40, 72)
"""Where C' is in each packet of a client."""

TOP_BIT = bytes(31) + b"\x80"


def claims(text: str) -> dict[str, list[str]]:
    """Give what the page claims, each with the tests that it names."""
    return {
        claim: TEST.findall(rest)
        for claim, rest in CLAIM.findall(text)
        if not claim.startswith((".. ", "* "))
    }


def tests_in(name: str) -> int:
    """Tell how many tests a dotted name stands for; 0 if it cannot be loaded."""
    suite = TestLoader().loadByName(name, recurse=True)
    tests = [suite, *getattr(suite, "_tests", ())]
    if any(isinstance(test, ErrorHolder) for test in tests):
        return 0
    count: int = suite.countTestCases()
    return count


class PageTests(SynchronousTestCase):
    """Claims, names and figures."""

    def setUp(self) -> None:
        """Read the page."""
        self.text = PAGE.read_text("utf-8")

    def test_claims(self) -> None:
        """Each claim names at least one test."""
        found = claims(self.text)
        self.assertEqual([claim for claim, names in found.items() if not names], [])
        self.assertGreaterEqual(len(found), LEAST_CLAIMS)

    def test_names(self) -> None:
        """Each name is that of tests which can be loaded, and belongs to a claim."""
        names = TEST.findall(self.text)
        named = [name for some in claims(self.text).values() for name in some]
        self.assertEqual(named, names)
        self.assertEqual([name for name in set(names) if not tests_in(name)], [])
        self.assertEqual(self.text.count("``tests."), len(names))

    def test_bad_names(self) -> None:
        """The check sees through names of nothing."""
        for name in (
            "tests.no_such_module",
            "tests.test_security_page.NoSuchTests",
            "tests.test_security_page.PageTests.test_no_such",
            "tests.hostile.scenes",
        ):
            self.assertEqual(tests_in(name), 0, name)
        self.assertEqual(
            claims("A\n    b\n\n    c\n\nD\n    ``tests.e``\n\n\n")["A"], []
        )

    def test_defaults(self) -> None:
        """Each default in the table is the one in force."""
        rows = ROW.findall(self.text)
        self.assertGreaterEqual(len(rows), LEAST_ROWS)
        options = ServerOptions()
        options.parseOptions(["x", "x", "127.0.0.1", "0", "00" * 16, "true"])
        for name, shown in rows:
            value = options[name[2:]] if name.startswith("--") else namedAny(name)
            self.assertEqual(None if shown == "none" else float(shown), value, name)


class WeaknessTests(SynchronousTestCase):
    """What is admitted, because the protocol allows no better."""

    def test_stolen_server_key(self) -> None:
        """Who has the server's secret key is whoever it likes, to that server."""
        server = make_server()
        thief = RawClient(keys=KeyPair.from_secret(b"thief".ljust(32, b"!")))
        thief.greet(server)
        stolen = shared_key(CLIENT_KEYS.public, SERVER_KEYS.secret)
        assert stolen is not None
        thief.vouch_key = stolen
        contents = replace(thief.contents(message(1)), client_key=CLIENT_KEYS.public)
        packet = thief.initiate(contents=contents)
        (session,) = server.receive([(packet, CLIENT_ADDRESS)], 0.0).opened
        self.assertEqual(session.peer_key, CLIENT_KEYS.public)

    def test_what_shows(self) -> None:
        """C' is in each packet of a client, for all to see; C and the name are not."""
        server, client = make_server(), make_client(keys=CLIENT_KEYS)
        seen: list[bytes] = []
        take = Client.take_datagrams

        def watch(self: Client) -> list[tuple[bytes, tuple[object, ...]]]:
            taken = take(self)
            seen.extend(datagram for datagram, _ in taken)
            return taken

        self.patch(Client, "take_datagrams", watch)
        connect(server, client)
        client.send([message(2)])
        client.take_datagrams()
        self.assertGreaterEqual(len({datagram[:8] for datagram in seen}), 3)
        self.assertEqual(len({datagram[KEY] for datagram in seen}), 1)
        for datagram in seen:
            self.assertNotIn(CLIENT_KEYS.public, datagram)
            self.assertNotIn(NAME[:16], datagram)

    def test_two_forms_of_a_key(self) -> None:
        """Where each key has one place, a client has one, however it writes its key."""
        server = make_server(limits=Limits(per_key=1))
        other = bytes(
            one | top for one, top in zip(CLIENT_KEYS.public, TOP_BIT, strict=True)
        )
        for number, key in enumerate((CLIENT_KEYS.public, other, other), 1):
            client = RawClient(secret=bytes([number]) * 32).greet(server)
            packet = client.initiate(client_key=key)
            server.receive([(packet, CLIENT_ADDRESS)], 0.0)
        self.assertEqual(server.connections, 1)
        self.assertEqual(server.counters.refused_per_key, 2)
