"""What the sending half of a stream does about what gets lost."""

from __future__ import annotations

from curvecp_tx.stream.sender import MAX_PROBE_INTERVAL, WINDOW_BYTES
from tests.stream.sending import SenderTestCase


class LossTests(SenderTestCase):
    """What does not come back."""

    def test_overtaken(self) -> None:
        """A block that three later ones have overtaken is sent again at once."""
        self.sender.write(bytes(8 * 1024))
        self.send()
        self.acknowledge(3, (1024, 3072))
        self.assertEqual(self.places(0.2), [])
        self.acknowledge(4, (1024, 4096))
        self.assertEqual(self.places(0.2), [(0, 1024, 0)])
        self.assertEqual(self.sender.retransmissions, 1)
        self.assertEqual(self.congestion.panics, [])

    def test_late(self) -> None:
        """A block presumed lost that was only late is not sent again."""
        self.sender.write(bytes(8 * 1024))
        self.send()
        self.acknowledge(5, (2048, 5120))
        self.assertTrue(self.sender.wants_to_send)
        self.acknowledge(1, (0, 5120))
        self.assertEqual(self.places(0.2), [])
        self.assertFalse(self.sender.wants_to_send)

    def test_by_turns(self) -> None:
        """What was lost and what is new take turns."""
        self.sender.write(bytes(8 * 1024))
        self.send(most=6)
        self.acknowledge(6, (5120, 6144))
        positions = [block.position // 1024 for block in self.send(0.2)]
        self.assertEqual(positions, [0, 6, 1, 7, 2])

    def test_new_blocked(self) -> None:
        """If the window lets nothing new out, only what was lost is sent."""
        self.sender.write(bytes(WINDOW_BYTES + 1024))
        self.send()
        self.acknowledge(6, (5120, 6144))
        positions = [block.position // 1024 for block in self.send(0.2)]
        self.assertEqual(positions, [0, 1, 2])

    def test_overdue(self) -> None:
        """When the oldest block is overdue, one probe leaves: the lowest block."""
        self.sender.write(bytes(4096))
        self.send()
        self.assertEqual(self.sender.deadline(), 1.0)
        self.sender.handle_timer(0.999)
        self.assertEqual(self.congestion.panics, [])
        self.sender.handle_timer(1.0)
        self.assertEqual(self.congestion.panics, [1.0])
        self.assertIsNone(self.sender.deadline())
        self.assertTrue(self.sender.wants_to_send)
        self.assertEqual(self.places(1.0), [(0, 1024, 0)])

    def test_probe_intervals(self) -> None:
        """Probes go farther apart, but not without end."""
        self.sender.write(bytes(4096))
        self.send()
        times = []
        for _ in range(30):
            now = self.sender.deadline()
            assert now is not None
            times.append(now)
            self.sender.handle_timer(now)
            self.assertEqual(self.places(now), [(0, 1024, 0)])
        self.assertEqual(times[:4], [1, 3, 7, 11])
        self.assertEqual(times[-1] - times[-2], MAX_PROBE_INTERVAL)

    def test_heard_after_silence(self) -> None:
        """A sign of life brings the next probe forward, up to a time-out's distance."""
        self.sender.write(bytes(4096))
        self.send()
        self.sender.peer_heard(0.5)
        self.assertEqual(self.places(0.5), [])
        for now in (1.0, 3.0):
            self.sender.handle_timer(now)
            self.assertEqual(self.places(now), [(0, 1024, 0)])
        self.sender.peer_heard(3.9)
        self.assertEqual(self.places(3.9), [])
        self.sender.peer_heard(4.5)
        self.assertEqual(self.places(4.5), [(0, 1024, 0)])
        self.sender.peer_heard(5.4)
        self.assertEqual(self.places(5.4), [])

    def test_probe_leaves_anyway(self) -> None:
        """A probe leaves although the window is full."""
        self.congestion.limit = 2
        self.sender.write(bytes(4096))
        self.assertEqual(len(self.send()), 2)
        self.sender.handle_timer(1.0)
        self.assertEqual(self.places(1.0), [(0, 1024, 0)])

    def test_impatient(self) -> None:
        """However long the time-out, a probe leaves after some seconds."""
        self.congestion.timeout = 50.0
        self.sender.write(bytes(4096))
        self.send()
        self.assertEqual(self.sender.deadline(), MAX_PROBE_INTERVAL)

    def test_probing(self) -> None:
        """Without an answer, what was lost waits; what is new may leave."""
        self.sender.write(bytes(8 * 1024))
        self.send(most=6)
        self.acknowledge(6, (5120, 6144))
        self.sender.handle_timer(1.1)
        self.assertEqual(self.send(1.1, most=1)[0].position, 0)
        self.assertEqual(self.places(1.1), [(6144, 1024, 0), (7168, 1024, 0)])
        self.assertFalse(self.sender.wants_to_send)
        # The probe is answered: what was sent before it and is not there is lost.
        self.acknowledge(7, (0, 1024), (5120, 6144), now=1.2)
        self.assertTrue(self.sender.wants_to_send)
        self.assertEqual(self.places(1.2)[:2], [(1024, 1024, 0), (2048, 1024, 0)])

    def test_all_lost(self) -> None:
        """With nothing in flight there is no deadline, only something to send."""
        self.sender.write(bytes(8 * 1024))
        self.send()
        self.acknowledge(8, (7168, 8192))
        self.acknowledge(8, (5120, 8192))
        self.assertEqual(self.sender.in_flight, 0)
        self.assertIsNone(self.sender.deadline())
        self.assertTrue(self.sender.wants_to_send)
