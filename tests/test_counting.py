"""Counts across teams: every request once."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.counting import Counting
from snickers.interfaces import NOTHING, Share


class Side:
    """One team: what it has counted, and what the other has told it."""

    def __init__(self) -> None:
        self.own = 0
        self.heard = 0
        self.counting = Counting(lambda: {"a": self.own}, lambda site: Share(self.heard))

    @property
    def total(self) -> int:
        return self.own + self.counting.add(NOTHING, "a").requests


class Teams(RuleBasedStateMachine):
    """Two teams that count, tell, and pass duty."""

    def __init__(self) -> None:
        super().__init__()
        self.on, self.off = Side(), Side()
        self.real = 0
        self.untold = 0

    @rule()
    def counted_on_duty(self) -> None:
        self.on.own += 1
        self.real += 1

    @rule()
    def counted_off_duty(self) -> None:
        self.off.own += 1
        self.real += 1
        self.untold += 1

    @rule()
    def told(self) -> None:
        self.on.heard = self.off.counting.untold()["a"]
        self.untold = 0

    @rule(again=st.booleans())
    def passes(self, again: bool) -> None:
        """Duty passes, or is given up and taken *again* by the same one."""
        heard = self.on.heard
        requests = self.on.counting.hand_over()
        if again:
            return
        self.off.counting.take(requests, {"a": heard})
        self.on, self.off = self.off, self.on
        # What it has not told is its own again, and what the other has, is told.
        self.on.heard = 0
        self.untold = 0

    @invariant()
    def every_request_once(self) -> None:
        assert self.on.total == self.real - self.untold


class CountingTests(SynchronousTestCase):
    """Of single steps, and of all of them in any order."""

    def test_any_order(self) -> None:
        """Whatever is counted, told and handed over in whatever order, each request counts once."""
        run_state_machine_as_test(
            Teams, settings=settings(deadline=None, suppress_health_check=list(HealthCheck))
        )

    def test_shares(self) -> None:
        """The other team's connections and certificates are part of what there is."""
        other = Share(3, 2, 1, {"source": "files"})
        counting = Counting(lambda: {}, lambda site: other)
        self.assertEqual(counting.add(Share(1, 1, 1), "a"), Share(4, 3, 2, {"source": "files"}))
        mine = {"source": "internal"}
        self.assertEqual(counting.add(Share(certificate=mine), "a").certificate, mine)

    def test_removed(self) -> None:
        """A site of the same name begins at nothing."""
        side = Side()
        side.counting.take({"a": 7, "b": 1}, {})
        self.assertEqual(side.total, 7)
        side.counting.removed(["a"])
        self.assertEqual(side.total, 0)
        self.assertEqual(side.counting.hand_over(), {"a": 0, "b": 1})
