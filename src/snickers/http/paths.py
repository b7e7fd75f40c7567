"""The path of a request as the names of folders and a file.

Pure. A path is decoded once, never again. It must never become a name that leads elsewhere (``..``,
a slash within a name), that is hidden, or that two readers could decode differently.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from attrs import frozen

MAX_SLASHES = 256
"""In a path that is looked at: nobody's folders are as deep, and each costs."""

_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UNREACHABLE = re.compile(rb"[\x00-\x1f\x7f/\\]")


class BadPath(Exception):
    """A path that no file can have; ``status`` is the answer, 400 or 404."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@frozen
class Path:
    """A request's path, read."""

    names: tuple[bytes, ...]
    """Decoded, none empty, none hidden."""
    slash: bool
    """Whether it ends with one: a folder is asked for."""


def read_path(raw: bytes) -> Path:
    """Return what the path of an origin-form target, without its query, asks for.

    Raises `BadPath`: 400 for an encoding that is broken or not UTF-8, 404 for what could be
    somewhere else (dot segments, encoded slashes, backslashes), controls and hidden names;
    ``.well-known`` (RFC 8615) is not hidden. Slashes in a row count as one.
    """
    if raw[:1] != b"/" or _MALFORMED.search(raw):
        raise BadPath(400)
    if raw.count(b"/") > MAX_SLASHES:
        raise BadPath(404)
    names: list[bytes] = []
    for segment in raw.split(b"/"):
        if not segment:
            continue
        name = unquote_to_bytes(segment) if b"%" in segment else segment
        if not is_utf8(name):
            raise BadPath(400)
        if not (reachable(name) or (name == b".well-known" and not names)):
            raise BadPath(404)
        names.append(name)
    return Path(tuple(names), raw.endswith(b"/"))


def reachable(name: bytes) -> bool:
    """Say whether the file *name* of any folder can be asked for: not hidden, nothing odd."""
    return name[:1] != b"." and _UNREACHABLE.search(name) is None


def is_utf8(name: bytes) -> bool:
    """Say whether *name* is text, as the names in addresses are."""
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
