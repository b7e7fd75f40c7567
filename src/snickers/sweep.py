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
"""Intervals after which a sweep comes so late that this process has stood still."""

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
        self._waited = False
        """Whether nobody's deadline was looked at the last time."""
        self.now: float = self._last
        """Seconds, refreshed at each sweep; it never goes back, even when the clock does."""

    def start(self) -> None:
        self._refresh()
        self._call = self._clock.callLater(self.interval, self._sweep)

    def stop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def watch(self, item: Watched) -> None:
        self._items.add(item)

    def unwatch(self, item: Watched) -> None:
        self._items.discard(item)

    def _refresh(self) -> bool:
        """Go on to the present; say whether this comes late."""
        seconds = self._clock.seconds()
        passed = seconds - self._last
        self._last = seconds
        most = LATE * self.interval
        if 0 <= passed <= most:
            self.now += passed
            return False
        # A busy machine, or one that slept, or somebody has set the clock.
        self.now += most if passed > 0 else self.interval
        return True

    def _sweep(self) -> None:
        self._call = self._clock.callLater(self.interval, self._sweep)
        self._waited = self._refresh() and not self._waited
        if self._waited:
            # What has come meanwhile is read before the next look: but that comes.
            return
        now = self.now
        for item in [item for item in self._items if item.deadline <= now]:
            if item.deadline > now:
                continue  # moved on, or ended, by what another one's expiry did
            item.deadline = math.inf
            try:
                item.expired()
            except Exception:
                _log.failure("A connection failed to end at its deadline")
