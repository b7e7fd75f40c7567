"""Sites of type ``proxy``: servers that somebody else runs, at addresses that may be names.

Each request goes to one of them; one that cannot be connected to is tried on the next. It must
never send to a second server what a first one may have read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from snickers.config.values import Proxy
from snickers.http.balance import chooser, fit
from snickers.http.health import Looks
from snickers.http.pages import answer_error
from snickers.http.servers import MakeUpstream, Resolve, Secure, Server
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.exchange import IExchange, IHandler, IResponder
from snickers.stream import Sweep

__all__ = ["ProxyHandler", "Resolve", "Secure"]


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
    """Passes every exchange on to one of the servers."""

    def __init__(
        self,
        site: str,
        kind: Proxy,
        make_upstream: MakeUpstream,
        resolve: Resolve,
        sweep: Sweep,
        secure: Secure,
        most_waiting: Callable[[], int],
        alarm: IAlarm | None = None,
    ) -> None:
        """*resolve* and *secure*: see `snickers.http.servers`; *most_waiting* returns how many
        exchanges may wait for the first address; *alarm* is told when no server is well."""
        self._sweep = sweep
        self._most_waiting = most_waiting
        self._choose = chooser(kind.balance)
        self._waiting: list[_Waiting] = []
        self.servers: list[Server] = []
        several = len(kind.to) > 1
        for to in kind.to:
            self.servers.append(
                Server(
                    site,
                    to,
                    make_upstream,
                    resolve,
                    sweep,
                    secure,
                    self._known,
                    self._again if several else None,
                )
            )
        self._single = None if several else self.servers[0]
        self._looks: Looks | None = None
        if kind.health != "off":
            self._looks = Looks(
                site,
                kind.health,
                kind.health_every,
                kind.health_within,
                self.servers,
                sweep,
                alarm,
            )

    def handle(self, exchange: IExchange) -> None:
        server = self._single
        if server is None:
            self._pass(exchange, ())
            return
        upstream = server.upstream
        if upstream is None:
            self._wait(exchange)
            return
        server.refresh()
        server.uses += 1
        upstream.carry(exchange)

    def _pass(self, exchange: IExchange, tried: tuple[Any, ...]) -> bool:
        """Give *exchange* to a server that is not among *tried*; return whether there is one."""
        servers = self.servers
        for server in servers:
            server.refresh()
        known = [server for server in servers if server.upstream is not None]
        places = fit(known, tried, self._sweep.now)
        if not places:
            if tried:
                return False
            self._wait(exchange)
            return True
        server = known[self._choose(known, places, exchange.peer)]
        return server.carry_on(exchange, tried)

    def _again(self, server: Server, upstream: Any, exchange: Any, tried: tuple[Any, ...]) -> bool:
        """An address could not be connected to: try another one. Nothing was sent yet."""
        tried = (*tried, upstream)
        return server.carry_on(exchange, tried) or self._pass(exchange, (*tried, server))

    def close(self) -> None:
        if self._looks is not None:
            self._looks.close()
        for server in self.servers:
            server.close()

    # Before an address is known

    def _wait(self, exchange: IExchange) -> None:
        if len(self._waiting) >= self._most_waiting():
            answer_error(exchange, 503, "busy", 5)
            return
        waiting = _Waiting(exchange)
        exchange.responder = waiting
        self._waiting.append(waiting)
        for server in self.servers:
            server.look_up()

    def _known(self, server: Server) -> None:
        """A server's addresses were found, or were not."""
        upstream = server.upstream
        if upstream is None and any(other.is_looking for other in self.servers):
            return
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.exchange is None:
                continue
            if upstream is None:
                one.exchange.responder = None
                answer_error(one.exchange, 502, "unreachable", 5)
            else:
                self.handle(one.exchange)
