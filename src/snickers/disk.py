"""Files that others rely on: read whole, noticed when they change, replaced whole.

For certificates first of all, and for whatever else must survive a crash. A reader sees the old
content or the new, never a mix, whatever moment a crash or a full disk chooses; a key is never, not
even for a moment, readable by others. Everything here blocks and belongs in a thread, except for
what is small and written before anything is served. Must never wait on a file that is not a regular
one, and never read more than the most that a certificate, or another small file, can need.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from attrs import frozen

Stamp = tuple[int, int, int, int, int, int]
"""What tells one content of a file from another without reading it."""

Watched = tuple[tuple[str, Stamp | None], ...]
"""Paths, and how each was found; ``None``: it did not exist."""

LOCK_WITHIN = 60.0
"""Seconds a lock is waited for: longer than what is done under one takes, unless an authority is
asked meanwhile that does not answer. A process that hangs may hold one for ever, and threads are
few."""
LOOK_FOR_LOCK = 0.1
"""Seconds between two tries, after the first ones."""

LIMIT = 1 << 20
"""Bytes of a file that is read; chains with post-quantum signatures take some 50 KB."""


@frozen
class Content:
    """A file as it was at one moment."""

    data: bytes
    mode: int
    """Permission bits."""
    owner: int
    """The uid."""


def _stamp(found: os.stat_result) -> Stamp:
    # The change time and the mode too: a chmod mends a key without touching its content.
    return (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_mode,
    )


def stamp(path: str) -> Stamp | None:
    """Return the stamp of what *path* leads to, ``None`` when it leads nowhere."""
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


def changed(watched: Watched) -> bool:
    """Whether any of the paths is found otherwise than it was."""
    return any(stamp(path) != then for path, then in watched)


def read(path: str) -> Content:
    """Return the content of the regular file *path*; `OSError` when that cannot be."""
    # Not blocking: the open of a FIFO would otherwise wait for a writer that never comes.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(0, "it is not a regular file", path)
        data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise OSError(0, f"it is larger than {LIMIT} bytes", path)
        return Content(data, stat.S_IMODE(found.st_mode), found.st_uid)


def replace(path: str, data: bytes, mode: int, group: int = -1) -> None:
    """Make *data* the content of *path*, durably: when this returns a power cut cannot undo it.

    The folder must exist. *group*: whose the file is to be; -1: that of who writes it. Raises
    `OSError`, with the old content in place and nothing left over.
    """
    temporary = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary)  # of a run that was killed
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o600
    )
    try:
        with open(descriptor, "wb") as file:
            if group != -1:
                os.fchown(descriptor, -1, group)
            os.fchmod(descriptor, mode)  # whatever the umask took away
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    keep(os.path.dirname(path))


def keep(folder: str) -> None:
    """Make what was created or renamed in *folder* survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: str) -> None:
    """Have the folder *path*, open to its owner alone, durably; its parents too."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    keep(parent)


@contextmanager
def locked(path: str, within: float = LOCK_WITHIN) -> Iterator[None]:
    """Hold the lock file *path*, waiting for it, against other processes and other threads.

    A process that dies lets go of it; one that hangs does not, so after *within* seconds this fails
    with `TimeoutError`, which is an `OSError`.
    """
    # flock, not lockf: a lockf belongs to the process and would not keep two threads apart.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, path, time.monotonic() + within)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: str, until: float) -> None:
    pause = 0.001
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                words = "another thread or process has held it for too long"
                raise TimeoutError(errno.ETIMEDOUT, words, path) from None
            time.sleep(pause)
            pause = min(2 * pause, LOOK_FOR_LOCK)
