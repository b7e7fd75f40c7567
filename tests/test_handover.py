"""What one team tells the other in a file."""

from __future__ import annotations

import json
import os
import stat
from math import inf

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from snickers.duty.handover import FRESH, Handover, take, write
from snickers.interfaces.handed import Kept

NAMES = st.sampled_from(["a.example", "b.example", "ü.example"])
NUMBERS = st.integers(0, 2**40)
SECONDS = st.floats(0, 1e9)
KEPT = st.builds(
    Kept,
    SECONDS,
    NUMBERS,
    st.one_of(SECONDS, st.just(inf)),
    st.booleans(),
    st.booleans(),
    st.text(),
    st.dictionaries(st.sampled_from(["ready", "failed"]), NUMBERS),
    SECONDS,
    st.text(),
    st.booleans(),
    st.text(),
    st.booleans(),
)
COUNTS = st.dictionaries(st.sampled_from(["requests", "seconds", "code 200"]), SECONDS)
HANDOVERS = st.builds(
    Handover,
    st.floats(0, 2e9),
    NUMBERS,
    st.dictionaries(NAMES, KEPT),
    st.dictionaries(NAMES, COUNTS),
    st.dictionaries(NUMBERS, st.dictionaries(NAMES, COUNTS)),
    st.lists(st.tuples(st.text(), NAMES, st.text())).map(tuple),
)


class HandoverTests(SynchronousTestCase):
    """Written once, read once."""

    def setUp(self) -> None:
        self.path = os.path.join(os.path.abspath(self.mktemp()), "teams", "handover.json")

    @given(HANDOVERS)
    def test_round(self, handover: Handover) -> None:
        """What is read is what was written; it is read once."""
        write(self.path, handover)
        self.assertEqual(take(self.path, handover.time), handover)
        self.assertEqual(take(self.path, handover.time), None)

    def test_owners(self) -> None:
        """The file is its owner's alone."""
        write(self.path, Handover(5.0))
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_old(self) -> None:
        """What is too old, or of a time that is to come, does not hold, and is removed too."""
        for time in (100.0 - FRESH - 0.1, 101.0):
            write(self.path, Handover(time))
            self.assertEqual(take(self.path, 100.0), None)
            self.assertFalse(os.path.exists(self.path))

    def put(self, text: str) -> None:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "w") as file:
            file.write(text)

    def test_other_versions(self) -> None:
        """What another version leaves out is not known, what it has more is not looked at."""
        self.put(
            json.dumps({"time": 5, "new": 1, "lives": {"a.example": {"idle": 3, "new": [1, 2]}}})
        )
        found = take(self.path, 6.0)
        self.assertEqual(found, Handover(5.0, lives={"a.example": Kept(3.0)}))

    def test_nonsense(self) -> None:
        """What is no handover is none, and is in nobody's way."""
        for text in ("", "[", "[]", "{}", '{"time": "x"}', '{"time": 5, "lives": 3}', "[" * 10**5):
            self.put(text)
            self.assertEqual(take(self.path, 5.0), None)
            self.assertFalse(os.path.exists(self.path))

    def test_nothing(self) -> None:
        """Nothing was handed over."""
        self.assertEqual(take(self.path, 5.0), None)
