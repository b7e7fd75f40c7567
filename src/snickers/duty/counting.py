"""What a team has counted of each site, beside what the teams on duty before it had.

The one on duty says all: what was handed over to it, what it has counted itself since, and what the
other team tells. The one that is not tells what it has counted since it gave duty up. Pure: no
number ever goes back, and none is counted by two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from attrs import evolve

from snickers.interfaces import Share


class Counting:
    """The requests of each site, across teams.

    *own* returns what this team has counted since it was started, its workers included; *other*
    what the other team tells of a site, while this one is on duty.
    """

    def __init__(self, own: Callable[[], Mapping[str, int]], other: Callable[[str], Share]) -> None:
        self._own = own
        self._other = other
        self._base: dict[str, int] = {}
        """What all had counted when this team took duty..."""
        self._told: dict[str, int] = {}
        """...and how much of its own was in that."""
        self._given: dict[str, int] = {}
        """What it had counted itself when it gave duty up last."""

    def add(self, share: Share, site: str) -> Share:
        """Return *share*, of this team's workers, with what others have and have had."""
        other = self._other(site)
        past = self._base.get(site, 0) - self._told.get(site, 0)
        return evolve(
            share,
            requests=share.requests + other.requests + past,
            connections=share.connections + other.connections,
            uses=share.uses + other.uses,
            certificate=share.certificate or other.certificate,
        )

    def hand_over(self) -> dict[str, int]:
        """Return what all have counted until now, for whoever is on duty next."""
        own = self._own()
        total = {}
        for site in {*own, *self._base}:
            past = self._base.get(site, 0) - self._told.get(site, 0)
            total[site] = max(0, own.get(site, 0) + past + self._other(site).requests)
        self._given = dict(own)
        return total

    def take(self, requests: Mapping[str, int], heard: Mapping[str, int]) -> None:
        """Go on from *requests*, which the other team has handed over; *heard* is what this one has
        told it since it gave duty up itself. Not for a team that goes on as if it had not."""
        self._base = dict(requests)
        self._told = {
            site: self._given.get(site, 0) + heard.get(site, 0) for site in {*self._given, *heard}
        }

    def untold(self) -> dict[str, int]:
        """Return what this team has counted since it gave duty up."""
        return {
            site: max(0, number - self._given.get(site, 0)) for site, number in self._own().items()
        }

    def removed(self, sites: Iterable[str]) -> None:
        """The configuration has *sites* no more: another one of the name begins at nothing."""
        for site in sites:
            self._base.pop(site, None)
            self._told.pop(site, None)
            self._given.pop(site, None)
