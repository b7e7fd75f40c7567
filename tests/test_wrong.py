"""What is raised when a value cannot be read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.config.wrong import NotYet, Wrong


class WrongTests(SynchronousTestCase):
    def test_not_yet(self) -> None:
        """What is not available yet is wrong for now, in the words it was given."""
        self.assertIsInstance(NotYet("x"), Wrong)
        self.assertEqual(str(NotYet("not yet")), "not yet")
