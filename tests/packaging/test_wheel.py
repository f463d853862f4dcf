"""Tests for what is shipped: the source archive, the wheel, and their use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.commands.running import TWISTD, run_python

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

LITTER = shutil.ignore_patterns(
    ".*",
    "_trial_temp*",
    "*.lock",
    "_build",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
)

TIMEOUT = 600.0
"""Seconds for an installation over a slow network."""

BUILD = """
import glob, os, sys, tarfile
from setuptools import build_meta
target = sys.argv[1]
archive = os.path.join(target, build_meta.build_sdist(target))
with tarfile.open(archive) as file:
    file.extractall(os.path.join(target, "unpacked"))
os.chdir(glob.glob(os.path.join(target, "unpacked", "*"))[0])
build_meta.build_wheel(target)
"""
"""Builds the source archive, and the wheel from nothing but that archive."""


@dataclass(frozen=True)
class Distribution:
    """What was built, and from what."""

    source: str
    archive: str
    wheel: str

    def files(self, directory: str) -> set[str]:
        """Name the source files in a directory of what it was built from."""
        return {
            os.path.relpath(os.path.join(parent, name), self.source)
            for parent, _, names in os.walk(os.path.join(self.source, directory))
            for name in names
            if name.endswith((".py", "py.typed"))
        }

    def archived(self) -> set[str]:
        """Name the files in the source archive, without its top directory."""
        with tarfile.open(self.archive) as file:
            names = [member.name for member in file if member.isfile()]
        return {name.split("/", 1)[1] for name in names}

    def packed(self) -> set[str]:
        """Name the files in the wheel."""
        with zipfile.ZipFile(self.wheel) as file:
            return set(file.namelist())

    def about(self, name: str) -> str:
        """Read a file of the wheel's metadata."""
        with zipfile.ZipFile(self.wheel) as file:
            (path,) = (p for p in file.namelist() if p.endswith(f".dist-info/{name}"))
            return file.read(path).decode()


def not_source(directory: str, names: list[str]) -> set[str]:
    """Choose what a copy of the repository leaves out."""
    # trial may have been told to work, and we to copy, in a directory inside.
    here = os.getcwd()
    inside = {name for name in names if os.path.join(directory, name) == here}
    return {*LITTER(directory, names), *inside}


def plain_environment() -> dict[str, str]:
    """Give our environment without what would lead Python back to our own code."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str, cwd: str, **variables: str) -> None:
    """Run a command that has to succeed."""
    finished = subprocess.run(
        command,
        cwd=cwd,
        env={**plain_environment(), **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
    )
    if finished.returncode:
        raise AssertionError(f"{command} failed:\n{finished.stdout.decode()}")


def pip(*arguments: str, python: str = sys.executable, cwd: str) -> None:
    """Run the pip of this test run, for some interpreter."""
    try:
        import pip  # noqa: F401
    except ImportError:
        raise SkipTest("this interpreter has no pip") from None
    run(sys.executable, "-m", "pip", "--python", python, *arguments, cwd=cwd)


@cache
def distribution() -> Distribution:
    """Build both forms, once, from a copy that has some litter in it."""
    place = tempfile.mkdtemp(dir=os.getcwd())
    source, target = os.path.join(place, "source"), os.path.join(place, "built")
    shutil.copytree(ROOT, source, ignore=not_source)
    for litter in ("twisted/plugins/dropin.cache", "curvecp_tx/net/stale.pyc"):
        with open(os.path.join(source, litter), "wb"):
            pass
    with open(os.path.join(source, "pyproject.toml"), encoding="utf-8") as file:
        (requirement,) = re.findall(r'(?m)^requires = \["(.*)"\]$', file.read())
    backend = os.path.join(place, "backend")
    pip("install", "--no-compile", "--target", backend, requirement, cwd=place)
    os.mkdir(target)
    run(sys.executable, "-c", BUILD, target, cwd=source, PYTHONPATH=backend)
    (archive,) = (name for name in os.listdir(target) if name.endswith(".tar.gz"))
    (wheel,) = (name for name in os.listdir(target) if name.endswith(".whl"))
    return Distribution(
        source, os.path.join(target, archive), os.path.join(target, wheel)
    )


@cache
def environment() -> str:
    """Install the wheel and what it needs into a new virtual environment, once."""
    place = tempfile.mkdtemp(dir=os.getcwd())
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    python = os.path.join(place, "bin", "python")
    pip("install", "--no-compile", distribution().wheel, python=python, cwd=place)
    return place


class ContentsTests(SynchronousTestCase):
    """Tests for what is in the two archives."""

    def test_wheel(self) -> None:
        """The wheel has all of the package, the plugin, and nothing else."""
        found = {name for name in distribution().packed() if ".dist-info/" not in name}
        plugin = "twisted/plugins/curvecp_tx_dropin.py"
        self.assertEqual(found, {*distribution().files("curvecp_tx"), plugin})

    def test_wheel_leaves_twisted_alone(self) -> None:
        """No file of Twisted's own is in the wheel, and no cache of plugins."""
        packed = distribution().packed()
        for name in (
            "twisted/__init__.py",
            "twisted/plugins/__init__.py",
            "twisted/plugins/dropin.cache",
        ):
            self.assertNotIn(name, packed)

    def test_wheel_is_typed(self) -> None:
        """Type checkers are told that the package has annotations."""
        self.assertIn("curvecp_tx/py.typed", distribution().packed())

    def test_licence(self) -> None:
        """The licence travels with the code."""
        licences = [
            name
            for name in distribution().packed()
            if ".dist-info/" in name and name.endswith("/LICENSE")
        ]
        self.assertEqual(len(licences), 1)
        self.assertIn("LICENSE", distribution().archived())

    def test_metadata(self) -> None:
        """The metadata names the oldest Python and what is needed, and no more."""
        metadata = distribution().about("METADATA")
        self.assertIn("\nRequires-Python: >=3.10\n", metadata)
        needed = re.findall(r"(?m)^Requires-Dist: ([\w.]+)[^;\n]*$", metadata)
        self.assertEqual(sorted(needed), ["pynacl", "twisted", "zope.interface"])

    def test_commands(self) -> None:
        """There is a command for each module that is one."""
        commands = re.findall(
            r"(?m)^(curvecp\w+) = curvecp_tx\.commands\.(\w+):main$",
            distribution().about("entry_points.txt"),
        )
        self.assertIn(("curvecpserver", "server"), commands)
        modules = {
            os.path.basename(path).removesuffix(".py")
            for path in distribution().files("curvecp_tx/commands")
        }
        self.assertEqual(
            {module for _, module in commands}, modules - {"__init__", "console"}
        )
        self.assertEqual(
            [name for name, module in commands if name != f"curvecp{module}"], []
        )

    def test_archive(self) -> None:
        """The source archive has what it takes to build, test and document it."""
        archived = distribution().archived()
        wanted = {
            *distribution().files("curvecp_tx"),
            *distribution().files("tests"),
            *distribution().files("docs"),
            *distribution().files("fuzz"),
            "twisted/plugins/curvecp_tx_dropin.py",
            "LICENSE",
            "Makefile",
            "README.rst",
            "pyproject.toml",
            "setup.cfg",
            "tools/venv.sh",
            "tox.ini",
        }
        self.assertEqual(wanted - archived, set())

    def test_no_litter(self) -> None:
        """Caches and compiled files are in neither archive."""
        everything = distribution().archived() | distribution().packed()
        self.assertEqual(
            [name for name in everything if name.endswith((".pyc", "dropin.cache"))],
            [],
        )


