"""Which of several servers gets the next request, and which is left alone for a while.

Pure. It must never leave a request without a server: when none is known to be well, the one whose
rest ends first is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol
from zlib import crc32

RESTS = 10.0
"""Seconds for which a server that could not be connected to is left alone: HAProxy's `fastinter`
and nginx's `fail_timeout` are as long."""


class Choosable(Protocol):
    """What is known of a server."""

    name: bytes
    """What tells it from the others."""
    uses: int
    """Exchanges that it has now."""
    well: bool
    """What the last look at it has found; whether anybody looks."""
    rests_until: float
    """Until when it is left alone."""


def fit(servers: Sequence[Choosable], tried: Collection[object], now: float) -> list[int]:
    """Return the places of those that may be asked: not *tried*, well, and not at rest.

    If there are none: the one not tried whose rest ends first, those that are well before others.
    """
    good = [
        place
        for place, server in enumerate(servers)
        if server.well and server.rests_until <= now and server not in tried
    ]
    if good:
        return good
    left = [place for place, server in enumerate(servers) if server not in tried]
    left.sort(key=lambda place: (not servers[place].well, servers[place].rests_until))
    return left[:1]


Choose = Callable[[Sequence[Choosable], list[int], bytes], int]


class RoundRobin:
    """Each in turn."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, servers: Sequence[Choosable], places: list[int], peer: bytes) -> int:
        """Return one of *places*, which are in order and not empty."""
        last = self._last
        self._last = place = next((place for place in places if place > last), places[0])
        return place


def least_busy(servers: Sequence[Choosable], places: list[int], peer: bytes) -> int:
    """Return the place of the one with the fewest exchanges."""
    return min(places, key=lambda place: (servers[place].uses, place))


def by_address(servers: Sequence[Choosable], places: list[int], peer: bytes) -> int:
    """Return the same place for the same client, as long as that server is fit; when one falls
    out only its own clients move (highest random weight)."""
    return max(places, key=lambda place: crc32(servers[place].name, crc32(peer)))


def first(servers: Sequence[Choosable], places: list[int], peer: bytes) -> int:
    """Return the first one; the others stand by."""
    return places[0]


def chooser(balance: str) -> Choose:
    """Return what chooses as the option ``balance`` says."""
    choosers: dict[str, Choose] = {
        "round robin": RoundRobin(),
        "least busy": least_busy,
        "address": by_address,
        "first": first,
    }
    return choosers[balance]
