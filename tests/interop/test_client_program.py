"""How our client ends: with its program's status, or with 111 and a reason."""

from __future__ import annotations

import select
import signal
import socket

from twisted.trial.unittest import SkipTest

from curvecp_tx.wire.packets import MAX_INITIATE_MESSAGE_BYTES, MESSAGE_UNIT
from tests.interop.processes import (
    CALLER,
    HANDLER,
    HOST,
    OURS,
    Process,
    ProcessTestCase,
    Server,
    free_port,
)

FAILURE = 111
DEAD_HOST = "127.0.0.50"
SLEEP = ("sleep", "1000")
UNUSED_KEY = bytes(31) + b"\x09"


def shell(script: str) -> tuple[str, ...]:
    """Give a shell that runs a script, and goes on sleeping."""
    return ("sh", "-c", f"{script}; exec sleep 1000")


class ClientTestCase(ProcessTestCase):
    """A server that echoes, for clients of ours."""

    async def assert_fails(self, client: Process, reason: str) -> None:
        """Check that a client ends with 111 and one line that has the reason."""
        self.assertEqual(await self.finish(client), FAILURE, client.errors)
        (line,) = client.errors.splitlines()
        self.assertRegex(line, f"^curvecpclient: .*{reason}")


class StatusTests(ClientTestCase):
    """A client with a server there."""

    async def status_of(self, *program: str) -> int:
        """Run a client to its end, and give its status."""
        server = await self.serve(OURS, HANDLER)
        client = self.call(OURS, server, program)
        status = await self.finish(client)
        self.assertEqual(client.errors, "")
        return status

    async def test_success_is_passed_on(self) -> None:
        """A program that talks to the server and exits 0 has succeeded."""
        self.assertEqual(await self.status_of(*CALLER, "echo"), 0)

    async def test_a_program_that_says_nothing_may_exit(self) -> None:
        """A program that exits before it has sent a message has its status, too."""
        self.assertEqual(await self.status_of("true"), 0)

    async def test_failure_is_passed_on(self) -> None:
        """The program's exit status is the client's."""
        self.assertEqual(await self.status_of("sh", "-c", "exit 7"), 7)

    async def test_a_program_may_close_its_output_and_go_on(self) -> None:
        """The end of the connection leaves the program time to finish."""
        status = await self.status_of("sh", "-c", "exec 9>&-; sleep 0.2; exit 3")
        self.assertEqual(status, 3)

    async def test_a_killed_program_counts_as_111(self) -> None:
        """A program that died by a signal has no status: 111."""
        self.assertEqual(await self.status_of("sh", "-c", "kill -9 $$"), FAILURE)


class FaultyProgramTests(ClientTestCase):
    """Programs that break the framing."""

    async def assert_ended(self, script: str, reason: str) -> None:
        """Check that a client ends its faulty program, and says why."""
        server = await self.serve(OURS, HANDLER)
        client = self.call(OURS, server, shell(script))
        await self.assert_fails(client, reason)
        self.assertEqual(client.children(), [])

    async def test_length_0(self) -> None:
        """A length byte 0 is an error."""
        await self.assert_ended(r"printf '\000' >&9", "length byte")

    async def test_length_69(self) -> None:
        """A length byte 69 is an error."""
        await self.assert_ended(r"printf '\105' >&9", "length byte")

    async def test_length_255(self) -> None:
        """A length byte 255 is an error."""
        await self.assert_ended(r"printf '\377' >&9", "length byte")

    async def test_a_cut_frame(self) -> None:
        """An end of output inside a frame is an error."""
        await self.assert_ended(r"printf '\001abc' >&9; exec 9>&-", "inside a message")

    async def test_a_long_first_message(self) -> None:
        """A first message has at most 640 bytes; a longer one is an error."""
        size = MAX_INITIATE_MESSAGE_BYTES + MESSAGE_UNIT
        script = f"(printf '\\051'; head -c {size} /dev/zero) >&9"
        await self.assert_ended(script, str(MAX_INITIATE_MESSAGE_BYTES))


class SignalTests(ClientTestCase):
    """A client that is told to end."""

    async def assert_ends(self, number: int) -> None:
        """Check that a signal ends a client, and its program with it."""
        server = await self.serve(OURS, HANDLER)
        client = self.call(OURS, server, SLEEP)
        pid = await self.only_child(client, SLEEP[0])
        client.signal(number)
        self.assertEqual(await self.finish(client), FAILURE)
        await self.until_dead(pid)
        self.assertNotIn("Traceback", client.errors)

    async def test_sigterm(self) -> None:
        """SIGTERM ends the client and its program."""
        await self.assert_ends(signal.SIGTERM)

    async def test_sigint(self) -> None:
        """SIGINT ends the client and its program."""
        await self.assert_ends(signal.SIGINT)

    async def test_sighup(self) -> None:
        """SIGHUP ends the client and its program."""
        await self.assert_ends(signal.SIGHUP)


class AddressTests(ClientTestCase):
    """Where a client looks for its server."""

    def nobody(self) -> Server:
        """Describe a server that does not exist."""
        idle = self.launch(SLEEP)
        return Server(idle, UNUSED_KEY, free_port())

    async def test_no_server(self) -> None:
        """Without an answer in the time allowed, the client fails and says so."""
        client = self.call(OURS, self.nobody(), SLEEP, options=("-t", "1"))
        await self.assert_fails(client, "no response from server")

    async def test_a_signal_ends_the_search(self) -> None:
        """A client that still waits for a cookie ends at a signal."""
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(silent.close)
        silent.bind((HOST, 0))
        server = Server(self.launch(SLEEP), UNUSED_KEY, silent.getsockname()[1])
        client = self.call(OURS, server, SLEEP)
        await self.until(lambda: select.select([silent], [], [], 0)[0], "a Hello")
        client.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(client), FAILURE)
        self.assertNotIn("Traceback", client.errors)

    async def test_no_program(self) -> None:
        """A program that does not exist is an error before anything is sent."""
        client = self.call(OURS, self.nobody(), ("no-such-program",))
        await self.assert_fails(client, "no-such-program")

    async def test_one_address_of_two_is_dead(self) -> None:
        """A client with two addresses finds the one where a server is."""
        server = await self.serve(OURS, HANDLER)
        client = self.call(OURS, server, (*CALLER, "echo"), hosts=f"{DEAD_HOST},{HOST}")
        self.assertEqual(await self.finish(client), 0, client.errors)

    def need_ipv6(self) -> None:
        """Skip a test where this host has no IPv6."""
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("::1", 0))
            except OSError as error:
                raise SkipTest(f"no IPv6 here: {error}") from error

    async def test_ipv6(self) -> None:
        """Server and client talk over IPv6, too."""
        self.need_ipv6()
        server = await self.serve(OURS, HANDLER, host="::1")
        client = self.call(OURS, server, (*CALLER, "echo"))
        self.assertEqual(await self.finish(client), 0, client.errors)

    async def test_an_ipv6_server_takes_ipv4(self) -> None:
        """A server on all addresses is found by an IPv4 client."""
        self.need_ipv6()
        server = await self.serve(OURS, HANDLER, host="::")
        client = self.call(OURS, server, (*CALLER, "echo"), hosts=HOST)
        self.assertEqual(await self.finish(client), 0, client.errors)
