"""Which handler answers for which kind of site."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.config.values import (
    Asleep,
    Container,
    Passthrough,
    Process,
    Proxy,
    Redirect,
    Site,
    Static,
)
from snickers.http.guard import GuardedHandler
from snickers.http.kinds import HandlerMaker, MisdirectedHandler, UnavailableHandler
from snickers.http.personal import PersonalHandler
from snickers.http.proxy import ProxyHandler
from snickers.http.redirect import RedirectHandler
from snickers.http.static import StaticHandler
from snickers.http.upstream import CONNECT_WITHIN, Upstream
from snickers.interfaces.exchange import IHandler
from snickers.interfaces.leases import Stage
from snickers.sweep import Sweep
from tests.exchange_fake import RecordingExchange
from tests.test_personal import Leases

KINDS: list[tuple[Any, type]] = [
    (Static(root="/nowhere"), StaticHandler),
    (Redirect(to="https://a.example"), RedirectHandler),
    (Proxy(to=("http://127.0.0.1:8000",)), ProxyHandler),
    (Container(image="x"), PersonalHandler),
    (Process(command=("x",)), PersonalHandler),
    (Passthrough("tcp:a.example:443"), MisdirectedHandler),
]


class HandlerMakerTests(SynchronousTestCase):
    """One handler for each kind."""

    def setUp(self) -> None:
        clock = Clock()
        self.leases = Leases()

        def later(*_: Any) -> Deferred[Any]:
            return Deferred()

        self.maker = HandlerMaker(clock, Sweep(clock), self.leases, later, later)

    def test_kinds(self) -> None:
        """Every kind of site that the configuration knows has its handler."""
        for kind, handler in KINDS:
            made = self.maker.make(Site(name="a.example", kind=kind))
            self.assertIsInstance(made, handler)
            verifyObject(IHandler, made)
            made.close()

    def test_switched_off(self) -> None:
        """A site that is switched off says so, whatever its kind."""
        for kind, _ in KINDS:
            made = self.maker.make(evolve(Site(name="a.example", kind=kind), enabled=False))
            exchange = RecordingExchange()
            made.handle(exchange)
            self.assertEqual(exchange.status, 503)
            made.close()

    def test_guarded(self) -> None:
        """A site gets a guard when something was decided about it, and pays nothing otherwise."""
        decisions: list[dict[str, Any]] = [
            {"hsts": 1.0},
            {"headers": (("A", "1"),)},
            {"allow_from": ("192.0.2.0/24",)},
            {"basic_auth": "/nowhere"},
            {"max_body": 0},
        ]
        for decision in decisions:
            for kind, _ in KINDS:
                made = self.maker.make(Site(name="a.example", kind=kind, **decision))
                self.assertIsInstance(made, GuardedHandler)
                made.close()

    def test_asleep(self) -> None:
        """A sleeping server's site answers what its section lists without waking it."""
        site = Site(name="a.example", kind=Container("x"), asleep=(Asleep("/up", 404),))
        self.leases.stage = Stage("asleep")
        exchange = RecordingExchange(target=b"/up")
        self.maker.make(site).handle(exchange)
        self.assertEqual((exchange.status, self.leases.waiters), (404, []))

    def test_policy_of_the_owner(self) -> None:
        """Where the owner's policy replaces the waking page's, that gets no script."""
        for name, scripted in (("Content-Security-policy", False), ("X-Frame-Options", True)):
            site = Site(name="a.example", kind=Container("x"), headers=((name, "x"),))
            guarded: Any = self.maker.make(site)
            self.assertEqual(guarded._inner.scripted, scripted)

    def test_broken(self) -> None:
        """A site that was never without a fault answers 503, without saying what is wrong."""
        exchange = RecordingExchange()
        made = self.maker.broken()
        verifyObject(IHandler, made)
        made.handle(exchange)
        self.assertEqual(exchange.status, 503)
        self.assertIsInstance(made, UnavailableHandler)

    def test_misdirected(self) -> None:
        """Http that reaches a site whose TLS is not opened came too late: 421."""
        exchange = RecordingExchange()
        self.maker.make(Site(name="a.example", kind=Passthrough("tcp:b:1"))).handle(exchange)
        self.assertEqual(exchange.status, 421)

    def test_upstreams(self) -> None:
        """Upstreams wait for as long as their site says."""
        site = Site(name="a.example", kind=KINDS[3][0], answer_within=7.0)
        handler: Any = self.maker.make(site)
        upstream = handler._make_upstream(("127.0.0.1", 80), print, print)
        self.assertIsInstance(upstream, Upstream)
        self.assertEqual((upstream.answer_within, upstream.site), (7.0, "a.example"))
        self.assertEqual(upstream.connect_within, CONNECT_WITHIN)
        site = Site(name="a.example", kind=Proxy(("http://127.0.0.1:1",), connect_within=3.0))
        handler = self.maker.make(site)
        self.assertEqual(handler.servers[0].upstream.connect_within, 3.0)
