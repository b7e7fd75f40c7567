"""What is written down of sites: one after the other, and what cannot be read costs no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from snickers.containers.notes import Notes


@frozen
class Note:
    words: str


def note(said: Mapping[str, Any]) -> Note:
    return Note(str(said["words"]))


def at_once(act: Any, *arguments: Any) -> Deferred[Any]:
    return maybeDeferred(act, *arguments)


class NotesTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "notes.json"

    def notes(self, in_thread: Any = at_once) -> Notes[Note]:
        return Notes(str(self.path), in_thread, note, "nothing is known", "it ends with us")

    def test_written(self) -> None:
        """What was written is read by another one, and is for nobody else's eyes."""
        self.assertEqual(self.notes().read(), {})
        self.successResultOf(self.notes().write({"a.example": Note("one")}))
        self.assertEqual(self.notes().read(), {"a.example": Note("one")})
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_one_after_the_other(self) -> None:
        """The last word is what the file says, however long a write takes; each is told when it is
        written itself, and not before."""
        writes: list[Deferred[None]] = []
        wrote: list[Any] = []

        def slowly(act: Any, path: str, data: bytes) -> Deferred[None]:
            wrote.append(json.loads(data))
            writes.append(Deferred())
            return writes[-1]

        notes = self.notes(slowly)
        first, last = notes.write({"a.example": Note("one")}), notes.write({})
        self.assertEqual(len(writes), 1)
        self.assertNoResult(first)
        writes[0].callback(None)
        self.successResultOf(first)
        self.assertNoResult(last)
        writes[1].callback(None)
        self.successResultOf(last)
        self.assertEqual([sorted(each) for each in wrote], [["a.example"], []])

    def test_not_written(self) -> None:
        """Where it cannot be written all goes on, and the next is written when it can be."""
        faults = [OSError("full")]

        def full(act: Any, *arguments: Any) -> Deferred[Any]:
            return fail(faults.pop()) if faults else at_once(act, *arguments)

        notes = self.notes(full)
        self.successResultOf(notes.write({"a.example": Note("one")}))
        self.assertEqual(notes.read(), {})
        self.successResultOf(notes.write({"a.example": Note("two")}))
        self.assertEqual(notes.read(), {"a.example": Note("two")})

    def test_torn(self) -> None:
        """What cannot be read says nothing."""
        for said in (b"", b"[]", b"[1]", b"\0", b"\xff", b"3"):
            self.path.write_bytes(said)
            self.assertEqual(self.notes().read(), {})

    def test_one_is_not_understood(self) -> None:
        """What is not understood of one site takes nothing from the others; what a later Snickers
        says besides is left out."""
        said = {"a": {}, "b": 3, "c": {"words": "one"}, "d": {"words": "two", "more": 1}}
        self.path.write_text(json.dumps(said))
        self.assertEqual(self.notes().read(), {"c": Note("one"), "d": Note("two")})
