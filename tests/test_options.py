"""The table of options as a whole: complete, unambiguous, and true."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.formats import Place
from snickers.config.option import SETTINGS, TYPES
from snickers.config.options import OPTIONS, SCOPES, SITE_OPTIONS, types_of
from snickers.config.values import Container, Lifecycle, Process, Proxy, Redirect, Settings, Site
from snickers.config.values import Static as StaticKind
from snickers.config.wrong import NotYet

HERE = Place("/etc/snickers", "alice.example", "/data/alice.example")
PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text("utf-8")
NOT_OPTIONS = {
    Settings: {"where"},
    Site: {"name", "kind", "data", "headers", "where"},
    Container: {"composition", "environment", "life"},
    Process: {"environment", "life"},
    Lifecycle: set(),
    StaticKind: set(),
    Redirect: set(),
    Proxy: set(),
}
"""The fields that no option of one value fills."""


class TableTests(SynchronousTestCase):
    def test_one_meaning(self) -> None:
        """No type of site has two options of one name, and every scope exists."""
        for scope in SCOPES:
            counted = Counter(option.name for option in OPTIONS if scope in option.scopes)
            self.assertEqual([name for name, count in counted.items() if count > 1], [])
        self.assertEqual({scope for o in OPTIONS for scope in o.scopes}, {SETTINGS, *TYPES})

    def test_examples(self) -> None:
        """Every example is read, unless this version cannot do it yet."""
        for option in OPTIONS:
            text = option.example.partition("=")[2].strip() if option.prefix else option.example
            try:
                option.read(text, HERE)
            except NotYet:
                self.assertTrue(option.later, option.name)

    def test_documented(self) -> None:
        """The page on the configuration names every option with its default and its example."""
        for option in OPTIONS:
            self.assertIn(f"**`{option.name}`**", PAGE)
            self.assertIn(option.doc, PAGE)
            self.assertIn(option.example, PAGE)
            if option.default:
                self.assertIn(f"default: `{option.default}`", PAGE)

    def test_words(self) -> None:
        """Names are lower-case words, and what is said of an option is a sentence."""
        for option in OPTIONS:
            self.assertRegex(option.name, r"\A[a-z]+2?(( [a-z]+)*|\.NAME)\Z")
            self.assertRegex(option.doc, r"(?s)\A[`A-Z].*\.\Z")

    def test_every_value_has_an_option(self) -> None:
        """Every field of the configuration's values is filled by exactly one option."""
        groups = {
            Settings: (SETTINGS, "settings"),
            Site: ("container", "site"),
            Lifecycle: ("container", "life"),
            Container: ("container", "kind"),
            Process: ("process", "kind"),
            StaticKind: ("static", "kind"),
            Redirect: ("redirect", "kind"),
            Proxy: ("proxy", "kind"),
        }
        for value, (scope, group) in groups.items():
            fields = sorted({f.name for f in value.__attrs_attrs__} - NOT_OPTIONS[value])
            targets = sorted(a for _, g, a in SCOPES[scope].targets if g == group)
            self.assertEqual(targets, fields, value)

    def test_types_of(self) -> None:
        """The types that have an option are found by any name of it."""
        self.assertEqual(types_of("env.Title"), ("container", "process"))
        self.assertEqual(types_of("root"), ("static",))
        self.assertEqual(types_of("enabled"), TYPES)
        self.assertEqual(types_of("reload every"), ())
        self.assertIn("root", SITE_OPTIONS)
        self.assertNotIn("reload every", SITE_OPTIONS)
