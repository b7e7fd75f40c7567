"""What a site's visitors have had: answers by status and by the time they took, and bytes.

Exchanges that are over come in batches, some hundred at a time, so that one costs an addition to
a few numbers; bytes are those that the connections have counted anyhow. Must never forget what was
counted: sums only grow, whatever connections end and whatever configuration changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from snickers.http.logforms import Logged
from snickers.interfaces.traffic import BOUNDS, Traffic

SWITCHED = 101
"""The status of a WebSocket: how long it was open says nothing of how fast the site is."""


class Counted(Protocol):
    """Whose traffic is counted: see `snickers.http.sites.LiveSite`."""

    traffic: Tallied
    connections: set[Any]


class Tallied:
    """The sums of one site."""

    __slots__ = ("buckets", "codes", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.received = 0
        self.sent = 0
        """Bytes of connections that are no more, as is `received`."""

    def left(self, transport: Any) -> None:
        """A connection is over that was carried by *transport*."""
        self.received += transport.received
        self.sent += transport.sent

    def total(self, connections: Iterable[Any] = ()) -> Traffic:
        """Return the sums, with those *connections* that are still open."""
        received, sent = self.received, self.sent
        for connection in connections:
            transport = connection.transport
            received += transport.received
            sent += transport.sent
        return Traffic(
            tuple(sorted(self.codes.items())), tuple(self.buckets), self.seconds, received, sent
        )


def count(over: Sequence[Logged], sites: Mapping[str, Counted]) -> None:
    """Count exchanges that are over, each for its site; those of no site are nobody's."""
    for exchange in over:
        site = sites.get(exchange.site)
        # A connection that was carried unopened has neither a request nor a status.
        if site is None or exchange.request is None:
            continue
        tallied = site.traffic
        status = exchange.status
        codes = tallied.codes
        codes[status] = codes.get(status, 0) + 1
        if status != SWITCHED:
            tallied.buckets[bisect_left(BOUNDS, exchange.took)] += 1
            tallied.seconds += exchange.took
