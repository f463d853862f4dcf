"""The life of a server's programs: how they fail, end and are ended."""

from __future__ import annotations

import os
import re
import signal

from tests.interop.processes import HANDLER, OURS, Server, is_alive
from tests.interop.rawclient import RawClientTestCase, message

STUBBORN = "stubborn"
BAD_LENGTHS = ("00", "45", "ff")
GOOD_FRAME = "01" + "61" * 16


class SlotTests(RawClientTestCase):
    """A server with room for one client."""

    async def start(self) -> Server:
        """Start the server."""
        return await self.serve(OURS, HANDLER, options=("-c", "1"))

    async def assert_free(self, server: Server) -> None:
        """Check that somebody gets in, and let him out again."""
        await self.connect(server, "exit 0")

    async def assert_ended(self, first: str, complaint: str) -> None:
        """Check that a server ends a faulty program and has room at once."""
        server = await self.start()
        await self.request(server, first)
        line = re.compile(f"^curvecpserver: pid ([0-9]+): .*{complaint}$", re.MULTILINE)
        reported = await self.until(
            lambda: line.search(server.process.errors), "the fault is reported"
        )
        assert reported is not None
        await self.assert_free(server)
        await self.until_dead(int(reported[1]))
        self.assertNotIn("Traceback", server.process.errors)

    async def test_a_bad_length_ends_a_program(self) -> None:
        """Length bytes 0, 69 and 255 end the program that wrote them."""
        for number in BAD_LENGTHS:
            await self.assert_ended(f"write {number}", str(int(number, 16)))

    async def test_a_cut_frame_ends_a_program(self) -> None:
        """An end of output inside a frame is a fault of the program."""
        await self.assert_ended("cut 01616263", "inside a message")

    async def test_an_end_of_output_ends_a_program(self) -> None:
        """A program that closes its output has no connection any more."""
        server = await self.start()
        client = await self.connect(server, f"cut {GOOD_FRAME}")
        self.assertEqual(client.messages, [b"a" * 16])
        await self.assert_free(server)
        self.assertEqual(server.process.errors, "")

    async def test_a_program_may_write_byte_by_byte(self) -> None:
        """Frames count as a whole, in whatever pieces they come."""
        server = await self.start()
        client = await self.connect(server, "dribble")
        await self.exchange(client, "and it does not end there")
        self.assertEqual(client.messages[0], message("dribble"))

    async def test_messages_before_a_bad_length_are_sent(self) -> None:
        """What a program wrote before its fault arrives."""
        server = await self.start()
        client = await self.connect(server, f"write {GOOD_FRAME}ff")
        self.assertEqual(client.messages, [b"a" * 16])

    async def test_a_faulty_program_that_ignores_sigterm_is_killed(self) -> None:
        """Its slot is free at once, though it takes time until it is gone."""
        server = await self.start()
        await self.request(server, f"{STUBBORN} 00")
        pid = await self.only_child(server.process)
        await self.assert_free(server)
        self.assertTrue(is_alive(pid))
        await self.until_dead(pid)

    async def test_a_program_that_exits_makes_room(self) -> None:
        """Each exit, whatever the status, frees the slot."""
        server = await self.start()
        for status in (0, 1, 111):
            await self.connect(server, f"exit {status}")
            await self.until(lambda: not server.process.children(), "it has ended")
        self.assertEqual(server.process.errors, "")

    async def test_a_program_that_is_killed_makes_room(self) -> None:
        """A signal from elsewhere frees the slot, too."""
        server = await self.start()
        await self.connect(server, "stall")
        pid = await self.only_child(server.process)
        os.kill(pid, signal.SIGKILL)
        await self.until_dead(pid)
        await self.assert_free(server)

    async def test_the_second_client_waits_for_the_first(self) -> None:
        """With room for one, the second gets in when the first has ended."""
        server = await self.start()
        await self.connect(server, "stall")
        pid = await self.only_child(server.process)
        second = await self.request(server, "echo")
        await self.until_handled(server)
        self.assertEqual(second.step(), 0)
        self.assertEqual(server.process.children(), [pid])
        os.kill(pid, signal.SIGKILL)
        await self.exchange(second, "at last")


class EndTests(RawClientTestCase):
    """How a server ends."""

    async def assert_ends_well(self, number: int, *firsts: str) -> None:
        """Check that a signal ends a server with programs, and the programs."""
        server = await self.serve(OURS, HANDLER, options=("--grace", "0"))
        for first in firsts:
            await self.connect(server, first)
        children = server.process.children()
        self.assertEqual(len(children), len(firsts))
        server.process.signal(number)
        self.assertEqual(await self.finish(server.process), 0)
        self.assertEqual([pid for pid in children if is_alive(pid)], [])
        self.assertEqual(server.process.errors, "")

    async def test_sigterm_ends_it(self) -> None:
        """SIGTERM: exit status 0, and no program is left."""
        await self.assert_ends_well(signal.SIGTERM, "echo", "echo")

    async def test_sigint_ends_it(self) -> None:
        """SIGINT: exit status 0, and no program is left."""
        await self.assert_ends_well(signal.SIGINT, "echo", "echo")

    async def test_sighup_ends_it(self) -> None:
        """SIGHUP: exit status 0, and no program is left."""
        await self.assert_ends_well(signal.SIGHUP, "echo", "echo")

    async def test_it_outlives_programs_that_do_not_want_to_end(self) -> None:
        """A program that ignores the end of its pipes and SIGTERM is killed."""
        await self.assert_ends_well(signal.SIGTERM, "stall", STUBBORN)
