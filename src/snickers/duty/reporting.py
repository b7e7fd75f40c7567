"""Tells the keeper how a team fares: answers, connections, alarms, each second while they change.

By that it sees whether a team that was just updated answers with more errors than the one before.
Nothing is sent where nobody listens, and nothing that has not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from snickers.interfaces.teller import Teller

EVERY = 1.0
"""Seconds between two looks."""


class Reporting:
    """Sends what *values* return, by name, as ``X_SNICKERS_NAME=value``, when it has changed."""

    log = Logger()

    def __init__(
        self, clock: IReactorTime, teller: Teller, values: Mapping[str, Callable[[], str]]
    ) -> None:
        self._teller = teller
        self._values = values
        self._told: dict[str, str] = {}
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock

    def start(self) -> None:
        """Begin to tell."""
        self._looking.start(EVERY, now=False)

    def stop(self) -> None:
        """Tell what is last, and nothing more."""
        if self._looking.running:
            self._looking.stop()
            self.look()

    def look(self) -> None:
        """Tell what has changed. Never fails."""
        try:
            now = {name: value() for name, value in self._values.items()}
        except Exception:
            self.log.failure("what there is to tell could not be said")
            return
        news = _lines({k: value for k, value in now.items() if self._told.get(k) != value})
        if news and self._teller.send(*news):
            self._told = now

    def again(self) -> list[str]:
        """Return all that was told last: a keeper may have missed it."""
        return _lines(self._told)


def _lines(values: Mapping[str, str]) -> list[str]:
    return [f"X_SNICKERS_{name}={value}" for name, value in values.items()]
