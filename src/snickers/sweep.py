"""Deadlines of all connections, looked at by one sweep instead of a timer for each.

A deadline costs its owner one assignment: `Sweep.now` and some seconds. Both the clock and the
looks are coarse, so it passes up to an interval early or late. The sweep must never stop because
one of those it watches has failed, nor because somebody has set the clock; nor end anybody for
what came while nobody could read it: time in which this process stood still is nobody's delay.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

LATE = 2.0
"""Intervals that count at the most: a sweep that comes later does so since this process has stood
still."""

_log = Logger()


class Watched(Protocol):
    """What a `Sweep` looks at."""

    deadline: float
    """When `expired` is to be called, in the sweep's time; ``math.inf``: never."""

    def expired(self) -> None:
        """The deadline has passed; it was set to ``math.inf`` before this call."""


class Sweep:
    """Looks at the deadlines of everything it watches, twice a second, with one timer."""

    def __init__(self, clock: IReactorTime, interval: float = 0.5) -> None:
        self._clock = clock
        self.interval = interval
        """Seconds between two looks."""
        self._items: set[Watched] = set()
        self._last = clock.seconds()
        self._call: Any = None
        self._looking: Any = None
        self.now: float = self._last
        """Seconds, refreshed at each sweep; it never goes back, even when the clock does."""

    def start(self) -> None:
        self._refresh()
        self._call = self._clock.callLater(self.interval, self._sweep)

    def stop(self) -> None:
        for call in (self._call, self._looking):
            if call is not None:
                call.cancel()
        self._call = self._looking = None

    def watch(self, item: Watched) -> None:
        self._items.add(item)

    def unwatch(self, item: Watched) -> None:
        self._items.discard(item)

    def _refresh(self) -> None:
        seconds = self._clock.seconds()
        passed = seconds - self._last
        self._last = seconds
        most = LATE * self.interval
        # Late by more than that: a busy machine, or one that slept, or somebody has set the clock.
        self.now += min(passed, most) if passed >= 0 else self.interval

    def _sweep(self) -> None:
        self._call = self._clock.callLater(self.interval, self._sweep)
        self._refresh()
        # What has come meanwhile is read first: who has sent in time is not ended for the delay.
        if self._looking is None:
            self._looking = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        self._looking = None
        now = self.now
        for item in [item for item in self._items if item.deadline <= now]:
            if item.deadline > now:
                continue  # moved on, or ended, by what another one's expiry did
            item.deadline = math.inf
            try:
                item.expired()
            except Exception:
                _log.failure("A connection failed to end at its deadline")
