"""The fake reactor and its programs."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from curvecp_tx.interfaces import ICurveCPReactor
from curvecp_tx.testing import FakeProcess, FakeReactor


class Descriptor:
    """A descriptor that counts how often it may read or write."""

    def __init__(self) -> None:
        self.read = self.written = 0
        self.others: list[Descriptor] = []
        self.reactor: FakeReactor | None = None

    def doRead(self) -> None:
        """Read."""
        self.read += 1
        self.remove_others()

    def doWrite(self) -> None:
        """Write."""
        self.written += 1
        self.remove_others()

    def remove_others(self) -> None:
        """Have others watched no more."""
        for other in self.others:
            assert self.reactor is not None
            reactor: Any = self.reactor
            reactor.removeReader(other)
            reactor.removeWriter(other)


class Ends(ProcessProtocol):
    """Notes how a process ends."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Failure]] = []

    def processExited(self, reason: Failure) -> None:
        """Note the exit."""
        self.events.append(("exited", reason))

    def processEnded(self, reason: Failure) -> None:
        """Note the end."""
        self.events.append(("ended", reason))


class ReactorTests(SynchronousTestCase):
    """A reactor without a system."""

    def setUp(self) -> None:
        """Make one."""
        self.reactor = FakeReactor()

    def test_interface(self) -> None:
        """It has what this package uses of a reactor."""
        self.assertTrue(verifyObject(ICurveCPReactor, self.reactor))

    def test_run(self) -> None:
        """Time passes in steps, exactly as much as wanted; descriptors take part."""
        reactor: Any = self.reactor
        descriptor = Descriptor()
        reactor.addReader(descriptor)
        reactor.addWriter(descriptor)
        times: list[float] = []
        for delay in (0.5, 1.0):
            reactor.callLater(delay, lambda: times.append(reactor.seconds()))
        reactor.run(1.125, step=0.25)
        self.assertEqual((times, reactor.seconds()), ([0.5, 1.0], 1.125))
        self.assertEqual((descriptor.read, descriptor.written), (5, 5))

    def test_many_small_steps(self) -> None:
        """Rounding does not keep time from passing."""
        for _ in range(10):
            self.reactor.run(0.1)
        self.assertAlmostEqual(self.reactor.seconds(), 1.0)

    def test_watching(self) -> None:
        """What is added is watched until it is removed."""
        reactor: Any = self.reactor
        one, two = Descriptor(), Descriptor()
        reactor.addReader(one)
        reactor.addReader(one)
        reactor.addWriter(two)
        self.assertEqual((reactor.getReaders(), reactor.getWriters()), ([one], [two]))
        reactor.poll()
        self.assertEqual((one.read, one.written), (1, 0))
        self.assertEqual((two.read, two.written), (0, 1))
        reactor.removeReader(one)
        reactor.removeReader(one)
        reactor.removeWriter(one)
        self.assertEqual((reactor.getReaders(), reactor.getWriters()), ([], [two]))
        reactor.addReader(one)
        self.assertEqual(reactor.removeAll(), [one, two])
        self.assertEqual((reactor.getReaders(), reactor.getWriters()), ([], []))

    def test_removed_meanwhile(self) -> None:
        """What another one removes in the same turn is left alone."""
        reactor: Any = self.reactor
        one, two = Descriptor(), Descriptor()
        one.others, one.reactor = [two], self.reactor
        for descriptor in (one, two):
            reactor.addReader(descriptor)
            reactor.addWriter(descriptor)
        reactor.poll()
        self.assertEqual((one.read, one.written, two.read, two.written), (1, 1, 0, 0))
        reactor.removeReader(one)
        reactor.addWriter(two)
        reactor.poll()
        self.assertEqual((one.written, two.written), (2, 0))


class ProcessTests(SynchronousTestCase):
    """Programs that a test plays."""

    def setUp(self) -> None:
        """Start one."""
        self.reactor = FakeReactor()
        self.protocol = Ends()
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.process = self.spawn({0: 0, 9: self.writing})
        os.close(self.writing)

    def spawn(self, descriptors: dict[int, int]) -> FakeProcess:
        """Start a program."""
        return self.reactor.spawnProcess(
            self.protocol, b"/bin/x", [b"x", b"y"], {b"A": b"B"}, "/", None, None,
            False, descriptors,
        )  # fmt: skip

    def test_start(self) -> None:
        """A program is noted with all that it was started with."""
        process = self.process
        self.assertEqual(self.reactor.processes, [process])
        self.assertIs(self.protocol.transport, process)
        self.assertEqual(process.executable, b"/bin/x")
        self.assertEqual(process.arguments, [b"x", b"y"])
        self.assertEqual((process.environment, process.path), ({b"A": b"B"}, "/"))
        self.assertEqual(list(process.descriptors), [9])
        process.exit()

    def test_descriptors(self) -> None:
        """It has descriptors of its own, which close with it."""
        os.write(self.process.descriptors[9], b"words")
        self.assertEqual(os.read(self.reading, 100), b"words")
        self.process.exit()
        self.assertEqual(os.read(self.reading, 100), b"")
        self.assertEqual(self.process.descriptors, {})

    def test_close(self) -> None:
        """It may close them one by one before."""
        self.process.close(9)
        self.assertEqual(os.read(self.reading, 100), b"")
        self.assertEqual(self.protocol.events, [])
        self.process.exit()

    def assertEnded(
        self, kind: type[Exception], status: object, signal: object
    ) -> None:
        """Fail unless the protocol has heard of such an end."""
        self.assertEqual(
            [event for event, _ in self.protocol.events], ["exited", "ended"]
        )
        for _, reason in self.protocol.events:
            value: Any = reason.value
            self.assertIsInstance(value, kind)
            self.assertEqual((value.exitCode, value.signal), (status, signal))

    def test_exit(self) -> None:
        """Status 0 is a proper end."""
        self.process.exit()
        self.assertEnded(ProcessDone, 0, None)

    def test_status(self) -> None:
        """Another status is told."""
        self.process.exit(7)
        self.assertEnded(ProcessTerminated, 7, None)

    def test_signal(self) -> None:
        """So is a signal."""
        self.process.exit(signal=9)
        self.assertEnded(ProcessTerminated, None, 9)

    def test_signals(self) -> None:
        """Signals are noted as long as there is a process."""
        self.process.signalProcess("TERM")
        self.process.signalProcess("KILL")
        self.assertEqual(self.process.signals, ["TERM", "KILL"])
        self.process.exit()
        self.assertRaises(ProcessExitedAlready, self.process.signalProcess, "TERM")

    def test_spawn_error(self) -> None:
        """A system without room raises the error that a test has set."""
        self.process.exit()
        self.reactor.spawnError = OSError(11, "no more processes")
        error = self.assertRaises(OSError, self.spawn, {})
        self.assertIs(error, self.reactor.spawnError)
        self.assertEqual(len(self.reactor.processes), 1)
        self.reactor.spawnError = None
        self.assertNotEqual(self.spawn({}).pid, self.process.pid)
