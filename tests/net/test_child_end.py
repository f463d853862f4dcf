"""How handler programs end, and are made to."""

from __future__ import annotations

import os

from twisted.internet.error import ProcessExitedAlready
from twisted.python.failure import Failure

from curvecp_tx.errors import ConnectTimedOut
from curvecp_tx.net.child import HandlerProgramFactory
from curvecp_tx.net.ending import (
    CLIENT_PATIENCE,
    FAILED_STATUS,
    FAULT_PATIENCE,
    SERVER_PATIENCE,
    Patience,
    ProgramEnd,
)
from curvecp_tx.net.report import Report
from curvecp_tx.wire.frames import encode_frame
from tests.net.playing import ProgramCase
from tests.net.recording import Recorders, WorldCase, greeting, message, raising


class EscalationTests(ProgramCase):
    """From the end of the connection to the end of the program."""

    def assertSignals(self, *moments: tuple[float, list[str]]) -> None:
        """Fail unless these signals have been sent after so many seconds."""
        self.reactor.advance(0)
        start = self.reactor.seconds()
        for seconds, signals in moments:
            self.reactor.advance(start + seconds - self.reactor.seconds())
            self.assertEqual(self.process.signals, signals, f"after {seconds} s")

    def test_clean_end(self) -> None:
        """Its pipes are closed at once; SIGTERM and SIGKILL follow in their time."""
        self.start(patience=Patience(terminate=7.0, kill=3.0))
        self.wire.loseConnection()
        self.assertSignals((0.0, []))
        self.assertTrue(self.at_end())
        self.assertSignals(
            (6.75, []), (7.0, ["TERM"]), (9.75, ["TERM"]), (10.0, ["TERM", "KILL"])
        )
        self.reactor.advance(3600.0)
        self.assertEqual(self.process.signals, ["TERM", "KILL"])

    def test_failure(self) -> None:
        """After a failure SIGTERM comes at once."""
        self.start()
        self.wire.abortConnection()
        kill = FAULT_PATIENCE.kill
        self.assertSignals(
            (0.0, ["TERM"]), (kill - 0.25, ["TERM"]), (kill, ["TERM", "KILL"])
        )

    def test_failure_of_a_client(self) -> None:
        """A client's program gets no more time after a failure than without."""
        self.start(patience=CLIENT_PATIENCE)
        self.wire.end(Failure(ConnectTimedOut()))
        self.assertSignals((0.0, ["TERM"]), (CLIENT_PATIENCE.kill, ["TERM", "KILL"]))

    def test_ends_by_itself(self) -> None:
        """A program that ends in time gets no signal."""
        self.start()
        self.wire.loseConnection()
        self.reactor.advance(0)
        self.reactor.advance(SERVER_PATIENCE.terminate - 1.0)
        self.process.exit(0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(
            (self.process.signals, self.ended), ([], [ProgramEnd(0, None)])
        )

    def test_ends_of_the_signal(self) -> None:
        """A program that ends of SIGTERM gets no SIGKILL."""
        self.start()
        self.wire.loseConnection()
        self.reactor.advance(0)
        self.reactor.advance(SERVER_PATIENCE.terminate)
        self.process.exit(signal=15)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.process.signals, ["TERM"])

    def test_ended_before(self) -> None:
        """The end of a connection whose program has ended asks nothing of anybody."""
        self.start()
        self.process.exit(0)
        self.assertIsNone(self.program.lost)
        self.reactor.advance(0)
        self.assertIsNotNone(self.program.lost)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.program.kill()
        self.assertEqual(self.process.signals, [])

    def test_ends_unnoticed(self) -> None:
        """A signal that comes too late is no error."""
        self.start()
        self.patch(self.process, "signalProcess", raising(ProcessExitedAlready()))
        self.program.kill()
        self.assertIn(self.program, self.factory.running)

    def test_leave(self) -> None:
        """A server that stops closes the way in; what is written is still sent."""
        self.start()
        self.program.leave("the server stops")
        self.program.leave("the server stops")
        self.assertEqual(os.read(self.process.descriptors[8], 100), b"")
        os.write(self.process.descriptors[9], encode_frame(message(1)))
        self.reactor.poll()
        self.assertEqual(self.wire.sent, [message(1)])
        self.wire.deliver([message(2)])
        self.assertEqual(self.wire.released, 0)
        self.assertSignals((4.75, []), (5.0, ["TERM"]), (10.0, ["TERM", "KILL"]))
        self.process.exit(signal=9)
        self.reactor.advance(0)
        self.assertEqual(self.wire.released, 1)

    def test_leave_and_lose(self) -> None:
        """The end of the connection after that does not start the clock anew."""
        self.start()
        self.program.leave("the server stops")
        self.reactor.advance(3.0)
        self.wire.loseConnection()
        self.assertSignals((1.75, []), (2.0, ["TERM"]), (7.0, ["TERM", "KILL"]))

    def test_sooner(self) -> None:
        """Who is asked for an earlier end ends earlier, and never later."""
        self.start(patience=Patience(terminate=100.0, kill=100.0))
        self.wire.loseConnection()
        self.reactor.advance(0)
        self.reactor.advance(1.0)
        self.program.end_within(Patience(terminate=1.0, kill=2.0))
        self.program.end_within(Patience(terminate=2.0, kill=2.0))
        self.assertSignals((0.75, []), (1.0, ["TERM"]), (3.0, ["TERM", "KILL"]))
        self.assertEqual(self.wire.released, 1)

    def test_program_end(self) -> None:
        """An end is a status or a signal, and has a status to pass on."""
        for end, code, text in (
            (ProgramEnd(0, None), 0, "status 0"),
            (ProgramEnd(7, None), 7, "status 7"),
            (ProgramEnd(None, 9), FAILED_STATUS, "signal 9"),
        ):
            self.assertEqual((end.exit_code, str(end)), (code, text))

    def test_reported_end(self) -> None:
        """Status and signal are those of the process."""
        for status, signal in ((0, None), (5, None), (None, 9)):
            self.start()
            self.process.exit(status or 0, signal)
            self.assertEqual(self.ended, [ProgramEnd(status, signal)])


