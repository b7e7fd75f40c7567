"""The live sites of one process, and how a change reaches them."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from snickers.config.values import Passthrough, Settings, Site, Static
from snickers.http.sites import SiteTable
from snickers.interfaces.certificates import ICertificates
from snickers.interfaces.exchange import IHandler
from snickers.interfaces.plane import Change, IPlane
from snickers.livesites import LiveSites, is_opened
from tests.test_running import Certificates, Connection, Handler

A = Site("a.example", Static("/a"), also=("www.a.example",))
B = Site("b.example", Static("/b"))
CARRIED = Site("b.example", Passthrough("tcp:127.0.0.1:1"))


class LiveSitesTests(SynchronousTestCase):
    """Changes, one after the other."""

    def setUp(self) -> None:
        self.sites = SiteTable()
        self.certificates = Certificates()
        verifyObject(ICertificates, self.certificates)
        self.settings: list[Settings] = []
        self.fail_for = ""
        self.live = LiveSites(
            self.sites, self.make, lambda: Handler(None), self.certificates, self.settings.append
        )

    def make(self, site: Site) -> Handler:
        if site.name == self.fail_for:
            raise RuntimeError("a fault")
        handler = Handler(site)
        verifyObject(IHandler, handler)
        return handler

    def apply(self, **change: Any) -> list[Any]:
        """Apply a change; return what that was for certificates."""
        self.certificates.applied.clear()
        self.live.apply(Change(**change))
        return self.certificates.applied

    def visit(self, name: str) -> Connection:
        connection = Connection()
        self.sites.by_name[name].connections.add(connection)
        return connection

    def test_interface(self) -> None:
        """It is a data plane."""
        verifyObject(IPlane, self.live)

    def test_nothing(self) -> None:
        """A change of nothing touches nothing."""
        self.assertEqual(self.apply(), [])
        self.assertEqual((self.sites.by_name, self.settings), ({}, []))

    def test_settings(self) -> None:
        """Settings are taken where there are any."""
        settings = Settings(connections=7)
        self.apply(settings=settings)
        self.assertEqual(self.settings, [settings])

    def test_added(self) -> None:
        """A new site is found by all its names, and gets a certificate."""
        applied = self.apply(added=(A, B))
        self.assertEqual(applied, [[["a.example", "b.example"], [], []]])
        live = self.sites.find(b"www.a.example")
        self.assertIs(live, self.sites.by_name["a.example"])
        self.assertIs(live.site, A)

    def test_changed(self) -> None:
        """A change gives a site another handler; its connections and its counts stay."""
        self.apply(added=(A, B))
        live, other = self.sites.by_name["a.example"], self.sites.by_name["b.example"]
        before, others = live.handler, other.handler
        live.requests = 5
        connection = self.visit("a.example")
        self.assertEqual(self.apply(changed=(evolve(A, hsts=1.0),)), [[[], ["a.example"], []]])
        self.assertTrue(before.closed)
        self.assertIsNot(live.handler, before)
        self.assertIs(self.sites.by_name["a.example"], live)
        self.assertEqual((live.requests, connection.idle_closed), (5, False))
        self.assertEqual((other.handler, others.closed), (others, False))

    def test_removed(self) -> None:
        """A removed site is found no more, and its idle connections end; removing it again, or
        one that never was, is nothing."""
        self.apply(added=(A,))
        connection = self.visit("a.example")
        applied = self.apply(removed=("a.example", "unknown.example"))
        self.assertEqual(applied, [[[], [], ["a.example", "unknown.example"]]])
        self.assertTrue(connection.idle_closed)
        self.assertIsNone(self.sites.find(b"a.example"))
        self.apply(removed=("a.example",))

    def test_broken(self) -> None:
        """A site that was never without a fault is answered for, with a certificate of its own;
        mended, it is a site like another."""
        self.assertEqual(self.apply(broken=("a.example",)), [[["a.example"], [], []]])
        live = self.sites.find(b"a.example")
        self.assertIsNone(live.site)
        self.apply(added=(A,))
        self.assertIs(live.site, A)

    def test_carried(self) -> None:
        """A site whose TLS is opened elsewhere has no certificate here."""
        self.assertEqual((is_opened(B), is_opened(CARRIED)), (True, False))
        self.assertEqual(self.apply(added=(CARRIED,)), [[[], [], ["b.example"]]])
        self.assertEqual(self.apply(changed=(B,)), [[[], ["b.example"], []]])
        connection = self.visit("b.example")
        self.assertEqual(self.apply(changed=(CARRIED,)), [[[], [], ["b.example"]]])
        # What was opened here cannot be carried any more.
        self.assertTrue(connection.idle_closed)

    def test_certificates(self) -> None:
        """Certificates whose files were replaced are read again; nothing else is touched, not even
        the default site, of which such a change does not speak."""
        self.apply(added=(A, B), default="b.example")
        self.assertEqual(self.apply(certificates=("a.example", "c.example")), [])
        self.assertEqual(self.certificates.reread_sites, ["a.example", "c.example"])
        self.assertIs(self.sites.default, self.sites.by_name["b.example"])

    def test_default(self) -> None:
        """The default site is found by any of its names; without one there is none."""
        self.apply(added=(A, B), default="www.a.example")
        self.assertIs(self.sites.default, self.sites.by_name["a.example"])
        self.apply(default="b.example")
        self.assertIs(self.sites.default, self.sites.by_name["b.example"])
        self.apply(default="nobody.example")
        self.assertIsNone(self.sites.default)
        self.apply()
        self.assertIsNone(self.sites.default)

    def test_one_fails(self) -> None:
        """What fails for one site is logged; the others get their change."""
        self.fail_for = "a.example"
        self.apply(added=(A, B), broken=("c.example",), default="b.example")
        self.assertEqual(sorted(self.sites.by_name), ["b.example", "c.example"])
        self.assertIs(self.sites.default, self.sites.by_name["b.example"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
