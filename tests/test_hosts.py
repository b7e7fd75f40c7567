"""Host names: one spelling for each, and none that cannot be a host's."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.hosts import host_name, site_name
from snickers.config.wrong import Wrong

FIXED = settings(derandomize=True, deadline=None, max_examples=400)


class HostNameTests(SynchronousTestCase):
    def test_one_spelling(self) -> None:
        """Case, a dot at the end and the alphabet make no difference."""
        for written, name in [
            ("Alice.Example", "alice.example"),
            ("alice.example.", "alice.example"),
            ("Bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("localhost", "localhost"),
            ("r3---sn.example", "r3---sn.example"),
            ("4chan.example", "4chan.example"),
        ]:
            self.assertEqual(host_name(written), name)

    def test_no_host_names(self) -> None:
        """What could not stand in a certificate or a Host field is refused in words."""
        for written in [
            *("", ".", "a..b", ".a", "a b", "a_b.example", "-a.example", "a-.example"),
            *("a/b", "a:1", "a@b", "*", "*.a", "a.*.b", "x" * 64, "a." * 130 + "a"),
            *("127.0.0.1", "1.2.3", "[::1]", "::1", "0x7f.1", "xn--a.example", "xn--.example"),
            *("a\n.example", "a\0", "ⅷ。example。。", "a\u200db.example"),
        ]:
            wrong = self.assertRaises(Wrong, host_name, written)
            self.assertRegex(str(wrong), "is not a host name|is an address")

    def test_wildcards(self) -> None:
        """A star may be a site's first label, and nothing else."""
        self.assertEqual(site_name("*.Alice.Example."), "*.alice.example")
        for written in ["*", "*.", "a.*.example", "*a.example", "*.*.example"]:
            self.assertRaises(Wrong, site_name, written)

    @FIXED
    @given(st.text(max_size=30))
    def test_any_text(self, text: str) -> None:
        """Whatever is written, it is refused or becomes a plain name, which stays as it is."""
        try:
            name = host_name(text)
        except Wrong:
            return
        self.assertTrue(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", name, re.ASCII), name)
        self.assertLessEqual(len(name), 253)
        self.assertEqual(host_name(name), name)