class FactoryTests(ProgramCase):
    """All programs together."""

    def test_when_all_ended(self) -> None:
        """It is known when the last program has ended."""
        self.start()
        self.attach()
        first, second = self.reactor.processes
        waiting = [self.factory.running.when_none(), self.factory.running.when_none()]
        first.exit(0)
        self.assertNoResult(waiting[0])
        second.exit(0)
        for deferred in (*waiting, self.factory.running.when_none()):
            self.successResultOf(deferred)

    def test_kill_all(self) -> None:
        """What runs is killed; what has ended is not."""
        self.start()
        self.attach()
        first, second = self.reactor.processes
        first.exit(0)
        self.factory.running.kill()
        self.assertEqual((first.signals, second.signals), ([], ["KILL"]))


class WorldTests(WorldCase):
    """Programs that serve clients over a network."""

    def setUp(self) -> None:
        """Serve two clients."""
        super().setUp()
        self.factory = HandlerProgramFactory(
            self.reactor, ["true"], report=Report(), patience=Patience(0.0, 1.0)
        )
        self.listener = self.serve(self.factory)
        self.clients = Recorders(greeting(message(0)))
        for port in (1, 2):
            self.dial(self.clients, address=("203.0.113.1", port))
        self.reactor.advance(0)

    def tearDown(self) -> None:
        """Let the programs end first."""
        for process in self.reactor.processes:
            if process.pid is not None:
                process.exit()
        super().tearDown()

    def answer(self, number: int, answer: bytes) -> None:
        """Let a program answer."""
        descriptor = self.reactor.processes[number].descriptors[9]
        os.write(descriptor, encode_frame(answer))
        self.reactor.run(0.1)

    def test_stalled(self) -> None:
        """One program that never reads disturbs nobody else."""
        self.answer(0, message(1))
        for _ in range(5):
            flood = [message(n, 1088) for n in range(50)]
            self.clients.built[0].transport.sendMessages(flood)
            self.reactor.run(0.1)
        self.assertGreater(self.factory.counters.lost_handler_full, 100)
        self.clients.built[1].transport.sendMessages([message(7)])
        self.answer(1, message(8))
        self.assertEqual(self.clients.built[1].messages, [message(8)])
        frames = encode_frame(message(0)) + encode_frame(message(7))
        self.assertEqual(
            os.read(self.reactor.processes[1].descriptors[8], 65536), frames
        )

    def test_end(self) -> None:
        """A program's last words reach its client, and its slot is free at once."""
        os.write(self.reactor.processes[0].descriptors[9], encode_frame(message(5)))
        self.reactor.processes[0].exit(0)
        self.assertEqual(self.listener.connections, 1)
        self.reactor.advance(0)
        self.assertEqual(self.clients.built[0].messages, [message(5)])
        self.assertEqual(len(self.factory.running), 1)

    def test_port_closed(self) -> None:
        """Closing the port makes every program end."""
        self.ports[0].stopListening()
        self.reactor.advance(0)
        self.assertEqual([p.signals for p in self.reactor.processes], [["TERM"]] * 2)
        self.reactor.advance(1.0)
        expected = [["TERM", "KILL"]] * 2
        self.assertEqual([p.signals for p in self.reactor.processes], expected)

    def test_no_room(self) -> None:
        """A program that cannot be started costs its client a repetition."""
        self.reactor.spawnError = OSError(11, "Resource temporarily unavailable")
        late = Recorders(greeting(message(3)))
        self.dial(late)
        self.reactor.advance(0)
        self.assertEqual(self.listener.connections, 2)
        self.assertEqual(self.listener.counters.refused_handler, 1)
        self.reactor.spawnError = None
        self.reactor.run(3.0)
        self.answer(2, message(4))
        self.assertEqual(late.built[0].messages, [message(4)])
