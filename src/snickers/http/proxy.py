"""Sites of type ``proxy``: servers that somebody else runs, at addresses that may be names.

Each request goes to one of them; one that cannot be connected to is tried on the next. It must
never send to a second server what a first one may have read.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from snickers.config.values import Proxy
from snickers.http.balance import chooser, fit
from snickers.http.health import Check
from snickers.http.pages import answer_error
from snickers.http.servers import MakeUpstream, Resolve, Secure, Server
from snickers.interfaces import IExchange, IHandler, IResponder
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

    log = Logger()

    def __init__(
        self,
        site: str,
        kind: Proxy,
        make_upstream: MakeUpstream,
        resolve: Resolve,
        sweep: Sweep,
        secure: Secure,
        most_waiting: Callable[[], int],
    ) -> None:
        """*resolve* takes a host name, its Deferred fires with a numeric address; *secure*: see
        `snickers.http.servers.Secure`; *most_waiting* returns how many exchanges may wait for the
        first address."""
        self._site = site
        self._sweep = sweep
        self._most_waiting = most_waiting
        self._choose = chooser(kind.balance)
        self._waiting: list[_Waiting] = []
        self._path = kind.health
        self._every = kind.health_every
        self._checks: dict[Server, Check] = {}
        self._closed = False
        self.deadline = inf
        """When the servers are looked at next, by the sweep's clock."""
        self.servers: list[Server] = []
        for to in kind.to:
            self.servers.append(
                Server(site, to, make_upstream, resolve, sweep, secure, self._known)
            )
        self._single = self.servers[0] if len(self.servers) == 1 else None
        for server in self.servers:
            if self._single is None and server.upstream is not None:
                server.upstream.again = self._again
        if self._path:
            self.deadline = sweep.now
            sweep.watch(self)

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
        known = [server for server in servers if server.upstream is not None]
        for server in servers:
            server.refresh()
        places = fit(known, tried, self._sweep.now)
        if not places:
            if tried:
                return False
            self._wait(exchange)
            return True
        server = known[self._choose(known, places, exchange.peer)]
        upstream = server.upstream
        assert upstream is not None
        server.uses += 1
        upstream.carry(exchange, (*tried, server))
        return True

    def _again(self, exchange: Any, tried: tuple[Any, ...]) -> bool:
        """A server could not be connected to: try another one. Nothing was sent yet."""
        return self._pass(exchange, tried)

    def close(self) -> None:
        self._closed = True
        self._sweep.unwatch(self)
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
        """A server's address was found, or was not."""
        upstream = server.upstream
        if upstream is not None and len(self.servers) > 1:
            upstream.again = self._again
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

    # Looking whether they are well

    def expired(self) -> None:
        """Look at all servers; called by the sweep."""
        if self._closed:
            return
        self.deadline = self._sweep.now + self._every
        for server in self.servers:
            upstream = server.upstream
            if upstream is None:
                server.look_up()
                continue
            server.uses += 1
            before = self._checks.get(server)
            if before is not None:
                before.give_up()
            check = Check(self._path, server.authority, self._looked(server))
            self._checks[server] = check
            upstream.carry(check, None)

    def _looked(self, server: Server) -> Callable[[bool, str], None]:
        def done(well: bool, words: str) -> None:
            if well:
                server.rests_until = -inf
            if well == server.well:
                return
            server.well = well
            if well:
                self.log.info("{site}: {to} is well again", site=self._site, to=server.to)
            else:
                self.log.warn(
                    "{site}: {to} is not well: {words}", site=self._site, to=server.to, words=words
                )

        return done
