"""Certificates that come together are told of together.

Hundreds of sites may have theirs within seconds; each change costs every process a message. Must
never tell of a site later than `GATHER` after its certificate has come, nor lose one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime

GATHER = 0.1
"""Seconds in which certificates that come together are told of together."""


class Gathering:
    """Calls *told* with the names of all sites that were given within `GATHER`, each once."""

    def __init__(self, clock: IReactorTime, told: Callable[[Sequence[str]], object]) -> None:
        self._clock = clock
        self._told = told
        self._sites: set[str] = set()

    def add(self, site: str) -> None:
        """*site* has another certificate."""
        if not self._sites:
            self._clock.callLater(GATHER, self._tell)
        self._sites.add(site)

    def _tell(self) -> None:
        sites, self._sites = tuple(sorted(self._sites)), set()
        self._told(sites)
