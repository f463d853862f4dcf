"""Every input of the corpus, through its target; and that this would show a fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.secure.cookies import CookieJar
from curvecp_tx.secure.nonces import NonceCounter, ReplayWindow
from curvecp_tx.secure.paths import Path
from curvecp_tx.secure.session import Session
from curvecp_tx.stream.receiver import Receiver
from curvecp_tx.stream.sender import Sender
from curvecp_tx.wire.frames import FrameDecoder, encode_frame
from curvecp_tx.wire.packets import Cookie, Initiate
from fuzz.corpus import MAX_INPUT_BYTES, MAX_INPUTS, PLACE, files, inputs, reached
from fuzz.seed import SEEDS
from fuzz.targets import TARGETS
from tests.faults.figures import note


def careless_accept(
    session: Session, nonce: int, full_nonce: bytes, box: bytes, *_: Any, **__: Any
) -> bytes:
    """Take a message without a look at its tag."""
    session._counters.messages_received += 1
    return box[-64:]


class CorpusTests(SynchronousTestCase):
    """The corpus."""

    def test_replay(self) -> None:
        """No input upsets its target."""
        count = 0
        for name, target in TARGETS.items():
            for path, data in inputs(name).items():
                count += 1
                try:
                    target(data)
                except Exception as error:
                    self.fail(f"{name}/{path}: {error!r}")
        self.assertGreater(count, 10 * len(TARGETS))
        note("G4", "TT", f"{count} inputs of {len(TARGETS)} targets replayed")

    def test_size(self) -> None:
        """Each target has seeds; what is kept beside them is little, and small."""
        self.assertEqual(list(SEEDS), list(TARGETS))
        self.assertLessEqual({path.name for path in PLACE.iterdir()}, set(TARGETS))
        for name in TARGETS:
            self.assertLessEqual(len(files([PLACE / name])), MAX_INPUTS, name)
            sizes = [len(data) for data in inputs(name).values()]
            self.assertGreater(len(sizes), 1)
            self.assertLessEqual(max(sizes), MAX_INPUT_BYTES, name)

    def test_reach(self) -> None:
        """What an input reaches can be told from what another one reaches."""
        target = TARGETS["frames"]
        nothing = reached(target, b"")
        something = reached(target, bytes(4) + encode_frame(bytes(16)))
        self.assertTrue(nothing)
        self.assertTrue(something - nothing)
        self.assertEqual(something, reached(target, bytes(4) + encode_frame(bytes(16))))


class FaultTests(SynchronousTestCase):
    """Faults that the corpus has to show."""

    def assert_shown(
        self, name: str, problem: type[Exception] = AssertionError
    ) -> None:
        """Check that some input of a target's finds something wrong."""
        target = TARGETS[name]
        for data in inputs(name).values():
            try:
                target(data)
            except problem:
                return
        self.fail(f"{name} has not noticed")

    def break_it(self, owner: type, name: str, broken: Callable[..., Any]) -> None:
        """Replace a method for the rest of the test."""
        self.patch(owner, name, broken)

    def test_replays(self) -> None:
        """A message that counts twice is noticed, at both ends."""
        self.break_it(ReplayWindow, "is_fresh", lambda window, nonce: True)
        self.assert_shown("inside-server")
        self.assert_shown("inside-client")

    def test_used_keys(self) -> None:
        """So is an Initiate that counts twice."""
        self.break_it(CookieJar, "was_used", lambda jar, key: False)
        self.assert_shown("inside-server")

    def test_nonces(self) -> None:
        """So is a nonce that is used twice."""
        self.break_it(NonceCounter, "take", lambda counter: 7)
        self.break_it(NonceCounter, "take_many", lambda counter, count: [7] * count)
        self.assert_shown("inside-server")
        self.assert_shown("inside-client")

    def test_amplification(self) -> None:
        """So is traffic to an address that nobody has proved to have."""
        self.break_it(Path, "allows", lambda path, size, message: True)
        self.assert_shown("inside-server")

    def test_forgeries(self) -> None:
        """So is a packet that counts though it was changed."""
        self.break_it(Session, "accept", careless_accept)
        self.assert_shown("server")
        self.assert_shown("client")

    def test_exceptions(self) -> None:
        """So is anything that raises."""

        def impatient(cls: type, datagram: bytes) -> None:
            raise IndexError(len(datagram))

        self.break_it(Cookie, "parse", classmethod(impatient))  # type: ignore[arg-type]
        self.break_it(Initiate, "parse", classmethod(impatient))  # type: ignore[arg-type]
        for name in ("packets", "server", "client"):
            self.assert_shown(name, IndexError)

    def test_frames(self) -> None:
        """So is a frame that depends on where a read has ended."""
        feed = FrameDecoder.feed
        self.break_it(
            FrameDecoder, "feed", lambda decoder, data: feed(decoder, data[:9])
        )
        self.assert_shown("frames")

    def test_delivery(self) -> None:
        """So is a byte that is delivered in the wrong place."""
        take = Receiver.take
        self.break_it(Receiver, "take", lambda *given: take(*given)[::-1])
        self.assert_shown("stream")

    def test_sending(self) -> None:
        """So is a timer that is due for ever."""
        self.break_it(Sender, "deadline", lambda sender: 1.0)
        self.assert_shown("stream")
