"""Whether a path can be turned into another one by somebody who has no right to.

The broker acts on paths as root: a configuration that it reads, a folder that it gives to a
container. If somebody else may write to a folder on the way there, or owns it, that somebody can
put a link, or a configuration, of his own in its place. It must never follow what it has not looked
at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable


def loose(path: str, leaf: bool = False) -> str:
    """Return in words who could put something else in the place of the absolute *path*; ``""``:
    nobody but root and the user of this process. Blocks.

    :param leaf: whether the last part, too, must be theirs; a data folder is its container's.
    """
    users, groups = {0, os.geteuid()}, {0, os.getegid()}
    seen = set()
    for way in (path, os.path.realpath(path)):
        parts = way.split(os.sep)
        for count in range(1, len(parts) + 1):
            part = os.sep.join(parts[:count]) or os.sep
            if part in seen:
                continue
            seen.add(part)
            try:
                found = os.lstat(part)
            except FileNotFoundError:
                break
            except OSError as error:
                return f"{part} cannot be looked at: {error.strerror}"
            words = _loose(part, found, leaf or count < len(parts), users, groups)
            if words:
                return words
    return ""


def _loose(
    path: str, found: os.stat_result, strict: bool, users: Container[int], groups: Container[int]
) -> str:
    link = stat.S_ISLNK(found.st_mode)
    if (strict or link) and found.st_uid not in users:
        return (
            f"{path} belongs to another user ({found.st_uid}); it must be root's: chown root {path}"
        )
    if link or not strict:
        return ""
    # In a folder like /tmp nobody moves what is others'.
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    group = found.st_mode & stat.S_IWGRP and found.st_gid not in groups
    if (found.st_mode & stat.S_IWOTH or group) and not sticky:
        return f"{path} can be written to by others than root: chmod go-w {path}"
    return ""


def unguarded(paths: Iterable[str]) -> str:
    """Return why a configuration that is read from *paths* cannot be trusted, or ``""``. Blocks."""
    words = next(filter(None, (loose(os.path.abspath(path), True) for path in paths)), "")
    if not words:
        return ""
    return f"docker broker = on: what the broker reads must be guarded like root's own: {words}"
