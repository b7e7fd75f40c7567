"""Has what a later keeper needs be written down, again and again until it is.

One write at a time, the newest at last. A disk that is full must neither end the keeper nor be
passed over in silence: who has asked for something hears that it may be forgotten, an alarm says
what to do, and it is tried again until it succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.interfaces.alarm import IAlarm

AGAIN = 5.0
"""Seconds until what could not be written is written again."""
ALARM = "keeper record"


class Recorder:
    """Writes what *data* returns by *write*, which blocks and is run by *elsewhere*; *path* is
    where, for a person."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        elsewhere: Callable[[Callable[[], None]], Deferred[Any]],
        alarm: IAlarm,
        path: str,
        data: Callable[[], bytes],
        write: Callable[[bytes], None],
    ) -> None:
        self.wrong = ""
        """Why the last write failed, if it did."""
        self._clock = clock
        self._elsewhere = elsewhere
        self._alarm = alarm
        self._path = path
        self._data = data
        self._write = write
        self._writing = False
        self._unwritten = False
        self._waiting: list[Deferred[str]] = []
        self._later: IDelayedCall | None = None
        self._stopped = False

    def changed(self) -> None:
        """There is something new to write."""
        self._unwritten = True
        if not self._writing:
            self._begin()

    def written(self) -> Deferred[str]:
        """Fire when what is so now is written down: with ``""``, or with words on why it is not;
        never fails."""
        done: Deferred[str] = Deferred()
        self._waiting.append(done)
        self.changed()
        return done

    def stop(self) -> None:
        """Try nothing again."""
        self._stopped = True
        self._cancel()

    def _begin(self) -> None:
        self._cancel()
        self._writing, self._unwritten = True, False
        data = self._data()
        done = self._elsewhere(lambda: self._write(data))
        done.addCallbacks(lambda _: "", self._failed)
        done.addCallback(self._wrote)

    def _failed(self, failure: Failure) -> str:
        problem = getattr(failure.value, "strerror", None) or failure.getErrorMessage()
        return (
            f"{self._path} cannot be written ({problem}): a keeper that has to go on from here "
            "would know only what was before. Make room, or have that folder be writable; it is "
            f"tried again every {AGAIN:g} s"
        )

    def _wrote(self, wrong: str) -> None:
        self._writing = False
        if wrong != self.wrong:
            self._alarm.cleared(ALARM, "")
            if wrong:
                self._alarm.raised(ALARM, "", wrong)
            self.wrong = wrong
        if self._unwritten:
            self._begin()
            return
        if wrong and not self._stopped:
            self._later = self._clock.callLater(AGAIN, self.changed)
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(wrong)

    def _cancel(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()
