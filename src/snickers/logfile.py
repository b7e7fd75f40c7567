"""A file that lines are appended to, from the reactor's thread and without its waiting.

Each write is one batch of whole lines, given to the operating system by a thread: several
processes can append to the same file. This module must never make a caller wait for a disk, hold
more than a bounded amount for one that takes nothing, or lose a line without saying so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.interfaces.alarm import IAlarm

MAX_PENDING = 8 * 1024 * 1024
"""Bytes kept for a disk that takes nothing now: some 50,000 requests."""
ALARM = "access log"

_log = Logger()


@frozen
class _Written:
    """What came of a write."""

    descriptor: int
    """-1: the file could not be opened."""
    count: int
    reason: str
    """Why not all of it was written, or ``""``."""


def _append(path: str, descriptor: int, again: bool, data: bytes) -> _Written:
    """Append *data* to the file at *path*; blocking. *again*: open it anew, it was moved away."""
    if again and descriptor >= 0:
        os.close(descriptor)
        descriptor = -1
    count = 0
    try:
        if descriptor < 0:
            # Not blocking: a pipe that nobody reads must not hold the thread for ever.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(path, flags | os.O_NOCTTY, 0o640)
        while count < len(data):
            count += os.write(descriptor, data[count:])
    except OSError as error:
        return _Written(descriptor, count, error.strerror or str(error))
    return _Written(descriptor, count, "")


class LogFile:
    """One file. *run* calls a blocking function in a thread and returns its Deferred."""

    def __init__(
        self, path: str, run: Callable[[Callable[[], _Written]], Deferred[_Written]], alarm: IAlarm
    ) -> None:
        self.path = path
        self._run = run
        self._alarm = alarm
        self._pending: list[bytes] = []
        self._size = 0
        self._lost = 0
        self._descriptor = -1
        self._again = False
        self._busy = False
        self._failing = False
        self._closing: Deferred[None] | None = None

    def write(self, data: bytes) -> None:
        """Append *data*, whole lines, soon. What finds no room any more is dropped and counted."""
        if self._size + len(data) > MAX_PENDING:
            self._lost += data.count(b"\n")
            self._tell("there is no room for more lines")
        else:
            self._pending.append(data)
            self._size += len(data)
        self._go_on()

    def reopen(self) -> None:
        """Open the file anew before the next line, since the old one was moved away."""
        self._again = True
        self._go_on()

    def close(self) -> Deferred[None]:
        """Write what is left, once, and close the file; fires when that is done, never fails."""
        if self._closing is None:
            self._closing = Deferred()
            self._go_on()
        return self._closing

    def leave(self) -> Deferred[None]:
        """Close the file because lines go elsewhere from now on, so that nobody has to mend it any
        more; fires when that is done, never fails."""
        return self.close().addCallback(self._left)

    def _left(self, _: None) -> None:
        if self._failing:
            self._failing = False
            self._alarm.cleared(ALARM, "")

    def _go_on(self) -> None:
        if self._busy:
            return
        if not self._pending and not (self._again and self._descriptor >= 0):
            self._closed()
            return
        self._busy = True
        data = b"".join(self._pending)
        self._pending = [data] if data else []
        again, self._again = self._again, False
        path, descriptor = self.path, self._descriptor
        done = self._run(lambda: _append(path, descriptor, again, data))
        done.addCallbacks(self._wrote, self._failed)

    def _wrote(self, written: _Written) -> None:
        self._busy = False
        self._descriptor = written.descriptor
        if written.count:
            rest = self._pending[0][written.count :]
            self._pending[0:1] = [rest] if rest else []
            self._size -= written.count
        if written.reason:
            self._tell(written.reason)
            # The next lines try it again.
            self._closed()
            return
        if self._failing:
            self._failing = False
            self._lost = 0
            self._alarm.cleared(ALARM, "")
            _log.info("{path} is written again", path=self.path)
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        """The threads have ended."""
        self._busy = False
        self._tell(failure.getErrorMessage())
        self._closed()

    def _tell(self, reason: str) -> None:
        if not self._failing:
            self._failing = True
            self._alarm.raised(
                ALARM,
                "",
                f"{self.path} cannot be written: {reason}; mend that, the lines since then follow"
                f" as far as they fit into {MAX_PENDING >> 20} MiB",
            )

    @property
    def lost(self) -> int:
        """Lines that were dropped since the file was last written."""
        return self._lost

    def _closed(self) -> None:
        closing: Any = self._closing
        if closing is not None and not closing.called:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)
            closing.callback(None)
