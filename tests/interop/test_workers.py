"""A server of several processes: to its clients, it is one server."""

from __future__ import annotations

import ast
import os
import signal
from collections.abc import Sequence

from twisted.internet import reactor

from curvecp_tx.net.steering import index_of
from curvecp_tx.secure.client import Phase
from curvecp_tx.wire.packets import SHORT_TERM_KEY
from tests.faults.proxy import Proxy, Rebinding
from tests.interop.processes import (
    HANDLER,
    OURS,
    TWISTD,
    Process,
    Server,
    children_of,
    is_alive,
    kill_group,
    state_of,
)
from tests.interop.rawclient import (
    RawClient,
    RawClientTestCase,
    RawSocket,
    message,
)
from tests.interop.streaming import MEBIBYTE, digest, shell

WORKERS = 4
FEW = 2
OTHER_HOST = "127.0.0.2"
REPLAYS = 20
TRIES = 40
"""Clients that come to a worker by chance, one in two."""


class WorkersCase(RawClientTestCase):
    """A test of a server with workers.

    :cvar count: how many it has.
    """

    count = WORKERS

    def options(self, *others: str) -> tuple[str, ...]:
        """Give the options of such a server, which has no patience when it stops."""
        return ("-v", "--workers", str(self.count), "--grace", "0.1", *others)

    def workers(self, server: Server) -> list[int]:
        """Give the process IDs of its workers."""
        return server.process.children()

    def programs(self, server: Server) -> list[int]:
        """Give those of the programs of all of its workers."""
        return [pid for worker in self.workers(server) for pid in children_of(worker)]

    async def client_of(self, server: Server, number: int) -> RawClient:
        """Make a client whose packets come to the worker of that number."""
        while True:
            client = RawClient(server.port, server.key)
            self.addCleanup(client.socket.close)
            if index_of(client.sent[0][SHORT_TERM_KEY], self.count) == number:
                return client

    async def connect_to(self, server: Server, number: int) -> RawClient:
        """Connect such a client to an echo."""
        client = await self.client_of(server, number)
        client.send(message("echo"))
        await self.until(lambda: client.phase is Phase.OPEN, "it is served")
        return client

    async def until_said(self, process: Process, words: str) -> None:
        """Wait for words on standard error."""
        await self.until(lambda: words in process.errors, f"it says {words!r}")

    async def end(self, process: Process) -> dict[str, int]:
        """Stop a server, and give what all of its workers have counted."""
        process.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(process), 0, process.errors)
        line = process.errors.rpartition("counters: ")[2]
        counters = ast.literal_eval(line.strip())
        assert isinstance(counters, dict)
        return counters


