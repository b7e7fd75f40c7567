"""A site's own server at one address: its connections are kept and reused.

Which connection carries an exchange is decided here; what happens on it is a `Carrier`'s. Must
never trust a kept connection that the server may just be closing with a request that must not be
sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from snickers.http.carrier import Carrier
from snickers.http.connections import Connections, shown
from snickers.http.request import IDEMPOTENT
from snickers.interfaces.engine import Address
from snickers.stream import Stream, Sweep, connect

CONNECT_WITHIN = 5.0
"""Seconds: an upstream is on this host or near it."""
FRESH_WITHIN = 1.0
"""Seconds after which an idle connection is not trusted with a request that must not be sent
twice: the shortest idle limit in use (gunicorn's) is two."""

Connector = Callable[[Any, Sweep, Address, Any, float], Stream]
"""As `snickers.stream.connect`."""


class Upstream:
    """One address, and the connections to it."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        sweep: Sweep,
        site: str,
        address: Address,
        answer_within: float,
        failed: Callable[[Address], None],
        ended: Callable[[], None],
        connector: Connector = connect,
        connections: Connections | None = None,
        connect_within: float = CONNECT_WITHIN,
    ) -> None:
        """*failed* is called when a new connection could not be made; *ended* once for each
        exchange that `carry` was given, when it is over (a relay's end included)."""
        self.reactor = reactor
        self.sweep = sweep
        self.site = site
        self.address = address
        self.answer_within = answer_within
        self.connect_within = connect_within
        self.failed = failed
        self.ended = ended
        self.connector = connector
        self.idle: list[Carrier] = []
        """Those that carry nothing, the one used last at the end."""
        self.closed = False
        """Whether no connection is kept any more."""
        self.connections = connections
        self.again: Callable[[Any, tuple[Any, ...]], bool] | None = None
        """Called with an exchange for which no connection could be made, and what `carry` was
        given; whether somebody else carries it now."""
        if connections is not None:
            connections.join(self)

    def carry(self, exchange: Any, tried: tuple[Any, ...] | None = ()) -> None:
        """Send the exchange's request and give its answer back, by a kept connection if one is
        fit for it, else by a new one. *tried* is for `again`; ``None``: it is not to be asked."""
        idle = self.idle
        if idle:
            request = exchange.request
            carrier = idle[-1]
            if (request.length == 0 and request.method in IDEMPOTENT) or (
                self.sweep.now - carrier.since <= FRESH_WITHIN
            ):
                idle.pop()
                carrier.tried = tried
                carrier.begin(exchange)
                return
        Carrier(self, tried).open(exchange)

    def warn(self, words: str, reason: str) -> None:
        """Log what went wrong with the server."""
        self.log.warn(words, site=self.site, address=shown(self.address), reason=reason)

    def close(self) -> None:
        """Let idle connections go, and keep none from now on."""
        self.closed = True
        idle = self.idle
        self.idle = []
        for carrier in idle:
            carrier.transport.loseConnection()
