"""The file of authorized keys."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.errors import BadAuthorizedKeys
from curvecp_tx.secure.authorized import AuthorizedClient, AuthorizedKeys

KEY = bytes(range(32))
OTHER = b"\xab" * 32
HEX = KEY.hex()


def found(text: str, key: bytes = KEY) -> AuthorizedClient | None:
    """Look a key up in a file's text."""
    return AuthorizedKeys.parse(text).find(key)


class GoodFileTests(SynchronousTestCase):
    """What may be in a file."""

    def test_parts(self) -> None:
        """Name and limit may be there or not, but the name comes first."""
        for line, expected in (
            (HEX, AuthorizedClient(KEY)),
            (f"{HEX} alice", AuthorizedClient(KEY, "alice")),
            (f"{HEX} max=3", AuthorizedClient(KEY, None, 3)),
            (f"{HEX} alice max=65535", AuthorizedClient(KEY, "alice", 65535)),
            (f"{HEX} alice max=007", AuthorizedClient(KEY, "alice", 7)),
        ):
            self.assertEqual(found(line), expected, line)

    def test_key_of_either_case(self) -> None:
        """A key may be written in capitals."""
        self.assertEqual(found(OTHER.hex().upper(), OTHER), AuthorizedClient(OTHER))

    def test_blanks(self) -> None:
        """Blanks, tabs and the line ends of other systems make no difference."""
        for line in (f"  {HEX}\talice   max=2 ", f"{HEX} alice max=2\r"):
            self.assertEqual(found(line), AuthorizedClient(KEY, "alice", 2), line)

    def test_comments(self) -> None:
        """A number sign begins a comment where a word could begin."""
        for line, name in (
            (f"{HEX} # alice", None),
            (f"{HEX} #alice", None),
            (f"{HEX} al#ice # x", "al#ice"),
            (f"{HEX} alice\t#", "alice"),
        ):
            self.assertEqual(found(line), AuthorizedClient(KEY, name), line)
        self.assertRaises(BadAuthorizedKeys, found, f"{HEX}#alice")

    def test_names(self) -> None:
        """A name may be of any printable characters, up to 255 bytes."""
        for name in ("a", "naïve", "=", "MAX=1", "maximum", "x" * 255, "é" * 127):
            self.assertEqual(found(f"{HEX} {name}"), AuthorizedClient(KEY, name))

    def test_many_lines(self) -> None:
        """Each client has a line; blank ones and comments do not count."""
        text = f"# who may come\n\n{HEX} alice\n \t\n{OTHER.hex()} max=1\n# end"
        keys = AuthorizedKeys.parse(text)
        self.assertEqual(len(keys), 2)
        self.assertEqual(keys.find(KEY), AuthorizedClient(KEY, "alice"))
        self.assertEqual(keys.find(OTHER), AuthorizedClient(OTHER, None, 1))
        self.assertIsNone(keys.find(bytes(32)))

    def test_nobody(self) -> None:
        """A file without a client is a file: it lets nobody in."""
        for text in ("", "\n\n", "# nobody"):
            keys = AuthorizedKeys.parse(text)
            self.assertEqual(len(keys), 0)
            self.assertIsNone(keys.find(KEY))

    def test_from_code(self) -> None:
        """A program can list its clients itself."""
        keys = AuthorizedKeys(AuthorizedClient(KEY, limit=2))
        self.assertEqual(keys.find(KEY), AuthorizedClient(KEY, None, 2))


class BadFileTests(SynchronousTestCase):
    """What spoils a file."""

    def assert_bad(self, text: str, line: int, problem: str) -> None:
        """Check that a text is refused at a line, and why."""
        error = self.assertRaises(BadAuthorizedKeys, AuthorizedKeys.parse, text)
        self.assertEqual(error.line, line)
        self.assertEqual(
            str(error), f"unusable authorized-keys file: line {line}: {problem}"
        )

    def test_keys(self) -> None:
        """A key that is not one spoils the file, and is not repeated to the log."""
        for word in (HEX[:-1], HEX + "0", "g" + HEX[1:], "alice", "max=1", "\ufeff"):
            self.assert_bad(f"\n#\n{word}\n", 3, "a key has 64 hexadecimal digits")

    def test_names(self) -> None:
        """A name that could confuse a log or an environment spoils the file."""
        problem = "a name is printable and has at most 255 bytes"
        for name in (
            "x" * 256,
            "é" * 128,
            "a\0b",
            "a\x1b[31m",
            "a\x7f",
            "\ud800",
            "\u202eb",
        ):
            self.assert_bad(f"{HEX} {name}", 1, problem)

    def test_limits(self) -> None:
        """A limit is a decimal number from 1 to 65535."""
        problem = "max= takes a number from 1 to 65535"
        for limit in ("", "0", "65536", "100000", "-1", "+1", "1.5", "x", "1_0", "٣"):
            self.assert_bad(f"{HEX} alice max={limit}", 1, problem)
            self.assert_bad(f"{HEX} max={limit}", 1, problem)

    def test_more(self) -> None:
        """Nothing else may follow."""
        problem = "only a name and max= may follow a key"
        for rest in ("alice bob", "max=1 alice", "max=1 max=2", "alice max=1 x"):
            self.assert_bad(f"{HEX} {rest}", 1, problem)

    def test_duplicates(self) -> None:
        """A key that comes twice spoils the file, however it is written."""
        text = f"{HEX} alice\n{OTHER.hex()}\n\n{OTHER.hex().upper()} max=1\n"
        self.assert_bad(text, 4, "a key that was there before")

    def test_line_numbers(self) -> None:
        """Lines are counted as editors count them."""
        text = f"# form feed \f, \x85 and \u2028 end no line\n{HEX}\nx"
        self.assert_bad(text, 3, "a key has 64 hexadecimal digits")

    def test_without_line(self) -> None:
        """A file that cannot even be read has no bad line."""
        error = BadAuthorizedKeys("no such file")
        self.assertIsNone(error.line)
        self.assertEqual(error.detail, "no such file")

    def test_pickle(self) -> None:
        """The line survives the way between processes."""
        error = pickle.loads(pickle.dumps(BadAuthorizedKeys("x", 3)))  # noqa: S301
        self.assertEqual((error.line, error.detail), (3, "line 3: x"))


class AnyFileTests(SynchronousTestCase):
    """Files that nobody has thought of."""

    @given(
        st.lists(
            st.sampled_from(
                [HEX, OTHER.hex(), "alice", "max=2", "#", " ", "\t", "\n", "\r", "é"]
            )
        )
        | st.lists(st.characters())
    )
    def test_accepted_or_refused(self, pieces: list[str]) -> None:
        """A text gives clients with good names and limits, or the one error."""
        text = "".join(pieces)
        try:
            keys = AuthorizedKeys.parse(text)
        except BadAuthorizedKeys as error:
            self.assertIn(error.line, range(1, text.count("\n") + 2))
            return
        for key in (KEY, OTHER):
            client = keys.find(key)
            if client is not None:
                self.assertEqual(client.key, key)
                self.assertIn(client.limit, (None, 2))
                self.assertNotIn(" ", client.name or "")