class OneServerTests(WorkersCase):
    """What must be as with one process."""

    async def test_a_client_that_moves(self) -> None:
        """A client that comes from a new port all the time stays where it is."""
        data = os.urandom(10 * MEBIBYTE)
        self.write("data", data)
        server = await self.serve(
            OURS, shell("cat >got"), options=self.options("--stream")
        )
        rebinding = Rebinding(first=0.1, every=0.1)
        proxy = Proxy(
            reactor,  # type: ignore[arg-type]
            server.port,
            rebinding=rebinding,
        )
        near = Server(server.process, server.key, proxy.start())
        self.addCleanup(proxy.stop)
        client = self.call(OURS, near, shell("cat data >&7"), options=("--stream",))
        self.assertEqual(await self.finish(client), 0, client.errors)
        self.assertEqual(digest(self.read("got")), digest(data))
        counters = await self.end(server.process)
        self.assertGreater(proxy.moves, 5)
        self.assertGreater(counters["path_changes"], 2)
        self.assertEqual(counters["connections"], 1)
        astray = counters.get("dropped_unknown_connection", 0)
        self.assertLess(astray, counters["messages_received"] / 100)

    async def test_replays(self) -> None:
        """An Initiate that was recorded starts nothing, wherever it comes from."""
        server = await self.serve(OURS, HANDLER, options=self.options())
        clients = [await self.connect_to(server, n) for n in range(WORKERS)]
        self.replay(server, clients)
        await self.greet_all(server)
        for pid in self.programs(server):
            os.kill(pid, signal.SIGKILL)
        await self.until_said(server.process, "status: 0/100")
        self.replay(server, clients)
        await self.greet_all(server)
        counters = await self.end(server.process)
        self.assertEqual(counters["connections"], WORKERS * 3)
        self.assertGreaterEqual(counters["dropped_replay"], WORKERS * REPLAYS)
        self.assertGreaterEqual(counters["dropped_used_key"], WORKERS * REPLAYS)
        self.assertNotIn("dropped_bad_cookie", counters)

    def replay(self, server: Server, clients: Sequence[RawClient]) -> None:
        """Send copies of Initiates from other ports."""
        for client in clients:
            for _ in range(REPLAYS):
                elsewhere = RawSocket(server.port)
                elsewhere.send(client.initiates[0])
                elsewhere.close()

    async def greet_all(self, server: Server) -> None:
        """Meet each worker, which has then handled what was sent before."""
        for number in range(self.count):
            await self.connect_to(server, number)

    async def test_limits(self) -> None:
        """Limits hold for all workers together, and any of them fills a free place."""
        server = await self.serve(
            OURS, HANDLER, options=self.options("-c", "3", "--max-per-ip", "2")
        )
        here = self.crowd(server, "127.0.0.1", 10)
        await self.until(lambda: self.served(here) == 2, "some are served")
        there = self.crowd(server, OTHER_HOST, 10)
        await self.until(lambda: self.served(there) == 1, "one more is served")
        for words in ("--max-per-ip sets", "--clients sets"):
            await self.until_said(server.process, words)
            self.assertEqual(server.process.errors.count(words), 1)
        self.assertEqual(len(self.programs(server)), 3)
        os.kill(self.programs(server)[0], signal.SIGKILL)
        await self.until(
            lambda: self.served(here) + self.served(there) == 4, "the next is served"
        )
        counters = await self.end(server.process)
        self.assertEqual(counters["connections"], 4)
        self.assertIn("status: 3/3", server.process.errors)
        self.assertNotIn("status: 4/3", server.process.errors)

    def crowd(self, server: Server, host: str, count: int) -> list[RawClient]:
        """Give clients at an address."""
        clients = []
        for _ in range(count):
            client = RawClient(server.port, server.key, own_host=host)
            self.addCleanup(client.socket.close)
            client.send(message("echo"))
            clients.append(client)
        return clients

    def served(self, clients: Sequence[RawClient]) -> int:
        """Count those who have been answered."""
        return sum(client.step() > 0 for client in clients)

    async def test_authorized_keys(self) -> None:
        """At SIGHUP, all workers learn of new keys."""
        self.write("guests", bytes(32).hex().encode())
        server = await self.serve(
            OURS, HANDLER, options=self.options("--authorized-keys", "guests")
        )
        clients = [await self.client_of(server, number) for number in range(WORKERS)]
        for client in clients:
            client.send(message("echo"))
        await self.until(
            lambda: (
                self.served(clients) == 0
                and all(client.initiates for client in clients)
            ),
            "all have asked",
        )
        keys = "".join(f"{client.keys.public.hex()}\n" for client in clients)
        self.write("guests", keys.encode())
        server.process.signal(signal.SIGHUP)
        await self.until_said(server.process, f"authorized keys: {WORKERS}")
        await self.until(lambda: self.served(clients) == WORKERS, "all are served")
        self.write("guests", b"nonsense\n")
        server.process.signal(signal.SIGHUP)
        await self.until_said(server.process, "the keys before stay in force")
        counters = await self.end(server.process)
        self.assertEqual(counters["connections"], WORKERS)