class InstalledTests(SynchronousTestCase):
    """Tests for the wheel in an environment that has nothing else."""

    def call(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Run an installed command in an empty directory."""
        if not hasattr(self, "directory"):
            self.directory = self.mktemp()
            os.mkdir(self.directory)
        finished = subprocess.run(
            [os.path.join(environment(), "bin", command), *arguments],
            cwd=self.directory,
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            text=True,
        )
        return finished.returncode, finished.stdout, finished.stderr

    def test_twistd(self) -> None:
        """twistd knows the server, and shows how to use it."""
        code, out, err = self.call("twistd", "curvecpserver", "--help")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("sname keydir ip port ext prog [args...]", out)
        self.assertEqual(os.listdir(self.directory), [])

    def test_other_plugins(self) -> None:
        """Twisted's own plugins are still there."""
        code, out, _ = self.call("twistd", "--help")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^ +web +")
        self.assertRegex(out, r"(?m)^ +curvecpserver +")

    def test_server_and_client(self) -> None:
        """The commands start, and want arguments."""
        for command in ("curvecpserver", "curvecpclient"):
            code, out, err = self.call(command)
            self.assertEqual((code, out), (100, ""))
            self.assertTrue(err.endswith(f"{command}: fatal: missing sname\n"), err)

    def test_key_tools(self) -> None:
        """A key directory can be made, and its key printed."""
        self.assertEqual(self.call("curvecpmakekey", "keys"), (0, "", ""))
        code, out, err = self.call("curvecpprintkey", "keys")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\A[0-9a-f]{64}\n\Z")
        self.assertEqual(self.call("curvecpmakekey", "keys")[0], 111)

    def test_public_names(self) -> None:
        """All public names can be imported."""
        script = (
            "import curvecp_tx; from curvecp_tx import *;"
            "print(curvecp_tx.__version__, CurveCPAddress.__name__)"
        )
        code, out, err = self.call("python", "-c", script)
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"\A\d+\.\d+\S* CurveCPAddress\n\Z")


class ThisInstallationTests(SynchronousTestCase):
    """Tests for the installation that the tests run on, editable or not."""

    def test_twistd(self) -> None:
        """twistd knows the server here, too, from whatever directory."""
        directory = self.mktemp()
        os.mkdir(directory)
        finished = run_python(*TWISTD, "curvecpserver", "--help", cwd=directory)
        self.assertEqual((finished.code, finished.err), (0, ""))
        self.assertIn("sname keydir ip port ext prog [args...]", finished.out)
