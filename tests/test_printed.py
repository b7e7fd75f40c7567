"""The log of a process that was started by the first one."""

from __future__ import annotations

import os

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.printed import observer


class PrintedTests(SynchronousTestCase):
    """Lines without a time, which is the first process' to say."""

    def setUp(self) -> None:
        self.read, self.write = os.pipe()
        self.addCleanup(os.close, self.read)
        self.log = Logger(observer=observer(self.write))

    def tearDown(self) -> None:
        if self.write >= 0:
            os.close(self.write)

    def test_lines(self) -> None:
        """Each event is a line; a failure has its traceback; what says nothing is left out."""
        self.log.info("{site}: awake", site="alice.example")
        self.log.info("")
        self.log.failure("It broke", Failure(ValueError("why \udcff")))
        lines = os.read(self.read, 65536).decode().splitlines()
        self.assertEqual(lines[:2], ["alice.example: awake", "It broke"])
        self.assertIn("ValueError: why \\udcff", lines[-2])

    def test_nobody_reads(self) -> None:
        """Who logs more than the pipe holds goes on, and so does who has lost its reader."""
        for _ in range(3000):
            self.log.info("x" * 100)
        got = os.read(self.read, 1 << 20)
        self.assertTrue(set(got.splitlines()) <= {b"x" * 100}, "a line was cut")
        self.log.info("again")
        self.assertEqual(os.read(self.read, 65536), b"again\n")
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        log = Logger(observer=observer(writer))
        os.close(reader)
        log.info("to nobody")
