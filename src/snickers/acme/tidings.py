"""What a person hears of certificates, and when.

What time mends, such as an authority that is away for a moment, is told of only when it lasts;
what befalls all sites at once is one alarm, not one for each. Must never tell the same twice while
it holds, and must take back what holds no more.
"""

from __future__ import annotations

from collections.abc import Callable

from snickers.acme import plan
from snickers.acme.plan import Held, Memory
from snickers.interfaces.alarm import IAlarm
from snickers.tls.credentials import spoken

AWAY_FOR = 600.0
"""Seconds for which an authority does not answer before a person hears of it."""

RENEWAL = "renewal"
"""The alarm of a certificate that cannot be had."""
EXPIRY = "expiry"
"""The alarm of a certificate that has little life left."""
KEY = "key"
"""The alarm of a key that others could read, or of files that cannot be kept."""
AUTHORITY = "authority"
"""The alarm of an authority that is away."""


class Tidings:
    """What concerns all sites; *seconds* is a clock that nobody sets."""

    def __init__(self, alarm: IAlarm, seconds: Callable[[], float]) -> None:
        self._alarm = alarm
        self._seconds = seconds
        self._away: dict[str, float] = {}
        """Directories of authorities that do not answer, and since when."""
        self._away_told = False
        self._not_kept = ""

    def of(self, site: str) -> SiteTidings:
        """Return what concerns *site* alone, of which nothing was told yet."""
        return SiteTidings(self._alarm, self, site)

    def not_kept(self, words: str) -> None:
        """Something could not be written to the disk: *words* say what and why."""
        # Each site has a file of its own that cannot be kept: one alarm for all of them.
        if not self._not_kept:
            self._not_kept = words
            self._alarm.raised(KEY, "", words)

    def kept(self) -> None:
        """The disk can be read and written."""
        if self._not_kept:
            self._not_kept = ""
            self._alarm.cleared(KEY, "")

    def away(self, directory: str, words: str) -> None:
        """The authority at *directory* does not answer; *words* say how."""
        since = self._away.setdefault(directory, self._seconds())
        if not self._away_told and self._seconds() - since >= AWAY_FOR:
            self._away_told = True
            self._alarm.raised(AUTHORITY, "", f"no answer for {AWAY_FOR / 60:.0f} minutes: {words}")

    def answered(self, directory: str) -> None:
        """The authority at *directory* answers."""
        self._away.pop(directory, None)
        if self._away_told and not self._away:
            self._away_told = False
            self._alarm.cleared(AUTHORITY, "")

    @property
    def away_told(self) -> bool:
        """Whether a person knows that an authority is away."""
        return self._away_told


class SiteTidings:
    """What concerns one site; made by `Tidings.of`."""

    def __init__(self, alarm: IAlarm, all_sites: Tidings, site: str) -> None:
        self._alarm = alarm
        self._all_sites = all_sites
        self._site = site
        self._failure = ""
        """The kind of failure that was told last, and holds; empty: none."""
        self._expiry = 0.0
        """When the certificate ends of whose end was told."""
        self._key = ""

    def key(self, fault: str) -> None:
        """What was found wrong with the files of its certificate; empty: nothing."""
        if fault == self._key:
            return
        if self._key:
            self._alarm.cleared(KEY, self._site)
        self._key = fault
        if fault:
            self._alarm.raised(KEY, self._site, fault)

    def life(self, held: Held | None, why: str, now: float) -> None:
        """Tell, once for a certificate, that it has little life left. *why*: what the last order
        has failed with; *now*: epoch seconds."""
        if held is None or now < held.warn_at or self._expiry == held.not_after:
            return
        self._expiry = held.not_after
        ends = "has ended" if now >= held.not_after else "ends"
        words = f"{self._site}: its certificate {ends} at {spoken(held.not_after)}"
        self._alarm.raised(
            EXPIRY, self._site, f"{words}, and no new one could be had{f': {why}' if why else ''}"
        )

    def failure(self, memory: Memory, lacking: bool) -> None:
        """An order has failed, as *memory* has it. *lacking*: no certificate can be shown
        meanwhile."""
        if memory.kind == self._failure or not plan.to_tell(memory, lacking):
            return
        if memory.kind == "away" and self._all_sites.away_told:
            return  # one authority away is one alarm, not one for each site
        if self._failure:
            # What was told before is not what is wrong now.
            self._alarm.cleared(RENEWAL, self._site)
        self._failure = memory.kind
        self._alarm.raised(
            RENEWAL,
            self._site,
            f"{self._site}: no certificate could be had: {memory.fault}; it is tried again by "
            f"itself, `snickers renew {self._site}` tries now",
        )

    def over(self) -> None:
        """There is a new certificate, or the site is no more: nothing that was told holds."""
        self._failure = ""
        self._expiry = 0.0
        self._key = ""
        for kind in (RENEWAL, EXPIRY, KEY):
            self._alarm.cleared(kind, self._site)
