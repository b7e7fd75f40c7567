"""``etc/sites.ini``: what a fresh checkout serves, and the next steps written in it."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.parse import parse
from snickers.config.values import Configuration, Container, Process, Redirect, Static

CHECKOUT = Path(__file__).parent.parent
SITES = CHECKOUT / "etc" / "sites.ini"


def uncommented(paragraph: str) -> str:
    """The lines of *paragraph*, which is commented out, as they will be."""
    return re.sub(r"(?m)^# ?", "", paragraph)


class FirstSitesTests(SynchronousTestCase):
    """The file as it is, and with its comments taken away."""

    def load(self) -> Configuration:
        """The file as it is, which has no fault."""
        # Alone: a person's own sites, in sites.d, are none of these.
        configuration = parse([(str(SITES), SITES.read_text())])
        self.assertEqual([str(fault) for fault in configuration.faults], [])
        return configuration

    def test_sites(self) -> None:
        """A folder, a redirect and an application, with certificates of the internal authority."""
        sites = self.load().sites
        kinds = {name: type(site.kind) for name, site in sites.items()}
        self.assertEqual(
            kinds,
            {"hello.localhost": Static, "www.localhost": Redirect, "notes.localhost": Process},
        )
        self.assertEqual({site.certificates for site in sites.values()}, {"internal"})

    def test_own_sites(self) -> None:
        """A person's own sites are included, and are in a folder that git does not look at."""
        self.assertIn("\ninclude = sites.d/*.ini\n", SITES.read_text())
        self.assertIn("/etc/sites.d/", (CHECKOUT / ".gitignore").read_text().splitlines())
        self.assertIn('mkdir -p "$here/etc/sites.d"', (CHECKOUT / "run").read_text())

    def test_unprivileged(self) -> None:
        """Only loopback, only ports that anybody may bind, only folders of the checkout."""
        settings = self.load().settings
        for listen in (*settings.https, *settings.http):
            self.assertEqual(listen.interface, "127.0.0.1")
            self.assertGreaterEqual(listen.port, 1024)
        self.assertEqual(settings.state, str(CHECKOUT / "var" / "state"))
        self.assertEqual(settings.data, str(CHECKOUT / "var" / "data"))

    def test_what_is_named_exists(self) -> None:
        """The folder and the program lie in the checkout."""
        sites = self.load().sites
        self.assertTrue((Path(sites["hello.localhost"].kind.root) / "index.html").is_file())
        self.assertTrue(Path(sites["notes.localhost"].kind.command[0]).is_file())

    def test_next_step(self) -> None:
        """The commented container site is right when its comment signs are taken away."""
        text = SITES.read_text()
        commented = next(p for p in text.split("\n\n") if p.startswith("# [box.localhost]"))
        text = text.replace(commented, uncommented(commented))
        configuration = parse([(str(SITES), text)])
        self.assertEqual([str(fault) for fault in configuration.faults], [])
        self.assertIsInstance(configuration.sites["box.localhost"].kind, Container)

    def test_real_names(self) -> None:
        """So is the block that shows a real host."""
        commented = next(p for p in SITES.read_text().split("\n\n") if p.startswith("# [snickers]"))
        configuration = parse([("/etc/snickers/sites.ini", uncommented(commented))])
        self.assertEqual([str(fault) for fault in configuration.faults], [])
        self.assertEqual(configuration.settings.https[0].port, 443)
        self.assertIn("alice.example", configuration.sites)
