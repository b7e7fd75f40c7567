"""The keeper's command line, and that it stays small."""

from __future__ import annotations

import faulthandler
import fcntl
import io
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from twisted.application.service import IService
from twisted.internet import reactor
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.teams import tap
from snickers.teams.tap import Options, give_up_pidfile, makeService, replace, team_arguments


class OptionsTests(SynchronousTestCase):
    def refused(self, *arguments: str) -> str:
        """Return what is said of wrong usage."""
        with self.assertRaises(UsageError) as caught:
            Options().parseOptions(list(arguments))
        return str(caught.exception)

    def test_folders(self) -> None:
        """Both folders must be given, and be two."""
        self.assertIn("--blue DIR is missing", self.refused("--red", "r"))
        self.assertIn("--red DIR is missing", self.refused("--blue", "b"))
        self.assertIn("the same folder", self.refused("--blue", "a", "--red", "./a"))

    def test_team_arguments(self) -> None:
        """What a team's program is given, as somebody else or not."""
        self.assertEqual(
            team_arguments("/etc/sites.ini", "", ""),
            ["--nodaemon", "--pidfile=", "snickers", "--config", "/etc/sites.ini"],
        )
        name = pwd.getpwuid(0).pw_name
        self.assertEqual(team_arguments("/s.ini", name, "")[2:6], ["--uid", name, "--gid", "0"])
        self.assertEqual(team_arguments("/s.ini", name, "www")[4:6], ["--gid", "www"])


class ReplaceTests(SynchronousTestCase):
    def test_replaced(self) -> None:
        """The newer keeper has the sockets from descriptor 3 on, with their names; a signal that
        comes before it has handlers does not end it."""
        front = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(front.close)
        numbers = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
        for number in numbers:
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        told: list[object] = []
        moved: list[tuple[int, int]] = []
        self.patch(fcntl, "fcntl", lambda *_: 200)
        self.patch(os, "dup2", lambda *both: moved.append(both))

        def execute(path: str, arguments: list[str], variables: dict[str, str]) -> None:
            told.extend((path, variables["LISTEN_FDS"], variables["LISTEN_FDNAMES"]))
            told.extend(signal.getsignal(number) for number in numbers)

        self.patch(os, "execve", execute)
        replace([("https", front)])
        self.assertEqual(moved, [(200, tap.FIRST)])
        self.assertEqual(told, [sys.executable, "1", "https", *[signal.SIG_IGN] * 3])


class MakeServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.config = self.folder / "sites.ini"
        self.config.write_text("[snickers]\nstate = state\nhttps = tcp:0\nhttp =\n")
        # A clock that cannot be set is put into the reactor: not into that of these tests.
        self.patch(reactor, "seconds", reactor.seconds)  # type: ignore[attr-defined]

    def options(self, *more: str) -> Options:
        options = Options()
        options.parseOptions(["--blue", "b", "--red", "r", "--config", str(self.config), *more])
        return options

    def test_starts_nothing(self) -> None:
        """It connects everything, opens nothing and makes no folder; paths are absolute."""
        before = set(os.listdir("/proc/self/fd"))
        service = makeService(self.options())
        verifyObject(IService, service)
        self.assertEqual(set(os.listdir("/proc/self/fd")), before)
        self.assertEqual(os.listdir(self.folder), ["sites.ini"])
        status = service.status()
        self.assertEqual(
            status["folders"], {"blue": os.path.abspath("b"), "red": os.path.abspath("r")}
        )
        self.assertEqual(status["config"], str(self.config))

    def test_hang_is_traced(self) -> None:
        """What ends a keeper that hangs has it say on stderr what it was doing."""
        before = faulthandler.is_enabled()
        faulthandler.disable()
        makeService(self.options())
        self.addCleanup(lambda: None if before else faulthandler.disable())
        self.assertTrue(faulthandler.is_enabled())

    def test_faults(self) -> None:
        """Faults end the start."""
        self.config.write_text("[snickers]\nhttps = x\n")
        said = io.StringIO()
        self.patch(sys, "stderr", said)
        with self.assertRaises(SystemExit) as caught:
            makeService(self.options())
        self.assertEqual(caught.exception.code, 1)
        self.assertIn("sites.ini:2: [snickers] https: 'x'", said.getvalue())

    def test_no_configuration(self) -> None:
        """Where none is given it is the environment's, or the usual one; where there is none, it
        is said which were looked for."""
        options = Options()
        options.parseOptions(["--blue", "b", "--red", "r"])
        with patch.dict(os.environ, {"SNICKERS_CONFIG": str(self.config)}):
            self.assertEqual(makeService(options).status()["config"], str(self.config))
        said = io.StringIO()
        self.patch(sys, "stderr", said)
        self.patch(tap, "usual", lambda given: given or str(self.folder / "none.ini"))
        with patch.dict(os.environ, {"SNICKERS_CONFIG": ""}), self.assertRaises(SystemExit):
            makeService(options)
        (line,) = said.getvalue().splitlines()
        self.assertIn("--config FILE", line)
        self.assertIn("/etc/snickers/sites.ini", line)

    def test_no_such_user(self) -> None:
        """A user that does not exist ends the start."""
        said = io.StringIO()
        self.patch(sys, "stderr", said)
        for more in (
            ["--team-user", "nobody-at-all"],
            ["--team-user", "root", "--team-group", "x-x"],
        ):
            with self.assertRaises(SystemExit):
                makeService(self.options(*more))
        first, last = said.getvalue().splitlines()
        self.assertIn("there is no such user", first)
        self.assertIn("there is no such group", last)


class PidfileTests(SynchronousTestCase):
    def test_given_up(self) -> None:
        """A pidfile goes if it names this process: not another one's, and none is well, too."""
        path = Path(self.mktemp())
        give_up_pidfile(str(path), 7)
        path.write_text("8")
        give_up_pidfile(str(path), 7)
        self.assertTrue(path.exists())
        path.write_text("7\n")
        give_up_pidfile(str(path), 7)
        self.assertFalse(path.exists())

    def test_cannot(self) -> None:
        """What cannot be read is told: then this keeper goes on."""
        path = Path(self.mktemp())
        path.mkdir()
        with self.assertRaises(OSError):
            give_up_pidfile(str(path), 7)


class SmallTests(SynchronousTestCase):
    def test_small(self) -> None:
        """The keeper loads no library beside Twisted's own, attrs and zope.interface, and next to
        nothing of what the teams are made of."""
        script = (
            "import sys, twisted.internet.reactor, twisted.scripts.twistd, twisted.internet.utils\n"
            "before = set(sys.modules)\n"
            "import snickers.teams.tap\n"
            "print(*sorted(set(sys.modules) - before))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        loaded = done.stdout.split()
        libraries = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
        self.assertLessEqual(libraries, {"snickers", "twisted", "attr", "attrs", "zope", "idna"})
        rooms = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("snickers")}
        for large in ("http", "containers", "acme", "workers", "plane", "tap", "brokerage"):
            self.assertNotIn(f"snickers.{large}", rooms)
        self.assertLess(len([name for name in loaded if name.startswith("snickers")]), 50)
