"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import durable
from snickers.disk import make_folder


class DurableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.path = os.path.join(self.folder, "a", "file")
        make_folder(os.path.dirname(self.path))

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            return file.read()

    def test_for_its_owner(self) -> None:
        """Files are their owner's alone, whatever the umask says."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        durable.write(self.path, b"one")
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_replaced(self) -> None:
        """A file is replaced as a whole, or kept where that is wanted."""
        durable.write(self.path, b"one")
        durable.write(self.path, b"two")
        self.assertEqual(self.read(), b"two")
        durable.write(self.path, b"three", replace=False)
        self.assertEqual(self.read(), b"two")
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["file"])

    def test_failing(self) -> None:
        """When the disk fails what was there is there, and nothing else."""
        durable.write(self.path, b"one")
        with patch("os.fsync", side_effect=OSError(28, "No space left on device")):
            self.assertRaises(OSError, durable.write, self.path, b"two")
        self.assertEqual(self.read(), b"one")
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["file"])
