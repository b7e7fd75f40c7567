"""Tests for snickers.disk."""

from __future__ import annotations

import os
import stat
import threading
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from snickers import disk


class Base(SynchronousTestCase):
    def setUp(self):
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, "file")

    def write(self, data):
        with open(self.path, "wb") as file:
            file.write(data)


class ReadTests(Base):
    def test_content(self):
        """A file is read whole, with its permissions and its owner."""
        self.write(b"text")
        os.chmod(self.path, 0o640)
        self.assertEqual(disk.read(self.path), disk.Content(b"text", 0o640, os.getuid()))

    def test_missing(self):
        """What does not exist is told from what cannot be read."""
        self.assertRaises(FileNotFoundError, disk.read, self.path)

    def test_strange(self):
        """What is not a regular file is refused, without waiting for it."""
        os.mkfifo(self.path)
        for path in (self.path, "/dev/zero"):
            error = self.assertRaises(OSError, disk.read, path)
            self.assertIn("not a regular file", error.strerror)
        self.assertRaises(OSError, disk.read, self.folder)

    def test_large(self):
        """No more is read than a certificate can need."""
        self.write(bytes(disk.LIMIT))
        self.assertEqual(len(disk.read(self.path).data), disk.LIMIT)
        self.write(bytes(disk.LIMIT + 1))
        self.assertRaises(OSError, disk.read, self.path)


class WatchTests(Base):
    def watched(self):
        return ((self.path, disk.stamp(self.path)),)

    def test_unchanged(self):
        """What stays as it was has not changed, nor has what stays away."""
        self.assertFalse(disk.changed(self.watched()))
        self.write(b"a")
        self.assertFalse(disk.changed(self.watched()))
        self.assertFalse(disk.changed(()))

    def test_changed(self):
        """To appear, another content, other permissions, another file, to vanish: all changes."""
        before = self.watched()
        for change in (
            lambda: self.write(b"a"),
            lambda: self.write(b"bc"),
            lambda: os.chmod(self.path, 0o600),
            lambda: disk.replace(self.path, b"bc", 0o600),
            lambda: os.utime(self.path, (1, 1)),
            lambda: os.unlink(self.path),
        ):
            before = self.watched()
            change()
            self.assertTrue(disk.changed(before))

    def test_behind_a_link(self):
        """What a link leads to counts, for that is how others keep their certificates."""
        target = os.path.join(self.folder, "target")
        os.symlink("target", self.path)
        before = self.watched()
        with open(target, "wb"):
            pass
        self.assertTrue(disk.changed(before))


class ReplaceTests(Base):
    def test_replaced(self):
        """The content and the permissions are those asked for, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0o077))
        disk.replace(self.path, b"old", 0o644)
        disk.replace(self.path, b"new", 0o644)
        self.assertEqual(disk.read(self.path).data, b"new")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o644)
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_fails(self):
        """Where any step fails the old content is in place and nothing is left over."""
        disk.replace(self.path, b"old", 0o600)
        for call in ("fsync", "rename", "fchmod"):
            with mock.patch(f"os.{call}", side_effect=OSError(28, "full")):
                self.assertRaises(OSError, disk.replace, self.path, b"new", 0o600)
            self.assertEqual(disk.read(self.path).data, b"old")
            self.assertEqual(os.listdir(self.folder), ["file"])

    def test_order(self):
        """The content is on the disk before the name is, the name before the call returns."""
        calls = []
        real = {"fsync": os.fsync, "rename": os.rename}

        def note(name):
            return lambda *args: (calls.append(name), real[name](*args))

        for name in real:
            self.patch(os, name, note(name))
        disk.replace(self.path, b"new", 0o600)
        self.assertEqual(calls, ["fsync", "rename", "fsync"])

    def test_left_over(self):
        """What a killed run left over is no hindrance, and its permissions are not inherited."""
        with open(f"{self.path}.new", "wb") as file:
            file.write(b"half")
        os.chmod(f"{self.path}.new", 0o666)
        disk.replace(self.path, b"new", 0o600)
        self.assertEqual(disk.read(self.path), disk.Content(b"new", 0o600, os.getuid()))
        self.assertEqual(os.listdir(self.folder), ["file"])


class FolderTests(Base):
    def test_made(self):
        """A folder is made with its parents, open to its owner alone; once is enough."""
        path = os.path.join(self.folder, "a", "b")
        disk.make_folder(path)
        disk.make_folder(path)
        for made in (path, os.path.dirname(path)):
            self.assertEqual(stat.S_IMODE(os.stat(made).st_mode), 0o700)

    def test_in_the_way(self):
        """A file in the way is an error, not a folder."""
        self.write(b"")
        self.assertRaises(OSError, disk.make_folder, self.path)


class LockTests(Base):
    def test_one_at_a_time(self):
        """Two threads never hold it together, and each has it in the end."""
        inside, most = [], []

        def run():
            for _ in range(20):
                with disk.locked(self.path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((len(most), max(most)), (60, 1))

    def test_never_let_go_of(self):
        """One who hangs with it is not waited for for ever: an `OSError` says which file it is."""
        # Another descriptor is as good as another process.
        with (
            disk.locked(self.path),
            self.assertRaises(OSError) as caught,
            disk.locked(self.path, 0.01),
        ):
            self.fail("it was had twice")
        self.assertIsInstance(caught.exception, TimeoutError)
        self.assertIn("held it for too long", caught.exception.strerror)
        self.assertEqual(caught.exception.filename, self.path)

    def test_released(self):
        """What is raised inside lets go of it."""
        with self.assertRaises(ZeroDivisionError), disk.locked(self.path):
            1 / 0  # noqa: B018
        with disk.locked(self.path):
            pass
