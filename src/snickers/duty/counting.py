"""What a team has counted of each site, beside what the teams on duty before it had.

The one on duty says all: what was handed over to it, what it has counted itself since, and what the
other team tells. The one that is not tells what it has counted since it gave duty up. Pure: no
number ever goes back, and none is counted by two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import evolve

from snickers.interfaces.colleagues import Share
from snickers.interfaces.traffic import NO_TRAFFIC, Traffic
from snickers.workers.census import ALL

Numbers = Mapping[str, float]
"""All that is only ever added to, by name; what is nothing is left out."""

NOTHING: Numbers = {}
REQUESTS, SECONDS, RECEIVED, SENT = "requests", "seconds", "received", "sent"
CODE, BUCKET, ENDED = "code ", "bucket ", "ended "


def flat(
    requests: int = 0,
    traffic: Traffic = NO_TRAFFIC,
    handshakes: Sequence[tuple[str, int]] = (),
) -> Numbers:
    """Return *requests*, *traffic* and *handshakes* as numbers by name."""
    if not requests and traffic == NO_TRAFFIC and not handshakes:
        return NOTHING
    found: dict[str, float] = {
        REQUESTS: requests,
        SECONDS: traffic.seconds,
        RECEIVED: traffic.received,
        SENT: traffic.sent,
    }
    found.update((f"{CODE}{status}", number) for status, number in traffic.codes)
    found.update((f"{BUCKET}{index}", number) for index, number in enumerate(traffic.buckets))
    found.update((f"{ENDED}{result}", number) for result, number in handshakes)
    return {name: number for name, number in found.items() if number}


def traffic_of(numbers: Numbers) -> Traffic:
    """Return the traffic that is in *numbers*."""
    codes = [
        (int(name.removeprefix(CODE)), int(number))
        for name, number in numbers.items()
        if name.startswith(CODE)
    ]
    return Traffic(
        tuple(sorted(codes)),
        tuple(int(numbers.get(f"{BUCKET}{index}", 0)) for index in range(len(NO_TRAFFIC.buckets))),
        numbers.get(SECONDS, 0.0),
        int(numbers.get(RECEIVED, 0)),
        int(numbers.get(SENT, 0)),
    )


def handshakes_of(numbers: Numbers) -> dict[str, int]:
    """Return the handshakes that are in *numbers*."""
    return {
        name.removeprefix(ENDED): int(number)
        for name, number in numbers.items()
        if name.startswith(ENDED)
    }


def plus(one: Numbers, other: Numbers) -> Numbers:
    """Return the sums."""
    if not other:
        return one
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def minus(one: Numbers, other: Numbers) -> Numbers:
    """Return the differences, which may be below nothing."""
    if not other:
        return one
    return {name: one.get(name, 0) - other.get(name, 0) for name in {**one, **other}}


def _counted(numbers: Numbers) -> Numbers:
    """Return those of *numbers* that are something: a difference of fractions may miss nothing by
    a hair."""
    return {name: number for name, number in numbers.items() if number > 0}


class Counting:
    """What is counted of each site, across teams; `ALL` stands for a process as such.

    *own* returns what this team has counted since it was started, its workers included; *other*
    what the other team tells of a site, and *other_handshakes* of its handshakes, while this one is
    on duty.
    """

    def __init__(
        self,
        own: Callable[[], Mapping[str, Numbers]],
        other: Callable[[str], Share],
        other_handshakes: Callable[[], Mapping[str, int]],
    ) -> None:
        self._own = own
        self._other = other
        self._other_handshakes = other_handshakes
        self._base: dict[str, Numbers] = {}
        """What all had counted when this team took duty..."""
        self._told: dict[str, Numbers] = {}
        """...and how much of its own was in that."""
        self._given: dict[str, Numbers] = {}
        """What it had counted itself when it gave duty up last."""
        self.times = 0
        """How often it has given duty up."""

    def _past(self, site: str) -> Numbers:
        return minus(self._base.get(site, NOTHING), self._told.get(site, NOTHING))

    def add(self, share: Share, site: str) -> Share:
        """Return *share*, of this team's workers, with what others have and have had."""
        other = self._other(site)
        past = self._past(site)
        traffic = share.traffic + other.traffic
        return evolve(
            share,
            requests=share.requests + other.requests + int(past.get(REQUESTS, 0)),
            connections=share.connections + other.connections,
            uses=share.uses + other.uses,
            certificate=share.certificate or other.certificate,
            traffic=traffic + traffic_of(past) if past else traffic,
        )

    def handshakes(self, workers: Mapping[str, int]) -> dict[str, int]:
        """Return the handshakes of this team's *workers*, with those of others."""
        mine = flat(handshakes=tuple(workers.items()))
        others = flat(handshakes=tuple(self._other_handshakes().items()))
        return handshakes_of(plus(plus(mine, others), self._past(ALL)))

    def hand_over(self) -> dict[str, Numbers]:
        """Return what all have counted until now, for whoever is on duty next."""
        own = self._own()
        total = {}
        for site in {*own, *self._base}:
            if site == ALL:
                others = flat(handshakes=tuple(self._other_handshakes().items()))
            else:
                share = self._other(site)
                others = flat(share.requests, share.traffic)
            sums = _counted(plus(plus(own.get(site, NOTHING), others), self._past(site)))
            if sums:
                total[site] = sums
        self._given = dict(own)
        self.times += 1
        return total

    def take(self, counts: Mapping[str, Numbers], heard: Mapping[str, Numbers]) -> None:
        """Go on from *counts*, which the other team has handed over; *heard* is what this one has
        told it since it gave duty up itself. Not for a team that goes on as if it had not."""
        self._base = dict(counts)
        self._told = {
            site: plus(self._given.get(site, NOTHING), heard.get(site, NOTHING))
            for site in {*self._given, *heard}
        }

    def untold(self) -> dict[str, Numbers]:
        """Return what this team has counted since it gave duty up."""
        return {
            site: _counted(minus(numbers, self._given.get(site, NOTHING)))
            for site, numbers in self._own().items()
        }

    def removed(self, sites: Iterable[str]) -> None:
        """The configuration has *sites* no more: another one of the name begins at nothing."""
        for site in sites:
            for kept in (self._base, self._told, self._given):
                kept.pop(site, None)
