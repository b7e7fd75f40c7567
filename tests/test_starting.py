"""What ``twistd snickers`` begins with."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from snickers import starting, tap
from snickers.starting import Options, makeService

GOOD = "[snickers]\nstate = state\n[hello.localhost]\ntype = static\nroot = .\n"
FAULTY = """
import sys
from snickers.starting import Options, makeService
options = Options()
options.parseOptions(["--config", "/nonexistent/sites.ini"])
try:
    makeService(options)
except SystemExit:
    print("snickers.tap" in sys.modules, "snickers.plane" in sys.modules)
"""


LATER = ("requests", "urllib3", "acme", "josepy", "dns", "docker", "yaml", "tarfile")
"""What takes long to load, and many hosts need none of."""


class LoadedTests(SynchronousTestCase):
    def test_not_before_it_is_used(self) -> None:
        """What asks authorities, the DNS and Docker is not loaded at a start, by no process."""
        for module in ("snickers.tap", "snickers.worker", "snickers.control.command"):
            code = f"import sys, {module}; print([n for n in {LATER!r} if n in sys.modules])"
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
            self.assertEqual(done.stdout, b"[]\n", module)


class MakeServiceTests(SynchronousTestCase):
    """Which configuration is read, and how a start ends that has a fault."""

    def setUp(self) -> None:
        self.wired: list[tuple[Any, ...]] = []
        self.patch(tap, "wire", lambda *arguments: self.wired.append(arguments))
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(self.folder, "etc"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.patch(starting, "usual", lambda given: given or self.usual)
        self.usual = "etc/sites.ini"

    def start(self, *argv: str, **environ: str) -> tuple[int, str]:
        """Start with *argv*; return the status with which that ended, and what was said."""
        options = Options()
        options.parseOptions(list(argv))
        errors = io.StringIO()
        with (
            patch("sys.stderr", errors),
            patch.dict(os.environ, {"SNICKERS_CONFIG": "", **environ}),
        ):
            try:
                makeService(options)
            except SystemExit as end:
                assert isinstance(end.code, int)
                return end.code, errors.getvalue()
        return 0, errors.getvalue()

    def write(self, name: str, text: str = GOOD) -> str:
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_which(self) -> None:
        """The one that is given, the environment's, or the usual one; as an absolute path."""
        usual, given, environ = map(self.write, ("etc/sites.ini", "given.ini", "environ.ini"))
        self.assertEqual(self.start("--config", "given.ini", SNICKERS_CONFIG=environ), (0, ""))
        self.assertEqual(self.start(SNICKERS_CONFIG="environ.ini"), (0, ""))
        self.assertEqual(self.start(), (0, ""))
        self.assertEqual([wired[0] for wired in self.wired], [given, environ, usual])
        self.assertIn("hello.localhost", self.wired[0][1].configuration.sites)

    def test_neither(self) -> None:
        """Where there is none both places are named, and what to say."""
        status, said = self.start()
        self.assertEqual((status, len(said.splitlines())), (1, 1))
        for words in ("etc/sites.ini", "/etc/snickers/sites.ini", "--config FILE"):
            self.assertIn(words, said)

    def test_faults(self) -> None:
        """Every fault is one line on stderr with its place; the start ends with status 1."""
        path = self.write("a.ini", "[snickers]\nhtps = tcp:1\n[a.example]\ntype = statc\n")
        status, said = self.start("--config", path)
        lines = said.splitlines()
        self.assertEqual((status, len(lines), self.wired), (1, 2, []))
        self.assertIn(f"{path}:2: [snickers] htps:", lines[0])
        self.assertIn(f"{path}:4: [a.example] type:", lines[1])

    def test_a_missing_file(self) -> None:
        """A file that is not there is one line, too, which names no line of it."""
        self.assertEqual(
            self.start("--config", "/nonexistent/sites.ini"),
            (1, "/nonexistent/sites.ini: cannot be read: No such file or directory\n"),
        )

    def test_little_is_loaded(self) -> None:
        """What serves is not loaded to say what is wrong with the configuration."""
        done = subprocess.run(
            [sys.executable, "-c", FAULTY], stdout=subprocess.PIPE, text=True, check=True
        )
        self.assertEqual(done.stdout.split(), ["False", "False"])

    def test_where_the_log_is(self) -> None:
        """Whether twistd goes to the background, and whether its log is seen."""
        path = self.write("a.ini")
        for twistd, daemon, shown in (
            ({"nodaemon": True}, False, True),
            ({"nodaemon": True, "logfile": "-"}, False, True),
            ({"nodaemon": True, "logfile": "x"}, False, False),
            ({"nodaemon": True, "syslog": True}, False, False),
            ({"nodaemon": False, "logfile": None}, True, False),
            (None, False, False),
        ):
            options = Options()
            options.parseOptions(["--config", path])
            options.parent = twistd  # type: ignore[assignment]
            makeService(options)
            self.assertEqual(self.wired[-1][2:], (daemon, shown))
