"""CurveCP from end to end on this machine: what ``make demo`` runs.

Makes keys, starts a server under twistd, sends it a client, and explains each
step. Needs no privileges, and leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

EXAMPLES = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.dirname(sys.executable)

NAME = "demo.example"
ADDRESS = "127.0.0.1"
EXTENSION = "31415926535897932384626433832795"
PATIENCE = 30.0


def script(name: str) -> str:
    """Find one of the installed commands beside the interpreter."""
    return os.path.join(SCRIPTS, name)


def shown(command: Sequence[str]) -> str:
    """Write a command as one would type it."""
    return shlex.join([os.path.basename(command[0]), *command[1:]])


def run(command: Sequence[str]) -> str:
    """Run a command to its end, showing it and its output; give its output."""
    print(f"    $ {shown(command)}")
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )
    for line in done.stdout.splitlines():
        print(f"    {line}")
    if done.returncode:
        raise SystemExit(f"{shown(command)} ended with {done.returncode}")
    return done.stdout


def stop(server: subprocess.Popen[str]) -> None:
    """Ask the server to end, and wait for it."""
    server.send_signal(signal.SIGINT)
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def exchange(directory: str) -> None:
    """Make keys, serve, connect, and show it all."""
    greeter = [sys.executable, os.path.join(EXAMPLES, "greeter.py")]
    visitor = [sys.executable, os.path.join(EXAMPLES, "visitor.py"), "Ada"]
    keys = os.path.join(directory, "serverkey")

    print("1. The server needs a key pair. Its public half is what clients go by.\n")
    run([script("curvecpmakekey"), keys])
    key = run([script("curvecpprintkey"), keys]).strip()

    print(
        "\n2. Start the server. For each client it runs a program, here greeter.py,\n"
        "   which reads the client's messages on descriptor 8 and answers on 9.\n"
    )
    arguments = ["curvecpserver", "-v", "-1", NAME, keys, ADDRESS, "0", EXTENSION]
    twistd = [script("twistd"), "-n", "--pidfile=", "--logfile=server.log"]
    serve = [*twistd, *arguments, *greeter]
    print(f"    $ {shown(serve)}")
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, cwd=directory)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port.isdigit():
            raise SystemExit("the server did not start")
        print(f"    {port}   (the UDP port that it was given, as -1 asks)")

        print(
            "\n3. Start a client. It makes up a key pair, proves that to the server,\n"
            "   and runs visitor.py, which sends a name.\n"
        )
        connect = [script("curvecpclient"), NAME, key, ADDRESS, port, EXTENSION]
        answer = run([*connect, *visitor])
        if not answer.startswith("Welcome, Ada!"):
            raise SystemExit("that was not the greeting")

        print(
            "\n   All of this went over UDP, encrypted and authenticated both ways."
            "\n   What the server noted meanwhile:\n"
        )
        with open(os.path.join(directory, "server.log")) as log:
            for line in log:
                found = re.search(r"curvecp_tx#\S+\] (.*)", line)
                if found:
                    print(f"    {found[1]}")
    finally:
        stop(server)

    print(
        "\n4. The server has stopped, and its programs with it. To do the same by hand,"
        "\n   make a key with curvecpmakekey, then type this in one terminal:\n"
    )
    serve = ["twistd", "-n", "curvecpserver", NAME, "serverkey", ADDRESS, "11000"]
    print(f"    {shown([*serve, EXTENSION, *greeter])}")
    print("\n   and this in another:\n")
    print(
        f'    curvecpclient {NAME} "$(curvecpprintkey serverkey)" {ADDRESS} 11000 '
        f"{EXTENSION} {shlex.join(visitor)}"
    )


def main() -> None:
    """Run the demonstration in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="curvecp-demo-") as directory:
        exchange(directory)


if __name__ == "__main__":
    main()
