"""The lock of the one on duty."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.dutylock import DutyLock

HOLD = """
import sys, time
from snickers.duty.dutylock import DutyLock
assert DutyLock(sys.argv[1]).take()
print("held", flush=True)
time.sleep(600)
"""


class DutyLockTests(SynchronousTestCase):
    """Who holds it, and until when."""

    def setUp(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "state", "duty.lock")
        self.lock = DutyLock(self.path, "blue")
        self.addCleanup(self.lock.let_go)

    def test_one(self) -> None:
        """One holds it, another one does not get it until it is let go of; nobody waits."""
        other = DutyLock(self.path)
        self.addCleanup(other.let_go)
        self.assertTrue(self.lock.take())
        self.assertTrue(self.lock.take())
        self.assertFalse(other.take())
        self.assertEqual((self.lock.held, other.held), (True, False))
        self.lock.let_go()
        self.assertTrue(other.take())
        self.assertFalse(self.lock.take())

    def test_file(self) -> None:
        """The file is its owner's, says who holds it, and stays."""
        self.lock.take()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(self.path)).st_mode), 0o700)
        with open(self.path) as file:
            self.assertEqual(file.read(), f"{os.getpid()} blue\n")
        self.lock.let_go()
        self.assertTrue(os.path.exists(self.path))

    def test_killed(self) -> None:
        """A process that is killed lets go of it."""
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, self.path],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert holder.stdout is not None
        with holder.stdout:
            self.assertEqual(holder.stdout.readline(), b"held\n")
        self.assertFalse(self.lock.take())
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)
        self.assertTrue(self.lock.take())

    def test_impossible(self) -> None:
        """A lock that cannot be had at all is told from one that another holds."""
        os.makedirs(self.path)
        self.assertRaises(IsADirectoryError, self.lock.take)
        self.assertFalse(self.lock.held)