class LifeTests(WorkersCase):
    """Workers that end, and a server that does."""

    count = FEW

    async def test_a_worker_dies(self) -> None:
        """The others go on, and a successor serves new clients in its place."""
        server = await self.serve(OURS, HANDLER, options=self.options("-c", "2"))
        lost = await self.connect_to(server, 1)
        (program,) = self.programs(server)
        worker = _parent(program)
        kept = await self.connect_to(server, 0)
        others = [pid for pid in self.workers(server) if pid != worker]
        os.kill(worker, signal.SIGKILL)
        await self.exchange(kept, "still here")
        await self.until_said(server.process, f"worker {worker} has died: signal 9")
        await self.until_dead(program)
        again = await self.connect_to(server, 1)
        await self.exchange(again, "here again")
        await self.exchange(kept, "here all the time")
        self.assertLess(set(others), set(self.workers(server)))
        other = RawSocket(server.port)
        self.addCleanup(other.close)
        other.send(lost.initiates[0])
        counters = await self.end(server.process)
        self.assertEqual(counters["worker_restarts"], 1)
        self.assertEqual(counters["dropped_bad_cookie"], 1)
        self.assertEqual(server.programs_started, 3)

    async def test_a_worker_dies_beside_a_transfer(self) -> None:
        """A transfer goes on while another worker dies and has a successor."""
        block = os.urandom(MEBIBYTE)
        self.write("block", block)
        server = await self.serve(
            OURS,
            shell("echo $PPID $$; exec cat >$$.got"),
            options=self.options("--stream"),
        )
        # It lasts until we say so: whatever is done meanwhile is done in its middle.
        endless = "until [ -e enough ]; do cat block >&7; echo >>blocks; done"
        bulk = self.call(
            OURS,
            server,
            shell(f"cat <&6 >who 7>&- & {endless}; exec 7>&-; wait"),
            options=("--stream",),
        )
        worker, program = await self.served_by("who")
        (dying,) = set(self.workers(server)) - {worker}
        await self.until_sent(2)
        os.kill(dying, signal.SIGKILL)
        await self.until_said(server.process, f"worker {dying} has died: signal 9")
        successor = await self.meet_another(server, worker)
        self.assertNotEqual(successor, dying)
        self.assertEqual(set(self.workers(server)), {worker, successor})
        await self.until_sent(len(self.read("blocks")) + 2)
        self.assertIsNone(bulk.status)
        self.write("enough", b"")
        self.assertEqual(await self.finish(bulk), 0, bulk.errors)
        sent = block * len(self.read("blocks"))
        self.assertEqual(digest(self.read(f"{program}.got")), digest(sent))
        counters = await self.end(server.process)
        self.assertEqual(counters["worker_restarts"], 1)

    async def until_sent(self, blocks: int) -> None:
        """Wait until so many blocks have left their program."""
        await self.until(lambda: len(self.read("blocks")) >= blocks, "it goes on")

    async def served_by(self, name: str) -> tuple[int, int]:
        """Give the worker and the program that a file comes to tell of."""
        await self.until(lambda: self.read(name).endswith(b"\n"), "it is served")
        worker, program = self.read(name).split()
        return int(worker), int(program)

    async def meet_another(self, server: Server, worker: int) -> int:
        """Let clients come until one is served by another worker; give that one."""
        for n in range(TRIES):
            client = self.call(
                OURS,
                server,
                shell(f"exec 7>&-; cat <&6 >who{n}"),
                options=("--stream",),
            )
            self.assertEqual(await self.finish(client), 0, client.errors)
            found, _ = await self.served_by(f"who{n}")
            if found != worker:
                return found
        return self.fail(f"all of {TRIES} clients came to one worker")

    async def test_signals(self) -> None:
        """What a terminal sends to all is the server's business; SIGTERM is obeyed."""
        server = await self.serve(OURS, HANDLER, options=self.options())
        client = await self.connect_to(server, 0)
        (program,) = self.programs(server)
        worker = _parent(program)
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(worker, number)
        await self.exchange(client, "still here")
        os.kill(worker, signal.SIGTERM)
        await self.until_said(server.process, f"worker {worker} has died: status 0")
        await self.connect_to(server, 0)
        workers = self.workers(server)
        self.assertEqual(len(workers), FEW)
        os.killpg(server.process.pid, signal.SIGINT)
        self.assertEqual(await self.finish(server.process), 0)
        self.assertEqual([pid for pid in workers if is_alive(pid)], [])

    async def test_a_transfer_is_finished(self) -> None:
        """At SIGTERM clients get time to finish, whichever worker has them."""
        slow = "head -c 100000 /dev/zero; sleep 1; head -c 200000 /dev/zero"
        server = await self.serve(
            OURS, shell(slow), options=self.options("--stream", "--grace", "30")
        )
        clients = [
            self.call(OURS, server, shell(f"cat <&6 >got{n}"), options=("--stream",))
            for n in range(3)
        ]
        await self.until(
            lambda: all(self.read(f"got{n}") for n in range(3)), "all have some"
        )
        server.process.signal(signal.SIGTERM)
        for client in clients:
            self.assertEqual(await self.finish(client), 0, client.errors)
        self.assertEqual(await self.finish(server.process), 0)
        sizes = [len(self.read(f"got{n}")) for n in range(3)]
        self.assertEqual(sizes, [300_000] * 3)
        self.assertNotIn("died", server.process.errors)
        self.assertNotIn("Traceback", server.process.errors)

    async def test_at_once(self) -> None:
        """A second signal ends the workers and their programs at once."""
        server = await self.serve(
            OURS, HANDLER, options=self.options("--grace", "1000")
        )
        await self.connect_to(server, 1)
        gone = [*self.workers(server), *self.programs(server)]
        self.assertEqual(len(gone), FEW + 1)
        server.process.signal(signal.SIGTERM)
        await self.until_said(server.process, "stopping: 1 clients may go on")
        server.process.signal(signal.SIGTERM)
        self.assertEqual(await self.finish(server.process), 0)
        self.assertEqual([pid for pid in gone if is_alive(pid)], [])

    async def test_the_server_is_killed(self) -> None:
        """Workers without their server end, and their programs with them."""
        server = await self.serve(OURS, HANDLER, options=self.options("--grace", "0.1"))
        await self.connect_to(server, 0)
        left = [*self.workers(server), *self.programs(server)]
        self.assertEqual(len(left), FEW + 1)
        server.process.signal(signal.SIGKILL)
        for pid in left:
            await self.until_dead(pid)

    async def test_daemon(self) -> None:
        """Under twistd, too; the workers' words are in its log."""
        pidfile = os.path.join(self.directory, "pid")
        logfile = os.path.join(self.directory, "log")
        wrapper = (*TWISTD, f"--pidfile={pidfile}", f"--logfile={logfile}")
        server = await self.serve(
            OURS, HANDLER, wrapper=(*wrapper, "curvecpserver"), options=self.options()
        )
        self.assertEqual(await self.finish(server.process), 0, server.process.errors)
        pid = int(self.read("pid"))
        self.addCleanup(kill_group, os.getpgid(pid))
        clients = [await self.connect_to(server, number) for number in (0, 1)]
        for client in clients:
            await self.exchange(client, "hello")
        workers = children_of(pid)
        self.assertEqual(len(workers), FEW)
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGTERM)
        for gone in (pid, *workers):
            await self.until_dead(gone)
        log = self.read("log")
        for client in clients:
            self.assertIn(client.keys.public.hex().encode(), log)
        self.assertIn(b"'connections': 2", log)
        self.assertNotIn(b"Traceback", log)


def _parent(pid: int) -> int:
    state = state_of(pid)
    assert state is not None
    return state[1]
