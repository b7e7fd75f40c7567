"""The lock of the one on duty."""

from __future__ import annotations

import builtins
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

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
        self.addCleanup(self.lock.close)

    def test_one(self) -> None:
        """One holds it, another one does not get it until it is let go of; nobody waits."""
        other = DutyLock(self.path)
        self.addCleanup(other.close)
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

    def test_touches_no_disk(self) -> None:
        """Once it is prepared neither a try, nor having it, nor letting go of it opens or writes
        anything: who has it is written elsewhere, and only if it still has it by then."""
        later: list[Callable[[], None]] = []
        lock = DutyLock(self.path, "red", later.append)
        self.addCleanup(lock.close)
        lock.prepare()
        self.lock.take()

        def touched(*_: object, **__: object) -> NoReturn:
            raise AssertionError("the disk is touched")

        self.patch(os, "open", touched)
        self.patch(os, "makedirs", touched)
        self.patch(builtins, "open", touched)
        self.assertFalse(lock.take())
        self.lock.let_go()
        self.assertTrue(lock.take())
        lock.let_go()
        (sign,) = later
        sign()
        self.assertTrue(lock.take())
        with self.assertRaises(AssertionError):
            later[1]()

    def test_child(self) -> None:
        """It is let go of although a child that was started meanwhile still has the descriptor."""
        self.lock.take()
        copy = os.dup(self.lock._descriptor)
        self.addCleanup(os.close, copy)
        self.lock.let_go()
        other = DutyLock(self.path)
        self.addCleanup(other.close)
        self.assertTrue(other.take())

    def test_cannot_be_prepared(self) -> None:
        """What keeps the file from being opened is told when it is needed."""
        os.makedirs(self.path)
        self.lock.prepare()
        self.assertRaises(IsADirectoryError, self.lock.take)

    def test_impossible(self) -> None:
        """A lock that cannot be had at all is told from one that another holds."""
        os.makedirs(self.path)
        self.assertRaises(IsADirectoryError, self.lock.take)
        self.assertFalse(self.lock.held)
