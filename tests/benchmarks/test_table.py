"""The table of all benchmarks: medians, ratios, goals, and where it is written."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import report
from benchmarks.flames import MAIN_LOOP, flame_graph, kind_of_work, read, shares
from benchmarks.rows import (
    Place,
    Row,
    Samples,
    at_least,
    at_most,
    times_at_least,
    times_at_most,
)
from benchmarks.tables import BEGIN, END

OURS, OTHER = Place("bulk", "ours", "rate"), Place("bulk", "reference", "rate")

SEND = ("mainLoop (twisted/internet/base.py)", "send (curvecp_tx/net/offload.py)")
SEAL = ("mainLoop (twisted/internet/base.py)", "seal <1> (curvecp_tx/secure/boxes.py)")


def some_samples() -> Samples:
    """Give three rounds of two sides."""
    samples = Samples()
    for ours, other in ((10.0, 2.0), (30.0, 4.0), (20.0, 3.0)):
        samples.add("bulk", "ours", {"rate": ours})
        samples.add("bulk", "reference", {"rate": other})
    return samples


class RowTests(SynchronousTestCase):
    """A line of the table says what was measured."""

    def test_cells(self) -> None:
        """Median, least and greatest of each side, and how many times better."""
        row = Row("bulk", "MB/s", OURS, OTHER, more=True)
        self.assertEqual(
            row.cells(some_samples()),
            ["20.0 (10.0-30.0)", "3 (2-4)", "-", "6.67", "-"],
        )

    def test_less_is_better(self) -> None:
        """Where less is better, the ratio is the other way round."""
        cells = Row("echo", "ms", OURS, OTHER).cells(some_samples())
        self.assertEqual(cells[3], "0.15")

    def test_nobody_to_compare_with(self) -> None:
        """Without figures of the other side, there is no ratio."""
        row = Row("bulk", "MB/s", OURS, Place("bulk", "nobody", "rate"), more=True)
        self.assertEqual(row.cells(some_samples())[1:4], ["-", "-", "-"])

    def test_goals(self) -> None:
        """A goal is met, or missed by a factor, or was not measured."""
        samples, nobody = some_samples(), Place("bulk", "nobody", "rate")
        for goal, verdict in (
            (at_least(OURS, 20, ""), "met"),
            (at_least(OURS, 40, ""), "missed by a factor of 2.00"),
            (at_most(OURS, 20, ""), "met"),
            (at_most(OURS, 16, ""), "missed by a factor of 1.25"),
            (times_at_least(OURS, OTHER, 6, ""), "met"),
            (times_at_least(OURS, OTHER, 10, ""), "missed by a factor of 1.50"),
            (times_at_most(OURS, OTHER, 7, ""), "met"),
            (times_at_most(OURS, OTHER, 5, ""), "missed by a factor of 1.33"),
        ):
            self.assertEqual(goal.verdict(samples), verdict)
        row = Row("bulk", "MB/s", OURS, goals=(at_most(nobody, 1, "one"),))
        self.assertEqual(row.cells(samples)[-1], "one: not measured")

    def test_left_out(self) -> None:
        """What was not measured has no line."""
        rows = [Row("one", "", OURS), Row("two", "", Place("idle", "ours", "kib"))]
        lines = report.lines_of(rows, some_samples())
        self.assertEqual([line[0] for line in lines], ["one"])


class PageTests(SynchronousTestCase):
    """The table goes into a page, and leaves the rest of it alone."""

    def test_write(self) -> None:
        """What stands between the marks is replaced, as often as one likes."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
        for text in ("new", "newer"):
            report.write(text, path)
        with open(path, encoding="utf-8") as file:
            page = file.read()
        self.assertEqual(page, f"before\n\n{BEGIN}\n\nnewer\n\n{END}\n\nafter\n")

    def test_table(self) -> None:
        """Each line has a cell for each column."""
        lines = report.lines_of([Row("bulk", "MB/s", OURS)], some_samples())
        text = report.as_rst(lines, "Somewhere.")
        self.assertEqual(text.count("   * - "), 2)
        self.assertEqual(text.count("     - "), 2 * (len(report.HEADER) - 1))

    def test_costs(self) -> None:
        """What an end costs is divided by what was seen of each kind of work."""
        samples = Samples()
        samples.add("bulk", "ours", {"sender": 8.0, "receiver": 4.0})
        seen = {"cipher": 0.25, "the application": 0.75}
        text = report.shares_as_rst({"sender": seen, "receiver": seen}, samples)
        cipher = text[text.index("cipher") :].split("\n")[1:3]
        self.assertEqual([line.strip() for line in cipher], ["- 2.00", "- 1.00"])

    def test_no_costs(self) -> None:
        """Without a profile there is no such table."""
        self.assertEqual(report.shares_as_rst({}, some_samples()), "")


class FlameTests(SynchronousTestCase):
    """Samples of the stack become shares and a picture."""

    def test_read(self) -> None:
        """Stacks count from the main loop on; those without it do not."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            for frames in (("run (base.py)", *SEND), SEND, ("import (x.py)",)):
                file.write(f"{';'.join(frames)} 2\n")
        self.assertIn(MAIN_LOOP, SEND[0])
        self.assertEqual(read(path), {SEND: 4})

    def test_kind_of_work(self) -> None:
        """A function's file tells what it is there for, wherever that lies."""
        self.assertEqual(kind_of_work(SEAL[-1]), "cipher")
        self.assertEqual(kind_of_work("x (/a/nacl/bindings/b.py)"), "cipher")
        self.assertEqual(kind_of_work("y (nowhere.py)"), "other")

    def test_shares(self) -> None:
        """A sample counts for the function that was running."""
        found = shares({SEND: 3, SEAL: 1})
        self.assertEqual(found[kind_of_work(SEND[-1])], 0.75)
        self.assertEqual(found["cipher"], 0.25)

    def test_picture(self) -> None:
        """Each function is a box as wide as its share, and what is thin is left out."""
        thin = (SEND[0], "thin (x.py)")
        picture = flame_graph({SEND: 750, SEAL: 250, thin: 1}, "one <end>")
        self.assertIn("one &lt;end&gt;", picture)
        self.assertIn("seal &lt;1&gt;", picture)
        self.assertEqual(picture.count("<rect"), 3)
        self.assertIn('width="749.3"', picture)
        self.assertNotIn("thin", picture)

    def test_well_formed(self) -> None:
        """The picture is XML."""
        from xml.etree import ElementTree

        path = os.path.join(self.mktemp())
        with open(path, "w", encoding="utf-8") as file:
            file.write(flame_graph({SEND: 1, SEAL: 1}, "both"))
        root = ElementTree.parse(path).getroot()  # noqa: S314 - our own
        self.assertTrue(root.tag.endswith("svg"))
