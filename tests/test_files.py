"""Files: read as they are, never waited for, and seen to have changed."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from snickers.config import files
from snickers.config.files import Shelf, Stamp, expanded, listed
from snickers.config.wrong import Wrong


class FolderTestCase(SynchronousTestCase):
    """Has a folder of its own."""

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)

    def path(self, name: str) -> str:
        """The path of *name* in the folder."""
        return os.path.join(self.folder, name)

    def write(self, name: str, content: bytes = b"") -> str:
        """Write a file and return its path."""
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def socket(self) -> str:
        """Make a socket and return its path."""
        folder = os.open(self.folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as listening:
            # The path of a socket may not be long.
            listening.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        return self.path("socket")


class ReadTests(FolderTestCase):
    """Reading one file."""

    def refused(self, path: str) -> str:
        """What is said of *path*."""
        return str(self.assertRaises(Wrong, Shelf(path).read, path))

    def test_text(self) -> None:
        """UTF-8 with or without a mark at its beginning; every kind of line end is one."""
        path = self.write("a", b"\xef\xbb\xbf[\xc3\xa4]\r\nb\rc\n")
        self.assertEqual(Shelf(path).read(path), "[ä]\nb\nc\n")

    def test_not_utf8(self) -> None:
        """Another encoding is refused with the line."""
        path = self.write("a", b"[a]\nx = \xe4\n")
        self.assertEqual(self.refused(path), "is not UTF-8: see line 2; save it as UTF-8")

    def test_missing(self) -> None:
        """A file that is not there, or not to be read, is told in the system's words."""
        self.assertEqual(self.refused(self.path("a")), "cannot be read: No such file or directory")
        self.assertEqual(self.refused(self.write("b") + "/c"), "cannot be read: Not a directory")

    def test_no_permission(self) -> None:
        """A file that may not be read is told in the system's words."""
        if os.geteuid() == 0:
            raise SkipTest("root may read everything")
        path = self.write("a")
        os.chmod(path, 0)
        self.assertEqual(self.refused(path), "cannot be read: Permission denied")

    def test_no_ordinary_file(self) -> None:
        """A folder, a pipe and a device are refused, and never waited for."""
        self.assertEqual(self.refused(self.folder), "is a folder, not a file")
        os.mkfifo(self.path("pipe"))
        self.assertEqual(self.refused(self.path("pipe")), "is not an ordinary file")
        self.assertEqual(self.refused("/dev/zero"), "is not an ordinary file")
        self.assertIn("cannot be read", self.refused(self.socket()))

    def test_descriptors(self) -> None:
        """Whatever a file is, its descriptor is closed again."""
        paths = [
            self.write("a"),
            self.write("b", b"\xff"),
            self.folder,
            "/dev/zero",
            self.path("x"),
        ]
        before = os.listdir("/proc/self/fd")
        for path in paths:
            try:
                Shelf(path).read(path)
            except Wrong:
                pass
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_too_large(self) -> None:
        """A file that nobody can have written by hand is refused before it is read whole."""
        self.patch(files, "MOST", 2**20)
        path = self.write("a")
        os.truncate(path, 2**20)
        self.assertEqual(len(Shelf(path).read(path)), 2**20)
        os.truncate(path, 2**20 + 1)
        self.assertEqual(self.refused(path), "is larger than 1 megabytes")


class ListTests(FolderTestCase):
    """Which files a path or a pattern means."""

    def test_folder(self) -> None:
        """A folder means its ``*.ini`` in name order, hidden ones and others left out."""
        for name in ("b.ini", "a.ini", ".c.ini", "d.ini~", "e.txt", "10.ini", "9.ini"):
            self.write(name)
        names = [os.path.basename(path) for path in listed(self.folder)]
        self.assertEqual(names, ["10.ini", "9.ini", "a.ini", "b.ini"])

    def test_file(self) -> None:
        """Anything else means itself, whether it exists or not."""
        self.assertEqual(listed(self.path("a.ini")), [self.path("a.ini")])

    def test_pattern(self) -> None:
        """A pattern means what is there, in name order; a plain path always means itself."""
        for name in ("b.ini", "a.ini", ".c.ini"):
            self.write(name)
        self.assertEqual(expanded(self.path("*.ini")), [self.path("a.ini"), self.path("b.ini")])
        self.assertEqual(expanded(self.path("x*")), [])
        self.assertEqual(expanded(self.path("x")), [self.path("x")])


