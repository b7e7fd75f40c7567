"""The reporter of ``./test``."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import unittest
from pathlib import Path

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from tests import left_out as left_out_module
from tests.left_out import PlainReporter, left_out


class Sample(unittest.TestCase):
    """Tests to report on; not collected by trial, which looks for the prefix ``test``."""

    def good(self) -> None:
        """Passes."""

    def bad(self) -> None:
        """Fails."""
        self.fail("as it should")

    def lost(self) -> None:
        """Is left out."""
        self.skipTest("no engine")


class LeftOutTests(SynchronousTestCase):
    """What a run ends with."""

    def setUp(self) -> None:
        environment = dict(os.environ)
        environment.pop("SNICKERS_REQUIRE_ALL", None)
        self.patch(os, "environ", environment)

    def report(self, *names: str) -> tuple[PlainReporter, list[str]]:
        """Run *names* of the sample; the reporter and its output's lines."""
        stream = io.StringIO()
        reporter = PlainReporter(stream)
        unittest.TestSuite(Sample(name) for name in names).run(reporter)
        reporter.done()
        return reporter, stream.getvalue().splitlines()

    def test_grouped(self) -> None:
        """Reasons are listed once, with the modules and the numbers of tests they left out."""
        skips = [("tests.test_a.A.test_1", "why"), ("tests.test_a.B.test_2", "why")]
        skips += [("tests.test_b.C.test_3", "why"), ("tests.test_b.C.test_4", "because")]
        self.assertEqual(
            left_out(skips),
            [
                "Left out:",
                *("  because", "    tests.test_b: 1"),
                *("  why", "    tests.test_a: 2", "    tests.test_b: 1"),
            ],
        )

    def test_passed(self) -> None:
        """A run whose tests passed is a success, and says so on its last line."""
        reporter, lines = self.report("good")
        self.assertTrue(reporter.wasSuccessful())
        self.assertEqual(lines[-2:], ["Nothing was left out.", "1 passed, 0 failed, 0 skipped"])

    def test_failed(self) -> None:
        """A failure fails the run and is counted."""
        reporter, lines = self.report("good", "bad")
        self.assertFalse(reporter.wasSuccessful())
        self.assertEqual(lines[-1], "1 passed, 1 failed, 0 skipped")

    def test_left_out(self) -> None:
        """A test that was left out fails the run only where everything is required."""
        reporter, lines = self.report("good", "lost")
        self.assertTrue(reporter.wasSuccessful())
        self.assertIn("  no engine", lines)
        self.assertEqual(lines[-1], "1 passed, 0 failed, 1 skipped")
        os.environ["SNICKERS_REQUIRE_ALL"] = "1"
        self.assertFalse(reporter.wasSuccessful())

    def test_nothing_ran(self) -> None:
        """A run without a test is no success."""
        self.patch(left_out_module, "reactor", MemoryReactor())
        reporter, lines = self.report()
        self.assertFalse(reporter.wasSuccessful())
        self.assertEqual(lines[-2:], ["No test ran.", "0 passed, 0 failed, 0 skipped"])

    def test_nothing_ran_in_several(self) -> None:
        """Nor is one in several processes, and it ends."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twisted.trial", "--reporter=plain", "-j2"),
                *(f"--temp-directory={Path(self.mktemp()).absolute()}", "tests.descriptors"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent.parent,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        told = done.stdout.splitlines()
        self.assertEqual(told[-2:], ["No test ran.", "0 passed, 0 failed, 0 skipped"])
