"""What is written down beside each copy: a small file of JSON, whole or not there.

What cannot be read is no copy: a note that is torn says nothing. Blocks: for threads.
"""

from __future__ import annotations

import json
import os

from attrs import asdict, frozen

from snickers.containers import durable

END = ".json"


@frozen
class Note:
    """Of one copy."""

    id: str
    time: float
    why: str
    size: int
    digest: str = ""
    """SHA-256 of its file, in hexadecimal digits; empty: there is none."""


def write(folder: str, note: Note) -> None:
    """Write *note* down in *folder*."""
    durable.write(os.path.join(folder, note.id + END), json.dumps(asdict(note)).encode())


def read(folder: str) -> list[Note]:
    """Return what is written down in *folder*, the oldest first."""
    notes = []
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    for name in names:
        if name.endswith(END) and not name.startswith("."):
            try:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    notes.append(Note(**json.load(file)))
            except (ValueError, TypeError):
                continue
            except FileNotFoundError:
                continue
    return sorted(notes, key=lambda note: (note.time, note.id))


def remove(folder: str, id: str) -> None:
    """Remove what is written down of one copy, if there is anything."""
    try:
        os.unlink(os.path.join(folder, id + END))
    except FileNotFoundError:
        pass
