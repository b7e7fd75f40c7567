"""Showing how far something has come."""

from __future__ import annotations

import io
import threading

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.control import progress
from snickers.control.progress import Line, Lines
from snickers.control.show import PLAIN, Style


class LinesTests(SynchronousTestCase):
    def test_line_a_step(self) -> None:
        """Away from a terminal each step is a plain line."""
        out = io.StringIO()
        with Lines(out, "a.example") as shown:
            shown.step("pulling")
            shown.done("is awake")
        self.assertEqual(out.getvalue(), "a.example: pulling\na.example: is awake\n")

    def test_said_once(self) -> None:
        """A step that is told again is no new line."""
        out = io.StringIO()
        with Lines(out, "a.example") as shown:
            for words in ("starting", "starting", "checking", "starting"):
                shown.step(words)
        self.assertEqual(
            out.getvalue(), "a.example: starting\na.example: checking\na.example: starting\n"
        )


class LineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = io.StringIO()
        self.clock = Clock()

    def line(self, style: Style = PLAIN, width: int = 80) -> Line:
        return Line(self.out, "a.example", style, width, self.clock.seconds)

    def take(self) -> str:
        """What was written since the last call."""
        found = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return found

    def test_one_line(self) -> None:
        """Steps are written over each other, with the seconds that have passed."""
        with self.line() as shown:
            shown.step("pulling")
            self.assertEqual(self.take(), "\r\x1b[Ka.example: pulling 0 s")
            self.clock.advance(2)
            shown.draw()
            self.assertEqual(self.take(), "\r\x1b[Ka.example: pulling 2 s")
            self.clock.advance(1.26)
            shown.done("is awake")
            self.assertEqual(self.take(), "\r\x1b[Ka.example: is awake (3.3 s)\n")
            shown.draw()
            self.assertEqual(self.take(), "")

    def test_left_clean(self) -> None:
        """However it ends, the cursor is left on a clean line."""

        def fail() -> None:
            with self.line() as shown:
                shown.step("pulling")
                self.take()
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, fail)
        self.assertEqual(self.take(), "\r\x1b[K")

    def test_colours(self) -> None:
        """With colours the step and the end have one."""
        with self.line(Style(colour=True)) as shown:
            shown.step("pulling")
            self.assertIn("\x1b[33mpulling\x1b[0m", self.take())
            shown.done("is awake")
            self.assertIn("\x1b[32mis awake\x1b[0m", self.take())

    def test_narrow(self) -> None:
        """A long step is cut to the terminal's width, so that the line can be written over."""
        with self.line(width=30) as shown:
            shown.step("x" * 100)
        self.assertEqual(len(self.take().split("\r\x1b[K")[1]), 29)

    def test_ticking(self) -> None:
        """The line is drawn anew while nothing happens."""
        self.patch(progress, "_TICK", 0.001)
        drawn = threading.Event()
        shown = self.line()
        self.patch(shown, "draw", drawn.set)
        with shown:
            self.assertTrue(drawn.wait(20))
