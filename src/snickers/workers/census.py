"""What each process has counted for each site, and the sums.

A worker sends what has changed since it sent the last time, from time to time and when it is asked;
what it had counted is kept when it dies, so that no number ever goes back. Pure: JSON in and out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from attrs import astuple, evolve, frozen

from snickers.interfaces.colleagues import NOTHING, Share
from snickers.interfaces.traffic import NO_TRAFFIC, Traffic


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
    issuer: str = ""
    fault: str = ""
    """What is wrong with the certificate, in words."""
    traffic: Traffic = NO_TRAFFIC
    handshakes: tuple[tuple[str, int], ...] = ()
    """How many TLS handshakes ended how: of `ALL` only."""


NONE = Counts()
ALL = ""
"""In the place of a site's name: of the process as a whole."""
RESULTS = 32
"""Ways in which handshakes end, at the most: there are some ten."""


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
                found.issuer,
                found.fault,
                _told(found.traffic),
                found.handshakes,
            ]
            for site, found in news.items()
        ]
        return json.dumps(rows).encode()


def _told(traffic: Traffic) -> list[Any]:
    """Return what `_traffic` reads."""
    return [] if traffic == NO_TRAFFIC else list(astuple(traffic, recurse=False))


def _traffic(told: list[Any]) -> Traffic:
    if told == []:
        return NO_TRAFFIC
    codes, buckets, seconds, received, sent = told
    numbers = [seconds, received, sent, *buckets, *(number for _, number in codes)]
    if len(buckets) != len(NO_TRAFFIC.buckets) or not all(
        isfinite(number) and number >= 0 for number in numbers
    ):
        raise ValueError("such traffic cannot be")
    if not all(0 <= status <= 999 for status, _ in codes):
        # Each would be a series of its own for who measures.
        raise ValueError("such a status cannot be")
    return Traffic(
        tuple((int(status), int(number)) for status, number in codes),
        tuple(int(number) for number in buckets),
        float(seconds),
        int(received),
        int(sent),
    )


def read(data: bytes) -> dict[str, Counts]:
    """Return what `Reporter.changed` told. Fails with `ValueError` for anything else."""
    found: dict[str, Counts] = {}
    try:
        for site, *numbers, source, issuer, fault, traffic, handshakes in json.loads(data):
            requests, connections, uses, leases, not_after = numbers
            if len(handshakes) > RESULTS:
                raise ValueError("handshakes cannot end in so many ways")
            if not (isfinite(not_after) and min(numbers) >= 0):
                raise ValueError(f"{numbers} cannot be")
            found[str(site)] = Counts(
                int(requests),
                int(connections),
                int(uses),
                int(leases),
                float(not_after),
                str(source),
                str(issuer),
                str(fault),
                _traffic(traffic),
                tuple((str(result), int(number)) for result, number in handshakes),
            )
    except (TypeError, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return found


class Census:
    """The first process' side: what all workers have counted."""

    def __init__(self) -> None:
        self._workers: dict[object, dict[str, Counts]] = {}
        self._past: dict[str, Counts] = {}
        """Of workers that are no more: what they had done."""

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
            if counts.requests or counts.traffic != NO_TRAFFIC or counts.handshakes:
                past = self._past.get(site, NONE)
                self._past[site] = Counts(
                    requests=past.requests + counts.requests,
                    traffic=past.traffic + counts.traffic,
                    handshakes=_sum(past.handshakes, counts.handshakes),
                )

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
        past = self._past.get(site)
        if past is not None:
            share = evolve(share, requests=past.requests, traffic=past.traffic)
        for kept in self._workers.values():
            counts = kept.get(site)
            if counts is not None:
                share = Share(
                    share.requests + counts.requests,
                    share.connections + counts.connections,
                    share.uses + counts.uses - counts.leases,
                    share.certificate or _certificate(counts),
                    share.traffic + counts.traffic,
                )
        return share

    def handshakes(self) -> dict[str, int]:
        """Return how many TLS handshakes of all workers ended how."""
        each = [kept[ALL].handshakes for kept in self._workers.values() if ALL in kept]
        return dict(_sum(self._past.get(ALL, NONE).handshakes, *each))


def _sum(*each: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    total: Counter[str] = Counter()
    for results in each:
        total.update(dict(results))
    return tuple(sorted(total.items()))


def _certificate(counts: Counts) -> dict[str, Any] | None:
    if not counts.not_after:
        return None
    return {
        "source": counts.source,
        "issuer": counts.issuer,
        "not_after": counts.not_after,
        "fault": counts.fault,
    }
