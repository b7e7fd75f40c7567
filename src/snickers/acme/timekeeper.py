"""Looks now and then whether this host's clock is right, and tells a person when it is not.

Others are asked seldom, and again at once when the clock was set. Must never set a clock, never
stop looking, and ask nobody whom the configuration does not name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.acme.clock import Clock, Observation
from snickers.acme.dates import NoDate
from snickers.interfaces.alarm import IAlarm

T = TypeVar("T")

TICK = 60.0
"""Seconds between two looks at our own clock alone."""
ALARM = "clock"

Run = Callable[[Callable[[], Observation]], Deferred[Observation]]
"""Calls elsewhere what blocks."""


class Timekeeper:
    """*run* runs *ask*, blocking, in a thread: it asks a source, one of *sources*, which are looked
    up each time, for the time; a source that fails does so with `NoDate`.

    *wall* returns epoch seconds; *steady* those of a clock that nobody sets and that goes on while
    the host sleeps (``CLOCK_BOOTTIME``).
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        run: Run,
        sources: Callable[[], Sequence[str]],
        ask: Callable[[str], Observation],
        alarm: IAlarm,
        wall: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        self._run = run
        self._sources = sources
        self._ask = ask
        self._alarm = alarm
        self._wall = wall
        self._steady = steady
        self._clock = Clock(wall(), steady())
        self._told = ""
        self._next = 0
        self._asking = False
        self._loop = LoopingCall(self._tick)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin to look."""
        if not self._loop.running:
            self._loop.start(TICK)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def _tick(self) -> None:
        sources = self._sources()
        if not self._clock.tick(self._wall(), self._steady()) or self._asking or not sources:
            return
        # Each in turn: two that agree are better than one that says the same twice.
        source = sources[self._next % len(sources)]
        self._next += 1
        self._asking = True
        asked = self._run(partial(self._ask, source))
        asked.addCallbacks(self._observed, self._unanswered)
        asked.addErrback(self._failed)
        asked.addBoth(self._over)

    def _over(self, _: object) -> None:
        self._asking = False

    def _unanswered(self, failure: Failure) -> None:
        self._clock.unanswered(self._steady())
        if not isinstance(failure.value, NoDate):
            self._failed(failure)
        else:
            self._log.debug("what time it is: {reason}", reason=failure.value)

    def _observed(self, found: Observation) -> None:
        self._clock.observed(found, self._steady())
        words = self._clock.words
        if words == self._told:
            return
        told, self._told = self._told, words
        if told:
            self._alarm.cleared(ALARM, "")
        if words:
            self._alarm.raised(ALARM, "", words)

    def _failed(self, failure: Failure) -> None:
        if self._loop.running:
            self._log.failure("asking what time it is; looking goes on", failure)
