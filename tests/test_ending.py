"""How a start ends that cannot be."""

from __future__ import annotations

import io
from unittest.mock import patch

from twisted.logger import Logger, LoggingFile
from twisted.trial.unittest import SynchronousTestCase

from snickers.ending import end_with, fail, log_shown, say


class EndingTests(SynchronousTestCase):
    def test_say(self) -> None:
        """Each line is a line on stderr."""
        errors = io.StringIO()
        with patch("sys.stderr", errors):
            say("one", "two")
        self.assertEqual(errors.getvalue(), "one\ntwo\n")

    def test_log(self) -> None:
        """Where what is printed goes into the log, it is on the terminal, too."""
        told: list[str] = []
        log = LoggingFile(Logger(observer=lambda event: told.append(event["log_io"])))
        terminal = io.StringIO()
        with patch("sys.stderr", log), patch("sys.__stderr__", terminal):
            say("one")
        self.assertEqual((told, terminal.getvalue()), (["one"], "one\n"))

    def test_log_is_shown(self) -> None:
        """Where a person sees the log, too, it is not said twice."""
        told: list[str] = []
        log = LoggingFile(Logger(observer=lambda event: told.append(event["log_io"])))
        terminal = io.StringIO()
        with patch("sys.stderr", log), patch("sys.__stderr__", terminal):
            say("one", logged=False)
        self.assertEqual((told, terminal.getvalue()), ([], "one\n"))

    def test_log_shown(self) -> None:
        """The log is seen where twistd stays in the foreground and writes it nowhere else."""
        for twistd, shown in (
            ({"nodaemon": True, "logfile": None, "syslog": False}, True),
            ({"nodaemon": True, "logfile": "-"}, True),
            ({"nodaemon": True, "logfile": "x"}, False),
            ({"nodaemon": True, "syslog": True}, False),
            ({"nodaemon": False, "logfile": "-"}, False),
            (None, False),
        ):
            self.assertIs(log_shown(twistd), shown, twistd)

    def test_fail(self) -> None:
        """A start that fails has status 1, and no traceback."""
        errors = io.StringIO()
        with patch("sys.stderr", errors):
            ended = self.assertRaises(SystemExit, fail, "sites.ini:1: wrong")
        self.assertEqual((ended.code, errors.getvalue()), (1, "sites.ini:1: wrong\n"))

    def test_end_with(self) -> None:
        """What was printed is out before the process ends."""
        order: list[object] = []

        class Output(io.StringIO):
            def flush(self) -> None:
                order.append("flushed")

        with patch("sys.stderr", Output()), patch("os._exit", order.append):
            end_with(1)
        self.assertEqual(order, ["flushed", 1])
