"""Answers are counted on their way to the access log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from snickers.http.front import Front
from snickers.http.tallied import Tallied


class TalliedTests(SynchronousTestCase):
    """What is counted, and what is logged."""

    def test_counted(self) -> None:
        """Every answer is counted, those of 500 and more also as errors; a connection that was
        carried unopened is none. The log gets all of them, when there is one."""
        front: Any = SimpleNamespace(access=None, sweep="sweep", seconds="seconds")
        tally = Tallied(cast(Front, front))
        self.assertEqual((tally.sweep, tally.seconds), ("sweep", "seconds"))
        logged: list[int] = []
        for log in (None, lambda exchange: logged.append(exchange.status)):
            tally.access = log
            for status in (200, 499, 500, 503):
                front.access(SimpleNamespace(request="request", status=status))
            front.access(SimpleNamespace(request=None, status=0))
        self.assertEqual((tally.total, tally.errors), (8, 4))
        self.assertEqual(logged, [200, 499, 500, 503, 0])
