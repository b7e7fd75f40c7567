"""The lock that the one on duty holds: ``flock`` of a file, which a death lets go of.

It must never wait: who does not get it asks again later. Nor for a disk: the file is opened once,
at the start, so that a try is one system call that touches no disk, and who holds the lock is
written elsewhere. The file is never removed, since two locks would be two files then.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress


def _at_once(act: Callable[[], None]) -> None:
    act()


class DutyLock:
    """The lock file *path*; *who* is written into it, for people. *elsewhere* runs what blocks: a
    thread, where visitors are served."""

    def __init__(
        self,
        path: str,
        who: str = "",
        elsewhere: Callable[[Callable[[], None]], object] = _at_once,
    ) -> None:
        self.path = path
        self._who = who
        self._elsewhere = elsewhere
        self._descriptor = -1
        self.held = False
        """Whether it is held here."""

    def prepare(self) -> None:
        """Have the file be open before it is needed. Blocks. What keeps it from being so is told by
        `take`."""
        with suppress(OSError):
            self._open()

    def take(self) -> bool:
        """Take it if nobody holds it, making its folder (0700) if need be; say whether it is held
        here now. Raises `OSError` where it cannot be had for another reason."""
        if self.held:
            return True
        self._open()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.held = True
        self._elsewhere(self._sign)
        return True

    def let_go(self) -> None:
        """Let go of it, if it is held here."""
        if self.held:
            # Not by closing: a child that is being started may have the descriptor for a moment.
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.held = False

    def close(self) -> None:
        """Let go of it, and of the file."""
        self.let_go()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> None:
        if self._descriptor >= 0:
            return
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        # Not for writing: a file that is open so would keep its disk from being made read-only.
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _sign(self) -> None:
        if not self.held:
            return
        # A full disk is no reason not to be on duty.
        with suppress(OSError), open(self.path, "wb", 0) as file:
            file.write(f"{os.getpid()} {self._who}".strip().encode() + b"\n")
