"""How fast a server is read."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.pace import FLOOD, REST, Pace


class PaceTests(SynchronousTestCase):
    """`Pace`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[str] = []
        self.pace = Pace(
            self.clock, lambda: self.done.append("stop"), lambda: self.done.append("go")
        )

    def test_much(self) -> None:
        """After too much in too short a time nothing is read for a while."""
        self.pace.read(FLOOD)
        self.assertEqual(self.done, [])
        self.pace.read(1)
        self.assertEqual(self.done, ["stop"])
        self.clock.advance(REST)
        self.assertEqual(self.done, ["stop", "go"])
        self.pace.read(FLOOD)
        self.pace.read(FLOOD)
        self.assertEqual(self.done, ["stop", "go", "stop"])

    def test_slowly(self) -> None:
        """Any amount may come in time, and a clock that is set back stops nothing for good."""
        for _ in range(5):
            self.pace.read(FLOOD)
            self.clock.advance(REST)
        self.assertEqual(self.done, [])
        self.clock.rightNow = -1000.0
        self.pace.read(FLOOD)
        self.assertEqual(self.done, [])

    def test_hurry(self) -> None:
        """Of one that has ended the rest is read at once, however much."""
        self.pace.read(FLOOD + 1)
        self.pace.hurry()
        self.assertEqual(self.done, ["stop", "go"])
        self.pace.read(5 * FLOOD)
        self.pace.hurry()
        self.assertEqual(self.done, ["stop", "go"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end(self) -> None:
        """Afterwards nothing is read, and no call is left."""
        self.pace.read(FLOOD + 1)
        self.pace.end()
        self.pace.end()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.done, ["stop"])
