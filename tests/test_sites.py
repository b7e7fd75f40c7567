"""Finding the site that answers to a name."""

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from snickers.config.values import Passthrough, Site
from snickers.http.sites import SiteTable
from snickers.interfaces.exchange import IExchange, IHandler


@implementer(IHandler)
class Handler:
    """Notes that it was closed."""

    closed = 0

    def handle(self, exchange: IExchange) -> None: ...

    def close(self) -> None:
        self.closed += 1


class SiteTableTests(SynchronousTestCase):
    """The table of live sites."""

    def setUp(self) -> None:
        self.table = SiteTable()
        self.handler = Handler()

    def put(self, *names: str):
        return self.table.put(names[0], names, None, self.handler)

    def test_names(self) -> None:
        """A site is found by its name and by those it also has."""
        site = self.put("a.example", "www.a.example")
        self.assertIs(self.table.find(b"a.example"), site)
        self.assertIs(self.table.find(b"www.a.example"), site)
        self.assertIsNone(self.table.find(b"b.example"))
        self.assertIsNone(self.table.find(b""))

    def test_wildcards(self) -> None:
        """A wildcard stands for one label; an exact name goes before it."""
        wild = self.put("*.a.example")
        exact = self.put("www.a.example")
        self.assertIs(self.table.find(b"x.a.example"), wild)
        self.assertIs(self.table.find(b"www.a.example"), exact)
        self.assertIsNone(self.table.find(b"a.example"))
        self.assertIsNone(self.table.find(b"x.y.a.example"))
        self.assertIsNone(self.table.find(b".a.example"))

    def test_owns(self) -> None:
        """A connection opened for a wildcard's name does not speak for a site that has the name
        exactly, nor the other way round."""
        wild = self.put("*.a.example", "a.example")
        exact = self.put("www.a.example")
        for site, names in ((wild, (b"x.a.example", b"a.example")), (exact, (b"www.a.example",))):
            for name in (b"x.a.example", b"a.example", b"www.a.example", b"y.x.a.example"):
                self.assertIs(self.table.owns(site, name), name in names, (site.name, name))

    def test_unopened(self) -> None:
        """A site says whether its TLS is opened, as its configuration does; a broken one's is."""
        kind = Passthrough("tcp:b:1")
        site = self.table.put("a.example", ("a.example",), Site("a.example", kind), self.handler)
        self.assertTrue(site.unopened)
        site.carrier = object()
        self.put("a.example")
        self.assertEqual((site.unopened, site.carrier), (False, None))

    def test_default(self) -> None:
        """Connections without a name go to the default site, if there is one; a name that no
        site has goes nowhere, or it would show a site that was not asked for."""
        self.assertIsNone(self.table.route(b""))
        self.table.default = site = self.put("a.example")
        self.assertIs(self.table.route(b""), site)
        self.assertIsNone(self.table.route(b"b.example"))
        self.assertIsNone(self.table.find(b"b.example"))

    def test_change(self) -> None:
        """A changed site is the same one to its connections, with other names and handler."""
        site = self.put("a.example", "old.example")
        handler = Handler()
        changed = self.table.put("a.example", ("a.example", "new.example"), None, handler)
        self.assertIs(changed, site)
        self.assertEqual((self.handler.closed, handler.closed), (1, 0))
        self.assertIs(site.handler, handler)
        self.assertIsNone(self.table.find(b"old.example"))
        self.assertIs(self.table.find(b"new.example"), site)
        self.assertTrue(self.table.owns(site, b"new.example"))
        self.assertFalse(self.table.owns(site, b"old.example"))

    def test_a_name_that_moves(self) -> None:
        """A name that moves from one site to another is found, in whatever order they change."""
        a, b = self.put("a.example", "x.example"), self.put("b.example")
        self.put("b.example", "x.example")
        self.put("a.example")
        self.assertIs(self.table.find(b"x.example"), b)
        self.assertFalse(self.table.owns(a, b"x.example"))

    def test_remove(self) -> None:
        """A removed site is found no more, not even as the default."""
        self.table.default = site = self.put("a.example", "*.a.example")
        self.assertIs(self.table.remove("a.example"), site)
        for name in (b"a.example", b"x.a.example"):
            self.assertIsNone(self.table.route(name))
            self.assertFalse(self.table.owns(site, name))
        self.assertEqual(self.handler.closed, 1)
        self.assertIsNone(self.table.remove("a.example"))
