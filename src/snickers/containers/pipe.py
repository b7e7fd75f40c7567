"""What a server writes, through a named pipe that outlives who reads it.

The server has the pipe open both ways, so that it never loses it: while nobody reads, up to `ROOM`
waits in the kernel for the next one who does, and a server that writes more than that waits. It
must never keep what it has read.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.containers.held import IWaitingReactor
from snickers.containers.pace import Pace

ROOM = 256 * 1024
"""Bytes that wait in the pipe for a reader: as much as is kept of a site's output."""

_AT_ONCE = 64 * 1024
"""Bytes that are read in one turn."""


def make(path: str) -> tuple[int, int]:
    """Make a pipe at *path*, in the place of what is there; return the descriptors of its reader
    and of its writer, which are the caller's to close. Raises `OSError`."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.mkfifo(path, 0o600)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        # Both ways (fifo(7)): who has it so never finds it without a reader.
        writer = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except BaseException:
        os.close(reader)
        raise
    with suppress(OSError):
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, ROOM)  # Else the kernel's 64 KiB will do.
    return reader, writer


def find(path: str) -> int | None:
    """Return a descriptor of the pipe at *path* to read, ``None`` if there is none."""
    try:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    if stat.S_ISFIFO(os.fstat(reader).st_mode):
        return reader
    os.close(reader)
    return None


@implementer(IReadDescriptor)
class Pipe:
    """The reader of one server.

    :param fd: to be read, not blocking; closed at the end.
    :param heard: called with each piece.
    :param over: called once, when nobody has the pipe open any more, or `close` was called.
    """

    def __init__(
        self,
        reactor: IWaitingReactor,
        fd: int,
        heard: Callable[[bytes], None],
        over: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._fd = fd
        self._heard = heard
        self._over = over
        self._pace = Pace(
            reactor, lambda: reactor.removeReader(self), lambda: reactor.addReader(self)
        )
        reactor.addReader(self)

    def hurry(self) -> None:
        """Read as fast as it comes: only the last words are left."""
        self._pace.hurry()

    def close(self) -> None:
        """Read no more. What is in the pipe stays there. May be called again."""
        if self._fd < 0:
            return
        self._pace.end()
        self._reactor.removeReader(self)
        os.close(self._fd)
        self._fd = -1
        self._over()

    # IReadDescriptor

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, _AT_ONCE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._heard(data)
            self._pace.read(len(data))
        else:
            self.close()

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "output"
