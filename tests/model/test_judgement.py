"""Each rule of the model finds its breach: a check that cannot fail checks nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from curvecp_tx.net.streams import StreamConnection
from curvecp_tx.secure.admission import Limits
from curvecp_tx.secure.cookies import CookieJar
from curvecp_tx.secure.nonces import NonceCounter, ReplayWindow
from curvecp_tx.secure.paths import Path
from curvecp_tx.secure.server import Server
from curvecp_tx.secure.session import Session
from curvecp_tx.stream.receiver import Receiver
from curvecp_tx.stream.stream import Stream
from tests.model.actions import Abort, Close, Pause, Write
from tests.model.duo import VICTIM, Duo
from tests.model.judge import Mischief
from tests.model.town import Town


class JudgementCase(SynchronousTestCase):
    """Stories in which something of the product is broken."""

    def begin(self, **options: Any) -> Duo:
        """Make a world in which a client and a server have just met."""
        world = Duo(**options)
        self.addCleanup(world.close)
        world.call()
        world.run(1.0)
        return world

    def settle(self, clients: int, **options: Any) -> Town:
        """Make a town with clients."""
        town = Town(**options)
        self.addCleanup(town.close)
        for _ in range(clients):
            town.arrive()
        town.run(1.0)
        return town

    def assert_blamed(self, words: str, tell: Callable[[], object]) -> None:
        """Ask that a story is taken for a breach, for the right one."""
        self.assertRaisesRegex(AssertionError, words, tell)

    def break_method(self, owner: type, name: str, broken: Callable[..., Any]) -> None:
        """Let a method do something else."""
        self.patch(owner, name, broken)

    def break_property(
        self, owner: type, name: str, broken: Callable[[Any], Any]
    ) -> None:
        """Let a property be something else."""
        self.patch(owner, name, property(broken))


class SoundTests(JudgementCase):
    """What is not broken is not blamed."""

    def test_nothing_happens(self) -> None:
        """Two ends that do nothing but end are fine, whatever the ending."""
        for end in (Duo.end_well, Duo.end_in_silence):
            world = self.begin()
            self.assertEqual(len(world.pairs.alive), 2)
            end(world)
            self.assertGreater(world.ledger.count, 8)

    def test_transfer(self) -> None:
        """What is written arrives, and both ends are clean."""
        world = self.begin()
        world.do("client", Write(200_000))
        world.do("server", Write(200_000))
        world.end_well()
        self.assertEqual([one.received for one in world.pairs.made], [200_000] * 2)
        self.assertTrue(all(one.clean for one in world.pairs.made))

    def test_mischief(self) -> None:
        """What applications raise may be logged."""
        world = self.begin()
        Logger().failure("raised", failure=_failure())
        world.end_well()
        self.assertEqual(len(self.flushLoggedErrors(Mischief)), 1)

    def test_town(self) -> None:
        """Clients come, talk, and go; one is refused, and the server restarts."""
        town = self.settle(3, limits=Limits(clients=2))
        self.assertEqual(len(town.pairs.made), 4)
        town.act(0, "client", Write(9000))
        town.act(1, "server", Write(9000))
        town.run(1.0)
        town.crash()
        town.start()
        town.end()
        self.assertEqual([one.received for one in town.pairs.made][:4].count(9000), 2)


class DeliveryTests(JudgementCase):
    """Rules about bytes."""

    def test_other_bytes(self) -> None:
        """Bytes that were not sent are found."""
        take = Receiver.take
        self.break_method(
            Receiver, "take", lambda receiver, most=None: take(receiver, most)[::-1]
        )
        world = self.begin()
        world.do("client", Write(5000))
        self.assert_blamed("other bytes than were sent", world.end_well)

    def test_incomplete(self) -> None:
        """A clean end without all bytes is found."""
        self.break_property(Stream, "complete", lambda stream: stream._sender.finished)
        world = self.begin()
        world.do("server", Write(60_000))
        world.do("client", Close())
        self.assert_blamed("is clean", world.end_well)

    def test_stuck(self) -> None:
        """A client that moves and is not followed is found."""
        self.break_method(Session, "_follow", lambda *_: None)
        world = self.begin()
        world.client.move(("203.0.113.9", 1024))
        world.do("server", Write(5000))
        self.assert_blamed("fail: .*PeerSilent", world.end_well)

    def test_message_twice(self) -> None:
        """A packet that counts twice is found."""
        self.break_method(ReplayWindow, "is_fresh", lambda window, nonce: True)
        world = self.begin()
        world.replay(0, None)
        world.replay(0, None)
        self.assert_blamed("packets have become", world.end_well)


class EndTests(JudgementCase):
    """Rules about when and how it ends."""

    def test_gives_up_early(self) -> None:
        """Who gives up a peer too soon is found."""
        self.break_property(Stream, "_silence_ends", lambda stream: stream._heard + 60)
        world = self.begin()
        world.do("client", Write(1))
        self.assert_blamed("gives up after 6", world.end_in_silence)

    def test_waits_for_ever(self) -> None:
        """Who never asks whether its peer is there is found."""
        self.break_property(Stream, "_ping_due", lambda stream: None)
        town = self.settle(1)
        town.vanish(0)
        self.assert_blamed("waits for a peer", town.end)

    def test_chatter(self) -> None:
        """Two ends that keep each other busy are found."""
        self.break_property(Stream, "_ping_due", lambda stream: stream._heard + 1.0)
        world = self.begin()
        self.assert_blamed("packets while idle", world.end_well)

    def test_circles(self) -> None:
        """An event loop that does not let time pass is found."""
        world = self.begin()
        reactor = world.client.reactor

        def again() -> None:
            reactor.callLater(0, again)

        again()
        self.assert_blamed("goes round in circles", world.end_well)
        reactor.calls = []

    def test_wrong_time(self) -> None:
        """Bytes for a reader that has paused are found."""
        self.break_method(StreamConnection, "pauseProducing", lambda connection: None)
        world = self.begin()
        world.do("client", Pause())
        world.do("server", Write(1))
        world.run(1.0)
        self.assert_blamed("'data' at the wrong time", world.end_well)

    def test_wrong_reason(self) -> None:
        """A failure that nobody has caused is found."""
        world = self.begin()
        world.do("client", Abort())
        for application in world.pairs.made:
            application.failed = False
        self.assert_blamed("aborted by nobody", world.end_well)


class SecretTests(JudgementCase):
    """Rules about keys, nonces and addresses."""

    def test_nonce_twice(self) -> None:
        """A nonce that is used twice is found."""
        self.break_method(NonceCounter, "take_many", lambda _, count: range(count))
        world = self.begin()
        world.do("client", Write(5000))
        self.assert_blamed("is used twice", world.end_well)

    def test_nonce_twice_after_restart(self) -> None:
        """So it is if there is a restart between, and the shared key is another."""
        town = self.settle(1)
        town.crash()
        town._starts = 0
        town.start()
        town.arrive()
        self.assert_blamed("CurveCPK.* is used twice", town.end)

    def test_key_twice(self) -> None:
        """A replayed Initiate that starts a second protocol is found."""
        self.break_method(CookieJar, "was_used", lambda jar, key: False)
        world = self.begin()
        world.do("client", Close())
        world.do("server", Close())
        world.run(1.0)
        world.replay_everything()
        self.assert_blamed("a second protocol", world.end_well)

    def test_flood(self) -> None:
        """Somebody who gets more than he should is found."""
        self.break_method(Path, "allows", lambda *_: True)
        town = self.settle(1)
        town.spoof(0, VICTIM, 60_000)
        self.assert_blamed("gets .* bytes for", town.end)

    def test_limit(self) -> None:
        """More connections than there may be are found."""
        town = self.settle(3, limits=Limits(clients=3))
        town.limits = Limits(clients=2)
        self.assert_blamed("3 connections, limit 2", town.check)


class RemainsTests(JudgementCase):
    """Rules about what is left."""

    def test_session(self) -> None:
        """A session that is left is found."""
        self.break_method(Server, "close", lambda *_, **__: None)
        self.assert_blamed("1 sessions are left", self.begin().end_well)

    def test_timer(self) -> None:
        """A timer that is left is found."""
        world = self.begin()
        world.client.reactor.callLater(100.0, lambda: None)
        world.do("client", Close())
        world.do("server", Close())
        self.assert_blamed("timers of the client", world._end)

    def test_object(self) -> None:
        """An object that is left is found."""
        world = Duo()
        world.call()
        world.run(1.0)
        kept = world.application("client")
        world.end_well()
        world.close()
        self.assertIsNotNone(kept)
        self.assert_blamed("still there: .*Connection", world.judge.check)

    def test_logged_error(self) -> None:
        """An error in the log is found."""
        world = self.begin()
        Logger().error("something is odd")
        self.assert_blamed("something is odd", world.end_well)


def _failure() -> Failure:
    try:
        raise Mischief
    except Mischief:
        return Failure()
