"""What the broker takes from the configuration."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from snickers.brokerage.ledger import Ledger
from snickers.config.parse import parse
from snickers.config.values import Configuration, Container
from snickers.interfaces.engine import Declared

TEXT = """
[snickers]
data = /srv
[alice.example]
type = container
image = lamp
data = /data
volumes = /srv/shared:/shared:ro named:/named
snapshot = /snapshot.sh now
veto = /busy
[bob.example]
type = process
command = serve
[carol.example]
type = container
image = lamp
enabled = off
[dave.example]
type = container
image = lamp
"""


def read(text: str = TEXT) -> Configuration:
    return parse([("/sites.ini", text)])


class LedgerTests(SynchronousTestCase):
    """Only containers that are switched on, only what is declared of them."""

    def setUp(self) -> None:
        self.ledger = Ledger(read())

    def test_declared(self) -> None:
        """A container's declaration is what the lives of the front make of the same section."""
        configuration = read()
        self.assertEqual(configuration.faults, ())
        site = configuration.sites["alice.example"]
        assert isinstance(site.kind, Container)
        declared = self.ledger.declared("alice.example")
        self.assertEqual(declared, Declared("alice.example", site.kind, "/srv/alice.example"))
        for other in ("bob.example", "carol.example", "nobody.example", ""):
            self.assertIsNone(self.ledger.declared(other))
            self.assertEqual(self.ledger.commands(other), ())
            self.assertEqual(self.ledger.sources(other), ())

    def test_commands(self) -> None:
        """Its commands are its snapshot and its veto, where it has them."""
        self.assertEqual(
            self.ledger.commands("alice.example"), [("/snapshot.sh", "now"), ("/busy",)]
        )
        self.assertEqual(self.ledger.commands("dave.example"), [])

    def test_sources(self) -> None:
        """Its paths are its data folder, where it is mounted, and its volumes that are paths."""
        self.assertEqual(
            self.ledger.sources("alice.example"), ["/srv/alice.example", "/srv/shared"]
        )
        self.assertEqual(self.ledger.sources("dave.example"), [])

    def test_sources_of_services(self) -> None:
        """Those of a site of several are its data folder, and all that its services are given."""
        text = (
            "services: {web: {image: x, volumes: ['./www:/w', '${PICTURES}:/p:ro', 'v:/v']}}\n"
            "secrets: {s: {file: /etc/secret}}"
        )
        site = "[eve.example]\ntype = container\nservices = c.yaml\nenv.PICTURES = /srv/pictures\n"
        ledger = Ledger(
            parse([("/sites.ini", "[snickers]\ndata = /srv\n" + site)], {"/c.yaml": text})
        )
        self.assertEqual(
            ledger.sources("eve.example"),
            ["/srv/eve.example", "/srv/eve.example/www", "/srv/pictures", "/etc/secret"],
        )

    def test_renew(self) -> None:
        """What was read last counts; a section at fault stays as it was; all of it does when
        the settings are at fault."""
        self.ledger.renew(read(TEXT.replace("image = lamp\ndata", "image = new\ndata")))
        declared = self.ledger.declared("alice.example")
        assert declared is not None
        self.assertEqual(declared.kind, evolve(declared.kind, image="new"))
        for text in (
            TEXT.replace("[alice.example]", "[alice.example]\nno such = option"),
            TEXT.replace("[snickers]", "[snickers]\nno such = option"),
        ):
            self.ledger.renew(read(text))
            self.assertEqual(self.ledger.declared("alice.example"), declared)
        self.ledger.renew(read("[snickers]\n"))
        self.assertIsNone(self.ledger.declared("alice.example"))
