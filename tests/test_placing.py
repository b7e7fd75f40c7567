"""Tests for snickers.control.placing."""

from __future__ import annotations

import os
import stat

from twisted.trial.unittest import SynchronousTestCase

from snickers.control.placing import NotPlaced, place


class PlacingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = os.path.join(os.path.abspath(self.mktemp()), "certificates")
        self.folder = os.path.join(self.directory, "a.example")

    def place(self, *undone: tuple[str, str | None, bool], folder: str = "/x/a.example") -> None:
        place(self.directory, folder, undone, os.getegid())

    def test_placed(self) -> None:
        """Files are written below the directory that was given, whatever the answer calls it;
        secrets are for their owner and one group."""
        self.place(("key.pem", "K", True), ("cert.pem", "C", False))
        modes = {
            name: stat.S_IMODE(os.stat(os.path.join(self.folder, name)).st_mode)
            for name in os.listdir(self.folder)
        }
        self.assertEqual(modes, {"key.pem": 0o640, "cert.pem": 0o644})
        self.assertEqual(stat.S_IMODE(os.stat(self.folder).st_mode), 0o750)
        with open(os.path.join(self.folder, "key.pem")) as file:
            self.assertEqual(file.read(), "K")

    def test_there_already(self) -> None:
        """A folder that is there keeps its permissions; files are replaced and removed."""
        os.makedirs(self.folder, 0o711)
        self.place(("ca.pem", "A", False))
        self.place(("ca.pem", None, False), ("cert.pem", "C", False))
        self.assertEqual(os.listdir(self.folder), ["cert.pem"])
        self.assertEqual(stat.S_IMODE(os.stat(self.folder).st_mode), 0o711)

    def test_group(self) -> None:
        """The group is the one that was given."""
        if os.geteuid():
            groups = [group for group in os.getgroups() if group != os.getegid()]
            group = groups[0] if groups else os.getegid()
        else:
            group = 12345
        place(self.directory, "a.example", [("key.pem", "K", True)], group)
        for path in (self.folder, os.path.join(self.folder, "key.pem")):
            self.assertEqual(os.stat(path).st_gid, group)

    def test_nothing_else(self) -> None:
        """No answer makes anything else be written, wherever it points."""
        for folder in ("", "/", "..", "/x/..", ".hidden"):
            self.assertRaises(NotPlaced, self.place, ("key.pem", "K", True), folder=folder)
        for name in ("../../x", "/etc/passwd", "authorized_keys", ""):
            self.assertRaises(NotPlaced, self.place, (name, "K", True))
        found = [name for _, _, names in os.walk(os.path.dirname(self.directory)) for name in names]
        self.assertEqual(found, [])

    def test_led_astray(self) -> None:
        """Where others than who runs the command could have it write elsewhere nothing is written:
        through a link, into a folder that is theirs, or that they may write to."""
        elsewhere = os.path.abspath(self.mktemp())
        os.makedirs(elsewhere)
        os.makedirs(self.directory)
        os.symlink(elsewhere, self.folder)
        self.assertRaises(NotPlaced, self.place, ("key.pem", "K", True))
        os.unlink(self.folder)
        os.mkdir(self.folder)
        for path in (self.folder, self.directory):
            for mode in (0o775, 0o757):
                os.chmod(path, mode)
                self.assertRaises(NotPlaced, self.place, ("key.pem", "K", True))
            os.chmod(path, 0o755)
            if not os.geteuid():
                os.chown(path, 12345, -1)
                self.assertRaises(NotPlaced, self.place, ("key.pem", "K", True))
                os.chown(path, 0, -1)
        self.assertEqual(os.listdir(elsewhere) + os.listdir(self.folder), [])
        self.place(("key.pem", "K", True))
        self.assertEqual(os.listdir(self.folder), ["key.pem"])

    def test_nonsense(self) -> None:
        """What is no step at all is refused in words."""
        for file, text in (("key.pem", 5), (["key.pem"], "K"), (None, None)):
            with self.assertRaises(NotPlaced):
                place(self.directory, "a.example", [(file, text, True)], os.getegid())
