"""Who could put something else in a path's place."""

from __future__ import annotations

import os
from unittest.mock import patch

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from snickers.brokerage.guarded import loose, unguarded


class GuardedTests(SynchronousTestCase):
    """Folders as they are made, then opened to others, one at a time."""

    def setUp(self) -> None:
        self.top = os.path.realpath(self.mktemp())
        self.folder = os.path.join(self.top, "data")
        self.path = os.path.join(self.folder, "alice.example")
        os.makedirs(self.path)
        for folder in (self.top, self.folder, self.path):
            os.chmod(folder, 0o755)
        if loose(self.top, True):
            raise SkipTest("These tests are in a folder that others may write to.")

    def give(self, path: str) -> None:
        """Make *path* somebody else's."""
        if os.geteuid():
            raise SkipTest("Only root can give a folder away.")
        os.chown(path, 12345, 12345)

    def test_guarded(self) -> None:
        """What is root's, or one's own, is guarded, also when it does not exist yet."""
        for path in (self.path, self.path + "/not/there"):
            for leaf in (False, True):
                self.assertEqual(loose(path, leaf), "")

    def test_written_by_others(self) -> None:
        """A folder that others may write to is told, with what mends it."""
        for mode in (0o777, 0o757):
            os.chmod(self.folder, mode)
            words = loose(self.path)
            self.assertIn(f"chmod go-w {self.folder}", words)
            self.assertNotIn("alice", words)

    def test_shared(self) -> None:
        """In a folder like /tmp what is root's is guarded; what is others', or not there, they can
        exchange or make."""
        os.chmod(self.folder, 0o1777)
        self.assertEqual(loose(self.path), "")
        self.assertEqual(loose(self.path + "/not/there"), "")
        self.assertIn("anybody could make it", loose(self.folder + "/not/there"))
        self.give(self.path)
        self.assertIn("chown root", loose(self.path))

    def test_written_by_a_group(self) -> None:
        """A group that is not one's own counts as others."""
        os.chmod(self.folder, 0o775)
        self.assertEqual(loose(self.path), "")
        if os.geteuid():
            raise SkipTest("Only root can give a folder to any group.")
        os.chown(self.folder, -1, 12345)
        self.assertIn("chmod go-w", loose(self.path))

    def test_of_others(self) -> None:
        """A folder on the way that is somebody else's is told; the last one may be."""
        self.give(self.path)
        self.assertEqual(loose(self.path), "")
        self.assertIn("chown root", loose(self.path, True))
        self.assertIn("(12345)", loose(self.path + "/more"))

    def test_links(self) -> None:
        """A link of somebody else's is not followed; one's own is, and looked at behind."""
        link = os.path.join(self.top, "link")
        os.symlink(self.path, link)
        self.assertEqual(loose(link), "")
        os.chmod(self.folder, 0o777)
        self.assertIn(self.folder, loose(link))
        os.chmod(self.folder, 0o755)
        if os.geteuid() == 0:
            os.lchown(link, 12345, 12345)
            self.assertIn(link, loose(link))

    def test_links_of_links(self) -> None:
        """Each place that links lead through is looked at; a loop is not followed for ever."""
        other = os.path.join(self.top, "other")
        os.mkdir(other, 0o755)
        os.symlink("../data/alice.example", os.path.join(other, "second"))
        first = os.path.join(self.top, "first")
        os.symlink("other/second", first)
        self.assertEqual(loose(first), "")
        os.chmod(other, 0o777)
        self.assertIn(f"chmod go-w {other}", loose(first))
        loop = os.path.join(self.top, "loop")
        os.symlink("loop", loop)
        self.assertIn("too many links", loose(loop))

    def test_not_looked_at(self) -> None:
        """What cannot be looked at is not taken for guarded."""
        with patch("os.lstat", side_effect=PermissionError(13, "Permission denied")):
            self.assertIn("cannot be looked at: Permission denied", loose(self.path))

    def test_unguarded(self) -> None:
        """Of many files the first that is loose is told, with the option that minds."""
        self.assertEqual(unguarded([self.path, self.folder]), "")
        os.chmod(self.path, 0o777)
        words = unguarded([self.folder, self.path])
        self.assertTrue(words.startswith("docker broker = on: "), words)
        self.assertIn(self.path, words)
