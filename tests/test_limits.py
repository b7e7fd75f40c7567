"""The limits of certificate authorities, counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.limits import (
    CERTIFICATES_WITHIN,
    FAILURES,
    FAILURES_WITHIN,
    ORDERS,
    ORDERS_WITHIN,
    PER_DOMAIN,
    PER_SET,
    Counts,
    current,
    refusal,
    registered,
    set_of,
    with_failure,
    with_loss,
    with_order,
    with_pause,
)

NOW = 1_800_000_000.0


class NamesTests(SynchronousTestCase):
    def test_set(self) -> None:
        """A set of names is the same in any order, and another one with one name more."""
        self.assertEqual(set_of(["b.example", "a.example"]), set_of(["a.example", "b.example"]))
        self.assertNotEqual(set_of(["a.example"]), set_of(["a.example", "b.example"]))

    def test_registered(self) -> None:
        """The registered domain has two labels, or three below a country's."""
        for name, domain in [
            ("example.org", "example.org"),
            ("a.b.example.org", "example.org"),
            ("*.example.org", "example.org"),
            ("shop.example.co.uk", "example.co.uk"),
            ("example.de", "example.de"),
            ("www.example.de", "example.de"),
            ("localhost", "localhost"),
        ]:
            self.assertEqual(registered(name), domain)


class RefusalTests(SynchronousTestCase):
    def refused(self, counts: Counts, *names: str, renewal: bool = False, at: float = NOW) -> float:
        """Until when an order is refused; 0: it is not."""
        found = refusal(counts, names, renewal, at)
        return found.until if found else 0

    def test_nothing_counted(self) -> None:
        """Who has asked for nothing may ask."""
        self.assertEqual(self.refused(Counts(), "a.example"), 0)

    def test_orders(self) -> None:
        """The 301st order waits until the first is three hours old; lost ones count."""
        counts = Counts()
        for index in range(ORDERS):
            self.assertEqual(self.refused(counts, f"site{index}.example", at=NOW + index), 0)
            counts = with_order(counts, [f"site{index}.example"], False, NOW + index)
            counts = with_loss(counts, [f"site{index}.example"])
        self.assertEqual(self.refused(counts, "more.example", at=NOW + 400), NOW + ORDERS_WITHIN)
        self.assertEqual(self.refused(counts, "more.example", at=NOW + ORDERS_WITHIN + 1), 0)

    def test_domain(self) -> None:
        """Fifty certificates a week below one domain; renewals are not counted and go on; so do
        other domains."""
        counts = Counts()
        for index in range(PER_DOMAIN):
            counts = with_order(counts, [f"n{index}.example.org"], False, NOW + index)
            counts = with_order(counts, [f"r{index}.example.org"], True, NOW + index)
        until = NOW + CERTIFICATES_WITHIN
        self.assertEqual(self.refused(counts, "new.example.org"), until)
        self.assertEqual(self.refused(counts, "new.example.net", "new.example.org"), until)
        self.assertEqual(self.refused(counts, "new.example.org", renewal=True), 0)
        self.assertEqual(self.refused(counts, "new.example.net"), 0)
        lost = with_loss(counts, ["n0.example.org"])
        self.assertEqual(self.refused(lost, "new.example.org"), 0)

    def test_set(self) -> None:
        """Five certificates a week for the same names, renewals too."""
        counts = Counts()
        for index in range(PER_SET):
            self.assertEqual(self.refused(counts, "a.example", "b.example"), 0)
            counts = with_order(counts, ["b.example", "a.example"], index > 0, NOW + index)
        until = NOW + CERTIFICATES_WITHIN
        self.assertEqual(self.refused(counts, "a.example", "b.example", renewal=True), until)
        self.assertEqual(self.refused(counts, "a.example"), 0)

    def test_failures(self) -> None:
        """A name that was not proven five times within an hour is left alone until one is an hour
        old; a wildcard is proven by the name below it."""
        counts = Counts()
        for index in range(FAILURES):
            self.assertEqual(self.refused(counts, "a.example"), 0)
            counts = with_failure(counts, "*.a.example" if index else "a.example", NOW + index)
        until = NOW + FAILURES_WITHIN
        self.assertEqual(self.refused(counts, "b.example", "a.example", at=NOW + 10), until)
        self.assertEqual(self.refused(counts, "*.a.example", at=NOW + 10), until)
        self.assertEqual(self.refused(counts, "a.example", at=until + 1), 0)

    def test_paused(self) -> None:
        """What the authority says holds, for a set of names or for all; the longest wait counts."""
        counts = with_pause(Counts(), ["a.example"], NOW + 60)
        self.assertEqual(self.refused(counts, "a.example"), NOW + 60)
        self.assertEqual(self.refused(counts, "b.example"), 0)
        counts = with_pause(counts, [], NOW + 90)
        self.assertEqual(self.refused(counts, "a.example"), NOW + 90)
        self.assertEqual(self.refused(counts, "b.example"), NOW + 90)
        self.assertEqual(self.refused(counts, "b.example", at=NOW + 91), 0)

    def test_wrong_clock(self) -> None:
        """What a clock far ahead has written blocks nothing when the clock is right again."""
        counts = with_pause(Counts(), [], NOW + 10 * CERTIFICATES_WITHIN)
        for _ in range(PER_SET):
            counts = with_order(counts, ["a.example"], False, NOW + 5 * CERTIFICATES_WITHIN)
        self.assertEqual(self.refused(counts, "a.example"), 0)
        self.assertEqual(current(counts, NOW), Counts())


