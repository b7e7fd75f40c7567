"""Looking at the clock: when, whom, and what a person is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from snickers.acme.clock import RETRY, SELDOM, SOON, Observation
from snickers.acme.dates import NoDate
from snickers.acme.timekeeper import TICK, Timekeeper
from snickers.interfaces.alarm import IAlarm

WALL = 1_800_000_000.0


@implementer(IAlarm)
class Told:
    def __init__(self) -> None:
        self.now: list[tuple[str, str, str]] = []

    def raised(self, kind: str, site: str, message: str) -> None:
        self.now.append((kind, site, message))

    def cleared(self, kind: str, site: str) -> None:
        self.now = [each for each in self.now if each[:2] != (kind, site)]


class TimekeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Clock()
        self.off = 0.0
        self.alarm = Told()
        self.sources: Sequence[str] = ("https://one.example", "https://two.example")
        self.asked: list[str] = []
        self.fails: Exception | None = None
        self.held: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.hold = False
        self.keeper = Timekeeper(
            self.reactor,
            self.run_,
            lambda: self.sources,
            self.ask,
            self.alarm,
            lambda: WALL + self.reactor.seconds() + self.off,
            self.reactor.seconds,
        )
        self.keeper.start()
        self.addCleanup(self.keeper.stop)

    def run_(self, function: Callable[[], Observation]) -> Deferred[Observation]:
        done: Deferred[Observation] = Deferred()
        self.held.append((done, function))
        if not self.hold:
            self.answer()
        return done

    def answer(self) -> None:
        done, function = self.held.pop()
        try:
            done.callback(function())
        except Exception:
            done.errback()

    def ask(self, url: str) -> Observation:
        self.asked.append(url)
        if self.fails is not None:
            raise self.fails
        true = WALL + self.reactor.seconds()
        return Observation(url, float(int(true)), true + self.off, true + self.off)

    def pass_(self, seconds: float) -> None:
        self.reactor.pump([TICK] * int(seconds / TICK))

    def test_in_turn(self) -> None:
        """Sources are asked in turn, seldom."""
        self.pass_(SOON)
        self.assertEqual(self.asked, ["https://one.example"])
        self.pass_(SELDOM)
        self.assertEqual(self.asked, ["https://one.example", "https://two.example"])
        self.assertEqual(self.alarm.now, [])

    def test_nobody_to_ask(self) -> None:
        """Where the configuration names nobody, nobody is asked."""
        self.sources = ()
        self.pass_(SELDOM)
        self.assertEqual(self.asked, [])

    def test_told(self) -> None:
        """A wrong clock is told once; when it is mended the alarm is over."""
        self.off = 86400.0 * 3
        self.pass_(SOON)
        self.pass_(SOON)
        ((kind, site, words),) = self.alarm.now
        self.assertEqual((kind, site), ("clock", ""))
        self.assertIn("some 3 days ahead of that of https://two.example", words)
        self.pass_(SELDOM)
        self.assertEqual(self.alarm.now, [("clock", "", words)])
        self.off = 0.0
        self.pass_(SOON)
        self.pass_(SOON)
        self.assertEqual(self.alarm.now, [])

    def test_otherwise_wrong(self) -> None:
        """A clock that is wrong in another way replaces what was told."""
        self.off = 86400.0 * 3
        self.pass_(2 * SOON)
        self.off = -86400.0 * 3
        self.pass_(3 * SOON)
        (told,) = self.alarm.now
        self.assertIn("behind", told[2])

    def test_silence(self) -> None:
        """A source that fails is no alarm; another one is asked later."""
        self.fails = NoDate("one.example: away")
        self.pass_(SOON)
        self.fails = None
        self.pass_(RETRY)
        self.assertEqual(self.asked, ["https://one.example", "https://two.example"])
        self.assertEqual(self.alarm.now, [])

    def test_goes_on(self) -> None:
        """Whatever goes wrong, looking goes on."""
        self.fails = RuntimeError("oh")
        self.pass_(SOON)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.pass_(RETRY)
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_one_at_a_time(self) -> None:
        """A source that is slow is waited for; stopping meanwhile is no fault."""
        self.hold = True
        self.pass_(SELDOM)
        self.assertEqual(len(self.held), 1)
        self.keeper.stop()
        self.fails = RuntimeError("stopped")
        self.answer()
        self.keeper.stop()
        self.assertEqual(self.alarm.now, [])
