"""Streams whose ends move, vanish and come back, or say nothing for long."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.interfaces import IDelayedCall

from curvecp_tx.errors import StreamTimedOut
from curvecp_tx.net.stream_factory import StreamFactory
from curvecp_tx.secure.paths import Address
from curvecp_tx.stream.stream import GIVE_UP, KEEPALIVE
from tests.faults.course import CourseCase, Party
from tests.faults.impairment import Kind, Q, kind_of
from tests.faults.scenario import noise
from tests.interop.streaming import MEBIBYTE
from tests.net.recording import CLIENT, SERVER
from tests.net.streaming import Counted

ANCHOR = 60.0
TEN_MEBIBYTES = noise(10 * MEBIBYTE, "ten")

FIRST_MOVE = 1.0
OTHER_MOVES = 5.0
STALL = 1.0

MAPPING = 30.0
"""Seconds for which address translators remember, at the least."""

IDLE = 600.0


class MoveTests(CourseCase):
    """The client comes to be seen elsewhere, again and again."""

    moving: IDelayedCall | None = None

    def move_on(self, new_host: bool) -> None:
        """Have the client move after one second, and every five from then on."""
        self.moves: list[float] = []
        self.new_host = new_host
        self.moving = self.reactor.callLater(FIRST_MOVE, self.move)

    def place(self) -> tuple[str, int]:
        """Give the place to which the client moves next."""
        number = len(self.moves)
        return f"203.0.113.{number}" if self.new_host else CLIENT[0], 5000 + number

    def move(self) -> None:
        """Be seen elsewhere."""
        self.network.translate(CLIENT, self.place())
        self.moves.append(self.reactor.seconds())
        self.moving = self.reactor.callLater(OTHER_MOVES, self.move)

    def stay(self) -> None:
        """Move no more."""
        if self.moving is not None and self.moving.active():
            self.moving.cancel()

    def close_world(self) -> None:
        """Move no more, too."""
        self.stay()
        super().close_world()

    def transfer(self, up: bytes, down: bytes, *, new_host: bool) -> None:
        """Transfer something while the client moves."""
        self.go(up, down, there=Q)
        self.move_on(new_host)
        seconds = self.until_arrived()
        self.stay()
        self.finish()
        self.assertGreater(len(self.moves), 1)
        self.assertEqual(self.listener.counters.path_changes, len(self.moves))
        stall = max(self.stall(party) for party in self.parties)
        self.figure(
            "B16",
            f"new {'address' if new_host else 'port'}, {len(up) >> 20} MiB up,"
            f" {len(down) >> 20} MiB down: {seconds:.1f} s, {len(self.moves)} moves,"
            f" stall {stall:.2f} s",
        )
        self.assertLessEqual(seconds, ANCHOR)
        self.assertLessEqual(stall, STALL)

    def stall(self, party: Party) -> float:
        """Tell the longest time in which nothing came after a move."""
        longest = 0.0
        for moved in self.moves:
            later = [at for at, _ in party.arrivals if at > moved + 2 * Q.delay]
            if later:
                longest = max(longest, later[0] - moved)
        return longest

    def test_port_while_one_sends(self) -> None:
        """Ten mebibytes arrive though a translator changes the port every 5 s."""
        self.transfer(TEN_MEBIBYTES, b"", new_host=False)
        self.transfer(b"", TEN_MEBIBYTES, new_host=False)

    def test_address_while_both_send(self) -> None:
        """So they do if the address changes, while some come back."""
        some = TEN_MEBIBYTES[: 4 * MEBIBYTE]
        self.transfer(TEN_MEBIBYTES, some, new_host=True)

    def one_move(self, up: bytes, down: bytes) -> float:
        """Have the client itself move once, such that nothing under way arrives."""
        self.go(up, down, there=Q)
        self.moves = []
        self.new_host = True
        self.pass_until(2.0)
        self.ports[1].rebind(*self.place())
        self.moves.append(self.reactor.seconds())
        self.finish()
        return max(self.stall(party) for party in self.parties)

    def test_client_moves(self) -> None:
        """It is found at once if it sends, and by a keepalive if it only listens."""
        uploading = self.one_move(TEN_MEBIBYTES[: 4 * MEBIBYTE], b"")
        downloading = self.one_move(b"", TEN_MEBIBYTES[: 4 * MEBIBYTE])
        self.figure(
            "B16",
            "client moves, and all under way is lost: stall"
            f" {uploading:.2f} s uploading, {downloading:.2f} s downloading",
        )
        self.assertLessEqual(uploading, STALL)
        self.assertLessEqual(downloading, KEEPALIVE + STALL)

    def test_old_packets_move_nothing(self) -> None:
        """Copies and late packets from elsewhere do not draw answers there."""
        elsewhere = ("203.0.113.99", 9)
        held: list[bytes] = []
        astray: list[bytes] = []

        def watch(datagram: bytes, source: Address, destination: Address) -> bool:
            if destination[:2] == elsewhere:
                astray.append(datagram)
            if kind_of(datagram) is not Kind.CLIENT_MESSAGE or source == elsewhere:
                return True
            # Every tenth comes late, and from elsewhere; every other as a copy.
            held.append(datagram)
            return len(held) % 20 != 0

        self.go(noise(MEBIBYTE), there=Q)
        self.network.watch = watch
        while len(self.far.received) < MEBIBYTE:
            self.step()
            if len(held) >= 40:
                for late in held[9:30:10]:
                    self.network.send(late, elsewhere, SERVER)
                del held[:20]
        self.finish()
        self.assertEqual(astray, [])
        self.assertEqual(self.listener.counters.path_changes, 0)
        self.assertGreater(self.listener.counters.dropped_replay, 10)


class RestartTests(CourseCase):
    """The server is killed and started again on the same port."""

    def test_mid_transfer(self) -> None:
        """The client fails in time; the new server never sends it anything."""
        for up, down in ((TEN_MEBIBYTES, b""), (b"", TEN_MEBIBYTES)):
            self.go(up, down, there=Q)
            self.until(lambda: any(len(p.received) > MEBIBYTE for p in self.parties))
            # As after kill -9: no word of leave, and no memory.
            self.network.out = True
            self.ports[0].stopListening()
            self.network.close()
            self.network.out = False
            again = Counted(lambda: Party(self.reactor))
            listener = self.serve(StreamFactory(self.reactor, again))
            killed = self.reactor.seconds()
            before = self.network.back.counts.bytes_seen.total()
            self.until(lambda: self.near.over_at is not None)
            self.assertIsInstance(self.near.problem, StreamTimedOut)
            seconds = (self.near.over_at or 0.0) - killed
            self.assertLess(seconds, 1.1 * GIVE_UP)
            self.assertEqual(self.network.back.counts.bytes_seen.total(), before)
            self.assertGreater(listener.counters.dropped_unknown_connection, 5)
            self.assertEqual((again.built, listener.counters.cookies), ([], 0))
            self.figure("B17", f"client failed {seconds:.1f} s after the restart")


class Translator:
    """Forgets where a client is when nothing has passed for a while."""

    def __init__(self, case: CourseCase) -> None:
        self._clock = case.reactor
        self._last = self._clock.seconds()
        self.forgotten = 0
        self.seen: list[tuple[float, bytes]] = []

    def __call__(self, datagram: bytes, source: Address, destination: Address) -> bool:
        """Let pass what the client sends, and what comes back in time."""
        now = self._clock.seconds()
        self.seen.append((now, datagram))
        if destination[:2] != SERVER and now > self._last + MAPPING:
            self.forgotten += 1
            return False
        self._last = now
        return True


class IdleTests(CourseCase):
    """Nobody has anything to say for ten minutes."""

    def idle(self) -> None:
        """Connect behind a translator, and wait."""
        self.overheard = self.overhear()
        self.go(
            there=Q,
            near=lambda: Party(self.reactor, b"here", ends=False),
            far=lambda: Party(self.reactor, b"there", ends=False),
        )
        self.translator = self.network.watch = Translator(self)
        self.until_arrived()
        self.quiet_from = self.reactor.seconds() + 1.0
        self.pass_until(IDLE)

    def test_keepalive(self) -> None:
        """The connection is kept by empty messages that ask for an answer."""
        self.idle()
        self.assertEqual(self.translator.forgotten, 0)
        said = [
            (at, message)
            for stream in (self.near.stream, self.far.stream)
            for at, message in self.overheard.said[stream]
            if at > self.quiet_from and message.message_id
        ]
        self.assertGreaterEqual(len(said), IDLE / MAPPING - 1)
        for _, message in said:
            self.assertEqual((message.block, message.ending), (b"", 0))
        times = [at for at, _ in self.translator.seen]
        pauses = [b - a for a, b in pairwise(times)]
        self.assertLess(max(pauses), MAPPING)
        packets = len([at for at in times if at > self.quiet_from])
        self.figure(
            "B18",
            f"{packets} packets in {IDLE:g} s, longest pause {max(pauses):.1f} s",
        )

    def test_both_ends_can_speak(self) -> None:
        """After that, either end reaches the other at once."""
        for speaker in (0, 1):
            self.idle()
            self.parties[speaker].transport.write(b" and now")
            self.pass_until(self.reactor.seconds() + 0.1)
            self.assertTrue(self.parties[1 - speaker].received.endswith(b" and now"))
            for party in self.parties:
                party.transport.loseConnection()
            self.until(lambda: all(p.over_at is not None for p in self.parties))
            self.assertEqual([p.ending for p in self.parties], ["complete"] * 2)
