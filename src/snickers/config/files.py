"""The files a configuration is read from, and whether they have changed since.

This is the only part of the room that looks at the disk. It may block, so it runs in a thread;
it must never wait for what is no ordinary file, and never raise for what it finds.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable

from attrs import frozen

from snickers.config.wrong import Missing, Wrong

NEAR = os.path.join("etc", "sites.ini")
USUAL = "/etc/snickers/sites.ini"
"""Where the configuration is when nobody says so: the first of the two that exists."""
FROM_ENVIRONMENT = "SNICKERS_CONFIG"
"""The variable that names the configuration where ``--config`` does not."""
WHERE = f"${FROM_ENVIRONMENT}, {NEAR}, {USUAL}"
NEITHER = f"there is neither {NEAR} here nor {USUAL}; give the configuration with --config FILE"

MOST = 64 * 2**20
"""Bytes of one file: 5,000 sites take about one megabyte; more than this is not a text by hand."""

Identity = tuple[int, int, int, int] | None
"""Modification and change time (ns), size, inode: the change time shows a ``chmod`` that made a
file readable. ``None``: it is not there."""


@frozen
class Stamp:
    """What was read, and what it looked like; two stamps that are equal say: nothing changed."""

    root: str
    patterns: tuple[str, ...]
    """The globs of ``include``."""
    others: tuple[str, ...]
    """Single files beside those: ``env file``, ``basic auth``, those of ``answers asleep``."""
    seen: tuple[tuple[str, Identity], ...]

    def current(self) -> Stamp:
        """Return the stamp of the same files and globs as they are now. Blocks."""
        paths = {*listed(self.root), *self.others}
        for pattern in self.patterns:
            paths.update(expanded(pattern))
        seen = tuple((path, _identity(path)) for path in sorted(paths))
        return Stamp(self.root, self.patterns, self.others, seen)


class Shelf:
    """Reads files and keeps what their stamp needs."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.patterns: list[str] = []
        self._others: set[str] = set()
        self._seen: dict[str, Identity] = {}

    def look(self, paths: Iterable[str]) -> None:
        """Note that *paths* belong to what is watched, whether they are read or not."""
        for path in paths:
            if path not in self._seen:
                self._seen[path] = _identity(path)

    def read(self, path: str) -> str:
        """Return the text of the file *path*; raises `Wrong` in words, such as "is a folder"."""
        content = self._read(path, MOST)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise Wrong(f"is not UTF-8: see line {line}; save it as UTF-8") from None
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _read(self, path: str, most: int) -> bytes:
        try:
            # Opening a pipe for reading would wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._seen[path] = _identity(path)
            kind = Missing if isinstance(error, FileNotFoundError) else Wrong
            raise kind(f"cannot be read: {error.strerror}") from None
        try:
            # What was seen is what was opened, before it is read: no change can slip between.
            status = os.fstat(descriptor)
            self._seen[path] = _of(status)
            return _content(descriptor, status.st_mode, most)
        except OSError as error:
            raise Wrong(f"cannot be read: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def read_other(self, path: str) -> str:
        """As `read`, for a file that is no part of the configuration's own files."""
        self._others.add(path)
        return self.read(path)

    def read_content(self, path: str, most: int) -> bytes:
        """Return what is in the file *path*, as it is, *most* bytes at the most; raises `Wrong`."""
        self._others.add(path)
        return self._read(path, most)

    def stamp(self) -> Stamp:
        """Return the stamp of everything looked at and read, as it was then."""
        seen = tuple(sorted(self._seen.items(), key=lambda item: item[0]))
        return Stamp(self.root, tuple(self.patterns), tuple(sorted(self._others)), seen)


def _content(descriptor: int, mode: int, most: int) -> bytes:
    if stat.S_ISDIR(mode):
        raise Wrong("is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise Wrong("is not an ordinary file")
    pieces = []
    size = 0
    while piece := os.read(descriptor, 2**20):
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise Wrong(f"is larger than {_amount(most)}")
    return b"".join(pieces)


def _amount(size: int) -> str:
    return f"{size >> 20} megabytes" if size >= 1 << 20 else f"{size >> 10} kilobytes"


def named(option: str) -> str:
    """Return the configuration's path as *option* or the environment names it, ``""``: neither
    does."""
    return option or os.environ.get(FROM_ENVIRONMENT, "")


def usual(given: str) -> str:
    """Return the configuration's path: the one that was *given*, or the usual places'. Blocks."""
    return given or (NEAR if os.path.exists(NEAR) else USUAL)


def listed(root: str) -> list[str]:
    """Return the files that *root* means: itself, or its ``*.ini`` in name order if a folder."""
    try:
        names = os.listdir(root)
    except OSError:
        return [root]
    chosen = sorted(name for name in names if name.endswith(".ini") and not name.startswith("."))
    return [os.path.join(root, name) for name in chosen]


def expanded(pattern: str) -> list[str]:
    """Return the files that *pattern* means, in name order; a plain path means itself."""
    if not glob.has_magic(pattern):
        return [pattern]
    return sorted(glob.glob(pattern))


def _of(status: os.stat_result) -> Identity:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def _identity(path: str) -> Identity:
    try:
        return _of(os.stat(path))
    except (OSError, ValueError):
        return None
