"""The values of a configuration: equal by what they say, and unchangeable."""

from __future__ import annotations

from attrs.exceptions import FrozenInstanceError
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import (
    Configuration,
    Container,
    Fault,
    Lifecycle,
    Process,
    Redirect,
    Settings,
    Site,
    Where,
)


class ValueTests(SynchronousTestCase):
    def test_equal_wherever_written(self) -> None:
        """Two sites that say the same are equal, whatever line they are on; so are settings."""
        kind = Redirect("https://b.example")
        one = Site("a.example", kind, where=Where("x.ini", 1))
        other = Site("a.example", kind, where=Where("y.ini", 9))
        self.assertEqual(one, other)
        self.assertEqual(hash(one), hash(other))
        self.assertNotEqual(one, Site("a.example", kind, enabled=False))
        self.assertEqual(Settings(where=Where("x", 1)), Settings())

    def test_unchangeable(self) -> None:
        """Neither a value nor the mappings of a configuration can be changed."""
        sites = {"a.example": Site("a.example", Redirect("https://b.example"))}
        configuration = Configuration(Settings(), sites)
        with self.assertRaises(FrozenInstanceError):
            configuration.settings = None
        with self.assertRaises(TypeError):
            configuration.sites["b.example"] = sites["a.example"]
        sites.clear()
        self.assertEqual(list(configuration.sites), ["a.example"])

    def test_faults_in_words(self) -> None:
        """A fault is printed as FILE:LINE: [section] option: message, without what it has not."""
        where = Where("sites.ini", 3)
        self.assertEqual(
            str(Fault(where, "a.example", "port", "no")), "sites.ini:3: [a.example] port: no"
        )
        self.assertEqual(str(Fault(where, "a.example", "", "no")), "sites.ini:3: [a.example] no")
        self.assertEqual(str(Fault(where, "", "", "no")), "sites.ini:3: no")

    def test_faults_on_one_line(self) -> None:
        """Whatever a file contains, a fault is one line and commands no terminal."""
        fault = Fault(Where("a.ini", 1), "a\x1b[2J", "b\u2028c", "ä \n \x00 \u202e")
        self.assertEqual(str(fault), r"a.ini:1: [a\x1b[2J] b\u2028c: ä \n \x00 \u202e")

    def test_names(self) -> None:
        """A site's own name comes first."""
        site = Site("a.example", Redirect("https://b.example"), also=("www.a.example",))
        self.assertEqual(site.names, ("a.example", "www.a.example"))

    def test_life(self) -> None:
        """Only a site with a server of its own has a lifecycle."""
        life = Lifecycle(wake="always")
        self.assertEqual(Site("a.example", Container("x", life=life)).life, life)
        self.assertEqual(Site("a.example", Process(("x",), life=life)).life, life)
        self.assertIsNone(Site("a.example", Redirect("https://b.example")).life)
