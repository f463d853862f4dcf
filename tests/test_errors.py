"""Tests for the hierarchy of errors."""

from __future__ import annotations

import inspect
import pickle

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx import errors
from curvecp_tx.errors import (
    BadAuthorizedKeys,
    BadFrame,
    BadMessageSize,
    BadName,
    ConnectionFailure,
    ConnectTimedOut,
    CurveCPError,
    HandlerFailed,
    KeyDirectoryError,
    LowOrderKey,
    RefusedByPolicy,
)

ALL = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, Exception)
]


class ErrorTests(SynchronousTestCase):
    """Tests for every error class."""

    def test_one_hierarchy(self) -> None:
        """Every error is a ``CurveCPError``."""
        self.assertGreater(len(ALL), 10)
        self.assertEqual([c for c in ALL if not issubclass(c, CurveCPError)], [])

    def test_docstring_is_the_text(self) -> None:
        """Each class has a first line fit for a user: lower case, no full stop."""
        for found in ALL:
            first = (found.__doc__ or "").splitlines()[0]
            self.assertTrue(
                (first and first[0] == first[0].lower()) or "CurveCP" in first
            )
            self.assertFalse(first.endswith("."), found)
            self.assertIsNot(found.__doc__, Exception.__doc__)

    def test_text(self) -> None:
        """An error reads as its first line, with the detail after a colon."""
        self.assertEqual(str(CurveCPError()), "CurveCP error")
        self.assertEqual(
            str(ConnectTimedOut()), "no connection within the time allowed"
        )
        self.assertEqual(
            str(KeyDirectoryError("k/publickey: missing")),
            "unusable key directory: k/publickey: missing",
        )

    def test_subclass_without_docstring(self) -> None:
        """An application's own subclass needs no docstring."""

        class Own(CurveCPError):
            pass

        self.assertEqual(str(Own("what")), "Own: what")

    def test_detail(self) -> None:
        """The detail alone can be had."""
        error = HandlerFailed("status 7")
        self.assertEqual(error.detail, "status 7")
        self.assertEqual(error.args, ("status 7",))

    def test_bad_frame(self) -> None:
        """A bad frame tells its length byte and keeps what came before it."""
        error = BadFrame(69, [b"m" * 16])
        self.assertEqual(error.messages, [b"m" * 16])
        self.assertTrue(str(error).endswith(": 69"))
        self.assertEqual(BadFrame(0).messages, [])

    def test_value_errors(self) -> None:
        """What a caller got wrong is a ``ValueError``, too."""
        for found in (BadAuthorizedKeys, BadName, BadMessageSize, LowOrderKey):
            self.assertTrue(issubclass(found, ValueError), found)

    def test_connection_failures(self) -> None:
        """The ways for a connection to fail have a class in common."""
        for found in (ConnectTimedOut, HandlerFailed, RefusedByPolicy):
            self.assertTrue(issubclass(found, ConnectionFailure), found)

    def test_pickle(self) -> None:
        """An error with a text survives the way between processes."""
        error = pickle.loads(pickle.dumps(KeyDirectoryError("here")))  # noqa: S301
        self.assertIsInstance(error, KeyDirectoryError)
        self.assertEqual(error.detail, "here")
