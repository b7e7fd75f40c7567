"""Tests for snickers.tls.table."""

from __future__ import annotations

from attrs import evolve
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Redirect, Site
from snickers.tls.loader import Loaded
from snickers.tls.table import RETRY_LOOKS, Entry, Row

GOOD = Loaded(
    (("cert.pem", None),),
    SSL.Context(SSL.TLS_SERVER_METHOD),
    ("a.example",),
    not_after=100.0,
    warn_at=80.0,
    renew_at=60.0,
    path="cert.pem",
)
BAD = Loaded((("cert.pem", (1, 2, 3, 4, 5, 6)),), fault="it is broken")


def site(*names, source="files"):
    return Site(names[0], Redirect("https://x.example/"), names[1:], source)


class EntryTests(SynchronousTestCase):
    def setUp(self):
        self.entry = Entry("a.example")

    def test_good(self):
        """What was loaded is known, without its context, and due when it says so."""
        self.entry.take(GOOD, kept=True)
        self.assertTrue(self.entry.known)
        self.assertIsNone(self.entry.last.context)
        self.assertEqual((self.entry.due(59), self.entry.due(60)), (False, True))

    def test_bad_after_good(self):
        """Where the one before is kept, what is known is what is in use, and both are told."""
        self.entry.take(GOOD, kept=True)
        self.entry.take(BAD, kept=True)
        self.assertTrue(self.entry.known)
        self.assertEqual(self.entry.last.not_after, 100.0)
        self.assertEqual(self.entry.last.watched, BAD.watched)
        self.assertEqual(self.entry.words(0), {"it is broken"})

    def test_bad_alone(self):
        """Where nothing is kept, nothing is known."""
        self.entry.take(GOOD, kept=True)
        self.entry.take(BAD, kept=False)
        self.assertFalse(self.entry.known)
        self.assertEqual(self.entry.words(1000), {"it is broken"})

    def test_tried_again(self):
        """A fault is tried again after a number of looks, not at each."""
        self.entry.take(BAD, kept=False)
        due = [self.entry.due(0) for _ in range(RETRY_LOOKS)]
        self.assertEqual(due, [False] * (RETRY_LOOKS - 1) + [True])

    def test_words_of_the_end(self):
        """It is said that it ends, then that it has ended, each in words that do not change."""
        self.entry.take(GOOD, kept=True)
        self.assertEqual(self.entry.words(79), set())
        self.assertEqual(self.entry.words(80), self.entry.words(99))
        self.assertIn("expires at", self.entry.words(99).pop())
        self.assertIn("expired at", self.entry.words(100).pop())


class RowTests(SynchronousTestCase):
    def test_choose(self):
        """A name of the site is itself, a host of its wildcard the wildcard, others the site."""
        row = Row(site("a.example", "b.example", "*.c.example"))
        for asked, name in (
            (b"b.example", "b.example"),
            (b"x.c.example", "*.c.example"),
            (b"x.y.c.example", "a.example"),
            (b"c.example", "a.example"),
            (b"", "a.example"),
            (b"\xff", "a.example"),
        ):
            self.assertEqual(row.choose(asked), name)

    def test_internal(self):
        """The internal authority has one certificate for all names."""
        row = Row(site("a.example", "*.c.example", source="internal"))
        self.assertEqual(row.choose(b"x.c.example"), "a.example")

    def test_change(self):
        """What has changed, and what is no more."""
        row = Row(site("a.example", "b.example"))
        for name in row.names:
            row.entries[name] = Entry(name)
        same = evolve(row.site, enabled=False)
        self.assertEqual(row.change(same), (False, []))
        self.assertEqual(row.change(site("a.example")), (True, ["b.example"]))
        self.assertFalse(row.entries["a.example"].stale)
        self.assertEqual(row.change(site("a.example", source="internal")), (True, []))
        self.assertTrue(row.entries["a.example"].stale)

    def test_words(self):
        """What is wrong with any of its certificates is wrong with the site."""
        row = Row(site("a.example", "b.example"))
        for name, fault in (("a.example", "one"), ("b.example", "two")):
            row.entries[name] = Entry(name)
            row.entries[name].take(evolve(BAD, fault=fault), kept=False)
        self.assertEqual(row.words(0), {"one", "two"})
        self.assertEqual(Row(site("a.example")).words(0), frozenset())
