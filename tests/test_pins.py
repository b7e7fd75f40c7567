"""Pins: what they mean, how long they hold, and that they are there after a restart."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.defer import fail, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from snickers.config.values import Container, Process
from snickers.containers.engine import fingerprint
from snickers.containers.pins import Pin, Pins, in_the_folder
from snickers.interfaces.engine import Declared

FILED = Declared("a.example", Container("lamp:7"), "/d/a.example")
PIN = Pin("lamp:8", "lamp:7")


def filed(**kind: Any) -> Declared:
    return evolve(FILED, kind=Container(**{"image": "lamp:7", **kind}))


class PinTests(SynchronousTestCase):
    """One pin."""

    def test_holds(self) -> None:
        """It holds while the file names the image that it named then, whatever else changes."""
        self.assertTrue(PIN.holds(FILED))
        self.assertTrue(PIN.holds(filed(memory=1 << 20)))
        self.assertFalse(PIN.holds(filed(image="lamp:9")))
        self.assertFalse(PIN.holds(evolve(FILED, kind=Process(("serve",)))))

    def test_refused(self) -> None:
        """One that was made since the section had failed ends with every change of that."""
        pin = evolve(PIN, refused=fingerprint(FILED))
        self.assertTrue(pin.holds(FILED))
        self.assertFalse(pin.holds(filed(memory=1 << 20)))

    def test_applied(self) -> None:
        """The image is another one, all else is as the file says."""
        pin = evolve(PIN, exact="sha256:8")
        applied = pin.applied(filed(memory=1 << 20))
        self.assertEqual(applied.kind, Container("lamp:8", memory=1 << 20))
        self.assertEqual(applied.exact, "sha256:8")

    def test_words(self) -> None:
        """Its owner is told what is used, what the file says, and what to do."""
        self.assertEqual(
            PIN.words,
            "lamp:8 is used, as you said, and not image = lamp:7 of the file: write it there, too.",
        )
        for pin in (
            Pin("lamp:6", "lamp:7", "sha256:6", "fp"),
            Pin("lamp:7", "lamp:7", "sha256:6"),
        ):
            self.assertIn("snickers update", pin.words)
            self.assertIn("lamp:7", pin.words)


class PinsTests(SynchronousTestCase):
    """All of them."""

    def setUp(self) -> None:
        self.state = self.mktemp()
        os.mkdir(self.state)
        self.path = in_the_folder(self.state)
        self.waiting: list[Any] = []

    def pins(self) -> Pins:
        return Pins(self.path, lambda act, *arguments: maybeDeferred(act, *arguments))

    def test_kept(self) -> None:
        """What was kept is there for another Snickers, until it is given up."""
        pins = self.pins()
        self.assertIsNone(pins.of("a.example"))
        self.successResultOf(pins.keep("a.example", PIN))
        self.successResultOf(pins.keep("b.example", evolve(PIN, exact="x", refused="y")))
        self.assertEqual((pins.of("a.example"), self.pins().of("a.example")), (PIN, PIN))
        self.successResultOf(pins.keep("a.example", None))
        self.assertIsNone(self.pins().of("a.example"))
        self.assertEqual(self.pins().of("b.example"), evolve(PIN, exact="x", refused="y"))
        self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)

    def test_forgotten(self) -> None:
        """What another Snickers has written is read when what was known is forgotten."""
        pins = self.pins()
        self.assertIsNone(pins.of("a.example"))
        self.pins().keep("a.example", PIN)
        self.assertIsNone(pins.of("a.example"))
        pins.forget()
        self.assertEqual(pins.of("a.example"), PIN)

    def test_not_written(self) -> None:
        """A disk that is full costs the restart, and nothing before that."""
        pins = Pins(self.path, lambda *_: fail(OSError("full")))
        self.successResultOf(pins.keep("a.example", PIN))
        self.assertEqual(pins.of("a.example"), PIN)

    def test_of_a_later_one(self) -> None:
        """What a later Snickers writes besides takes no pin from this one."""
        said = {"a.example": {"image": "lamp:8", "instead": "lamp:7", "more": True}}
        Path(self.path).write_text(json.dumps(said))
        self.assertEqual(self.pins().of("a.example"), PIN)

    def test_nonsense(self) -> None:
        """A file that makes no sense pins nothing, and is written anew."""
        for text in ("", "[]", "[1]", '{"a.example": 3}', '{"a.example": {"what": 1}}', "\0"):
            Path(self.path).write_text(text)
            pins = self.pins()
            self.assertIsNone(pins.of("a.example"))
            pins.keep("a.example", PIN)
            self.assertEqual(self.pins().of("a.example"), PIN)
