"""One broker, as long as there are privileges for it."""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from snickers.brokerage import minder
from snickers.brokerage.brokered import Line
from snickers.brokerage.minder import LONGEST_LINE, Minder, opens, privileges

ROOT = (0, 0, (0,))
NOBODY = (65534, 65534, (65534,))


class MinderTests(SynchronousTestCase):
    """Brokers that end, and whether another one is started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.who = ROOT
        self.launched: list[tuple[Any, Any]] = []
        self.opens = False
        self.minder = Minder(self.clock, self.launch, lambda: self.opens, lambda: self.who)
        self.fails = False
        self.lines: list[str] = []

        def note(event: Any) -> None:
            if event.get("log_namespace") == minder.Minder.__module__ + ".Minder":
                self.lines.append(event["log_format"].format(**event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)

    def launch(self, protocol: Any, line: Any) -> None:
        if self.fails:
            raise OSError("no process")
        self.assertIsInstance(line, Line)
        self.launched.append((protocol, line))

    def end(self) -> None:
        self.launched[-1][0].processEnded(Failure(ProcessTerminated(signal=9)))

    def test_replaced(self) -> None:
        """One that ends is replaced, at once when it had started well, later each time if not."""
        self.minder.start()
        self.assertTrue(self.minder.able())
        self.clock.advance(60)
        self.end()
        self.clock.advance(0)
        self.assertEqual(len(self.launched), 2)
        for count, pause in enumerate((1, 2, 5, 10, 30, 30), 3):
            self.end()
            self.clock.advance(pause - 0.5)
            self.assertEqual(len(self.launched), count - 1)
            self.clock.advance(0.5)
            self.assertEqual(len(self.launched), count)
        self.assertIn("signal 9", self.lines[0])

    def test_shed(self) -> None:
        """Without the privileges of the first one none is started."""
        self.minder.start()
        self.who = NOBODY
        self.assertFalse(self.minder.able())
        self.end()
        self.clock.advance(100)
        self.assertEqual(len(self.launched), 1)

    def test_shed_meanwhile(self) -> None:
        """Nor when they are shed while it is waited for."""
        self.minder.start()
        self.end()
        self.who = NOBODY
        self.clock.advance(100)
        self.assertEqual(len(self.launched), 1)

    def test_at_the_end(self) -> None:
        """When Snickers ends its broker may."""
        self.minder.start()
        self.minder.engine.close()
        self.end()
        self.clock.advance(100)
        self.assertEqual((len(self.launched), self.lines), (1, []))

    def test_cannot_be_started(self) -> None:
        """One that cannot be started is tried again."""
        self.fails = True
        self.minder.start()
        self.assertIn("no process", self.lines[0])
        self.fails = False
        self.clock.advance(1)
        self.assertEqual(len(self.launched), 1)

    def test_printed(self) -> None:
        """What a broker prints is in the log, line by line, none of them without end."""
        self.minder.start()
        protocol = self.launched[0][0]
        protocol.childDataReceived(2, b"one\ntw")
        protocol.childDataReceived(2, b"o\n\n" + b"x" * (LONGEST_LINE + 1))
        protocol.childDataReceived(2, b"last\xff")
        self.end()
        self.assertEqual(self.lines[:2], ["broker: one", "broker: two"])
        self.assertEqual(self.lines[2], "broker: " + "x" * LONGEST_LINE)
        self.assertEqual(self.lines[3], "broker: last\\xff")

    def test_kept(self) -> None:
        """That no privileges were shed is told; that they were is not."""
        self.minder.start()
        self.who = NOBODY
        self.minder.kept()
        self.assertEqual(self.lines, [])
        self.opens = True
        self.minder.kept()
        self.who, self.opens = ROOT, False
        self.minder.kept()
        self.assertEqual(len(self.lines), 2)
        for line in self.lines:
            self.assertIn("--uid", line)

    def test_privileges(self) -> None:
        """Who this process is does not change by itself."""
        self.assertEqual(privileges(), privileges())


class OpensTests(SynchronousTestCase):
    def test_opens(self) -> None:
        """Whether Docker's socket can be opened is asked of the one that would be used."""
        path = os.path.abspath(self.mktemp())
        for docker, environ in (("unix://" + path, {}), ("", {"DOCKER_HOST": "unix://" + path})):
            with patch("os.access", return_value=True) as access:
                self.assertTrue(opens(docker, environ))
            self.assertEqual(access.call_args.args, (path, os.R_OK | os.W_OK))
            self.assertFalse(opens(docker, environ))
        self.assertFalse(opens("tcp://127.0.0.1:1", {}))
