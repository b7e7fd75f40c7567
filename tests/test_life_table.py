"""The options of personal servers: the same for containers and processes but for the checks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.formats import Place
from snickers.config.life_table import life_options
from snickers.config.values import Lifecycle
from snickers.config.wrong import Wrong


class LifeTableTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """What nobody says is what `Lifecycle` is by itself."""
        checked = 0
        for option in life_options():
            group, _, attribute = option.attribute.partition(".")
            if group == "life":
                self.assertEqual(option.value, getattr(Lifecycle(), attribute), option.name)
                checked += 1
        self.assertEqual(checked, 18)

    def test_health(self) -> None:
        """Only a container can be asked for Docker's own check."""
        place = Place("/")
        health = {option.scopes: option for option in life_options() if option.name == "health"}
        self.assertEqual(health["container",].read("docker", place), "docker")
        self.assertRaises(Wrong, health["process",].read, "docker", place)
        self.assertEqual(health["process",].read("/up", place), "/up")
