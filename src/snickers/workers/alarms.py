"""Alarms of several processes as one: raised once, over when it is over for all.

What one process finds out, others may find out too, and each for itself finds that it holds no
more. A person must not be told that all is well while it is not so for one of them.
"""

from __future__ import annotations

from typing import Protocol

from zope.interface import implementer

from snickers.interfaces.alarm import IAlarm

Key = tuple[str, str]
"""Kind and site."""


class Messages:
    """Who has raised what; *alarm* is what tells a person."""

    def __init__(self, alarm: IAlarm) -> None:
        self._alarm = alarm
        self._raised: dict[Key, dict[object, list[str]]] = {}
        """For each key the messages of each process."""

    def raised(self, origin: object, kind: str, site: str, message: str) -> None:
        """Raise an alarm on behalf of the process *origin*."""
        found = self._raised.setdefault((kind, site), {}).setdefault(origin, [])
        if message not in found:
            found.append(message)
        self._alarm.raised(kind, site, message)

    def cleared(self, origin: object, kind: str, site: str) -> None:
        """It is over for the process *origin*."""
        origins = self._raised.get((kind, site))
        if origins is None or origins.pop(origin, None) is None:
            return
        if not origins:
            del self._raised[kind, site]
        self._alarm.cleared(kind, site)
        # What others have raised, and was cleared with it, holds on.
        for message in dict.fromkeys(text for held in origins.values() for text in held):
            self._alarm.raised(kind, site, message)

    def gone(self, origin: object) -> None:
        """The process *origin* is no more, and with it what it had found out."""
        for kind, site in [key for key, origins in self._raised.items() if origin in origins]:
            self.cleared(origin, kind, site)


@implementer(IAlarm)
class OwnAlarm:
    """The alarm as the process *origin* sees it."""

    def __init__(self, messages: Messages, origin: object) -> None:
        self._messages = messages
        self._origin = origin

    def raised(self, kind: str, site: str, message: str) -> None:
        self._messages.raised(self._origin, kind, site, message)

    def cleared(self, kind: str, site: str) -> None:
        self._messages.cleared(self._origin, kind, site)


class Teller(Protocol):
    """The first process, as a worker's alarm sees it."""

    def raise_alarm(self, kind: str, site: str, message: str) -> None: ...

    def clear_alarm(self, kind: str, site: str) -> None: ...


@implementer(IAlarm)
class RemoteAlarm:
    """The alarm of a worker: tells *teller*, which is set before anything can go wrong."""

    teller: Teller

    def raised(self, kind: str, site: str, message: str) -> None:
        self.teller.raise_alarm(kind, site, message)

    def cleared(self, kind: str, site: str) -> None:
        self.teller.clear_alarm(kind, site)
