"""The log of a process that was started by the first one."""

from __future__ import annotations

import io

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.printed import observer


class PrintedTests(SynchronousTestCase):
    """Lines without a time, which is the first process' to say."""

    def test_lines(self) -> None:
        """Each event is a line; a failure has its traceback; what says nothing is left out."""
        output = io.StringIO()
        log = Logger(observer=observer(output))
        log.info("{site}: awake", site="alice.example")
        log.info("")
        log.failure("It broke", Failure(ValueError("why")))
        lines = output.getvalue().splitlines()
        self.assertEqual(lines[:2], ["alice.example: awake", "It broke"])
        self.assertIn("ValueError: why", lines[-2])
