"""Which handler answers for which kind of site: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from snickers.config.values import (
    Container,
    Passthrough,
    Process,
    Proxy,
    Redirect,
    Site,
    Static,
)
from snickers.http.checks import Checks
from snickers.http.connections import Connections
from snickers.http.filecache import FileCache
from snickers.http.guard import GuardedHandler, is_guarded
from snickers.http.pages import answer_error
from snickers.http.passwords import Door
from snickers.http.personal import PersonalHandler
from snickers.http.proxy import ProxyHandler, Resolve
from snickers.http.redirect import RedirectHandler
from snickers.http.static import StaticHandler
from snickers.http.upstream import CONNECT_WITHIN, Connector, Upstream
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.engine import Address
from snickers.interfaces.exchange import IExchange, IHandler
from snickers.interfaces.leases import ILeases
from snickers.stream import Sweep, connect

POLICY = "content-security-policy"


@implementer(IHandler)
@frozen
class UnavailableHandler:
    """Answers 503 for a site that is switched off, or was never without a fault."""

    kind: str
    """``"disabled"`` or ``"broken"``."""

    def handle(self, exchange: IExchange) -> None:
        answer_error(exchange, 503, self.kind, 60)

    def close(self) -> None:
        """Nothing is kept."""


@implementer(IHandler)
@frozen
class MisdirectedHandler:
    """Answers 421 for a site whose TLS is no longer opened here, on connections from before.

    A browser asks again on a new connection (RFC 9110 §15.5.20), and that one is carried."""

    def handle(self, exchange: IExchange) -> None:
        answer_error(exchange, 421)

    def close(self) -> None:
        """Nothing is kept."""


def _insecure(kind: Proxy, name: str) -> Deferred[Connector]:
    return fail(RuntimeError("nothing here speaks TLS to servers"))


class HandlerMaker:
    """Makes handlers, with what they need of the world."""

    def __init__(
        self,
        reactor: Any,
        sweep: Sweep,
        leases: ILeases,
        defer: Callable[..., Deferred[Any]],
        resolve: Resolve,
        connections: Connections | None = None,
        most_waiting: Callable[[], int] = lambda: 1000,
        secure: Callable[[Proxy, str], Deferred[Connector]] | None = None,
        alarm: IAlarm | None = None,
    ) -> None:
        """*defer* runs a blocking call in a thread; *resolve*: see `ProxyHandler`;
        *most_waiting* returns how many exchanges may wait for a site's server at once; *secure*
        fires with what connects by TLS to a server of that name; *alarm* is told of proxy sites
        without a server that is well, and of static ones without their folder."""
        self._alarm = alarm
        self._secure = secure or _insecure
        self._reactor = reactor
        self._sweep = sweep
        self._leases = leases
        self._defer = defer
        self._resolve = resolve
        self._connections = connections
        self._most_waiting = most_waiting
        self._cache = FileCache()
        """The memory for small files of all static sites together."""
        self._checks = Checks(defer, sweep)

    def broken(self) -> IHandler:
        """Return what answers for a site that was never without a fault."""
        return UnavailableHandler("broken")

    def make(self, site: Site) -> IHandler:
        """Return what answers for *site*: its own handler, unless something guards it."""
        handler = self._make(site)
        if not is_guarded(site):
            return handler
        door = None
        if site.basic_auth:
            door = Door(site.name, site.basic_auth, self._checks, self._defer, self._sweep)
        return GuardedHandler(handler, site, door)

    def _make(self, site: Site) -> IHandler:
        if not site.enabled:
            return UnavailableHandler("disabled")
        kind = site.kind
        make_upstream = partial(self._upstream, site)
        match kind:
            case Static():
                return StaticHandler(
                    kind,
                    self._defer,
                    self._sweep,
                    self._cache,
                    site.name,
                    self._alarm,
                    self._connections,
                )
            case Redirect():
                return RedirectHandler(kind)
            case Passthrough():
                return MisdirectedHandler()
            case Proxy():
                return ProxyHandler(
                    site.name,
                    kind,
                    make_upstream,
                    self._resolve,
                    self._sweep,
                    partial(self._secure, kind),
                    self._most_waiting,
                    self._alarm,
                )
            case Container() | Process():
                return PersonalHandler(
                    site.name,
                    kind.life.hold,
                    self._leases,
                    make_upstream,
                    self._sweep,
                    self._most_waiting,
                    site.asleep,
                    # The owner's policy replaces that of the waking page, too.
                    all(name.lower() != POLICY for name, _ in site.headers),
                )

    def _upstream(
        self,
        site: Site,
        address: Address,
        failed: Callable[[Address], None],
        ended: Callable[[], None],
        connector: Connector | None = None,
    ) -> Upstream:
        kind = site.kind
        return Upstream(
            self._reactor,
            self._sweep,
            site.name,
            address,
            site.answer_within,
            failed,
            ended,
            connector or connect,
            connections=self._connections,
            connect_within=kind.connect_within if isinstance(kind, Proxy) else CONNECT_WITHIN,
        )
