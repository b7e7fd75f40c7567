"""Tests for snickers.tls.folders."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from snickers.disk import Content, changed
from snickers.tls.credentials import CertificateUnavailable
from snickers.tls.folders import Folders, key_fault, spellings
from tests.pairs import NOW, make_pair, put


class KeyTests(SynchronousTestCase):
    def test_owner_alone(self):
        """A key is used when its owner alone can read it."""
        for mode in (0o600, 0o400, 0o700):
            self.assertEqual(key_fault(Content(b"", mode, 1000), "k"), "")

    def test_others(self):
        """It is refused, with the command that mends it, when anybody else can."""
        for mode in (0o604, 0o640, 0o660, 0o644, 0o777, 0o602):
            self.assertIn("chmod 600 k", key_fault(Content(b"", mode, 1000), "k"))

    def test_of_root(self):
        """A key of root's may be read, not written, by its group: by a server without root."""
        self.assertEqual(key_fault(Content(b"", 0o640, 0), "k"), "")
        for mode in (0o660, 0o644, 0o650, 0o641):
            self.assertIn("chmod 600 k", key_fault(Content(b"", mode, 0), "k"))


class FindTests(SynchronousTestCase):
    def setUp(self):
        self.directory = self.mktemp()
        self.folders = Folders(self.directory)

    def path(self, *parts):
        return os.path.join(self.directory, *parts)

    def test_spellings(self):
        """A wildcard's folder may have an underscore for the star."""
        self.assertEqual(spellings("*.a.example"), ("*.a.example", "_.a.example"))
        self.assertEqual(spellings("a.example"), ("a.example",))

    def test_own_first(self):
        """A name's own folder is found before the site's, and its coming is noticed."""
        os.makedirs(self.path("a.example"))
        found = self.folders.find("a.example", "b.example")
        self.assertEqual(found.folder, self.path("a.example"))
        os.makedirs(self.path("b.example"))
        self.assertTrue(changed(found.watched))
        found = self.folders.find("a.example", "b.example")
        self.assertEqual(found.folder, self.path("b.example"))

    def test_not_a_folder(self):
        """A file of that name is no folder."""
        os.makedirs(self.directory)
        with open(self.path("a.example"), "wb"):
            pass
        self.assertEqual(self.folders.find("a.example", "a.example").folder, "")

    def test_watched(self):
        """Each of the three files is watched, the one that is not there too."""
        put(self.path("a.example"), make_pair("a.example"))
        for file in ("cert.pem", "key.pem", "ca.pem"):
            found = self.folders.find("a.example", "a.example")
            with open(self.path("a.example", file), "ab") as changing:
                changing.write(b"\n")
            self.assertTrue(changed(found.watched))

    def test_broken_chain(self):
        """A chain that cannot be read is a fault, not left out."""
        put(self.path("a.example"), make_pair("a.example"))
        with open(self.path("a.example", "ca.pem"), "wb") as file:
            file.write(b"nothing")
        place = self.folders.find("a.example", "a.example")
        error = self.assertRaises(
            CertificateUnavailable, self.folders.load, place, "a.example", "a.example", NOW
        )
        self.assertIn("ca.pem", str(error))
