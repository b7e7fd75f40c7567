"""Certificates that come together."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from snickers.acme.gathering import GATHER, Gathering


class GatheringTests(SynchronousTestCase):
    def test_together(self) -> None:
        """What comes within a moment is told at its end, in order, each once; what comes later is
        told again."""
        clock = Clock()
        told: list[Sequence[str]] = []
        gathering = Gathering(clock, told.append)
        gathering.add("b.example")
        clock.advance(GATHER / 2)
        gathering.add("a.example")
        gathering.add("b.example")
        self.assertEqual(told, [])
        clock.advance(GATHER / 2)
        self.assertEqual(told, [("a.example", "b.example")])
        clock.advance(60)
        gathering.add("b.example")
        clock.advance(GATHER)
        self.assertEqual(told[1:], [("b.example",)])
        self.assertEqual(clock.getDelayedCalls(), [])