class Town(RuleBasedStateMachine):
    """Sites that order, fail and wait; never more than the authority allows, never for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.counts = Counts()
        self.placed: list[tuple[float, tuple[str, ...]]] = []

    @rule(seconds=st.floats(0, 8 * 86400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(names=st.sets(st.sampled_from(["a.x.org", "b.x.org", "c.y.net"]), min_size=1))
    def order(self, names: set[str]) -> None:
        wanted = tuple(sorted(names))
        found = refusal(self.counts, wanted, False, self.now)
        if found is not None:
            # It ends: nobody waits longer than a week, and what is waited for comes.
            assert self.now <= found.until <= self.now + CERTIFICATES_WITHIN
            self.now = found.until + 1
            assert refusal(self.counts, wanted, False, self.now) is None
        self.counts = with_order(self.counts, wanted, False, self.now)
        self.placed.append((self.now, wanted))

    @rule(name=st.sampled_from(["a.x.org", "c.y.net"]))
    def fail(self, name: str) -> None:
        self.counts = with_failure(self.counts, name, self.now)

    @invariant()
    def within_limits(self) -> None:
        recent = [names for at, names in self.placed if self.now - at < CERTIFICATES_WITHIN]
        assert all(recent.count(names) <= PER_SET for names in recent)

    @invariant()
    def nothing_forgotten(self) -> None:
        recent = [at for at, _ in self.placed if self.now - at < CERTIFICATES_WITHIN]
        assert [o.time for o in current(self.counts, self.now).orders] == recent


class TownTests(SynchronousTestCase):
    def test_town(self) -> None:
        """However sites order, fail and wait, the limits hold, and every wait ends."""
        run_state_machine_as_test(Town)

    @given(st.lists(st.floats(0, 1e7), max_size=20))
    def test_loss(self, times: list[float]) -> None:
        """A loss marks one order, the last one, and none that is not there."""
        counts = Counts()
        for at in sorted(times):
            counts = with_order(counts, ["a.x"], False, at)
        lost = with_loss(counts, ["a.x"])
        kept = len(counts.orders)
        self.assertEqual(
            [o.lost for o in lost.orders], [False] * (kept - 1) + [True] if kept else []
        )
        self.assertEqual(with_loss(counts, ["b.x"]), counts)
