"""Tests that block."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.blocked import bound

BLOCKS = """
import time
from twisted.trial.unittest import SynchronousTestCase, TestCase
from tests.blocked import bound

class First(SynchronousTestCase):
    def test_blocks(self):
        self.addCleanup(print, "cleaned up")
        while True:
            try:
                time.sleep(60)
            except AssertionError:
                if "told" in vars(self):
                    raise
                self.told = True

class Second(TestCase):
    async def test_passes(self):
        pass

bound(First, 1.0, 0.5)
"""


class BlockedTests(SynchronousTestCase):
    """A test that blocks."""

    def test_ended(self) -> None:
        """It fails and is cleaned up, and the others run, in several processes too."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "test_blocks.py").write_text(BLOCKS)
        root = Path(__file__).parent.parent
        for more in ([], ["-j2"]):
            done = subprocess.run(
                [sys.executable, "-m", "twisted.trial", *more, "test_blocks"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd=folder,
                env={"PYTHONPATH": f"{root}:{folder}", "PATH": "/usr/bin:/bin"},
                timeout=120,
                check=False,
            )
            self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
            self.assertIn("BlockedError: it still blocks after 1 s", done.stdout)
            self.assertIn("FAILED (errors=1, successes=1)", done.stdout)
            self.assertIn("time.sleep(60)", done.stdout)

    def test_in_time(self) -> None:
        """One that ends in time is told nothing, then or later."""

        class Case(SynchronousTestCase):
            def test(self) -> None:
                """Take a moment."""
                time.sleep(0.01)

        ours = signal.setitimer(signal.ITIMER_REAL, 0)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, *ours)
        bound(Case, 60.0)
        before = signal.getsignal(signal.SIGALRM)
        result = self.defaultTestResult()
        Case("test").run(result)
        self.assertTrue(result.wasSuccessful())
        self.assertEqual(signal.getitimer(signal.ITIMER_REAL), (0.0, 0.0))
        self.assertEqual(signal.getsignal(signal.SIGALRM), before)

    def test_within(self) -> None:
        """A test that is run by another one leaves the other's time as it is."""
        self.assertGreater(signal.getitimer(signal.ITIMER_REAL)[0], 0)
        result = self.defaultTestResult()
        BlockedTests("test_in_time").run(result)
        self.assertTrue(result.wasSuccessful())
        self.assertGreater(signal.getitimer(signal.ITIMER_REAL)[0], 0)
