"""The reference in the page on the configuration."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.options import OPTIONS
from snickers.config.parse import parse
from snickers.config.reference import reference

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text("utf-8")


class ReferenceTests(SynchronousTestCase):
    def test_current(self) -> None:
        """The page ends with the reference as the table of options makes it today."""
        self.assertTrue(PAGE.endswith("\n## All options\n\n" + reference()))

    def test_each_option_once(self) -> None:
        """Every option of the table is described, once for each of its meanings."""
        described = re.findall(r"^\*\*`(.+?)`\*\*", reference(), re.M)
        self.assertEqual(sorted(described), sorted(option.name for option in OPTIONS))

    def test_not_yet(self) -> None:
        """What is not available yet says so."""
        entries = re.findall(r"^\*\*`(.+?)`\*\* .*\n(.*)$", reference(), re.M)
        later = {option.name for option in OPTIONS if option.later}
        self.assertEqual({name for name, doc in entries if "Not available yet." in doc}, later)

    def test_example(self) -> None:
        """The page's full example has no fault."""
        (example,) = re.findall(r"```ini\n(.*?)```", PAGE, re.S)
        configuration = parse([("sites.ini", example)])
        self.assertEqual([str(fault) for fault in configuration.faults], [])
        self.assertEqual(len(configuration.sites), 6)
        self.assertEqual(configuration.sites["alice.example"].kind.memory, 512 * 2**20)
