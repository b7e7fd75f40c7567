"""What the keeper is told each second."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.reporting import EVERY, Reporting


class Teller:
    """Keeps what is sent, unless it is full."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.full = False

    def send(self, *states: str) -> bool:
        if not self.full:
            self.sent.append(states)
        return not self.full


class ReportingTests(SynchronousTestCase):
    """What has changed is told, and nothing else."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.teller = Teller()
        self.values = {"ONE": 1, "TWO": 2}
        self.reporting = Reporting(
            self.clock,
            self.teller,
            {name: lambda name=name: str(self.values[name]) for name in self.values},  # type: ignore[misc]
        )
        self.reporting.start()

    def told(self) -> list[tuple[str, ...]]:
        self.clock.advance(EVERY)
        sent, self.teller.sent = self.teller.sent, []
        return sent

    def test_changes(self) -> None:
        """At first everything, then what has changed."""
        self.assertEqual(self.told(), [("X_SNICKERS_ONE=1", "X_SNICKERS_TWO=2")])
        self.assertEqual(self.told(), [])
        self.values["TWO"] = 3
        self.assertEqual(self.told(), [("X_SNICKERS_TWO=3",)])

    def test_full(self) -> None:
        """What the keeper has no room for is told again."""
        self.teller.full = True
        self.assertEqual(self.told(), [])
        self.teller.full = False
        self.assertEqual(self.told(), [("X_SNICKERS_ONE=1", "X_SNICKERS_TWO=2")])

    def test_again(self) -> None:
        """What was told last, for a keeper that has missed it."""
        self.assertEqual(self.reporting.again(), [])
        self.told()
        self.assertEqual(self.reporting.again(), ["X_SNICKERS_ONE=1", "X_SNICKERS_TWO=2"])

    def test_failing(self) -> None:
        """What cannot be said for once is said the next time."""
        one = self.values.pop("ONE")
        self.assertEqual(self.told(), [])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.values["ONE"] = one
        self.assertEqual(self.told(), [("X_SNICKERS_ONE=1", "X_SNICKERS_TWO=2")])

    def test_last(self) -> None:
        """The last numbers are told at the end."""
        self.told()
        self.values["ONE"] = 9
        self.reporting.stop()
        self.assertEqual(self.told(), [("X_SNICKERS_ONE=9",)])
        self.reporting.stop()
        self.values["ONE"] = 10
        self.assertEqual(self.told(), [])
