"""The words of the lifecycle are values, and each kind of them is told apart."""

from __future__ import annotations

from typing import get_args

from attrs import exceptions, fields
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import events as e


class WordsTests(SynchronousTestCase):
    """Events and commands."""

    def test_all_are_named(self):
        """Whatever the module defines is an event or a command, and not both."""
        words = {
            word
            for word in vars(e).values()
            if isinstance(word, type) and word.__module__ == e.__name__
        }
        events, commands = set(get_args(e.Event)), set(get_args(e.Command))
        self.assertEqual(words, events | commands)
        self.assertEqual(events & commands, set())

    def test_values(self):
        """Two that say the same are equal, and nobody can change one."""
        self.assertEqual(e.Stopped(1), e.Stopped(1))
        self.assertNotEqual(e.Stopped(1), e.Stopped(2))
        self.assertNotEqual(e.Stopped(1), e.Cleared(1))
        for word in (e.Stopped(1), e.Stop(1, 2.0)):
            with self.assertRaises(exceptions.FrozenInstanceError):
                word.epoch = 2

    def test_answers_carry_the_epoch(self):
        """Each command that is answered, and each answer, says what was asked."""
        for word in (
            *(e.Start, e.Started, e.StartFailed, e.Stop, e.Stopped, e.StopFailed),
            *(e.Clear, e.Cleared, e.ClearFailed, e.Look, e.Listed),
            *(e.Probe, e.HealthPassed, e.HealthFailed),
        ):
            self.assertEqual(fields(word)[0].name, "epoch")
