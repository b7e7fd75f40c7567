"""Gives alarms to a program of the owner's: one JSON object on its standard input, then the end.

Must never be what goes wrong: a program that hangs is killed, one that fails is logged, and
however many alarms there are, only a few run and a bounded number wait. What is told of one site
and kind is told in its order, one after the other: else one that is over could be heard of last
although it has begun anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

WITHIN = 30.0
"""Seconds a program is given until it is killed."""
AT_ONCE = 4
"""Programs that run at the same time."""
WAITING = 100
"""Alarms that wait for one to end; more than these are only logged."""
LINGER = 1.0
"""Seconds the output of a program that has ended is waited for: children of it may hold it open."""
_About = tuple[Any, Any]
"""The kind and the site of an alarm."""
SAID = 2000
"""Bytes of what a failing program said that are logged."""


class IReactor(IReactorProcess, IReactorTime):
    """What is needed of a reactor."""


class AlarmCommand:
    """Runs *command*, a program and its arguments, for each alarm; ``()``: nothing.

    `command` may be changed at any time. `heard` is called with what is wrong with the program, in
    words, and with ``""`` when it has done what it should.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, command: tuple[str, ...] = ()) -> None:
        self.command = command
        self.heard: Callable[[str], None] = lambda words: None
        self._reactor = reactor
        self._waiting: list[tuple[_About, bytes]] = []
        self._running: set[_Run] = set()
        self._stopped = False

    def tell(self, alarm: Mapping[str, Any]) -> None:
        """Have the program run for *alarm*, now or when others have ended."""
        if not self.command or self._stopped:
            return
        if len(self._waiting) >= WAITING:
            self.log.warn("too many alarms: the alarm command is not run for {alarm}", alarm=alarm)
            return
        about = (alarm.get("kind"), alarm.get("site"))
        self._waiting.append((about, json.dumps(dict(alarm)).encode() + b"\n"))
        self._next()

    def look(self) -> None:
        """See whether the program is there, before it is needed."""
        name = self.command[0] if self.command else ""
        missing = name and shutil.which(name) is None
        self.heard(f"{name} is not there, or may not be run here" if missing else "")

    def stop(self) -> None:
        """Run nothing more; what runs is left alone."""
        self._stopped = True
        self._waiting.clear()
        for run in self._running:
            run.let_go()

    def ended(self, run: _Run) -> None:
        """Take note that *run* has ended."""
        self._running.discard(run)
        self._next()

    def _next(self) -> None:
        if not self.command:
            self._waiting.clear()
        while len(self._running) < AT_ONCE and not self._stopped:
            told = {run.about for run in self._running}
            place = next((n for n, (about, _) in enumerate(self._waiting) if about not in told), -1)
            if place < 0:
                return
            about, data = self._waiting.pop(place)
            run = _Run(self, self._reactor, self.command, about, data)
            self._running.add(run)
            try:
                # No environment given: it has that of Snickers.
                self._reactor.spawnProcess(run, self.command[0], self.command, env=None)
            except Exception as error:
                self._running.discard(run)
                self.log.error(
                    "the alarm command {command} cannot be run: {error}",
                    command=self.command[0],
                    error=error,
                )
                self.heard(f"{self.command[0]} cannot be run: {error}")


class _Run(ProcessProtocol):
    """One run of the program."""

    def __init__(
        self,
        owner: AlarmCommand,
        reactor: IReactorTime,
        command: tuple[str, ...],
        about: _About,
        data: bytes,
    ) -> None:
        self.about = about
        self._owner = owner
        self._reactor = reactor
        self._command = command
        self._data = data
        self._said = b""
        self._deadline: IDelayedCall | None = None
        self._killed = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._deadline = self._reactor.callLater(WITHIN, self._kill)
        self.transport.write(self._data)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self._said = (self._said + data)[:SAID]

    errReceived = outReceived

    def _kill(self) -> None:
        assert self.transport is not None
        self._deadline = None
        self._killed = True
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass

    def let_go(self) -> None:
        """Leave it alone from now on."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def processExited(self, reason: Failure) -> None:
        assert self.transport is not None
        waits = self._deadline is not None or self._killed
        self.let_go()
        if waits:
            self._deadline = self._reactor.callLater(LINGER, self.transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        self.let_go()
        words = ""
        said = self._said.decode("utf-8", "replace")
        if self._killed:
            self._owner.log.error(
                "the alarm command {command} was killed: it took longer than {within} s",
                command=self._command[0],
                within=int(WITHIN),
            )
            words = f"{self._command[0]} was killed: it took longer than {int(WITHIN)} s"
        elif not isinstance(reason.value, ProcessDone):
            self._owner.log.error(
                "the alarm command {command} failed: {error} {said!r}",
                command=self._command[0],
                error=reason.value,
                said=said,
            )
            words = f"{self._command[0]} failed: {reason.value} {said}".rstrip()
        self._owner.heard(words)
        self._owner.ended(self)
