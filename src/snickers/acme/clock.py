"""Is this host's clock right? Certificates are renewed by it, and trusted by it.

Pure: what others' clocks have said comes in, words for a person come out. One clock that differs
may be wrong itself, so it takes two observations that agree; a step of ours says only that it is
time to ask. The words stay the same as long as they are about as true as they were.
"""

from __future__ import annotations

from attrs import frozen

TOLERANCE = 300.0
"""Seconds that are no matter: authorities date certificates back by an hour for clocks that are
behind, and what checks passwords by time takes half a minute to five."""
GRAIN = 1.0
"""Seconds: the Date of an answer has whole ones (RFC 9110 section 5.6.7)."""
AGREE = 120.0
"""Seconds by which two observations of the same fault may differ."""
STEP = 30.0
"""Seconds within one look that only somebody who sets a clock makes."""
SELDOM = 6 * 3600.0
SOON = 60.0
"""Seconds until clocks are asked again: of others mostly, and while it is in doubt."""
RETRY = 1800.0
"""...and when nobody has answered."""


@frozen
class Observation:
    """What somebody else's clock said."""

    whose: str
    """For a person, such as the host."""
    theirs: float
    """Epoch seconds, of which the fraction is not known."""
    before: float
    after: float
    """What ours said before and after it was asked."""

    @property
    def least(self) -> float:
        """Seconds that ours is ahead of it at the least, which may be fewer than none."""
        return self.before - self.theirs - GRAIN

    @property
    def most(self) -> float:
        """...and at the most."""
        return self.after - self.theirs

    @property
    def ahead(self) -> float:
        """Seconds that ours is ahead for certain (behind: below 0), beyond what may be the way."""
        if self.least > 0:
            return self.least
        return min(self.most, 0.0)


def span(seconds: float) -> str:
    """Return a length of time in words, about."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds)} seconds"


class Clock:
    """What is known of ours. *wall* is what it says, *steady* one that nobody sets and that goes on
    while the host sleeps; both in seconds."""

    def __init__(self, wall: float, steady: float) -> None:
        self._difference = wall - steady
        self._due = steady + SOON
        self._doubt: Observation | None = None
        self._wrong = 0.0
        self.words = ""
        """What is wrong, for a person; empty: nothing that is known."""

    def tick(self, wall: float, steady: float) -> bool:
        """Return whether others should be asked now; to be called every minute or so."""
        difference = wall - steady
        if abs(difference - self._difference) > STEP:
            self._doubt = None  # of another time
            self._due = steady
        self._difference = difference
        return steady >= self._due

    def unanswered(self, steady: float) -> None:
        """Nobody has said what time it is."""
        self._due = steady + RETRY

    def observed(self, found: Observation, steady: float) -> None:
        """Take what somebody's clock said."""
        before, self._doubt = self._doubt, None
        self._due = steady + SELDOM
        if abs(found.ahead) <= TOLERANCE:
            if self._wrong and before is None:
                # Ours may have been mended, or theirs be as wrong as ours.
                self._doubt = found
                self._due = steady + SOON
                return
            self._wrong = 0.0
            self.words = ""
            return
        if before is None or abs(before.ahead - found.ahead) > AGREE:
            self._doubt = found
            self._due = steady + SOON
            return
        self._due = steady + RETRY
        about = 0.5 <= found.ahead / self._wrong <= 2.0 if self._wrong else False
        if not about:
            self._wrong = found.ahead
            where = "ahead of" if found.ahead > 0 else "behind"
            self.words = (
                f"this host's clock is some {span(abs(found.ahead))} {where} that of "
                f"{found.whose}: set it (`timedatectl set-ntp true` keeps it right), or "
                "certificates are renewed at the wrong time and not trusted"
            )
