"""The line to the team on duty: both ends, over wires in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.borrowing import AGAIN, NOBODY, PATIENCE, REPORT_EVERY, Borrowing, Line
from snickers.interfaces.engine import Address
from snickers.interfaces.leases import Stage
from snickers.stream import Sweep
from snickers.workers.census import Counts, read
from snickers.workers.desk import Desk
from snickers.workers.leases import RemoteLeases
from tests.test_desk import HERE, RESTING, THERE, Alarm, Leases
from tests.test_leases import Waiter


class BorrowingCase(SynchronousTestCase):
    """A team that is not on duty, and another one that may be."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.sweep = Sweep(self.clock)
        self.sweep.start()
        self.leases = RemoteLeases(self.sweep)
        self.leases.interrupted()
        self.lives = Leases()
        self.counts: dict[str, Counts] = {}
        self.counted: list[dict[str, Counts]] = []
        self.moved: list[str] = []
        self.there = True
        self.breaks = False
        self.dialled = 0
        self.desk: Desk | None = None
        self.pump: Any = None
        self.borrowing = Borrowing(
            self.clock, self.dial, self.leases, lambda: self.counts, self.moved.append
        )

    def dial(self, line: Line) -> bool:
        self.dialled += 1
        if self.breaks:
            raise OSError("too many descriptors")
        if self.there:
            desk = Desk(
                self.lives,
                Alarm(),
                lambda data: self.counted.append(read(data)),
                lambda: None,
            )
            _, self.desk, self.pump = connectedServerAndClient(lambda: desk, lambda: line)
        return self.there

    def flush(self) -> None:
        if self.pump is not None:
            self.pump.flush()

    def take(self, site: str = "a") -> Waiter:
        waiter = Waiter()
        address = self.leases.take(site, waiter)
        if address is not None:
            waiter.leased(address)
        self.flush()
        return waiter

    def hang_up(self) -> None:
        assert self.desk is not None
        assert self.desk.transport is not None
        self.desk.transport.loseConnection()
        self.flush()

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / AGAIN)):
            self.clock.advance(AGAIN)
            self.flush()


