"""Tests for snickers.tls.loader."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Redirect, Site
from snickers.tls.authority import Authority
from snickers.tls.disk import changed
from snickers.tls.folders import Folders
from snickers.tls.loader import Loader
from tests.pairs import NOW, make_pair, put, shown


class LoaderTests(SynchronousTestCase):
    def setUp(self):
        self.folder = self.mktemp()
        self.authority = Authority(os.path.join(self.folder, "internal"))
        self.directory = os.path.join(self.folder, "files")
        self.loader = Loader(self.authority, Folders(self.directory), lambda context: None)

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
