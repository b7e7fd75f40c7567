"""The file beside a site's folder that says that another server is tried on it: how it was before.

A line for each trial of which nobody has said yet that it ended well: the id of the copy that has
the folder as it was before, the latest first. Whoever finds it after an end of Snickers can tell
the owner. Blocks, for as long as a small file takes. One trial must never end what is said of
another one.
"""

from __future__ import annotations

import os

from snickers.containers import durable
from snickers.disk import keep


def read(path: str) -> tuple[str, ...]:
    """Return the ids that the file *path* has; none where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return tuple(file.read().split())
    except (OSError, ValueError):
        return ()


def add(path: str, id: str) -> None:
    """Have *id* be the latest; survives a loss of power when this returns."""
    durable.write(path, "\n".join([id, *_others(path, id)]).encode())


def drop(path: str, id: str) -> str:
    """Take *id* out, durably; return which is the latest then, ``""``: none is left."""
    others = _others(path, id)
    if others:
        durable.write(path, "\n".join(others).encode())
        return others[0]
    if os.path.lexists(path):
        remove(path)
        keep(os.path.dirname(path))
    return ""


def remove(path: str) -> None:
    """Take all out."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _others(path: str, id: str) -> list[str]:
    return [each for each in read(path) if each != id]
