"""The examples of the stream half: endpoints, a web site, tunnels, a bad network."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time

from tests.test_examples import (
    EXTENSION,
    NAME,
    PATIENCE,
    ROOT,
    ExampleTestCase,
    read_text,
)

EXAMPLES = os.path.join(ROOT, "docs", "examples")
ECHO_SERVER = os.path.join(EXAMPLES, "echo_server.py")
ECHO_CLIENT = os.path.join(EXAMPLES, "echo_client.py")
FETCH = os.path.join(EXAMPLES, "fetch.py")
WHOAMI = os.path.join(EXAMPLES, "whoami.py")
SERVER = ("-m", "curvecp_tx.commands.server")
CLIENT = ("-m", "curvecp_tx.commands.client")

PAGE = "<h1>A page over CurveCP</h1>\n"


class StreamTestCase(ExampleTestCase):
    """Starts servers on the local host, with a key for each test."""

    def setUp(self) -> None:
        super().setUp()
        self.keydir, self.key = self.make_keys("serverkey")

    def serve(self, *options: str) -> tuple[str, ...]:
        """Start a superserver; give the operands for its clients."""
        where = (NAME, self.keydir, "127.0.0.1", "0", EXTENSION)
        program = () if "--forward" in options else options[1:]
        options = options if "--forward" in options else options[:1]
        server = self.start([*SERVER, "-1", *options, *where, *program])
        return (NAME, self.key, "127.0.0.1", self.first_line(server), EXTENSION)


class EndpointTests(StreamTestCase):
    """echo_server.py and echo_client.py, on endpoints from strings."""

    def start_echo(self) -> str:
        """Start the echo server; give the beginning of its clients' strings."""
        server = self.start(
            [
                ECHO_SERVER,
                f"curvecp:0:keydir={self.keydir}:name={NAME}:interface=127.0.0.1",
            ]
        )
        return f"curvecp:localhost:{self.first_line(server)}:key={self.key}"

    def test_words_come_back(self) -> None:
        """The client prints the server's echo and ends with 0."""
        where = f"{self.start_echo()}:name={NAME}"
        ended = self.run_to_end(ECHO_CLIENT, where, "hello", "wide", "world")
        self.assertEqual(ended, (0, "hello wide world\n", ""))

    def test_long_words(self) -> None:
        """More comes back than fits in any buffer on the way."""
        where = f"{self.start_echo()}:name={NAME}"
        words = ["x" * 100_000] * 8
        ended = self.run_to_end(ECHO_CLIENT, where, *words)
        self.assertEqual(ended, (0, " ".join(words) + "\n", ""))

    def test_another_name(self) -> None:
        """A name that the server does not have ends the client with a reason."""
        where = f"{self.start_echo()}:name=other.example:timeout=2"
        status, output, errors = self.run_to_end(ECHO_CLIENT, where, "hello")
        self.assertEqual((status, output), (1, ""))
        self.assertIn("no connection within the time allowed", errors)


class WebTests(StreamTestCase):
    """A web site that twistd serves, and fetch.py."""

    def setUp(self) -> None:
        super().setUp()
        site = os.path.join(self.directory, "www")
        os.mkdir(site)
        with open(os.path.join(site, "index.html"), "w", encoding="utf-8") as file:
            file.write(PAGE)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        listen = f"curvecp:{port}:keydir={self.keydir}:name=www.example"
        twistd = ["-m", "twisted", "web", "--path", site]
        self.start([*twistd, "--listen", f"{listen}:interface=127.0.0.1"])
        self.where = f"curvecp:127.0.0.1:{port}:key={self.key}:name=www.example"

    def test_a_page(self) -> None:
        """fetch.py prints the page."""
        ended = self.run_to_end(FETCH, self.where, "/index.html")
        self.assertEqual(ended, (0, PAGE, ""))

    def test_no_page(self) -> None:
        """A page that is not there ends fetch.py with the server's answer."""
        status, _, errors = self.run_to_end(FETCH, self.where, "/none.html")
        self.assertEqual((status, errors), (1, "the server answers with 404\n"))


class TunnelTests(StreamTestCase):
    """Tunnels to TCP services that know nothing of CurveCP."""

    def through_stdio(
        self, operands: tuple[str, ...], text: str, *options: str
    ) -> tuple[int, str, str]:
        """Send a text through --stdio; give the exit status and what came."""
        client = subprocess.run(
            [sys.executable, *CLIENT, *options, "--stdio", *operands],
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return client.returncode, client.stdout, client.stderr

    def test_a_tcp_service(self) -> None:
        """What goes into --stdio comes back from a TCP echo behind --forward."""
        echo = self.start([ECHO_SERVER, "tcp:0:interface=127.0.0.1"])
        operands = self.serve("--forward", f"tcp:127.0.0.1:{self.first_line(echo)}")
        text = "hello\n" * 50_000
        self.assertEqual(self.through_stdio(operands, text), (0, text, ""))

    def test_a_local_port(self) -> None:
        """A client that knows nothing of CurveCP gets through --listen as well."""
        echo = self.start([ECHO_SERVER, "tcp:0:interface=127.0.0.1"])
        operands = self.serve("--forward", f"tcp:127.0.0.1:{self.first_line(echo)}")
        path = os.path.join(self.directory, "entrance")
        tunnel = self.start([*CLIENT, "--listen", f"unix:{path}", *operands])
        patience = time.monotonic() + PATIENCE
        while not os.path.exists(path) and time.monotonic() < patience:
            time.sleep(0.05)
        ended = self.run_to_end(ECHO_CLIENT, f"unix:{path}", "hello")
        self.assertEqual(ended, (0, "hello\n", ""))
        tunnel.send_signal(signal.SIGTERM)
        _, errors = tunnel.communicate(timeout=PATIENCE)
        self.assertEqual((tunnel.returncode, errors), (0, ""))

    def test_who_is_it(self) -> None:
        """whoami.py learns the client's key from the PROXY header."""
        service = self.start([WHOAMI, "0"])
        port = self.first_line(service)
        operands = self.serve("--forward", f"tcp:127.0.0.1:{port}", "--proxy-header")
        keydir, key = self.make_keys("mykey")
        ended = self.through_stdio(operands, "", "-c", keydir)
        answer = f"You have the key {key}, call from 127.0.0.1, and asked for {NAME}.\n"
        self.assertEqual(ended, (0, answer, ""))

    def test_a_plain_program(self) -> None:
        """A program under --stream needs to know nothing of CurveCP."""
        operands = self.serve("--stream", "cat")
        self.assertEqual(self.through_stdio(operands, "hello\n"), (0, "hello\n", ""))


class BadNetworkTests(ExampleTestCase):
    """bad_network.py, a test case of its own."""

    def test_it_passes(self) -> None:
        """Its tests pass, and there are as many as there seem to be."""
        trial = subprocess.run(
            [
                *(sys.executable, "-m", "twisted.trial", "--temp-directory"),
                *(os.path.join(self.directory, "trial"), "bad_network"),
            ],
            cwd=EXAMPLES,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        tests = len(re.findall(r"def test_", read_text(EXAMPLES, "bad_network.py")))
        self.assertEqual(trial.returncode, 0, trial.stdout)
        self.assertIn(f"PASSED (successes={tests})", trial.stdout)
