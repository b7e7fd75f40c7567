"""What is wrong now, and telling a person of it once.

An alarm is logged, kept until it is cleared, and given to the alarm command. The same alarm is
told once, however often it is raised. Must never raise anything itself, and never keep more than
a bounded number of alarms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from twisted.logger import Logger
from zope.interface import implementer

from snickers.alarm_command import AlarmCommand
from snickers.interfaces.alarm import IAlarm

MOST = 1000
"""Alarms kept; the oldest ones make room."""

_COMMAND = "alarm command"
_UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    """Return *text* with what could drive a terminal escaped.

    Ends of lines are kept: the log indents what follows one, and JSON escapes them.
    """
    return _UNPRINTABLE.sub(lambda found: ascii(found.group())[1:-1], text)


@implementer(IAlarm)
class Alarm:
    """The alarms of one Snickers; *epoch* returns epoch seconds, *teller* tells a person. The kinds
    in *always* are told while it is silent, too: nobody else knows of them."""

    log = Logger()

    def __init__(
        self, teller: AlarmCommand, epoch: Callable[[], float], always: Collection[str] = ()
    ) -> None:
        self._teller = teller
        self._epoch = epoch
        self._always = always
        self._current: dict[tuple[str, str, str], dict[str, Any]] = {}
        teller.heard = self._heard
        self._silent = False

    @property
    def command(self) -> tuple[str, ...]:
        """The program that is run, and its arguments; may be changed at any time."""
        return self._teller.command

    @command.setter
    def command(self, command: tuple[str, ...]) -> None:
        self._teller.command = command
        self._teller.look()

    def look(self) -> None:
        """See whether the alarm command is there; `current` says so where it is not."""
        self._teller.look()

    def _heard(self, words: str) -> None:
        """Keep what is wrong with the alarm command: it cannot be told by it, but be shown."""
        for key in [key for key in self._current if key[0] == _COMMAND]:
            del self._current[key]
        if words:
            message = printable(f"The alarm command does not work, so nobody is told: {words}")
            alarm = {"kind": _COMMAND, "site": "", "message": message, "since": self._epoch()}
            self._current[_COMMAND, "", message] = alarm

    def current(self) -> list[dict[str, Any]]:
        """Return what is wrong now, the oldest first: ``kind``, ``site``, ``message``, ``since``
        (epoch seconds)."""
        return [dict(alarm) for alarm in self._current.values()]

    def stop(self) -> None:
        """Run the alarm command no more; what is raised is still logged and kept."""
        self._teller.stop()

    def be_silent(self) -> list[tuple[str, str, str]]:
        """Tell nobody of anything until `speak`, since somebody else does; return what has been
        told and holds: kind, site, message."""
        told = [] if self._silent else list(self._current)
        self._silent = True
        return told

    def speak(self, told: Iterable[tuple[str, str, str]]) -> None:
        """Tell from now on, and at once what holds and is not among those that were *told*."""
        if not self._silent:
            return
        self._silent = False
        known = set(told)
        for key, alarm in self._current.items():
            if key not in known and key[0] not in self._always:
                self._teller.tell(alarm)

    def raised(self, kind: str, site: str, message: str) -> None:
        """Raise an alarm; *site* is ``""`` for what concerns the whole."""
        message = printable(message)
        key = (kind, site, message)
        if key in self._current:
            return
        while len(self._current) >= MOST:
            del self._current[next(iter(self._current))]
        alarm = {"kind": kind, "site": site, "message": message, "since": self._epoch()}
        self._current[key] = alarm
        self.log.error(
            "alarm ({kind}) {site}: {message}" if site else "alarm ({kind}): {message}",
            kind=kind,
            site=site,
            message=message,
        )
        if not self._silent or kind in self._always:
            self._teller.tell(alarm)

    def cleared(self, kind: str, site: str) -> None:
        """What was raised of this *kind* for *site* holds no more; told as it was raised, with
        ``"cleared": true``. Nothing happens where nothing was raised."""
        for key in [key for key in self._current if key[:2] == (kind, site)]:
            alarm = self._current.pop(key)
            self.log.info(
                "alarm over ({kind}) {site}: {message}"
                if site
                else "alarm over ({kind}): {message}",
                kind=kind,
                site=site,
                message=alarm["message"],
            )
            if not self._silent or kind in self._always:
                self._teller.tell({**alarm, "cleared": True})
