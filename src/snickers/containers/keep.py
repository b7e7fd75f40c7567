"""Which copies a rule keeps. Pure: copies and a rule in, ids out.

The words mean what they mean to restic and borg: ``daily 7`` keeps the newest copy of each of the
last seven days that have one. A copy that any word keeps is kept. It must never give up the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from snickers.config.values import Keep
from snickers.interfaces.copies import Copy

_PERIODS: Sequence[tuple[str, Callable[[datetime], object]]] = (
    ("hourly", lambda t: (t.date(), t.hour)),
    ("daily", datetime.date),
    ("weekly", lambda t: t.isocalendar()[:2]),
    ("monthly", lambda t: (t.year, t.month)),
    ("yearly", lambda t: t.year),
)


def given_up(copies: Sequence[Copy], rule: Keep) -> list[str]:
    """Return the ids of the *copies* that *rule* does not keep, the oldest first."""
    if rule == Keep():
        return []
    newest_first = sorted(copies, key=lambda copy: copy.time, reverse=True)
    kept = {copy.id for copy in newest_first[: max(1, rule.last)]}
    for word, period_of in _PERIODS:
        left: int = getattr(rule, word)
        periods: set[object] = set()
        for copy in newest_first:
            period = period_of(datetime.fromtimestamp(copy.time, UTC))
            if len(periods) < left and period not in periods:
                periods.add(period)
                kept.add(copy.id)
    return [copy.id for copy in reversed(newest_first) if copy.id not in kept]
