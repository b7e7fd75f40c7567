"""Says again and again that this process lives, so that one whose reactor stands still is noticed.

The protocol is systemd's (sd_watchdog_enabled(3)), whoever has started Snickers: ``WATCHDOG_USEC``
asks for ``WATCHDOG=1`` within that time. It must come from the reactor, and from nothing else: a
thread would go on saying it for a process that does nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from snickers.interfaces.teller import Teller

OFTEN = 4
"""How many times it is said within the time that is given: two that come late make no alarm."""
REPEAT = 7.5
"""Seconds after which a keeper or a service manager is told the state again, at the latest."""


def every(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the seconds between two signs of life, ``None`` where nobody asks for them."""
    if environ.get("WATCHDOG_PID") not in (None, "", str(pid)):
        return None
    asked = environ.get("WATCHDOG_USEC", "")
    if not (asked.isascii() and asked.isdigit()) or int(asked) <= 0:
        return None
    return int(asked) / 1e6 / OFTEN


class Heartbeat:
    """Sends ``WATCHDOG=1`` each *seconds*; where that is ``None`` nobody asks for it.

    With it go *words*, which a keeper may have missed, since its socket is not there while a newer
    one takes its place; with words it speaks each `REPEAT` seconds where nobody asks, or seldom.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        teller: Teller,
        seconds: float | None,
        words: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self._teller = teller
        self._asked = seconds is not None
        self._words = words
        self._every = seconds
        if words is not None:
            # What holds is not old for long, however seldom a sign of life is asked for.
            self._every = REPEAT if seconds is None else min(seconds, REPEAT)
        self._beating = LoopingCall(self._beat)
        self._beating.clock = clock

    def start(self) -> None:
        """Begin."""
        if self._every is not None:
            self._beating.start(self._every)

    def stop(self) -> None:
        """Say nothing more."""
        if self._beating.running:
            self._beating.stop()

    def _beat(self) -> None:
        words: Sequence[str] = ()
        if self._words is not None:
            try:
                words = self._words()
            except Exception:
                # It lives all the same.
                self.log.failure("what there is to repeat could not be said")
        if self._asked:
            words = ("WATCHDOG=1", *words)
        if words:
            self._teller.send(*words)
