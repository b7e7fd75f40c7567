"""What is written down beside copies."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from snickers.containers import note
from snickers.containers.note import Note

ONE = Note("one", 2.5, "asked for", 7, "ab")
TWO = Note("two", 1.5, "fell asleep", 9)


class NoteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def test_read(self) -> None:
        """Notes are read as they were written, the oldest first, until they are removed."""
        for each in (ONE, TWO):
            note.write(self.folder, each)
        self.assertEqual(note.read(self.folder), [TWO, ONE])
        note.remove(self.folder, "two")
        note.remove(self.folder, "never-was")
        self.assertEqual(note.read(self.folder), [ONE])

    def test_no_folder(self) -> None:
        """Where nothing was written there is nothing."""
        self.assertEqual(note.read(self.folder + "/none"), [])

    def test_torn(self) -> None:
        """What is no note, or of another form, is left out."""
        note.write(self.folder, ONE)
        for name, text in (("a.json", "{"), ("b.json", "[]"), ("c.json", '{"id": 1, "x": 2}')):
            Path(self.folder, name).write_text(text)
        Path(self.folder, ".one.json.partial").write_text("{}")
        self.assertEqual(note.read(self.folder), [ONE])
