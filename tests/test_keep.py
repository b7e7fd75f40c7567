"""Which copies a rule keeps."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Keep
from snickers.containers.keep import given_up
from snickers.interfaces.copies import Copy


def copies(*times: str) -> list[Copy]:
    """Return a copy of each time, whose id it is."""
    return [
        Copy("a.example", t, datetime.fromisoformat(t).replace(tzinfo=UTC).timestamp(), "", 1)
        for t in times
    ]


HOUR = 3600.0
COPIES = st.lists(st.integers(0, 3 * 365 * 24), unique=True, max_size=40).map(
    lambda hours: [Copy("a.example", str(h), h * HOUR, "", None) for h in hours]
)
COUNT = st.integers(0, 5)
RULES = st.builds(Keep, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)


class KeepTests(SynchronousTestCase):
    """As restic's ``forget --keep-…``."""

    def test_last(self) -> None:
        """The newest, so many."""
        some = copies("2026-01-01", "2026-01-02", "2026-01-03")
        self.assertEqual(given_up(some, Keep(last=2)), ["2026-01-01"])

    def test_daily(self) -> None:
        """The newest of each day that has one; days without do not count."""
        some = copies(
            "2026-01-01T08:00", "2026-01-01T09:00", "2026-01-05T08:00", "2026-01-09T23:59"
        )
        self.assertEqual(given_up(some, Keep(daily=2)), ["2026-01-01T08:00", "2026-01-01T09:00"])
        self.assertEqual(given_up(some, Keep(daily=3)), ["2026-01-01T08:00"])

    def test_weeks_begin_on_monday(self) -> None:
        """Also over the end of a year, where a week is of both."""
        some = copies("2026-12-27", "2026-12-28", "2027-01-03", "2027-01-04")
        self.assertEqual(given_up(some, Keep(weekly=2)), ["2026-12-27", "2026-12-28"])

    def test_other_periods(self) -> None:
        """Hours, months, years."""
        some = copies("2025-12-31T23:10", "2026-01-01T00:10", "2026-01-01T00:50")
        self.assertEqual(given_up(some, Keep(hourly=9)), ["2026-01-01T00:10"])
        self.assertEqual(given_up(some, Keep(monthly=9)), ["2026-01-01T00:10"])
        self.assertEqual(given_up(some, Keep(yearly=1)), ["2025-12-31T23:10", "2026-01-01T00:10"])

    def test_any_word_keeps(self) -> None:
        """A copy that one word keeps stays, whatever the others say."""
        some = copies("2026-01-01", "2026-02-01", "2026-02-02", "2026-02-03")
        self.assertEqual(given_up(some, Keep(last=1, monthly=2)), ["2026-02-01", "2026-02-02"])

    def test_all(self) -> None:
        """No rule: every one is kept."""
        self.assertEqual(given_up(copies("2026-01-01", "2026-01-02"), Keep()), [])

    @given(COPIES, RULES)
    def test_invariants(self, some: list[Copy], rule: Keep) -> None:
        """The newest is never given up; no fewer stay than the largest number says, where there
        are as many; and what has been kept once is kept when asked again."""
        gone = set(given_up(some, rule))
        kept = [copy for copy in some if copy.id not in gone]
        if some:
            self.assertIn(max(some, key=lambda copy: copy.time), kept)
        self.assertGreaterEqual(len(kept), min(len(some), rule.last))
        self.assertEqual(given_up(kept, rule), [])
