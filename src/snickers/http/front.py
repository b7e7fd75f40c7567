"""What all connections of the http fronts share: the sites, the time, and how it all ends.

Must never hold more of a connection than that it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from email.utils import formatdate
from math import inf
from typing import Any

from attrs import frozen
from twisted.logger import Logger

from snickers.http.head import MAX_FIELDS, MAX_HEAD, MAX_REQUEST_LINE
from snickers.http.sites import LiveSite, SiteTable
from snickers.stream import Sweep

MAX_CROWD = 4096
"""Requests that one client may have open at once on this process beyond a few on each of its
connections: each may hold a descriptor, which are counted by the process, too, and connections
alone are limited per address. (`workers` do not ask each other: that would be a message for each
of these requests, and what they share is bounded by the servers' own descriptors.)"""

GRACE = 2.0
"""Seconds that a connection on which nothing is asked is kept after its last answer, or its
beginning, when all ends: its next request may be on its way, and is answered as the last one. If it
were closed at once, who sent that could not know whether it was heard (RFC 9112 §9.6). Mobile
clients take half a second from a handshake to their request; browsers open some connections ahead
of need and would hold an end up for ever."""
MOMENT = 1.0
"""Seconds that each has all the same: two sweeps, so that what has come by then is read."""

_DIGITS = [b"%02x" % number for number in range(255, -1, -1)]
"""What the ids of a block end in; the first one is used last."""


@frozen
class Bounds:
    """What clients may take: seconds, bytes and numbers."""

    head_within: float = 60.0
    """Seconds from the first byte of a request's head to its last."""
    keep_alive: float = 120.0
    """Seconds that a connection is kept on which nothing is asked."""
    progress_within: float = 60.0
    """Seconds after which it is looked whether a body has moved."""
    minimum_rate: int = 100
    """Bytes a second that it must have moved at the least."""
    request_line_limit: int = MAX_REQUEST_LINE
    """Bytes of a request line."""
    head_limit: int = MAX_HEAD
    """Bytes of a request's head; a single field may take half of them."""
    field_limit: int = MAX_FIELDS
    """Fields of a request."""
    streams: int = 128
    """Requests open at once on an HTTP/2 connection."""
    resets: int = 100
    """Requests that may be cancelled in any ten seconds on an HTTP/2 connection."""
    control_frames: int = 1000
    """HTTP/2 frames that ask for nothing but work, in any ten seconds on a connection."""


def at_once(call: Callable[[], None]) -> None:
    """Call *call*."""
    call()


class Front:
    """What all connections of the http fronts share."""

    log = Logger()

    def __init__(
        self,
        sites: SiteTable,
        sweep: Sweep,
        wall: Callable[[], float],
        seconds: Callable[[], float],
        bounds: Bounds,
        token: bytes = b"",
    ) -> None:
        """*wall* returns seconds since the epoch; *seconds* those of a steady clock, finer than
        the sweep's; *token* is what the requests' ids of this process begin with."""
        self.sites = sites
        self.sweep = sweep
        self.bounds = bounds
        self.seconds = seconds
        self.connections: set[Any] = set()
        """Each has ``drain()``, ``break_off()`` and a ``transport``."""
        self.draining = False
        """Whether each connection is to end with the answer that it has now, or gets next."""
        self.soon: Callable[[Callable[[], None]], None] = at_once
        """Calls when all that is ready now was looked at: see `snickers.poller.Poller.soon`."""
        self.access: Callable[[Any], None] | None = None
        """Called once with each exchange that is over: see `snickers.http.logforms.Logged`."""
        self._token = token
        self._crowds: dict[Hashable, int] = {}
        self._serial = 0
        self._ids: list[bytes] = []
        """Those that were made ahead, the next one last."""
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

    def next_id(self) -> bytes:
        """Return what tells one request from all others, in logs here and behind."""
        ids = self._ids
        if not ids:
            # Many at once: each by itself would cost three times as much.
            self._serial = serial = self._serial + 1
            block = b"%b-%x" % (self._token, serial)
            ids[:] = [block + digits for digits in _DIGITS]
        return ids.pop()

    @property
    def idle_within(self) -> float:
        """Seconds that a connection is kept on which nothing is asked."""
        keep_alive = self.bounds.keep_alive
        return min(keep_alive, GRACE) if self.draining else keep_alive

    def note_refusal(self, site: LiveSite | None, peer: bytes, status: int, reason: str) -> None:
        """Log, once for each, a request that broke the rules: *status* is what it got, or would
        have got if its answer had not begun. *site*: the connection's, if it has one."""
        self.log.info(
            "{site}: refused a request of {peer}: {status}, {reason}",
            site=site.name if site is not None else "-",
            peer=peer.decode("ascii"),
            status=status,
            reason=reason,
        )

    def crowd(self, client: Hashable) -> bool:
        """Count one more request of *client* beyond what each of its connections may have anyhow;
        return whether that may be, else it is not counted. ``None``: a client without an address,
        as on unix sockets, may be many."""
        count = self._crowds.get(client, 0)
        if count >= MAX_CROWD and client is not None:
            return False
        self._crowds[client] = count + 1
        return True

    def disperse(self, client: Hashable) -> None:
        """One of those that `crowd` counted is over."""
        left = self._crowds[client] - 1
        if left:
            self._crowds[client] = left
        else:
            del self._crowds[client]

    def last_moment(self, deadline: float, kept_for: float) -> float:
        """Return until when a connection is kept at the end that would be kept until *deadline*,
        *kept_for* seconds after it became idle; in the sweep's time."""
        now = self.sweep.now
        since = min(now, deadline - kept_for) if deadline < inf else now
        return min(deadline, max(since + GRACE, now + MOMENT))

    def drain(self) -> None:
        """Let connections go: those with an exchange when it has ended, those without one when they
        have been idle for `GRACE`, or have had one more."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def break_off(self) -> None:
        """Answer requests that have no answer yet with 503: whoever follows answers them."""
        for connection in list(self.connections):
            connection.break_off()

    def abort(self) -> None:
        """End what is still open."""
        for connection in list(self.connections):
            connection.transport.abortConnection()
