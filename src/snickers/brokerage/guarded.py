"""Whether a path can be turned into another one by somebody who has no right to.

The broker acts on paths as root: a configuration that it reads, a folder that it gives to a
container. If somebody else may write to a folder on the way there, or owns it, that somebody can
put a link, or a configuration, of his own in its place. It must never follow what it has not looked
at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

MOST_LINKS = 40
"""As many as Linux follows."""


def loose(path: str, leaf: bool = False) -> str:
    """Return in words who could put something else in the place of the absolute *path*; ``""``:
    nobody but root and the user of this process. Blocks.

    :param leaf: whether the last part, too, must be theirs; a data folder is its container's.
    """
    users, groups = {0, os.geteuid()}, {0, os.getegid()}
    ways = [path]
    for way in ways:
        if len(ways) > MOST_LINKS:
            return f"{path} leads through too many links"
        parts = way.split(os.sep)
        shared = False
        for count in range(1, len(parts) + 1):
            part = os.sep.join(parts[:count]) or os.sep
            try:
                found = os.lstat(part)
            except FileNotFoundError:
                if shared:
                    return f"{part} does not exist, and anybody could make it; make it as root"
                break
            except OSError as error:
                return f"{part} cannot be looked at: {error.strerror}"
            # What is somebody's in a shared folder, he can exchange there.
            strict = shared or leaf or count < len(parts)
            link = stat.S_ISLNK(found.st_mode)
            if (strict or link) and found.st_uid not in users:
                return f"{part} belongs to another user ({found.st_uid}): chown root {part}"
            group = found.st_mode & stat.S_IWGRP and found.st_gid not in groups
            written = not link and bool(found.st_mode & stat.S_IWOTH or group)
            # In one like /tmp nobody moves what is others'.
            shared = written and stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
            if strict and written and not shared:
                return f"{part} can be written to by others than root: chmod go-w {part}"
            if link:
                try:
                    to = os.path.join(os.path.dirname(part), os.readlink(part))
                except OSError as error:
                    return f"{part} cannot be looked at: {error.strerror}"
                ways.append(os.path.join(to, *parts[count:]))
                break
    return ""


def unguarded(paths: Iterable[str]) -> str:
    """Return why a configuration that is read from *paths* cannot be trusted, or ``""``. Blocks."""
    words = next(filter(None, (loose(os.path.abspath(path), True) for path in paths)), "")
    if not words:
        return ""
    return f"docker broker = on: what the broker reads must be guarded like root's own: {words}"
