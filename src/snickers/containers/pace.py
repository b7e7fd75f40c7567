"""How fast is read what a server writes.

A server that writes without end would take the processor from all sites. It is read so far and no
further in a second, and waits, as on a slow terminal. It must never be left unread for good.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

REST = 1.0
"""Seconds for which no more is read of what a server writes after `FLOOD` of it."""

FLOOD = 1 << 20
"""Bytes in each `REST` that are read of what a server writes."""


class Pace:
    """The pace at which one server is read.

    :param stop: called when no more shall be read.
    :param go: called when it shall be read again.
    """

    def __init__(
        self, clock: IReactorTime, stop: Callable[[], None], go: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._stop = stop
        self._go = go
        self._since = clock.seconds()
        self._read = 0
        """Bytes read since then."""
        self._resting: IDelayedCall | None = None
        self._over = False

    def read(self, size: int) -> None:
        """So many bytes have been read."""
        now = self._clock.seconds()
        if not self._since <= now < self._since + REST:
            self._read, self._since = 0, now
        self._read += size
        if self._read > FLOOD and not self._over and self._resting is None:
            self._read = 0
            self._stop()
            self._resting = self._clock.callLater(REST, self._rested)

    def hurry(self) -> None:
        """Rest no more: the server has ended, and only its last words are left to be read."""
        self._over = True
        if self._resting is not None:
            self._resting.cancel()
            self._rested()

    def end(self) -> None:
        """Nothing is read any more."""
        self._over = True
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _rested(self) -> None:
        self._resting = None
        self._go()
