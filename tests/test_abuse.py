"""What is counted of a client, and forgotten."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from snickers.http.abuse import PERIOD, Patience


class PatienceTests(SynchronousTestCase):
    """`Patience`."""

    def setUp(self) -> None:
        self.patience = Patience(100.0)

    def test_controls(self) -> None:
        """As many as allowed, and no more, within a period."""
        says = [self.patience.has_for_control(100.0 + n, 3) for n in range(5)]
        self.assertEqual(says, [True, True, True, False, False])

    def test_apart(self) -> None:
        """Frames and resets are counted apart."""
        for _ in range(3):
            self.assertTrue(self.patience.has_for_control(100.0, 3))
            self.assertTrue(self.patience.has_for_reset(100.0, 3))
        self.assertFalse(self.patience.has_for_reset(100.0, 3))
        self.assertFalse(self.patience.has_for_control(100.0, 3))

    def test_forgotten(self) -> None:
        """After a period all is forgotten; its last moment still counts."""
        self.assertTrue(self.patience.has_for_reset(100.0, 1))
        self.assertFalse(self.patience.has_for_reset(100.0 + PERIOD - 0.5, 1))
        self.assertTrue(self.patience.has_for_reset(100.0 + PERIOD, 1))
        self.assertTrue(self.patience.has_for_control(100.0 + PERIOD, 1))

    def test_limits_may_change(self) -> None:
        """A limit counts as it is now: a reload may raise it."""
        self.assertTrue(self.patience.has_for_control(100.0, 1))
        self.assertFalse(self.patience.has_for_control(100.0, 1))
        self.assertTrue(self.patience.has_for_control(100.0, 3))
