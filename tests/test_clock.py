"""Whether a clock is right, by what others' clocks say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.clock import (
    RETRY,
    SELDOM,
    SOON,
    STEP,
    TOLERANCE,
    Clock,
    Observation,
    span,
)

WALL = 1_800_000_000.0


class ObservationTests(SynchronousTestCase):
    def test_ahead(self) -> None:
        """What is for certain: neither the way nor the Date's whole seconds count."""
        for before, after, ahead in (
            (0.0, 0.2, 0.0),
            (0.9, 1.1, 0.0),
            (100.0, 103.0, 99.0),
            (-100.0, -97.0, -97.0),
            (-2.0, 50.0, 0.0),
        ):
            found = Observation("ca", WALL, WALL + before, WALL + after)
            self.assertAlmostEqual(found.ahead, ahead, 3)

    @given(
        offset=st.floats(-1e6, 1e6),
        there=st.floats(0, 30),
        back=st.floats(0, 30),
        moment=st.floats(WALL, WALL + 1e6),
    )
    def test_never_more_than_it_is(
        self, offset: float, there: float, back: float, moment: float
    ) -> None:
        """However long the ways are, it is never said to be further off than it is."""
        ours = moment + offset
        found = Observation("ca", float(int(moment)), ours - there, ours + back)
        self.assertLessEqual(abs(found.ahead), abs(offset) + 0.01)


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.steady = 50.0
        self.off = 0.0
        self.clock = Clock(WALL + self.steady, self.steady)

    def wrong(self, off: float) -> None:
        """Have ours be off from the start."""
        self.off = off
        self.clock = Clock(WALL + self.steady + off, self.steady)

    def tick(self, seconds: float) -> bool:
        """Let time go on."""
        self.steady += seconds
        return self.clock.tick(WALL + self.steady + self.off, self.steady)

    def observe(self, whose: str = "ca.example", of: float = 0.0) -> str:
        """Have a clock that is itself ahead by *of* say what time it is; return the words."""
        true = WALL + self.steady
        found = Observation(whose, float(int(true + of)), true + self.off, true + self.off + 0.1)
        self.clock.observed(found, self.steady)
        return self.clock.words

    def step(self, seconds: float) -> bool:
        """Somebody sets ours."""
        self.off += seconds
        return self.tick(1.0)

    def test_seldom(self) -> None:
        """Others are asked soon after the start, and seldom while all is well."""
        self.assertFalse(self.tick(SOON - 1))
        self.assertTrue(self.tick(1))
        self.assertEqual(self.observe(), "")
        self.assertFalse(self.tick(SELDOM - 1))
        self.assertTrue(self.tick(1))

    def test_nobody_answers(self) -> None:
        """Without an answer they are asked again, and nothing is said."""
        self.tick(SOON)
        self.clock.unanswered(self.steady)
        self.assertFalse(self.tick(RETRY - 1))
        self.assertTrue(self.tick(1))
        self.assertEqual(self.clock.words, "")

    def test_wrong(self) -> None:
        """Two that agree make it wrong, and the words say by how much and what to do."""
        self.wrong(7300.0)
        self.assertEqual(self.observe(), "")
        self.assertFalse(self.tick(SOON - 1))
        self.assertTrue(self.tick(1))
        self.assertEqual(
            self.observe("other.example"),
            "this host's clock is some 2 hours ahead of that of other.example: set it "
            "(`timedatectl set-ntp true` keeps it right), or certificates are renewed at the "
            "wrong time and not trusted",
        )

    def test_behind(self) -> None:
        """It may be behind, too."""
        self.off = -90000.0
        self.observe()
        self.assertIn("some 25 hours behind that of ca.example", self.observe())

    def test_tolerated(self) -> None:
        """What is no matter is never said."""
        for self.off in (TOLERANCE, -TOLERANCE):
            self.assertEqual([self.observe() for _ in range(3)], [""] * 3)

    def test_one_liar(self) -> None:
        """One clock that differs from ours and from the others is wrong itself."""
        for of in (9000.0, 0.0, -86400.0, 0.0, 9000.0, 5000.0, 0.0):
            self.assertEqual(self.observe(of=of), "")

    def test_same_words(self) -> None:
        """The words stay while they are about as true as they were."""
        self.off = 7200.0
        self.observe()
        words = self.observe()
        for self.off in (7300.0, 9000.0, 9000.0, 5000.0, 5000.0):
            self.assertEqual(self.observe("other.example"), words)
        self.off = 86400.0 * 3
        self.observe()
        self.assertIn("3 days ahead", self.observe())

    def test_mended(self) -> None:
        """A clock that was set is asked about at once, and twice; then nothing is wrong."""
        self.wrong(7200.0)
        self.observe()
        words = self.observe()
        self.assertFalse(self.tick(1))
        self.assertTrue(self.step(-7200.0))
        self.assertEqual(self.observe(), words)
        self.assertTrue(self.tick(SOON))
        self.assertEqual(self.observe(), "")
        self.assertFalse(self.tick(SELDOM - 1))

    def test_set(self) -> None:
        """A step is a reason to ask, whichever way; slewing and sleep are none."""
        self.tick(SOON)
        self.observe()
        self.assertTrue(self.step(STEP + 1))
        self.observe()
        self.assertTrue(self.step(-STEP - 1))
        self.observe()
        self.assertFalse(self.step(STEP - 1))
        # A host that sleeps: both clocks go on.
        self.assertFalse(self.tick(SELDOM - 10))

    def test_set_in_between(self) -> None:
        """Two observations with a step of ours between them do not make one fault."""
        self.off = 7200.0
        self.assertEqual(self.observe(), "")
        self.step(-14400.0)
        self.step(14400.0)
        self.assertEqual(self.observe(), "")


class SpanTests(SynchronousTestCase):
    def test_span(self) -> None:
        """About, in the unit that is easiest to grasp."""
        for seconds, words in (
            (45.0, "45 seconds"),
            (301.0, "5 minutes"),
            (7200.0, "2 hours"),
            (86400.0, "24 hours"),
            (86400.0 * 400, "400 days"),
        ):
            self.assertEqual(span(seconds), words)
