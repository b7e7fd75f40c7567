"""The options of sites: their defaults are those of the values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config import ini
from snickers.config.option import LATER_TYPES, TYPES
from snickers.config.options import SCOPES
from snickers.config.reading import Layer
from snickers.config.site_table import site_options
from snickers.config.values import Container, Passthrough, Process, Proxy, Redirect, Site
from snickers.config.values import Static as StaticKind

KINDS = {
    "container": Container(),
    "process": Process(("program",)),
    "static": StaticKind("/srv"),
    "redirect": Redirect("https://a.example"),
    "proxy": Proxy(("http://a.example",)),
    "passthrough": Passthrough("tcp:a.example:443"),
}


class SiteTableTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """What nobody says is what a site of its type is by itself."""
        for option in site_options():
            group, _, attribute = option.attribute.partition(".")
            if option.default is None or not attribute:
                continue
            for scope in set(option.scopes) - set(LATER_TYPES):
                site = Site("a.example", KINDS[scope])
                owner = {"site": site, "kind": site.kind, "life": site.life}[group]
                expected = getattr(owner, attribute)
                if option.name == "certificates":
                    # Without it, what [snickers] says.
                    expected = None
                self.assertEqual(option.value, expected, option.name)

    def test_given(self) -> None:
        """A type, and the one thing without which a site is nothing, must be given; a container
        is one of two things, which its reader sees to."""
        given = sorted((o.name, o.scopes[0]) for o in site_options() if o.default is None)
        self.assertEqual(
            given,
            [
                *(("command", "process"), ("root", "static")),
                *(
                    ("to", "passthrough"),
                    ("to", "proxy"),
                    ("to", "redirect"),
                    ("type", "container"),
                ),
            ],
        )

    def test_not_for_passthrough(self) -> None:
        """Who sees neither requests nor answers decides only where connections come from."""
        passthrough = SCOPES["passthrough"]
        self.assertIsNotNone(passthrough.find("allow from"))
        section = ini.read(
            "[a]\nhsts = 1d\nmax body = 1\nbasic auth = x\nheader.X = 1\nallow from = ::1", "a"
        ).sections[0]
        told = [fault.message for fault in Layer(section).foreign(passthrough)]
        types = "container, process, static, redirect, proxy"
        self.assertEqual(told, [f"not an option of type passthrough, but of {types}"] * 4)

    def test_every_type(self) -> None:
        """Each type has options of its own, and those of every site."""
        for kind in TYPES:
            mine = {option.scopes for option in site_options() if kind in option.scopes}
            self.assertIn((kind,), mine)
            self.assertIn(TYPES, mine)
