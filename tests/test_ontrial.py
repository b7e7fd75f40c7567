"""What is said of trials on a folder: of each until it is over, and of no other by that."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import ontrial


class OnTrialTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = str(folder / ".a.example.tried")

    def test_one(self) -> None:
        """There is a file while a server is tried, and none when that is over."""
        self.assertEqual(ontrial.read(self.path), ())
        ontrial.add(self.path, "one")
        self.assertEqual(Path(self.path).read_text(), "one")
        ontrial.add(self.path, "one")
        self.assertEqual(ontrial.read(self.path), ("one",))
        self.assertEqual(ontrial.drop(self.path, "one"), "")
        self.assertFalse(Path(self.path).exists())
        self.assertEqual(ontrial.drop(self.path, "one"), "")

    def test_several(self) -> None:
        """What is said of an earlier one stays when a later one is over; a restore ends all."""
        ontrial.add(self.path, "one")
        ontrial.add(self.path, "two")
        self.assertEqual(ontrial.read(self.path), ("two", "one"))
        self.assertEqual(ontrial.drop(self.path, "two"), "one")
        self.assertEqual(ontrial.read(self.path), ("one",))
        ontrial.add(self.path, "three")
        ontrial.remove(self.path)
        ontrial.remove(self.path)
        self.assertEqual(ontrial.read(self.path), ())

    def test_unreadable(self) -> None:
        """What cannot be read says nothing."""
        Path(self.path).write_bytes(b"\xff")
        self.assertEqual(ontrial.read(self.path), ())
