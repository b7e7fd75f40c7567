"""What the keeper reads of a configuration, and what it leaves to the teams."""

from __future__ import annotations

import math
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.parse import load
from snickers.config.values import Listen
from snickers.teams.configured import Misconfigured, of_texts, read

SOME = """
[snickers]
https = tcp:8443 tcp6:8443:interface=\\:\\:1   ; both
http =
state = state
alarm command = /bin/tell --me
commit after = 10m
"""


class ConfiguredTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Addresses, state, alarm command and `commit after` mean what they mean to a team."""
        found = of_texts([("/etc/s/sites.ini", SOME)])
        self.assertEqual(found.https, (Listen("tcp", "", 8443), Listen("tcp6", "::1", 8443)))
        self.assertEqual(found.http, ())
        self.assertEqual(found.state, "/etc/s/state")
        self.assertEqual(found.alarm_command, ("/bin/tell", "--me"))
        self.assertEqual(found.commit_after, 600.0)

    def test_as_the_teams_read_it(self) -> None:
        """A team reads the same from the same file."""
        path = Path(self.mktemp())
        path.write_text(SOME)
        settings = load(str(path)).configuration.settings
        assert settings is not None
        found = read(str(path))
        for name in ("https", "http", "state", "alarm_command", "commit_after"):
            self.assertEqual(getattr(found, name), getattr(settings, name), name)

    def test_defaults(self) -> None:
        """What is not said is the default; nothing stays by itself."""
        found = of_texts([("/etc/s/sites.ini", "")])
        self.assertEqual(
            [(name, listen.port) for name, listen in found.addresses],
            [("https", 443), ("http", 80)],
        )
        self.assertEqual((found.state, found.commit_after), ("/var/lib/snickers", math.inf))

    def test_of_a_later_version(self) -> None:
        """Options and sections that this version does not know are none of the keeper's business,
        and neither are faults elsewhere."""
        later = "hyperdrive = on\n[a.example]\ntype = teapot\nnot even an option\n"
        self.assertEqual(of_texts([("/etc/s/a.ini", SOME + later)]).commit_after, 600.0)

    def test_faults(self) -> None:
        """Each fault of what concerns the keeper is told with file, line and what would be
        right."""
        text = "[snickers]\nhttps = tcp:x\nstate =\ncommit after = soon\n"
        with self.assertRaises(Misconfigured) as caught:
            of_texts([("/etc/s/sites.ini", text)])
        lines = caught.exception.lines
        self.assertEqual(len(lines), 3)
        self.assertIn("/etc/s/sites.ini:2: [snickers] https: 'x' is not a port", lines[0])
        self.assertIn("/etc/s/sites.ini:4: [snickers] commit after: 'soon'", lines[2])

    def test_folder(self) -> None:
        """A folder's files are read in the order of their names."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "a.ini").write_text("[a.example]\ntype = static\n")
        (folder / "b.ini").write_text("[snickers]\nstate = here\n")
        (folder / "c.txt").write_text("[snickers]\nstate = there\n")
        self.assertEqual(read(str(folder)).state, str((folder / "here").absolute()))

    def test_missing(self) -> None:
        """A file that cannot be read is a fault in words."""
        with self.assertRaises(Misconfigured) as caught:
            read("/nonexistent/sites.ini")
        self.assertEqual(
            caught.exception.lines,
            ("/nonexistent/sites.ini: cannot be read: No such file or directory",),
        )
