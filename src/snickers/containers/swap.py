"""Puts a restored folder in the place of a site's own, so that nothing can be lost in between.

All of it are renames within one folder, done in microseconds. Beside DATA/HOST there may be, with
names that no site can have:

- ``.HOST.restoring``: being written out; worth nothing until it is whole
- ``.HOST.restored``: whole, to be put in the place of DATA/HOST; or, when two folders were
  exchanged and no more was done, what DATA/HOST was before
- ``.HOST.former``: what DATA/HOST was before

Whatever is found of the latter two is kept as a copy before it is removed. It must never remove
anything itself. Blocks, for as long as a rename takes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from snickers.interfaces.copies import CopyFailed

RESTORING = "restoring"
RESTORED = "restored"
FORMER = "former"
PROVING = "proving"
"""Of a copy on which a server is tried."""
TRIED = "tried"
"""A file: which copy has the folder as it was before another server was tried on it, see
`snickers.containers.ontrial`."""

_AT_FDCWD = -100
_EXCHANGE = 2
"""``RENAME_EXCHANGE``, see rename(2)."""
_NOT_THIS_WAY = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def beside(folder: str, what: str) -> str:
    """Return the name of a companion of *folder*."""
    above, name = os.path.split(folder)
    return os.path.join(above, f".{name}.{what}")


def look(folder: str) -> None:
    """Fail with `CopyFailed` where *folder* could not be exchanged for another."""
    if os.path.ismount(folder):
        raise CopyFailed(
            f"{folder} is a disk of its own, whose place no other folder can take. Unpack the copy "
            "by hand, or mount the disk one folder higher."
        )


def put_in_place(folder: str) -> str | None:
    """Have *folder* be what ``restored`` is; return where what it was is now, if it was anything.

    Fails with `CopyFailed`, and then *folder* is as it was.
    """
    fresh, former = beside(folder, RESTORED), beside(folder, FORMER)
    try:
        if os.path.lexists(former):
            raise CopyFailed(f"{former} is in the way: it was not kept as a copy yet.")
        if not os.path.lexists(folder):
            os.rename(fresh, folder)
            return None
        if _exchange(fresh, folder):
            os.rename(fresh, former)
            return former
        os.rename(folder, former)
        try:
            os.rename(fresh, folder)
        except OSError:
            os.rename(former, folder)
            raise
        return former
    except OSError as error:
        raise CopyFailed(f"{folder} could not be exchanged: {error.strerror}.") from None


def recover(folder: str) -> tuple[list[str], list[str]]:
    """Put right what an end in the middle of a restore has left of *folder*.

    Return two lists of folders: those to be kept as copies, and those that are worth nothing.
    """
    former = beside(folder, FORMER)
    if not os.path.lexists(folder) and os.path.lexists(former):
        os.rename(former, folder)
    worthy = [beside(folder, RESTORED), former]
    worthless = [beside(folder, RESTORING), beside(folder, RESTORING) + ".partial"]
    worthless += [beside(folder, PROVING), beside(folder, PROVING) + ".partial"]
    return [p for p in worthy if os.path.lexists(p)], [p for p in worthless if os.path.lexists(p)]


def _exchange(one: str, other: str) -> bool:
    """Exchange two folders in one step; say whether that can be done here at all."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if not rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        return True
    number = ctypes.get_errno()
    if number in _NOT_THIS_WAY:
        return False
    raise OSError(number, os.strerror(number))
