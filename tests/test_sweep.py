"""The sweep that looks at deadlines."""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from snickers.sweep import Sweep


class Item:
    def __init__(self, deadline: float, then: Callable[[], None] = lambda: None) -> None:
        self.deadline = deadline
        self.then = then
        self.seen: list[float] = []

    def expired(self) -> None:
        self.seen.append(self.deadline)
        self.then()


class SweepTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock, 0.5)
        self.sweep.start()

    def pump(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))

    def test_deadline(self) -> None:
        """What is watched is told once, not before its deadline, one interval later at most."""
        item = Item(self.sweep.now + 3)
        self.sweep.watch(item)
        self.pump(2.75)
        self.assertEqual(item.seen, [])
        self.pump(0.75)
        self.assertEqual(item.seen, [math.inf])
        self.pump(10)
        self.assertEqual(len(item.seen), 1)

    def test_deadline_moved(self) -> None:
        """A deadline is where it was last put."""
        item = Item(self.sweep.now + 1)
        self.sweep.watch(item)
        self.pump(0.75)
        item.deadline = self.sweep.now + 5
        self.pump(4)
        self.assertEqual(item.seen, [])
        self.pump(2)
        self.assertEqual(len(item.seen), 1)

    def test_held_up(self) -> None:
        """What is ready when deadlines pass has its turn first: a process that was held up reads
        late what has come in time."""
        item = Item(self.sweep.now + 0.5)
        self.sweep.watch(item)

        def read() -> None:
            item.deadline = math.inf

        # The reactor looks for what is ready after the calls that are due.
        self.clock.callLater(0.5, read)
        self.clock.advance(0.5)
        self.assertEqual(item.seen, [])

    def test_stopped_in_between(self) -> None:
        """What is stopped looks at nothing any more."""
        item = Item(self.sweep.now + 0.5)
        self.sweep.watch(item)
        self.clock.callLater(0.5, self.sweep.stop)
        self.clock.advance(1)
        self.assertEqual(item.seen, [])

    def test_unwatched(self) -> None:
        """What is no longer watched is not told."""
        item = Item(1)
        self.sweep.watch(item)
        self.sweep.unwatch(item)
        self.pump(2)
        self.assertEqual(item.seen, [])

    def test_ended_by_another(self) -> None:
        """One that was ended by another one's expiry is not told."""
        pair: list[Item] = []

        def end_the_other() -> None:
            for item in pair:
                self.sweep.unwatch(item)
                item.deadline = math.inf

        pair += [Item(1, end_the_other), Item(1, end_the_other)]
        for item in pair:
            self.sweep.watch(item)
        self.pump(3)
        self.assertEqual(sum(len(item.seen) for item in pair), 1)

    def test_failure(self) -> None:
        """That one fails is logged, and nobody else notices."""

        def fail() -> None:
            raise ZeroDivisionError

        bad, good, later = Item(1, fail), Item(1), Item(5)
        for item in (bad, good, later):
            self.sweep.watch(item)
        self.pump(6)
        self.assertEqual([len(item.seen) for item in (bad, good, later)], [1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_now(self) -> None:
        """``now`` follows the clock, an interval behind at most."""
        before = self.sweep.now
        self.pump(7)
        self.assertEqual(self.sweep.now, before + 7)

    def test_clock_set_back(self) -> None:
        """A clock that was set back does not set back ``now``, nor put off any deadline."""
        item = Item(self.sweep.now + 3)
        self.sweep.watch(item)
        self.pump(1)
        before = self.sweep.now
        self.sweep._last += 86400
        self.pump(0.5)
        self.assertGreater(self.sweep.now, before)
        self.pump(2.5)
        self.assertEqual(len(item.seen), 1)

    def test_clock_set_forward(self) -> None:
        """A clock that was set forward by a day does not end every connection."""
        item = Item(self.sweep.now + 100)
        self.sweep.watch(item)
        self.clock.advance(86400)
        self.pump(10)
        self.assertEqual(item.seen, [])
        self.pump(90)
        self.assertEqual(len(item.seen), 1)

    def test_stood_still(self) -> None:
        """Time in which the process stood still counts for a moment only."""
        soon, later = Item(self.sweep.now + 0.75), Item(self.sweep.now + 3)
        for item in (soon, later):
            self.sweep.watch(item)
        self.clock.advance(30)
        self.assertEqual((len(soon.seen), later.seen), (1, []))
        self.pump(1.5)
        self.assertEqual(later.seen, [])
        self.pump(1)
        self.assertEqual(len(later.seen), 1)

    def test_always_late(self) -> None:
        """On a machine that is so busy that every look is late, deadlines still pass."""
        item = Item(self.sweep.now + 3)
        self.sweep.watch(item)
        for _ in range(4):
            self.clock.advance(1.5)
        self.assertEqual(len(item.seen), 1)

    def test_stop(self) -> None:
        """A stopped sweep leaves no timer behind."""
        self.sweep.stop()
        self.sweep.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
