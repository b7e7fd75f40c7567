"""The values of the pair: who is who, and when something is due."""

from __future__ import annotations

import math

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams.pair import Member, Pair, due, opponent

LIVE = Member(1, "blue", 0.0, accepts=True)
OTHER = Member(2, "red", 0.0, accepts=False)
LEAVING = Member(3, "red", 0.0, accepts=False, kill_at=30.0)


class PairTests(SynchronousTestCase):
    def test_opponent(self) -> None:
        """Each team has the other one."""
        self.assertEqual((opponent("blue"), opponent("red")), ("red", "blue"))

    def test_members(self) -> None:
        """All processes are members, and found by their number."""
        pair = Pair(live=LIVE, other=OTHER, ending=(LEAVING,))
        self.assertEqual(pair.members(), (LIVE, OTHER, LEAVING))
        self.assertEqual([pair.member(id) for id in (1, 2, 3, 4)], [LIVE, OTHER, LEAVING, None])

    def test_changed(self) -> None:
        """A member is replaced where it is, whatever it is at the time."""
        pair = Pair(live=LIVE, other=OTHER, ending=(LEAVING,))
        for member in pair.members():
            new = evolve(member, open=7)
            changed = pair.changed(new)
            self.assertEqual(changed.member(member.id), new)
            self.assertEqual(changed.changed(member), pair)

    def test_due(self) -> None:
        """What comes first is due: the end of the stage, or of somebody's time to end."""
        self.assertEqual(due(Pair()), math.inf)
        self.assertEqual(due(Pair(until=40.0)), 40.0)
        self.assertEqual(due(Pair(until=40.0, ending=(LEAVING,))), 30.0)
