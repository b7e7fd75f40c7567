"""The fuzzer's targets, over what it begins from and bytes that Hypothesis finds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.targets import TARGETS

FIXED = settings(derandomize=True, deadline=None, max_examples=60)


class TargetTests(SynchronousTestCase):
    """What is true of every reader whatever comes."""

    def test_seeds(self) -> None:
        """Of well-formed bytes, and of each of their beginnings."""
        for target, seeds in TARGETS.values():
            for seed in seeds:
                for size in range(len(seed) + 1):
                    target(seed[:size])

    @FIXED
    @given(st.sampled_from(sorted(TARGETS)), st.data())
    def test_changed(self, name: str, data: st.DataObject) -> None:
        """Of well-formed bytes of which some were replaced."""
        target, seeds = TARGETS[name]
        seed = data.draw(st.sampled_from(seeds))
        start = data.draw(st.integers(0, len(seed)))
        end = data.draw(st.integers(start, len(seed)))
        target(seed[:start] + data.draw(st.binary(max_size=20)) + seed[end:])

    @FIXED
    @given(st.sampled_from(sorted(TARGETS)), st.binary(max_size=200))
    def test_any(self, name: str, data: bytes) -> None:
        """Of any bytes."""
        TARGETS[name][0](data)
