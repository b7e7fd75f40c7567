"""Tests for `snickers.http.beneath`."""

from __future__ import annotations

import errno
import os
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, TestCase

from snickers.http import beneath
from snickers.http.beneath import open_beneath, openat2_works, walk_beneath
from tests.descriptors import open_descriptors

FIXED = settings(derandomize=True, deadline=None, max_examples=300)
READ = os.O_RDONLY | os.O_NONBLOCK
INSIDE, OUTSIDE = b"inside", b"outside"


def make(top: str) -> str:
    """Make a root with links of all kinds in *top*, and a secret beside it; return the root."""
    root = os.path.join(top, "tree")
    os.makedirs(os.path.join(root, "a", "b"))
    os.makedirs(os.path.join(top, "secret"))
    for path in ("a/file", "a/b/file", "file"):
        with open(os.path.join(root, path), "wb") as file:
            file.write(INSIDE)
    with open(os.path.join(top, "secret", "file"), "wb") as file:
        file.write(OUTSIDE)
    for name, target in {
        "up": "..",
        "out": "../secret/file",
        "outdir": "../secret",
        "absout": os.path.join(top, "secret", "file"),
        "proc": "/proc/self/root",
        "absin": os.path.join(root, "a", "file"),
        "abspeer": root + "-other/file",
        "absself": root,
        "absup": root + "/../secret/file",
        "in": "a/b/file",
        "indir": "a/b",
        "a/b/back": "../../file",
        "a/b/toofar": "../../../secret/file",
        "loop": "loop",
        "dangling": "nowhere",
    }.items():
        os.symlink(target, os.path.join(root, name))
    os.makedirs(root + "-other")
    with open(root + "-other/file", "wb") as file:
        file.write(OUTSIDE)
    return root


class BeneathMixin:
    """What both ways of resolving promise."""

    def setUp(self) -> None:
        self.top = os.path.realpath(self.mktemp())
        os.mkdir(self.top)
        self.root = make(self.top)
        self.descriptor = os.open(self.root, os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, self.descriptor)

    def read(self, path: bytes) -> bytes:
        names = (os.fsencode(self.root),)
        descriptor = self.open(self.descriptor, path, READ, names)
        try:
            self.assertFalse(os.get_inheritable(descriptor))
            return os.read(descriptor, 100)
        finally:
            os.close(descriptor)

    def refused(self, path: bytes) -> int | None:
        before = open_descriptors()
        with self.assertRaises(OSError) as caught:
            self.read(path)
        self.assertEqual(open_descriptors() - before, set())
        return caught.exception.errno

    def test_inside(self) -> None:
        """Files, and links that stay beneath, are opened, absolute ones too."""
        for path in (
            b"file",
            b"a/file",
            b"a/../file",
            b"./a//b/./file",
            b"in",
            b"indir/file",
            b"a/b/back",
            b"absin",
            b"absself/a/file",
            b"absself/absself/in",
        ):
            self.assertEqual(self.read(path), INSIDE, path)

    def test_outside(self) -> None:
        """Whatever leads outside is EXDEV, and is not opened."""
        for path in (
            b"..",
            b"../secret/file",
            b"a/../../secret/file",
            b"up",
            b"up/secret/file",
            b"up/tree/file",
            b"out",
            b"outdir/file",
            b"absout",
            b"abspeer",
            b"absup",
            b"proc/etc/passwd",
            b"a/b/toofar",
        ):
            self.assertEqual(self.refused(path), errno.EXDEV, path)

    def test_absolute_path(self) -> None:
        """A path that begins with a slash never leaves the root."""
        path = os.fsencode(self.top) + b"/secret/file"
        self.assertIn(self.refused(path), (errno.EXDEV, errno.ENOENT))

    def test_missing(self) -> None:
        """What is not there is ENOENT, a file used as a folder ENOTDIR, a circle ELOOP."""
        self.assertEqual(self.refused(b"none"), errno.ENOENT)
        self.assertEqual(self.refused(b"a/none/file"), errno.ENOENT)
        self.assertEqual(self.refused(b"dangling"), errno.ENOENT)
        self.assertEqual(self.refused(b"file/x"), errno.ENOTDIR)
        self.assertEqual(self.refused(b"file/"), errno.ENOTDIR)
        self.assertEqual(self.refused(b"loop"), errno.ELOOP)
        self.assertEqual(self.refused(b"n" * 256), errno.ENAMETOOLONG)

    def test_folders(self) -> None:
        """A folder, and the root itself, can be opened."""
        for path in (b".", b"a", b"a/", b"indir", b"absself"):
            descriptor = self.open(
                self.descriptor, path, os.O_RDONLY | os.O_DIRECTORY, (os.fsencode(self.root),)
            )
            self.assertTrue(os.listdir(descriptor))
            os.close(descriptor)

    def test_only_a_look(self) -> None:
        """With ``O_PATH`` what would block or act is only looked at."""
        os.mkfifo(os.path.join(self.root, "fifo"))
        os.close(self.open(self.descriptor, b"fifo", os.O_PATH, ()))

    def test_no_path_leads_outside(self) -> None:
        """No chain of names and links ever reads a file that is not beneath the root."""
        parts = [*os.listdir(self.root), "b", "back", "toofar", "..", ".", "", "secret", "tree"]

        @FIXED
        @given(st.lists(st.sampled_from(sorted(parts)), min_size=1, max_size=8))
        def check(path: list[str]) -> None:
            try:
                found = self.read("/".join(path).encode())
            except OSError:
                return
            self.assertEqual(found, INSIDE)

        check()


class KernelTests(BeneathMixin, TestCase):
    """`open_beneath` where the kernel resolves."""

    def setUp(self) -> None:
        if not openat2_works():
            raise SkipTest("this kernel has no openat2")
        super().setUp()

    open = staticmethod(open_beneath)

    def test_busy_folder(self) -> None:
        """While renames disturb the kernel, it is asked again, and then the path is walked."""
        asked = []

        def disturbed(root: int, path: bytes, flags: int) -> int:
            asked.append(path)
            raise OSError(errno.EAGAIN, "")

        with mock.patch.object(beneath, "_openat2", disturbed):
            self.assertEqual(self.read(b"in"), INSIDE)
        self.assertEqual(asked, [b"in"] * 3)


class WalkTests(BeneathMixin, TestCase):
    """`walk_beneath`."""

    open = staticmethod(walk_beneath)

    def test_used_without_the_call(self) -> None:
        """`open_beneath` walks where the kernel does not know the call."""

        def unknown(root: int, path: bytes, flags: int) -> int:
            raise OSError(errno.ENOSYS, "")

        openat2_works.cache_clear()
        self.addCleanup(openat2_works.cache_clear)
        with mock.patch.object(beneath, "_openat2", unknown):
            self.assertFalse(openat2_works())
            descriptor = open_beneath(self.descriptor, b"in", READ)
        self.assertEqual(os.read(descriptor, 100), INSIDE)
        os.close(descriptor)
