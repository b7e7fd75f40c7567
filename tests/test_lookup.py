"""Questions to the DNS, asked of a real server on loopback."""

from __future__ import annotations

import dns.resolver
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.asked import Held, NoSuchName, Server, Unanswered
from snickers.acme.caa import Record
from snickers.acme.lookup import Lookup
from tests.dns_fake import FAILS, SILENT, FakeDNS

ZONE = {
    "zone.example": {
        "SOA": ["ns.zone.example. admin.zone.example. 1 2 3 4 5"],
        "NS": ["ns.zone.example.", "NS2.zone.example.", "gone.zone.example."],
    },
    "ns.zone.example": {"A": ["127.0.0.1"]},
    "ns2.zone.example": {"A": ["127.0.0.2"]},
    "both.zone.example": {"A": ["192.0.2.9", "192.0.2.10"], "AAAA": ["2001:db8::1"]},
    "alias.zone.example": {"CNAME": ["both.zone.example."]},
    "empty.zone.example": {"TXT": ['"a" "b"', '"c"']},
    "silent.zone.example": SILENT,
    "fails.zone.example": FAILS,
    "half.zone.example": {"A": ["192.0.2.1"], "AAAA": FAILS},
    "hidden.zone.example": {"AAAA": FAILS},
    "caa.zone.example": {
        "CAA": ['0 issue "b.example"', '128 IODEF "mailto:x@y"', '0 issue "a.example"']
    },
    "caalias.zone.example": {"CNAME": ["caa.zone.example."]},
    "_acme-challenge.zone.example": {"CNAME": ["txt.zone.example."]},
    "txt.zone.example": {"TXT": ['"v"']},
    "loop.zone.example": {"CNAME": ["loop.zone.example."]},
    "lame.example": {
        "SOA": ["ns.zone.example. admin.zone.example. 1 2 3 4 5"],
        "NS": ["gone.zone.example."],
    },
}


class LookupTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dns = FakeDNS(self, ZONE)
        self.server = Server("127.0.0.1", "127.0.0.1", self.dns.port)
        self.lookup = Lookup(self.server, 0.5, self.dns.port)

    def unanswered(self, words: str, call: object, *arguments: object) -> None:
        error = self.assertRaises(Unanswered, call, *arguments)
        self.assertEqual(str(error), words)

    def test_addresses(self) -> None:
        """All addresses, always in the same order, of an alias too; none where there are none."""
        both = ("2001:db8::1", "192.0.2.10", "192.0.2.9")
        self.assertEqual(self.lookup.addresses("both.zone.example"), both)
        self.assertEqual(self.lookup.addresses("alias.zone.example"), both)
        self.assertEqual(self.lookup.addresses("empty.zone.example"), ())

    def test_no_such_name(self) -> None:
        """A name that does not exist is told from one that nobody speaks of."""
        self.assertRaises(NoSuchName, self.lookup.addresses, "no.zone.example")
        self.unanswered(
            "the DNS did not say within 0.5 s what A silent.zone.example has",
            self.lookup.addresses,
            "silent.zone.example",
        )
        self.unanswered(
            "the DNS fails when it is asked for A of fails.zone.example (SERVFAIL or the like)",
            self.lookup.addresses,
            "fails.zone.example",
        )

    def test_half_an_answer(self) -> None:
        """Addresses of one kind do; none of one and silence of the other is no answer."""
        self.assertEqual(self.lookup.addresses("half.zone.example"), ("192.0.2.1",))
        self.assertRaises(Unanswered, self.lookup.addresses, "hidden.zone.example")

    def test_caa(self) -> None:
        """Records sorted, tags in lower case, of an alias too; none of a name that is not there."""
        found = (
            Record(128, "iodef", "mailto:x@y"),
            Record(0, "issue", "a.example"),
            Record(0, "issue", "b.example"),
        )
        self.assertEqual(self.lookup.caa("caa.zone.example"), found)
        self.assertEqual(self.lookup.caa("caalias.zone.example"), found)
        self.assertEqual(self.lookup.caa("both.zone.example"), ())
        self.assertEqual(self.lookup.caa("no.zone.example"), ())
        self.assertRaises(Unanswered, self.lookup.caa, "fails.zone.example")

    def test_texts(self) -> None:
        """TXT records, those of several strings joined."""
        self.assertEqual(self.lookup.texts("empty.zone.example"), ("ab", "c"))
        self.assertEqual(self.lookup.texts("_acme-challenge.zone.example"), ("v",))
        self.assertEqual(self.lookup.texts("no.zone.example"), ())

    def test_holders(self) -> None:
        """The servers of the zone, those that can be found, and the name where an alias leads."""
        servers = (
            Server("ns.zone.example", "127.0.0.1", self.dns.port),
            Server("ns2.zone.example", "127.0.0.2", self.dns.port),
        )
        self.assertEqual(
            self.lookup.holders("_acme-challenge.zone.example"), Held("txt.zone.example", servers)
        )
        self.assertEqual(
            self.lookup.holders("_acme-challenge.no.zone.example"),
            Held("_acme-challenge.no.zone.example", servers),
        )

    def test_no_holders(self) -> None:
        """A zone whose servers cannot be found, an alias without end, and silence."""
        self.unanswered(
            "the servers of the zone lame.example cannot be found",
            self.lookup.holders,
            "_acme-challenge.lame.example",
        )
        self.unanswered(
            "loop.zone.example is an alias of an alias of an alias, without end",
            self.lookup.holders,
            "loop.zone.example",
        )
        self.assertRaises(Unanswered, self.lookup.holders, "silent.zone.example")

    def test_texts_at(self) -> None:
        """One server's own word, or why it has none."""
        own = Server("ns.zone.example", "127.0.0.1", self.dns.port)
        self.assertEqual(self.lookup.texts_at(own, "txt.zone.example"), ("v",))
        self.assertEqual(self.lookup.texts_at(own, "no.zone.example"), ())
        self.unanswered(
            "ns.zone.example (127.0.0.1) answers SERVFAIL",
            self.lookup.texts_at,
            own,
            "fails.zone.example",
        )
        error = self.assertRaises(Unanswered, self.lookup.texts_at, own, "silent.zone.example")
        self.assertIn("ns.zone.example (127.0.0.1) does not answer", str(error))

    def test_no_resolver(self) -> None:
        """A host without a resolver is told so."""

        def none(configure: bool) -> None:
            raise dns.resolver.NoResolverConfiguration

        self.patch(dns.resolver, "Resolver", none)
        self.unanswered(
            "this host has no resolver (/etc/resolv.conf)", Lookup().addresses, "a.example"
        )
