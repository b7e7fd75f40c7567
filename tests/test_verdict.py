"""When a newcomer is far worse than the team before it, and when it is only unlucky."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.teams.verdict import CHANCE, LEAST, SPELLS, UNKNOWN, believed, far_worse, improbable


def tail(errors: int, answers: int, share: float) -> float:
    """How probable that many errors or more are, summed term by term."""
    return sum(
        math.comb(answers, n) * share**n * (1 - share) ** (answers - n)
        for n in range(errors, answers + 1)
    )


class VerdictTests(SynchronousTestCase):
    def test_far_worse(self) -> None:
        """A version that breaks a tenth of all answers is found within three hundred of them."""
        self.assertTrue(far_worse((5, 100_000), (30, 300), SPELLS))

    def test_no_worse(self) -> None:
        """The same share as before, or twice that, is not far worse."""
        self.assertFalse(far_worse((500, 10_000), (500, 10_000), 1000))
        self.assertFalse(far_worse((500, 10_000), (1000, 10_000), 1000))
        self.assertFalse(far_worse((0, 10_000), (50, 10_000), 1000))

    def test_few(self) -> None:
        """A few errors, or errors of one moment, condemn nobody, be they all there is."""
        self.assertFalse(far_worse((0, 10_000), (LEAST - 1, LEAST - 1), SPELLS))
        self.assertFalse(far_worse((0, 10_000), (1000, 1000), SPELLS - 1))
        self.assertTrue(far_worse((0, 10_000), (LEAST, LEAST), SPELLS))

    def test_nothing_known_before(self) -> None:
        """Where the one before has answered nothing, more than half of all answers must be
        wrong."""
        self.assertFalse(far_worse((0, 0), (500, 1000), 1000))
        self.assertTrue(far_worse((0, 0), (650, 1000), 1000))
        self.assertEqual(believed(0, 0), UNKNOWN)

    def test_bad_before(self) -> None:
        """One that comes after a bad one is not held to a share it could not reach."""
        self.assertFalse(far_worse((90, 100), (500, 1000), 1000))

    def test_by_chance(self) -> None:
        """Looked at after every answer, a newcomer no worse than the one before stays: none of a
        thousand is taken back."""
        luck = random.Random(2026)
        condemned = 0
        for _ in range(1000):
            errors = 0
            for answers in range(1, 300):
                errors += luck.random() < 0.02
                condemned += far_worse((100, 5000), (errors, answers), errors)
        self.assertEqual(condemned, 0)

    @given(st.integers(1, 60), st.integers(0, 60), st.floats(0.001, 0.9))
    def test_bound(self, answers: int, errors: int, share: float) -> None:
        """What is called improbable is so by the sum of all terms."""
        errors = min(errors, answers)
        if improbable(errors, answers, share):
            self.assertLess(tail(errors, answers, share), CHANCE)

    @given(st.integers(0, 10**6), st.integers(0, 10**6))
    def test_believed(self, errors: int, answers: int) -> None:
        """What is believed of the one before is a share, and never less than what was seen,
        unless that is beyond what is believed of anybody."""
        found = believed(errors, answers)
        self.assertTrue(0 < found <= UNKNOWN)
        if answers and errors <= answers:
            self.assertGreaterEqual(found + 1e-9, min(UNKNOWN, errors / answers))

    @given(st.integers(), st.integers(), st.integers(), st.integers(), st.integers())
    def test_never_fails(self, a: int, b: int, c: int, d: int, spells: int) -> None:
        """Whatever totals a team may tell, there is a verdict."""
        self.assertIn(far_worse((a, b), (c, d), spells), (True, False))
