"""What each process has counted for each site, and the sums.

A worker sends what has changed since it sent the last time, from time to time and when it is asked;
what it had counted is kept when it dies, so that no number ever goes back. Pure: JSON in and out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from attrs import evolve, frozen

from snickers.interfaces import NOTHING, Share


@frozen
class Counts:
    """What one process has of one site."""

    requests: int = 0
    connections: int = 0
    uses: int = 0
    """Of the site's server, by requests."""
    leases: int = 0
    """Held for them; the first process counts these itself."""
    not_after: float = 0.0
    """When the certificate ends that is shown here, epoch seconds; 0: none was loaded."""
    source: str = ""
    fault: str = ""
    """What is wrong with the certificate, in words."""


NONE = Counts()


class Reporter:
    """A worker's side: tells what has changed."""

    def __init__(self) -> None:
        self._sent: dict[str, Counts] = {}

    def changed(self, now: Mapping[str, Counts]) -> bytes:
        """Return what differs from what was returned before, ``b""`` where nothing does."""
        news = {site: found for site, found in now.items() if self._sent.get(site, NONE) != found}
        news.update({site: NONE for site in self._sent if site not in now})
        if not news:
            return b""
        self._sent = {site: found for site, found in now.items() if found != NONE}
        rows = [
            [
                site,
                found.requests,
                found.connections,
                found.uses,
                found.leases,
                found.not_after,
                found.source,
                found.fault,
            ]
            for site, found in news.items()
        ]
        return json.dumps(rows).encode()


def read(data: bytes) -> dict[str, Counts]:
    """Return what `Reporter.changed` told. Fails with `ValueError` for anything else."""
    found: dict[str, Counts] = {}
    try:
        for site, *numbers, source, fault in json.loads(data):
            requests, connections, uses, leases, not_after = numbers
            if not (isfinite(not_after) and min(numbers) >= 0):
                raise ValueError(f"{numbers} cannot be")
            found[str(site)] = Counts(
                int(requests),
                int(connections),
                int(uses),
                int(leases),
                float(not_after),
                str(source),
                str(fault),
            )
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return found


class Census:
    """The first process' side: what all workers have counted."""

    def __init__(self) -> None:
        self._workers: dict[object, dict[str, Counts]] = {}
        self._past: dict[str, int] = {}
        """Requests that were answered by workers that are no more."""

    def counted(self, worker: object, news: Mapping[str, Counts]) -> None:
        """Take what *worker* has told; a site of which nothing is left was removed there."""
        kept = self._workers.setdefault(worker, {})
        for site, counts in news.items():
            if counts == NONE:
                kept.pop(site, None)
            else:
                kept[site] = counts

    def gone(self, worker: object) -> None:
        """*worker* is no more; what it had done stays done."""
        for site, counts in self._workers.pop(worker, {}).items():
            if counts.requests:
                self._past[site] = self._past.get(site, 0) + counts.requests

    def removed(self, sites: Iterable[str]) -> None:
        """The configuration has *sites* no more: another one of the name begins at nothing."""
        for site in sites:
            self._past.pop(site, None)

    def connections(self, worker: object) -> int:
        """Return how many connections to sites *worker* has open."""
        return sum(counts.connections for counts in self._workers.get(worker, {}).values())

    def requests(self, worker: object) -> int:
        """Return how many requests *worker* has had."""
        return sum(counts.requests for counts in self._workers.get(worker, {}).values())

    def share(self, site: str) -> Share:
        """Return what all workers have of *site*, together."""
        share = NOTHING
        if site in self._past:
            share = evolve(share, requests=self._past[site])
        for kept in self._workers.values():
            counts = kept.get(site)
            if counts is not None:
                share = Share(
                    share.requests + counts.requests,
                    share.connections + counts.connections,
                    share.uses + counts.uses - counts.leases,
                    share.certificate or _certificate(counts),
                )
        return share


def _certificate(counts: Counts) -> dict[str, Any] | None:
    if not counts.not_after:
        return None
    return {"source": counts.source, "not_after": counts.not_after, "fault": counts.fault}
