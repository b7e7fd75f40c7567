"""Sites of type ``proxy``: a server that somebody else runs, at an address that may be a name.

A name is looked up when the site is set up and again from time to time, never while a request
waits if an address is known. An address that stopped answering is looked up anew.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.http.pages import answer_error
from snickers.http.upstream import Upstream
from snickers.interfaces import Address, IExchange, IHandler, IResponder
from snickers.stream import Sweep

LOOK_UP_EVERY = 30.0
"""Seconds an address is taken for true: what stub resolvers keep a typical answer for."""
MAX_WAITING = 1000
"""Requests that may wait for the first look-up."""

MakeUpstream = Callable[[Address, Callable[[Address], None], Callable[[], None]], Upstream]
Resolve = Callable[[str], "Deferred[str]"]


def read_target(to: str) -> tuple[str, int] | str:
    """Return the host and port of ``http://HOST[:PORT]``, or the path of ``unix:/path``."""
    if to.startswith("unix:"):
        return to[5:].removeprefix("//")
    parts = urlsplit(to)
    return parts.hostname or "", parts.port or 80


@implementer(IResponder)
class _Waiting:
    """An exchange that waits for the first address."""

    __slots__ = ("exchange",)

    def __init__(self, exchange: IExchange) -> None:
        self.exchange: IExchange | None = exchange

    def body(self, data: bytes) -> None:
        """Never called: the body is not received yet."""

    def body_end(self, trailers: object) -> None:
        """Never called: the body is not received yet."""

    def pause(self) -> None:
        """Nothing is being written."""

    def resume(self) -> None:
        """Nothing is being written."""

    def gone(self) -> None:
        self.exchange = None


@implementer(IHandler)
class ProxyHandler:
    """Passes every exchange on to one upstream."""

    log = Logger()

    def __init__(
        self, site: str, to: str, make_upstream: MakeUpstream, resolve: Resolve, sweep: Sweep
    ) -> None:
        """*resolve* takes a host name; its Deferred fires with a numeric address."""
        self._site = site
        self._make_upstream = make_upstream
        self._resolve = resolve
        self._sweep = sweep
        self._upstream: Upstream | None = None
        self._waiting: list[_Waiting] = []
        self._looking = False
        self._look_at = inf
        target = read_target(to)
        self._host = ""
        self._port = 0
        if isinstance(target, str):
            self._use(target)
        else:
            self._host, self._port = target
            if isIPAddress(self._host) or isIPv6Address(self._host):
                self._use(target)
                self._host = ""
            else:
                self._look_up()

    def handle(self, exchange: IExchange) -> None:
        upstream = self._upstream
        if upstream is not None:
            if self._sweep.now >= self._look_at:
                self._look_up()
            upstream.carry(exchange)
            return
        if len(self._waiting) >= MAX_WAITING:
            answer_error(exchange, 503, "unreachable", 5)
            return
        waiting = _Waiting(exchange)
        exchange.responder = waiting
        self._waiting.append(waiting)
        self._look_up()

    def close(self) -> None:
        if self._upstream is not None:
            self._upstream.close()

    def _look_up(self) -> None:
        if self._looking or not self._host:
            return
        self._looking = True
        found = self._resolve(self._host)
        found.addCallbacks(self._found, self._not_found)
        found.addErrback(self._failed_to_handle)

    def _found(self, address: str) -> None:
        self._looking = False
        self._look_at = self._sweep.now + LOOK_UP_EVERY
        self._use((address, self._port))
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.exchange is not None and self._upstream is not None:
                self._upstream.carry(one.exchange)

    def _not_found(self, failure: Failure) -> None:
        self._looking = False
        self._look_at = self._sweep.now + LOOK_UP_EVERY
        self.log.warn(
            "{site}: the upstream's name {host} cannot be resolved: {reason}",
            site=self._site,
            host=self._host,
            reason=failure.getErrorMessage(),
        )
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.exchange is not None:
                one.exchange.responder = None
                answer_error(one.exchange, 502, "unreachable", 5)

    def _failed_to_handle(self, failure: Failure) -> None:
        self.log.failure("{site}: a look-up's answer", failure=failure, site=self._site)

    def _use(self, address: Address) -> None:
        old = self._upstream
        if old is not None:
            if old.address == address:
                return
            old.close()
        self._upstream = self._make_upstream(address, self._failed, self._ended)

    def _failed(self, address: Address) -> None:
        self._look_up()

    def _ended(self) -> None:
        """Nobody counts the uses of a server that is not ours."""
