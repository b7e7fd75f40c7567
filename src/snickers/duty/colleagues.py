"""The other processes of all teams, as status asks after them.

A team's workers are processes like any; of the other team only what it counts is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from snickers.interfaces.colleagues import IColleagues, Share


class Others(Protocol):
    """See `snickers.duty.counting.Counting`."""

    def add(self, share: Share, site: str) -> Share: ...

    def handshakes(self, workers: Mapping[str, int]) -> Mapping[str, int]: ...


@implementer(IColleagues)
class Colleagues:
    """The workers of this team, *crew*, and the *others*."""

    def __init__(self, crew: IColleagues, others: Others) -> None:
        self._crew = crew
        self._others = others

    def freshen(self) -> Deferred[None]:
        fresh: Deferred[None] = self._crew.freshen()
        return fresh

    def share(self, site: str) -> Share:
        return self._others.add(self._crew.share(site), site)

    def handshakes(self) -> Mapping[str, int]:
        return self._others.handshakes(self._crew.handshakes())

    def report(self) -> list[dict[str, Any]]:
        report: list[dict[str, Any]] = self._crew.report()
        return report