class BorrowingTests(BorrowingCase):
    """Asking, and being told."""

    def test_leases(self) -> None:
        """A server is leased, used by many, and given back when nobody uses it."""
        self.lives.at["a"] = HERE
        self.borrowing.start()
        self.flush()
        self.assertEqual([self.take().answers for _ in range(3)], [[HERE]] * 3)
        self.assertEqual((self.lives.uses["a"], self.moved), (1, ["a"]))
        for _ in range(3):
            self.leases.give_back("a", HERE)
        self.pass_time(3)
        self.assertEqual(self.lives.uses["a"], 0)

    def test_waits(self) -> None:
        """Who needs one that sleeps waits for it; who is refused hears why; who has gone is told
        nothing."""
        self.borrowing.start()
        self.flush()
        waiter, refused, gone = self.take("a"), self.take("b"), self.take("c")
        self.leases.forget("c", gone)
        self.flush()
        self.assertEqual(len(self.lives.waiting), 2)
        self.lives.answer(HERE)
        self.lives.answer(RESTING)
        self.flush()
        self.assertEqual((waiter.answers, refused.answers, gone.answers), ([HERE], [RESTING], []))

    def test_withdrawn(self) -> None:
        """What moves is told of, and the old address is used no more."""
        self.lives.at["a"] = HERE
        self.borrowing.start()
        self.take()
        self.lives.at["a"] = THERE
        assert self.desk is not None
        self.desk.changed("a")
        self.flush()
        self.assertEqual(self.leases.ready("a"), None)
        self.assertEqual(self.take().answers, [THERE])
        self.assertEqual(self.moved, ["a"] * 3)

    def test_failed_and_looked(self) -> None:
        """A doubt is told, and how far a server is is asked."""
        self.lives.at["a"] = HERE
        self.lives.stages["a"] = Stage("awake")
        self.borrowing.start()
        self.take()
        self.leases.failed("a", HERE)
        told: list[Stage] = []
        self.leases.look("a", told.append)
        self.flush()
        self.assertEqual((self.lives.doubts, told), ([("a", HERE)], [Stage("awake")]))

    def test_nobody(self) -> None:
        """While nobody is on duty it tries again and again; who waits is answered when somebody
        is."""
        self.there = False
        self.borrowing.start()
        self.borrowing.start()
        waiter = self.take()
        self.pass_time(1)
        self.assertEqual((self.dialled, waiter.answers), (11, []))
        self.there = True
        self.lives.at["a"] = HERE
        self.pass_time(0.2)
        self.assertEqual((self.dialled, waiter.answers), (12, [HERE]))

    def test_nobody_for_long(self) -> None:
        """Nobody waits for ever: after a while those are refused who have waited for so long."""
        self.there = False
        self.borrowing.start()
        early = self.take()
        self.pass_time(PATIENCE - 1)
        late = self.take("b")
        self.pass_time(2)
        self.assertEqual((early.answers, late.answers), ([NOBODY], []))

    def test_cannot_dial(self) -> None:
        """What keeps it from trying is logged, and it is tried again."""
        self.breaks = True
        self.borrowing.start()
        self.breaks = False
        self.lives.at["a"] = HERE
        self.pass_time(0.1)
        self.assertEqual(self.take().answers, [HERE])

    def test_lost(self) -> None:
        """When the one on duty has gone, what it had leased is used on, and leased by the next one;
        who waits is asked for there."""
        self.lives.at["a"] = HERE
        self.borrowing.start()
        self.take()
        waiter = self.take("b")
        self.there = False
        self.hang_up()
        self.assertEqual(self.lives.uses["a"], 0)
        self.pass_time(1)
        self.assertEqual(self.take().answers, [HERE])
        self.there = True
        self.pass_time(0.2)
        self.assertEqual(self.lives.uses["a"], 1)
        self.lives.answer(THERE)
        self.flush()
        self.assertEqual((waiter.answers, self.lives.uses["b"]), ([THERE], 1))

    def test_stopped(self) -> None:
        """When the team takes duty itself the line ends, and answers that are on their way are not
        heard; what is used is not forgotten."""
        self.borrowing.start()
        waiter = self.take()
        self.lives.answer(HERE)
        self.borrowing.stop()
        self.flush()
        self.pass_time(1)
        self.assertEqual((waiter.answers, self.dialled), ([], 1))
        self.assertEqual([name for name, _ in self.leases.leave().waiting], ["a"])
        self.borrowing.start()
        self.assertEqual(self.dialled, 2)

    def test_stopped_while_nobody_is_there(self) -> None:
        """It tries no more then."""
        self.there = False
        self.borrowing.start()
        self.borrowing.stop()
        self.pass_time(1)
        self.assertEqual(self.dialled, 1)

    def test_counts(self) -> None:
        """What is counted is told at once when there is somebody, then when it has changed, and
        anew to whoever comes next."""
        self.counts = {"a": Counts(1)}
        self.borrowing.start()
        self.flush()
        self.pass_time(REPORT_EVERY)
        self.counts = {"a": Counts(2)}
        self.pass_time(REPORT_EVERY)
        self.hang_up()
        self.pass_time(0.2)
        self.assertEqual(self.counted, [{"a": Counts(1)}, {"a": Counts(2)}, {"a": Counts(2)}])

    def test_a_fault(self) -> None:
        """One who does not take his answer well is in nobody's way."""

        def broken(address: Address) -> None:
            raise RuntimeError("a fault")

        self.borrowing.start()
        waiter = self.take()
        waiter.leased = broken  # type: ignore[method-assign]
        self.lives.answer(HERE)
        self.flush()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.take().answers, [HERE])
