"""The lock that the one on duty holds: ``flock`` of a file, which a death lets go of.

It must never wait: who does not get it asks again later. The file is never removed, since two
locks would be two files then.
"""

from __future__ import annotations

import fcntl
import os


class DutyLock:
    """The lock file *path*; *who* is written into it, for people."""

    def __init__(self, path: str, who: str = "") -> None:
        self.path = path
        self._who = who
        self._descriptor = -1

    @property
    def held(self) -> bool:
        """Whether it is held here."""
        return self._descriptor >= 0

    def take(self) -> bool:
        """Take it if nobody holds it, making its folder (0700) if need be; say whether it is held
        here now. Raises `OSError` where it cannot be had for another reason."""
        if self.held:
            return True
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        # Not for writing: a file that is open so would keep its disk from being made read-only.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            os.close(descriptor)
            if isinstance(problem, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        try:
            with open(self.path, "wb", 0) as file:
                file.write(f"{os.getpid()} {self._who}".strip().encode() + b"\n")
        except OSError:
            pass  # a full disk is no reason not to be on duty
        return True

    def let_go(self) -> None:
        """Let go of it, if it is held here."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
