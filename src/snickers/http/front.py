"""What all connections of the http fronts share: the sites, the time, and how it all ends.

Must never hold more of a connection than that it is there.
"""

from __future__ import annotations

from email.utils import formatdate
from math import inf
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.logger import Logger

from snickers.http.sites import SiteTable
from snickers.stream import Sweep

if TYPE_CHECKING:
    from snickers.http.http1 import Http1


@frozen
class Deadlines:
    """How long clients are waited for, in seconds."""

    head_within: float = 60.0
    keep_alive: float = 120.0
    progress_within: float = 60.0


class Front:
    """What all connections of the http fronts share."""

    log = Logger()

    def __init__(self, sites: SiteTable, sweep: Sweep, wall: Any, deadlines: Deadlines) -> None:
        """*wall*: a callable that returns seconds since the epoch."""
        self.sites = sites
        self.sweep = sweep
        self.deadlines = deadlines
        self.connections: set[Http1] = set()
        self.draining = False
        self._wall = wall
        self._dated_at = -inf
        self._date = b""

    @property
    def date(self) -> bytes:
        """The Date field's line for now (RFC 9110 §6.6.1), made once a sweep."""
        if self._dated_at != self.sweep.now:
            self._dated_at = self.sweep.now
            self._date = b"Date: " + formatdate(self._wall(), usegmt=True).encode("ascii")
        return self._date

    def drain(self) -> None:
        """Let idle connections go; those with an exchange follow when it has ended."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()

    def abort(self) -> None:
        """End what is still open."""
        for connection in list(self.connections):
            connection.transport.abortConnection()
