"""What threads do for one site."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.work import Work
from tests.acme_fake import AtOnce


class WorkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads, self.slow = AtOnce(), AtOnce()
        self.points: list[str] = []
        self.work = Work(self.threads, self.slow, self.points.append)

    def test_answers(self) -> None:
        """What is run comes back, and what it raises; each point is told before and after."""
        self.assertEqual(self.successResultOf(self.work.in_thread("sum", sum, [1, 2])), 3)
        self.failureResultOf(self.work.slowly("int", int, "x"), ValueError)
        self.assertEqual(self.points, ["before sum", "after sum", "before int", "after int"])
        self.assertFalse(self.work.goes_on)

    def test_where(self) -> None:
        """What may take minutes is in threads of its own."""
        self.slow.hold = True
        self.successResultOf(self.work.in_thread("quick", int))
        self.assertNoResult(self.work.slowly("slow", int))
        self.assertEqual(len(self.slow.held), 1)
        self.slow.release()

    def test_given_up(self) -> None:
        """Who gives up hears no more, and it is known that the thread goes on."""
        self.threads.hold = True
        done = self.work.in_thread("one", int)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(self.work.goes_on)
        self.threads.release()
        self.assertFalse(self.work.goes_on)
        self.assertEqual(self.points, ["before one"])

    def test_when_over(self) -> None:
        """What must wait for the last thread is done then, once; at once where none works."""
        over: list[str] = []
        self.work.when_over(lambda: over.append("idle"))
        self.assertEqual(over, ["idle"])
        self.threads.hold = self.slow.hold = True
        both = [self.work.in_thread("one", int), self.work.slowly("two", int, "x")]
        both[1].addErrback(lambda failure: failure.trap(ValueError))
        self.work.when_over(lambda: over.append("worked"))
        self.threads.release()
        self.assertEqual(over, ["idle"])
        self.slow.release()
        self.assertEqual(over, ["idle", "worked"])
        self.successResultOf(self.work.in_thread("three", int))
        self.assertEqual(over, ["idle", "worked"])
