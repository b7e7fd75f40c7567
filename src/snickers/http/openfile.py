"""An open file that several answers read at once, by the reactor where that cannot block.

What was opened is one state of the file. Must never give a piece of another state, since the two
would not belong together, nor close the descriptor while somebody reads.
"""

from __future__ import annotations

import os
from collections.abc import Callable

PIECE = 128 * 1024
"""Bytes of one read of a larger file: what a socket takes at once, and what a client that reads
slowly may keep waiting in memory."""


class OpenFile:
    """An open regular file that several answers may read; closed when the last lets go of it.

    `hold` and `release` are for the reactor's thread alone.
    """

    __slots__ = ("_descriptor", "_modified", "_nowait", "_size", "_uses", "closed")

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self._descriptor = descriptor
        self._size = status.st_size
        self._modified = status.st_mtime_ns
        self._nowait = True
        self._uses = 1
        self.closed: Callable[[OpenFile], None] | None = None
        """Called with this, once, when it was closed."""

    def hold(self) -> None:
        """One user more."""
        self._uses += 1

    def release(self) -> None:
        """One user less."""
        self._uses -= 1
        if self._uses == 0:
            os.close(self._descriptor)
            if self.closed is not None:
                self.closed(self)

    def read_now(self, offset: int, count: int, buffer: bytearray) -> bytes | None:
        """Return up to *count* bytes from *offset* that are in memory, ``None`` if none are; no
        bytes if the file was written to since it was opened.

        *buffer*, at least as large, is anybody's again afterwards. Does not block.
        """
        if not self._nowait:
            return None
        view = memoryview(buffer)[:count]
        try:
            got = os.preadv(self._descriptor, [view], offset, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError:
            # A file system that cannot say (EOPNOTSUPP), or a fault that a thread shall meet.
            self._nowait = False
            return None
        if not got:
            # The end, or, by some kernels (Linux 5.9, 5.10), not in memory: a thread will see.
            return None
        # Where the kernel answers at once, so does fstat: this is no network's file system.
        return b"" if self._changed() else bytes(view[:got])

    def read(self, offset: int, count: int) -> bytes:
        """Return up to *count* bytes from *offset*; none if the file ends before, or was written
        to since it was opened. Blocks; raises `OSError`."""
        piece = os.pread(self._descriptor, count, offset)
        return b"" if self._changed() else piece

    def _changed(self) -> bool:
        # The ctime does not count: it changes also when the name is given to another file, and
        # this one stays as it was.
        status = os.fstat(self._descriptor)
        return status.st_size != self._size or status.st_mtime_ns != self._modified
