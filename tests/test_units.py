"""systemd's units of two teams: whole, hardened, and of one mind with each other and the keeper."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from snickers.teams.tap import Options

UNITS = Path(__file__).parent.parent / "etc" / "systemd"
WAYS = ("binding", "sockets")
EXPOSED = 2.5
"""What `systemd-analyze security` may find at the most, of 10; a front door cannot do without the
network, which is most of it."""


class Unit(RawConfigParser):
    """A unit, whose options may be there several times."""

    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, delimiters=("=",))
        self.read_string(path.read_text().replace("\\\n", " "))

    def optionxform(self, optionstr: str) -> str:
        return optionstr


class UnitsTests(SynchronousTestCase):
    def test_command(self) -> None:
        """The keeper takes the command line of both."""
        for way in WAYS:
            unit = Unit(UNITS / way / "snickers-teams.service")
            _, *arguments = unit["Service"]["ExecStart"].split()
            self.assertEqual(arguments[:3], ["--nodaemon", "--pidfile=", "snickers-teams"])
            options = Options()
            options.parseOptions(arguments[3:])
            self.assertEqual(options["config"], "/etc/snickers/sites.ini")

    def test_alike(self) -> None:
        """Both ways differ in who holds the ports, and in nothing else."""
        binding, sockets = (Unit(UNITS / way / "snickers-teams.service") for way in WAYS)
        one, other = dict(binding["Service"]), dict(sockets["Service"])
        self.assertEqual(one.pop("AmbientCapabilities"), "CAP_NET_BIND_SERVICE")
        self.assertEqual(one.pop("CapabilityBoundingSet"), "CAP_NET_BIND_SERVICE")
        self.assertEqual(other.pop("CapabilityBoundingSet"), "")
        self.assertEqual(one, other)

    def test_teams_outlive_a_keeper(self) -> None:
        """Systemd leaves the teams of a keeper that was killed to the next one."""
        for way in WAYS:
            service = Unit(UNITS / way / "snickers-teams.service")["Service"]
            self.assertEqual((service["KillMode"], service["Restart"]), ("process", "always"))
            self.assertEqual(service["Type"], "notify")
            # Taking their sockets needs pidfd_getfd(2), which the usual filter has not.
            self.assertIn("pidfd_getfd", service["SystemCallFilter"])

    def test_left_to_the_keeper(self) -> None:
        """A team that is ended for want of memory ends nobody else, and a keeper that cannot start
        is tried again for ever."""
        for way in WAYS:
            unit = Unit(UNITS / way / "snickers-teams.service")
            self.assertEqual(unit["Service"]["OOMPolicy"], "continue")
            self.assertEqual(unit["Unit"]["StartLimitIntervalSec"], "0")

    def test_hangs(self) -> None:
        """A keeper that hangs is soon made to end, and its memory, or a team's, in which there may
        be private keys, is written to no disk; nor by the single unit of the documents."""
        for way in WAYS:
            service = Unit(UNITS / way / "snickers-teams.service")["Service"]
            self.assertEqual((service["LimitCORE"], service["TimeoutAbortSec"]), ("0", "10"))
        text = (UNITS.parent.parent / "docs" / "deploying.md").read_text()
        units = [one for one in text.split("```") if one.startswith("ini\n[Unit]")]
        services = [one for one in units if "\n[Service]" in one]
        self.assertTrue(services)
        for one in services:
            self.assertIn("\nLimitCORE=0\n", one)
            self.assertIn("\nLogsDirectoryMode=0750\n", one)

    def test_sockets(self) -> None:
        """The sockets have the names that the keeper knows, and belong to its service."""
        for name, port in (("https", "443"), ("http", "80")):
            socket = Unit(UNITS / "sockets" / f"snickers-{name}.socket")["Socket"]
            self.assertEqual(
                (socket["FileDescriptorName"], socket["ListenStream"], socket["Service"]),
                (name, port, "snickers-teams.service"),
            )
        unit = Unit(UNITS / "sockets" / "snickers-teams.service")["Unit"]
        self.assertEqual(unit["Requires"], "snickers-https.socket snickers-http.socket")


class SystemdTests(SynchronousTestCase):
    def setUp(self) -> None:
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("systemd's tools are not installed: apt install systemd")
        self.folder = Path(self.mktemp()).absolute()

    def units(self, way: str) -> list[str]:
        """Return the units of one way, with a program that is there."""
        folder = self.folder / way
        shutil.copytree(UNITS / way, folder)
        service = folder / "snickers-teams.service"
        text = service.read_text().replace("/srv/snickers/keeper/bin/twistd", sys.executable)
        service.write_text(text)
        return sorted(str(path) for path in folder.iterdir())

    def test_verified(self) -> None:
        """Systemd finds nothing wrong with them."""
        for way in WAYS:
            done = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", *self.units(way)],
                capture_output=True,
                text=True,
            )
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_security(self) -> None:
        """Systemd calls them well protected."""
        for way in WAYS:
            path = str(UNITS / way / "snickers-teams.service")
            done = subprocess.run(
                ["systemd-analyze", "security", "--offline=yes", "--no-pager", path],
                capture_output=True,
                text=True,
            )
            found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
            assert found is not None, done.stdout + done.stderr
            self.assertLess(float(found[1]), EXPOSED)
