"""Tests for `snickers.http.openfile`."""

from __future__ import annotations

import errno
import os
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from snickers.http import openfile
from snickers.http.openfile import PIECE, OpenFile


class OpenFileTests(SynchronousTestCase):
    """`OpenFile`."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        with open(self.path, "wb") as file:
            file.write(b"0123456789")
        self.descriptor = os.open(self.path, os.O_RDONLY)
        self.file = OpenFile(self.descriptor, os.fstat(self.descriptor))
        self.buffer = bytearray(PIECE)

    def closed(self) -> bool:
        try:
            os.fstat(self.descriptor)
        except OSError:
            return True
        return False

    def test_last_user_closes(self) -> None:
        """The descriptor is closed when, and only when, nobody uses it."""
        self.file.hold()
        self.file.release()
        self.assertFalse(self.closed())
        self.file.release()
        self.assertTrue(self.closed())

    def test_reads(self) -> None:
        """A thread reads any part; the end is empty."""
        self.addCleanup(self.file.release)
        self.assertEqual(self.file.read(8, 10), b"89")
        self.assertEqual(self.file.read(10, 10), b"")

    def test_reads_now(self) -> None:
        """What is in memory is read at once, no more than asked for, by a copy."""
        self.addCleanup(self.file.release)

        def preadv(descriptor: int, buffers: list[memoryview], offset: int, flags: int) -> int:
            self.assertEqual(flags, os.RWF_NOWAIT)
            return os.readv(descriptor, buffers)

        self.patch(openfile.os, "preadv", preadv)
        piece = self.file.read_now(0, 4, self.buffer)
        self.buffer[:4] = b"XXXX"
        self.assertEqual(piece, b"0123")

    def test_not_in_memory(self) -> None:
        """What would block, and what the kernel calls an end, is left to a thread."""
        self.addCleanup(self.file.release)
        with mock.patch.object(openfile.os, "preadv", side_effect=BlockingIOError()) as preadv:
            self.assertIsNone(self.file.read_now(0, 4, self.buffer))
            self.assertIsNone(self.file.read_now(0, 4, self.buffer))
        self.assertEqual(preadv.call_count, 2)
        with mock.patch.object(openfile.os, "preadv", return_value=0):
            self.assertIsNone(self.file.read_now(0, 4, self.buffer))

    def test_file_system_without(self) -> None:
        """A file system that cannot say what is in memory is not asked twice."""
        self.addCleanup(self.file.release)
        refusal = OSError(errno.EOPNOTSUPP, "")
        with mock.patch.object(openfile.os, "preadv", side_effect=refusal) as preadv:
            self.assertIsNone(self.file.read_now(0, 4, self.buffer))
            self.assertIsNone(self.file.read_now(0, 4, self.buffer))
        self.assertEqual(preadv.call_count, 1)

    def test_changed(self) -> None:
        """A file that was written to gives nothing more; one that lost its name to another does."""
        self.addCleanup(self.file.release)
        self.patch(openfile.os, "preadv", lambda file, buffers, *rest: os.readv(file, buffers))
        os.unlink(self.path)
        self.assertEqual(self.file.read(0, 4), b"0123")
        self.assertEqual(self.file.read_now(0, 4, self.buffer), b"0123")
        with open(f"/proc/self/fd/{self.descriptor}", "r+b") as file:
            file.truncate(9)
        self.assertEqual(self.file.read(0, 4), b"")
        self.assertEqual(self.file.read_now(0, 4, self.buffer), b"")
