"""The options of ``[snickers]``: their defaults are those of the values."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.option import SETTINGS
from snickers.config.settings_table import settings_options
from snickers.config.values import Settings


class SettingsTableTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """What nobody says is what `Settings` is by itself."""
        for option in settings_options():
            group, _, attribute = option.attribute.partition(".")
            if attribute:
                self.assertEqual(
                    (group, option.value), ("settings", getattr(Settings(), attribute))
                )

    def test_scope(self) -> None:
        """They are all of ``[snickers]``, and none must be given."""
        self.assertEqual({option.scopes for option in settings_options()}, {(SETTINGS,)})
        self.assertNotIn(None, [option.default for option in settings_options()])

    def test_not_yet(self) -> None:
        """There is nothing that this version does not do."""
        self.assertEqual([option.name for option in settings_options() if option.later], [])
