"""Tests for snickers.tls.loader."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Redirect, Site
from snickers.disk import changed
from snickers.tls.authority import Authority
from snickers.tls.folders import Folders
from snickers.tls.loader import Loader
from snickers.tls.ordered import Ordered
from tests.pairs import NOW, make_pair, put, put_ordered, shown


class LoaderTests(SynchronousTestCase):
    def setUp(self):
        self.folder = self.mktemp()
        self.authority = Authority(os.path.join(self.folder, "internal"))
        self.directory = os.path.join(self.folder, "files")
        self.ordered = Ordered(os.path.join(self.folder, "ordered"))
        self.loader = Loader(
            self.authority, Folders(self.directory), self.ordered, lambda context: None
        )

    def load(self, *names, source="files"):
        site = Site(names[0], Redirect("https://x.example/"), names[1:], source)
        return self.loader.load(site, names[0], NOW)

    def test_files(self):
        """From a folder: a context, and when its owner should hear of its end."""
        pair = make_pair("a.example")
        put(os.path.join(self.directory, "a.example"), pair)
        loaded = self.load("a.example")
        self.assertEqual(shown(loaded.context), [pair.certificate])
        self.assertLess(loaded.warn_at, loaded.not_after)
        self.assertEqual((loaded.fault, loaded.names), ("", ("a.example",)))

    def test_internal(self):
        """From the authority: a context for all names, and when to renew it."""
        loaded = self.load("a.example", "b.example", source="internal")
        self.assertEqual(loaded.names, ("a.example", "b.example"))
        self.assertLess(loaded.renew_at, loaded.not_after)
        self.assertGreater(loaded.warn_at, loaded.not_after)

    def test_fault(self):
        """What fails comes back in words with the files that may mend it."""
        loaded = self.load("a.example")
        self.assertIsNone(loaded.context)
        self.assertIn("no such folder", loaded.fault)
        os.makedirs(os.path.join(self.directory, "a.example"))
        self.assertTrue(changed(loaded.watched))

    def test_root_watched(self):
        """A root that is taken away is noticed, for its certificates are to follow."""
        loaded = self.load("a.example", source="internal")
        self.assertFalse(changed(loaded.watched))
        os.unlink(self.authority.secret)
        self.assertTrue(changed(loaded.watched))

    def test_broken_root(self):
        """A root that cannot be read is a fault in words."""
        self.load("a.example", source="internal")
        with open(self.authority.secret, "wb"):
            pass
        self.assertIn("backup", self.load("b.example", source="internal").fault)

    def test_whose(self):
        """What is loaded says where it comes from, who has signed it, and if it is the same."""
        root = make_pair(common="A root")
        pair = make_pair("a.example", issuer=root)
        put(os.path.join(self.directory, "a.example"), pair)
        first, second = self.load("a.example"), self.load("a.example")
        self.assertEqual((first.source, first.issuer), ("files", "A root"))
        self.assertEqual(first.mark, second.mark)
        put(os.path.join(self.directory, "a.example"), make_pair("a.example", issuer=root))
        self.assertNotEqual(self.load("a.example").mark, first.mark)
        internal = self.load("b.example", source="internal")
        self.assertEqual(internal.source, "internal")
        self.assertTrue(internal.issuer.startswith("Snickers internal authority "))

    def test_acme(self):
        """What was ordered is shown, as long as it is valid."""
        pair = make_pair("a.example")
        put_ordered(self.ordered.folder, pair)
        loaded = self.load("a.example", source="acme")
        self.assertEqual(shown(loaded.context), [pair.certificate])
        self.assertEqual((loaded.source, loaded.stand_in, loaded.fault), ("acme", False, ""))
        self.assertEqual(loaded.renew_at, loaded.not_after)

    def test_acme_not_there(self):
        """Until there is one the internal authority's stands in, and words say so."""
        loaded = self.load("a.example", "b.example", source="acme")
        self.assertEqual(loaded.source, "internal (acme: none yet)")
        self.assertTrue(loaded.stand_in)
        self.assertEqual((loaded.names, loaded.fault), (("a.example", "b.example"), ""))
        self.assertIsNotNone(loaded.context)
        put_ordered(self.ordered.folder, make_pair("a.example"))
        self.assertTrue(changed(loaded.watched))

    def test_acme_broken(self):
        """The same with one that cannot be used, which is told of."""
        path = put_ordered(self.ordered.folder, make_pair("a.example"), mode=0o604)
        loaded = self.load("a.example", source="acme")
        self.assertEqual((loaded.source, loaded.stand_in), ("internal (acme: at fault)", True))
        self.assertIn(f"chmod 600 {path}", loaded.fault)

    def test_acme_not_taken(self):
        """Or that OpenSSL does not take."""
        key = rsa.generate_private_key(65537, 1024)
        put_ordered(self.ordered.folder, make_pair("a.example", key=key))
        loaded = self.load("a.example", source="acme")
        self.assertEqual(loaded.source, "internal (acme: at fault)")
        self.assertIn("OpenSSL does not take", loaded.fault)

    def test_acme_nothing_at_all(self):
        """Where not even the internal authority works, words of both come back."""
        put_ordered(self.ordered.folder, make_pair("a.example"), mode=0o604)
        self.load("a.example", source="internal")
        with open(self.authority.secret, "wb"):
            pass
        loaded = self.load("b.example", source="acme")
        self.assertIsNone(loaded.context)
        self.assertIn("backup", loaded.fault)

    def test_renew(self):
        """Only the internal authority's are made here."""
        site = Site("a.example", Redirect("https://x.example/"), (), "acme")
        self.loader.renew(site, NOW)
        self.assertFalse(os.path.exists(self.authority.folder))
