"""Trials that are written down: they are there after an end of Snickers, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.tried import Trial, Tried, in_the_folder

NAME = "a.example"
TRIAL = Trial("one", True, "copy", True)


def at_once(act: Any, *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(act, *arguments)


class TriedTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.path = in_the_folder(self.mktemp())
        Path(self.path).parent.mkdir()

    def test_kept(self) -> None:
        """The next Snickers knows what goes on, and of what is over nothing."""
        tried = Tried(self.path, at_once)
        self.assertEqual(tried.left(), {})
        self.successResultOf(tried.keep(NAME, TRIAL))
        self.successResultOf(tried.keep("b.example", Trial("two")))
        self.assertEqual(Tried(self.path, at_once).left(), {NAME: TRIAL, "b.example": Trial("two")})
        self.successResultOf(tried.keep("b.example", None))
        self.successResultOf(tried.keep("nobody", None))
        self.assertEqual(Tried(self.path, at_once).left(), {NAME: TRIAL})

    def test_torn(self) -> None:
        """What cannot be read says nothing."""
        for said in ("{", "[]", '{"a": {}}', '{"a": 3}'):
            Path(self.path).write_text(said)
            self.assertEqual(Tried(self.path, at_once).left(), {})
