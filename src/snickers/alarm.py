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
HANDED_FOR = 3600.0
"""Seconds for which an alarm holds that somebody else has raised, and nobody here: what is looked
at again and again has been by then."""

Key = tuple[str, str, str]
"""Kind, site and message."""

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
    in *always* are told while it is silent, too: nobody else knows of them. Those in *lasting* tell
    of something that was tried, and hold until it has succeeded, whoever has raised them. Those in
    *seen* are raised by everybody for himself, at once: what others say of them is over where this
    one has not found it."""

    log = Logger()

    def __init__(
        self,
        teller: AlarmCommand,
        epoch: Callable[[], float],
        always: Collection[str] = (),
        lasting: Collection[str] = (),
        seen: Collection[str] = (),
    ) -> None:
        self._teller = teller
        self._epoch = epoch
        self._always = always
        self._lasting = lasting
        self._seen = seen
        self._current: dict[Key, dict[str, Any]] = {}
        self._handed: dict[Key, dict[str, Any]] = {}
        """Those that somebody else has raised and told, and nobody here yet."""
        self._handed_at = 0.0
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
        self._expire()
        return [dict(alarm) for alarm in (*self._handed.values(), *self._current.values())]

    def count(self) -> int:
        """Return how many were raised here and hold."""
        self._expire()
        return len(self._current)

    def keep(self, alarms: Iterable[tuple[str, str, str, float]]) -> None:
        """Have *alarms* (kind, site, message, epoch seconds since when) be raised, of which a
        person was told already."""
        for kind, site, message, since in alarms:
            alarm = {"kind": kind, "site": site, "message": message, "since": since}
            self._current.setdefault((kind, site, message), alarm)

    def stop(self) -> None:
        """Run the alarm command no more; what is raised is still logged and kept."""
        self._teller.stop()

    def be_silent(self) -> list[tuple[str, str, str]]:
        """Tell nobody of anything until `speak`, since somebody else does; return what has been
        told and holds: kind, site, message."""
        # Whether the alarm command works everybody finds out for himself.
        holds = [key for key in (*self._handed, *self._current) if key[0] != _COMMAND]
        told = [] if self._silent else holds
        self._handed.clear()
        self._silent = True
        return told

    def speak(self, told: Iterable[Key]) -> None:
        """Tell from now on, and at once what holds and is not among those that were *told*. What
        was, and was not raised here, holds until it is cleared here, or for `HANDED_FOR`."""
        if not self._silent:
            return
        self._silent = False
        known = dict.fromkeys(told)
        self._handed_at = self._epoch()
        for key in list(known)[:MOST]:
            if key not in self._current and key[0] != _COMMAND:
                kind, site, message = key
                self._handed[key] = {
                    "kind": kind,
                    "site": site,
                    "message": message,
                    "since": self._handed_at,
                }
        self._over([key for key in self._handed if key[0] in self._seen])
        # A list: a command that cannot be run changes what holds.
        for key, alarm in list(self._current.items()):
            if key not in known and key[0] not in self._always and key[0] != _COMMAND:
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
        handed = self._handed.pop(key, None)
        self._current[key] = alarm if handed is None else handed
        self.log.error(
            "alarm ({kind}) {site}: {message}" if site else "alarm ({kind}): {message}",
            kind=kind,
            site=site,
            message=message,
        )
        if handed is None and (not self._silent or kind in self._always):
            self._teller.tell(alarm)

    def removed(self, sites: Collection[str]) -> None:
        """There are no *sites* of these names any more: what somebody else has raised for them, and
        would clear, is over."""
        self._over([key for key in self._handed if key[1] in sites])

    def _expire(self) -> None:
        """Have be over what was handed over and nobody here has found to be so."""
        # A clock that was set back only has them hold longer.
        if self._handed and self._epoch() - self._handed_at >= HANDED_FOR:
            self._over([key for key in self._handed if key[0] not in self._lasting])

    def cleared(self, kind: str, site: str) -> None:
        """What was raised of this *kind* for *site* holds no more; told as it was raised, with
        ``"cleared": true``. Nothing happens where nothing was raised."""
        self._over([key for key in (*self._handed, *self._current) if key[:2] == (kind, site)])

    def _over(self, keys: Iterable[Key]) -> None:
        for key in keys:
            kind, site, _ = key
            alarm = self._handed.pop(key, None) or self._current.pop(key)
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
