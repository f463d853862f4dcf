"""The known answers, as a program sees them that knows nothing of the package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.figures import note
from tests.vectors.files import HERE, MESSAGES, PACKETS, read

TIMEOUT = 60.0


class CheckTests(SynchronousTestCase):
    """Tests for the files and the two kinds of programs beside this one."""

    def run_alone(self, program: str, *arguments: Path) -> tuple[int, str]:
        """Run a program that sees the standard library and PyNaCl."""
        command: list[str | Path] = [sys.executable, "-I", HERE / program, *arguments]
        done = subprocess.run(
            command, capture_output=True, timeout=TIMEOUT, check=False
        )
        self.assertEqual(done.stderr, b"")
        return done.returncode, done.stdout.decode("ascii")

    def test_agreement(self) -> None:
        """An implementation of the protocol's tables alone agrees with every answer."""
        status, output = self.run_alone("check.py", PACKETS, MESSAGES)
        self.assertEqual((status, output.splitlines()[-1]), (0, "agree"), output)
        messages = read(MESSAGES)
        count = len(read(PACKETS)["vectors"])
        count += len(messages["messages"]) + len(messages["names"])
        note("G1", "TT", f"{count} of {count} vectors, by two implementations")

    def test_disagreement(self) -> None:
        """A single wrong answer is found, whichever it is."""
        for number in (0, 1, -1):
            content = read(PACKETS)
            vector = content["vectors"][number]
            vector.pop("opens", None)
            vector["error"] = "no reason"
            wrong = Path(self.mktemp())
            wrong.write_text(json.dumps(content), "ascii")
            status, output = self.run_alone("check.py", wrong, MESSAGES)
            self.assertEqual((status, output.splitlines()[-1]), (1, "1 disagree"))
            self.assertIn(vector["name"], output)

    def test_made_again(self) -> None:
        """The programs that made the files make them again, byte for byte."""
        for program, path in (
            ("make_packets.py", PACKETS),
            ("make_messages.py", MESSAGES),
        ):
            self.assertEqual(self.run_alone(program), (0, path.read_text("ascii")))

    def test_independent(self) -> None:
        """None of the three programs imports the package."""
        programs = [*HERE.glob("make_*.py"), HERE / "check.py"]
        self.assertEqual(len(programs), 3)
        for program in programs:
            self.assertNotIn("curvecp_tx", program.read_text("ascii"))
