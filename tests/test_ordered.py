"""Tests for snickers.tls.ordered."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from snickers.disk import changed
from snickers.tls.ordered import Found, Ordered, file_name
from tests.pairs import DAY, NOW, Pair, make_pair, put_ordered


class OrderedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.ordered = Ordered(self.folder)

    def find(self, name: str = "a.example", site: str = "a.example") -> Found:
        return self.ordered.find(site, name, NOW)

    def found(self, name: str = "a.example") -> Pair | None:
        credentials = self.find(name).credentials
        return None if credentials is None else credentials.chain[0]

    def test_names(self) -> None:
        """A wildcard has a file that a shell leaves alone."""
        self.assertEqual(file_name("a.example"), "a.example")
        self.assertEqual(file_name("*.a.example"), "_wildcard.a.example")
        self.assertEqual(
            self.ordered.path("*.a.example"), os.path.join(self.folder, "_wildcard.a.example.pem")
        )

    def test_nothing(self) -> None:
        """Nothing there yet is nothing wrong; that something comes is noticed."""
        found = self.find()
        self.assertEqual((found.credentials, found.lack, found.fault), (None, "none yet", ""))
        put_ordered(self.folder, make_pair("a.example"))
        self.assertTrue(changed(found.watched))

    def test_there(self) -> None:
        """The site's certificate with what leads to a root; the key came first in the file."""
        middle = make_pair(common="middle", issuer=make_pair(common="root"))
        pair = make_pair("a.example", "b.example", issuer=middle)
        path = put_ordered(self.folder, pair, chain=middle.pem)
        for name in ("a.example", "b.example"):
            found = self.find(name)
            self.assertEqual((found.path, found.lack, found.fault), (path, "", ""))
            self.assertEqual(found.credentials.chain, (pair.certificate, middle.certificate))
            self.assertFalse(changed(found.watched))

    def test_wildcard(self) -> None:
        """One for a wildcard is one for its hosts."""
        put_ordered(self.folder, make_pair("*.x.example", "x.example"), "_wildcard.x.example")
        for name in ("*.x.example", "x.example"):
            self.assertIsNotNone(self.find(name, "*.x.example").credentials)

    def test_not_covered(self) -> None:
        """A name that was added later is not there yet, which is nothing wrong either."""
        put_ordered(self.folder, make_pair("a.example"))
        found = self.find("b.example")
        self.assertEqual(
            (found.credentials, found.lack, found.fault), (None, "not for b.example yet", "")
        )

    def test_expired(self) -> None:
        """One that has ended is not shown; its owner hears where to look."""
        path = put_ordered(self.folder, make_pair("a.example", begin=NOW - 90 * DAY, end=NOW))
        found = self.find()
        self.assertEqual((found.credentials, found.lack), (None, "expired"))
        for words in (path, "2027-01-15", "snickers certs"):
            self.assertIn(words, found.fault)

    def test_clock(self) -> None:
        """One of the future says that the clock is wrong."""
        put_ordered(self.folder, make_pair("a.example", begin=NOW + DAY))
        found = self.find()
        self.assertEqual((found.credentials, found.lack), (None, "not valid yet"))
        self.assertIn("set the clock", found.fault)

    def test_readable_by_others(self) -> None:
        """A key that others could read is not used, and the line to type is told."""
        path = put_ordered(self.folder, make_pair("a.example"), mode=0o644)
        found = self.find()
        self.assertEqual((found.credentials, found.lack), (None, "at fault"))
        self.assertIn(f"chmod 600 {path}", found.fault)
        os.chmod(path, 0o600)
        self.assertTrue(changed(found.watched))
        self.assertIsNotNone(self.find().credentials)

    def test_broken(self) -> None:
        """A file that cannot be used is told of with what makes a new one."""
        pair = make_pair("a.example")
        for data in (b"", pair.key_pem, pair.pem, make_pair().key_pem + pair.pem, b"\0" * 2000):
            path = put_ordered(self.folder, pair)
            with open(path, "wb") as file:
                file.write(data)
            found = self.find()
            self.assertEqual((found.credentials, found.lack), (None, "at fault"))
            self.assertIn(path, found.fault)
            self.assertIn("snickers renew a.example", found.fault)

    def test_no_file(self) -> None:
        """So is what is no file at all, or cannot be read."""
        os.makedirs(self.ordered.path("a.example"))
        found = self.find()
        self.assertEqual(found.lack, "at fault")
        self.assertIn("cannot be read: Is a directory", found.fault)

    def test_previous(self) -> None:
        """What was there before is used where the newer one cannot be, or was taken away."""
        old = make_pair("a.example")
        put_ordered(self.folder, old, previous=True)
        self.assertEqual(self.found(), old.certificate)
        self.assertEqual(self.find().fault, "")
        path = put_ordered(self.folder, make_pair("a.example"))
        self.assertNotEqual(self.found(), old.certificate)
        with open(path, "wb"):
            pass
        found = self.find()
        self.assertEqual(found.credentials.chain[0], old.certificate)
        self.assertIn(path, found.fault)

    def test_previous_unfit(self) -> None:
        """What was there before is no answer when it has ended, is for others, or is broken."""
        for pair in (make_pair("a.example", begin=NOW - 9 * DAY, end=NOW), make_pair("b.example")):
            put_ordered(self.folder, pair, previous=True)
            self.assertEqual(self.find().lack, "none yet")
        with open(self.ordered.previous("a.example"), "wb"):
            pass
        self.assertEqual(self.find().lack, "none yet")
