"""What is done to whole folders while copies are made of them, whichever way that is.

By programs that can be ended, not in threads, which cannot: a folder may be large. It must never
follow to another disk what it removes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from snickers.containers import tool
from snickers.interfaces.copies import CopyFailed

WITHIN = 24 * 3600.0
"""Seconds for anything that reads or writes all of a folder: a bound, not a goal."""
SOON = 600.0
"""Seconds for what is small: the disk may be busy."""

_CHOWN = 1
"""The bit of CAP_CHOWN."""
ROOM = 256 * 1024
"""Bytes: a disk with less is full."""

InThread = Callable[..., Deferred[Any]]
"""Runs a blocking function elsewhere: fires with its result."""
Progress = Callable[[str], None]


def in_words(failure: Any) -> Any:
    """Say what the operating system said, for a person."""
    error = failure.value
    if isinstance(error, OSError):
        raise CopyFailed(f"{error.filename or 'The disk'}: {error.strerror}.") from None
    return failure


def lack_of_room(folder: str) -> str:
    """Return words if the disk of *folder* is full, else an empty text; blocks."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < ROOM or (disk.f_files and not disk.f_favail):
        return f"No space left on the disk of {folder}."
    return ""


def may_give_away() -> bool:
    """Whether this process may give files to other users, see capabilities(7); blocks."""
    if os.geteuid() == 0:
        return True
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        effective = [line.split()[1] for line in file if line.startswith("CapEff:")]
    return bool(effective) and bool(int(effective[0], 16) & _CHOWN)


def shown(size: int) -> str:
    """Return *size*, of bytes, for a person."""
    for unit in ("bytes", "KB", "MB"):
        if size < 1000:
            return f"{size} {unit}"
        size = round(size / 1000)
    return f"{size} GB"


async def settle(reactor: tool.IReactor, folder: str) -> None:
    """Have all that was written to *folder* survive a loss of power."""
    ended = await tool.run(reactor, ["sync", "--file-system", folder], WITHIN)
    if ended.code:
        raise CopyFailed(f"{folder} could not be made to last: {ended.said}")


async def clear(reactor: tool.IReactor, folder: str) -> None:
    """Remove *folder* and what is in it, whatever that is."""
    if os.path.lexists(folder):
        await tool.run(reactor, ["rm", "-rf", "--one-file-system", "--", folder], WITHIN)