class StampTests(FolderTestCase):
    """Whether something has changed."""

    def stamp(self, root: str, *patterns: str) -> Stamp:
        """The stamp after everything was read that *root* and *patterns* mean."""
        shelf = Shelf(root)
        shelf.look(listed(root))
        shelf.patterns += patterns
        for pattern in patterns:
            shelf.look(expanded(pattern))
        for path in [*listed(root), *(p for pattern in patterns for p in expanded(pattern))]:
            try:
                shelf.read(path)
            except Wrong:
                pass
        return shelf.stamp()

    def test_nothing_changed(self) -> None:
        """What is as it was has an equal stamp, time and again."""
        self.write("a.ini")
        stamp = self.stamp(self.folder, self.path("*.ini"), self.path("missing"))
        self.assertEqual(stamp.current(), stamp)
        self.assertEqual(stamp.current().current(), stamp)

    def test_never_readable(self) -> None:
        """What can never be read is no change each time it is looked at."""
        for path in [self.socket(), self.folder, "/dev/zero", self.path("missing")]:
            stamp = self.stamp(self.path("main"), path)
            self.assertEqual(stamp.current(), stamp)

    def changed(self, stamp: Stamp) -> bool:
        """Whether *stamp* is no longer true."""
        return stamp.current() != stamp

    def test_written(self) -> None:
        """A file that is written in place, or replaced by one of the same size, has changed."""
        path = self.write("a.ini", b"1")
        stamp = self.stamp(path)
        self.write("a.ini", b"12")
        self.assertTrue(self.changed(stamp))
        stamp = self.stamp(path)
        status = os.stat(path)
        os.replace(self.write("b", b"21"), path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertTrue(self.changed(stamp))

    def test_permission(self) -> None:
        """A change of permissions alone counts: it may have made the file readable."""
        path = self.write("a.ini")
        stamp = self.stamp(path)
        before = os.stat(path).st_ctime_ns
        while os.stat(path).st_ctime_ns == before:
            os.chmod(path, 0o600)
            os.chmod(path, 0o640)
        self.assertTrue(self.changed(stamp))

    def test_come_and_gone(self) -> None:
        """Files that come or go in a folder, or where a pattern or a plain path points, count."""
        os.mkdir(self.path("d"))
        for root, patterns, name in [
            (self.folder, (), "x.ini"),
            (self.path("main"), (self.path("d/*.ini"),), "d/x.ini"),
            (self.path("main"), (self.path("plain"),), "plain"),
            (self.path("main"), (), "main"),
        ]:
            stamp = self.stamp(root, *patterns)
            self.assertFalse(self.changed(stamp))
            path = self.write(name)
            self.assertTrue(self.changed(stamp), name)
            stamp = self.stamp(root, *patterns)
            os.remove(path)
            self.assertTrue(self.changed(stamp), name)

    def test_folder_and_file(self) -> None:
        """A file that became a folder has changed, and the other way round."""
        path = self.write("main")
        stamp = self.stamp(path)
        os.remove(path)
        os.mkdir(path)
        self.assertTrue(self.changed(stamp))
        stamp = self.stamp(path)
        os.rmdir(path)
        self.write("main")
        self.assertTrue(self.changed(stamp))

    def test_other_files(self) -> None:
        """A file of variables counts as well."""
        path = self.write("main")
        other = self.write("a.env", b"A=1")
        shelf = Shelf(path)
        shelf.look([path])
        shelf.read(path)
        shelf.read_other(other)
        stamp = shelf.stamp()
        self.assertEqual(stamp.current(), stamp)
        self.write("a.env", b"A=12")
        self.assertTrue(self.changed(stamp))

    def test_changed_while_read(self) -> None:
        """The stamp is of the moment before reading: a change in between is seen later."""
        path = self.write("a.ini", b"1")
        shelf = Shelf(path)
        shelf.look([path])
        shelf.read(path)
        self.write("a.ini", b"12")
        self.assertTrue(self.changed(shelf.stamp()))
