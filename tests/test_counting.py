"""Counts across teams: every request once."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.counting import (
    REQUESTS,
    Counting,
    Numbers,
    flat,
    handshakes_of,
    traffic_of,
)
from snickers.interfaces.colleagues import NOTHING, Share
from snickers.interfaces.traffic import NO_TRAFFIC, Traffic
from snickers.workers.census import ALL


def some(number: int) -> Traffic:
    """The traffic of so many requests, all alike."""
    buckets = (0, number, *NO_TRAFFIC.buckets[2:])
    return Traffic(
        ((200, number),) if number else (), buckets, number / 4, number * 10, number * 20
    )


class Side:
    """One team: what it has counted, and what the other has told it."""

    def __init__(self) -> None:
        self.own = 0
        self.heard = 0
        self.counting = Counting(
            lambda: {"a": self.numbers, ALL: flat(handshakes=(("ok", self.own),))},
            lambda site: Share(self.heard, traffic=some(self.heard)),
            lambda: {"ok": self.heard},
        )

    @property
    def numbers(self) -> Numbers:
        return flat(self.own, some(self.own))

    @property
    def total(self) -> int:
        share = self.counting.add(NOTHING, "a")
        total = self.own + share.requests
        assert some(self.own) + share.traffic == some(0) + some(total), share
        handshakes = self.counting.handshakes({"ok": self.own})
        assert handshakes.get("ok", 0) == total, handshakes
        return total


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
        untold = self.off.counting.untold()
        self.on.heard = int(untold["a"].get(REQUESTS, 0))
        assert traffic_of(untold["a"]) == some(self.on.heard)
        assert handshakes_of(untold[ALL]) == ({"ok": self.on.heard} if self.on.heard else {})
        self.untold = 0

    @rule(again=st.booleans())
    def passes(self, again: bool) -> None:
        """Duty passes, or is given up and taken *again* by the same one."""
        heard = {
            "a": flat(self.on.heard, some(self.on.heard)),
            ALL: flat(handshakes=(("ok", self.on.heard),)),
        }
        counts = self.on.counting.hand_over()
        if again:
            return
        self.off.counting.take(counts, heard)
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

    def test_numbers(self) -> None:
        """What is counted is numbers by name, and can be read again; nothing is nothing."""
        traffic = Traffic(((200, 3), (503, 1)), (1, *NO_TRAFFIC.buckets[1:-1], 3), 2.5, 10, 0)
        numbers = flat(4, traffic, (("ok", 2), ("failed", 1)))
        self.assertEqual(traffic_of(numbers), traffic)
        self.assertEqual(handshakes_of(numbers), {"ok": 2, "failed": 1})
        self.assertNotIn(0, numbers.values())
        self.assertEqual(flat(), {})
        self.assertEqual(traffic_of({}), NO_TRAFFIC)

    def test_shares(self) -> None:
        """The other team's connections and certificates are part of what there is."""
        other = Share(3, 2, 1, {"source": "files"})
        counting = Counting(dict, lambda site: other, dict)
        self.assertEqual(counting.add(Share(1, 1, 1), "a"), Share(4, 3, 2, {"source": "files"}))
        mine = {"source": "internal"}
        self.assertEqual(counting.add(Share(certificate=mine), "a").certificate, mine)

    def test_removed(self) -> None:
        """A site of the same name begins at nothing."""
        side = Side()
        numbers = {site: flat(number, some(number)) for site, number in (("a", 7), ("b", 1))}
        side.counting.take(numbers, {})
        self.assertEqual(side.counting.add(NOTHING, "a").requests, 7)
        side.counting.removed(["a"])
        self.assertEqual(side.total, 0)
        self.assertEqual(side.counting.hand_over(), {"b": numbers["b"]})
