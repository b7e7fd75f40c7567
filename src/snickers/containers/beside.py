"""One command run beside a server that is a process: a snapshot, or the question whether it may
sleep.

It leads a session of its own, so that it is ended with its children. What it writes is bounded,
in what is kept and in how fast it is read; it must never outlive its time.
"""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from snickers.containers import launch
from snickers.containers.engine import EngineFailed
from snickers.containers.output import Tail
from snickers.interfaces.engine import Ran

LAST_WORDS = 1.0
"""Seconds that the output of an ended command is waited for: a child in a session of its own may
hold the pipes open for ever."""

REST = 1.0
FLOOD = 1 << 20
"""After so many bytes the command's output is left unread for so many seconds, so that it cannot
take the processor from all sites."""


class Command(ProcessProtocol):
    """One command, from its spawning to the end of its output.

    :param words: what it is called for a person.
    :param within: seconds after which it is killed.
    :ivar done: fires with how it ended (`Ran`), or fails with `EngineFailed`; cancelled, the
        command is killed.
    """

    def __init__(self, clock: IReactorTime, words: str, within: float) -> None:
        self.done: Deferred[Ran] = Deferred(lambda _: self._kill())
        self._clock = clock
        self._words = words
        self._within = within
        self._tail = Tail()
        self._report = b""
        self._pid = 0
        self._late = False
        self._ended = False
        self._read = 0
        self._later: list[IDelayedCall] = []

    def connectionMade(self) -> None:
        self._pid = getattr(self.transport, "pid", None) or 0
        if math.isfinite(self._within):
            self._call(self._within, self._too_late)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD == launch.REPORT:
            self._report += data
            return
        self._tail.add(data)
        self._read += len(data)
        if self._read >= FLOOD and not self._ended:
            self._read = 0
            self._each_pipe("stopReading")
            self._call(REST, lambda: self._each_pipe("startReading"))

    def processExited(self, reason: Failure) -> None:
        self._ended = True
        self._kill()  # What it left behind in its group.
        self._hush()
        self._each_pipe("startReading")
        self._call(LAST_WORDS, self._let_go)

    def processEnded(self, reason: Failure) -> None:
        self._hush()
        if self.done.called:
            return
        if self._report:
            self.done.errback(EngineFailed(f"{self._words} cannot be run: {self._why()}."))
        elif self._late:
            said = self._tail.text()
            self.done.errback(
                EngineFailed(
                    f"{self._words} was not done within {self._within:g} s, and was killed."
                    + (f" It said at last: {said.rpartition(chr(10))[2]}" if said else "")
                )
            )
        else:
            error = reason.value
            if isinstance(error, ProcessTerminated) and error.signal:
                code = 128 + error.signal  # As shells and Docker say it.
            else:
                code = getattr(error, "exitCode", None) or 0
            self.done.callback(Ran(code, self._tail.text()))

    def _call(self, after: float, what: Callable[[], None]) -> None:
        self._later = [later for later in self._later if later.active()]
        self._later.append(self._clock.callLater(after, what))

    def _hush(self) -> None:
        for later in self._later:
            if later.active():
                later.cancel()
        self._later.clear()

    def _too_late(self) -> None:
        self._late = True
        self._kill()

    def _kill(self) -> None:
        # At first it leads no group yet; ended, its number may be another's.
        for kill in (os.killpg,) if self._ended else (os.killpg, os.kill):
            try:
                kill(self._pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass

    def _each_pipe(self, do: str) -> None:
        for descriptor, pipe in getattr(self.transport, "pipes", {}).items():
            if descriptor != launch.REPORT:
                getattr(pipe, do)()

    def _let_go(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def _why(self) -> str:
        try:
            return str(json.loads(self._report)[2])
        except (ValueError, LookupError, TypeError):
            return self._report.decode(errors="replace")
