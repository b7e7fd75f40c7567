"""What one engine has, for the lives of its kind.

A roster stands between an engine and the lives that it runs servers for: it hears of the engine's
coming and going, and asks it once for the sake of all who want to know what it has of them. It
must never start or stop anything: a server of a site that nobody declared is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from signal import Signals
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.containers import events as e
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.engine import Exit, IEngine, IEngineObserver, Instance

FIRST_PAUSE = 1.0
"""Seconds until an engine that could not say what it has is asked again; doubled each time."""
LONGEST_PAUSE = 30.0

_log = Logger()


_HINTS = {
    0: ", as if its work were done; a server has to stay in the foreground",
    126: ": a command could not be run; snickers logs may say which",
    127: ": a command was not found; snickers logs may say which",
}
"""What codes mean that say more about the command than about the server."""


class Member(Protocol):
    """A life, as its roster knows it."""

    def post(self, event: e.Event) -> None: ...


def in_words(exit: Exit) -> str:
    """Return how a server ended, for its owner."""
    who = f"Its service {exit.part}" if exit.part else "It"
    if exit.out_of_memory:
        return f"{who} was ended because it needed more memory than it may have."
    if exit.code is None:
        return f"{who} ended; with which code is not known."
    try:
        by = f" ({Signals(exit.code - 128).name})"
    except ValueError:
        by = ""
    return f"{who} ended with code {exit.code}{by}{_HINTS.get(exit.code, '')}."


def _when(instance: Instance) -> tuple[bool, bool, float]:
    """Order servers of one site: one that runs is the last, and of those not one that is being
    tried beside another; then the one started last."""
    return instance.running, not instance.beside, instance.started or 0.0


@implementer(IEngineObserver)
class Roster:
    """The lives of one engine.

    :ivar engine: ``None`` when there is none here.
    :ivar kind: what it runs, in a word.
    """

    def __init__(
        self, kind: str, engine: IEngine | None, clock: IReactorTime, alarm: IAlarm | None
    ) -> None:
        self.kind = kind
        self.engine = engine
        self.notices: dict[str, str] = {}
        """What owners should know of servers that run, by site."""
        self._clock = clock
        self._alarm = alarm
        self._members: dict[str, Member] = {}
        self._there = False
        self._words = ""
        self._told = ""
        """The words of the alarm that is raised now."""
        # Each its own: whether there is Docker is nothing that other engines know.
        self._about = "engine" if kind == "container" else f"{kind} engine"
        self._found = False
        """It was there since this roster watches."""
        self._asking: dict[str, int] = {}
        self._planned = False
        self._round = 0
        self._pause = FIRST_PAUSE
        self._closed = False
        self._strangers: set[str] = set()

    def watch(self) -> None:
        """Begin to hear from the engine."""
        if self.engine is not None:
            self.engine.watch(self)

    def join(self, site: str, member: Member) -> None:
        """Let *member* hear of *site*'s server, first whether the engine is there."""
        self._members[site] = member
        self._tell()
        if self.engine is None:
            member.post(e.EngineLost(f"Nothing here runs a {self.kind}.", for_good=True))
        elif self._there:
            member.post(e.EngineFound())
        elif self._words:
            member.post(e.EngineLost(self._words))

    def part(self, site: str) -> None:
        """Undo `join`."""
        self._members.pop(site, None)
        self._asking.pop(site, None)
        self.notices.pop(site, None)
        self._tell()

    def look(self, site: str, epoch: int) -> None:
        """Have `Listed` with *epoch* posted to the member of *site*."""
        self._asking[site] = epoch
        self._plan(0)

    def retire(self) -> None:
        """Raise no alarm any more, and have none raised: somebody else looks after the lives."""
        if self._told and self._alarm is not None:
            self._alarm.cleared(self._about, "")
        self._alarm = None

    def close(self) -> Deferred[None]:
        """Let go of the engine; fires when that is done, and never fails."""
        self._closed = True
        if self.engine is None:
            return maybeDeferred(lambda: None)
        done = maybeDeferred(self.engine.close)
        return done.addErrback(
            lambda f: _log.failure("The engine for {kind} failed to close", f, kind=self.kind)
        )

    # IEngineObserver

    def found(self) -> None:
        self._there = True
        self._round += 1
        self._planned = False
        self._pause = FIRST_PAUSE
        if self._members:
            _log.info("The engine for {kind} is there", kind=self.kind)
        self._words = ""
        if not self._found and not self._told and self._alarm is not None:
            # Another Snickers may have told that it is away.
            self._alarm.cleared(self._about, "")
        self._found = True
        self._tell()
        for member in list(self._members.values()):
            member.post(e.EngineFound())
        # Also with no member: servers of nobody are to be told of.
        self._plan(0)

    def lost(self, reason: str) -> None:
        self._there = False
        self._round += 1
        self._planned = False
        self._asking.clear()
        self._words = reason or "The engine cannot be reached."
        if self._members:
            # Nobody misses an engine that no site needs.
            _log.info("The engine for {kind} is away: {reason}", kind=self.kind, reason=reason)
        self._tell()
        for member in list(self._members.values()):
            member.post(e.EngineLost(self._words))

    def noticed(self, site: str, words: str) -> None:
        if words:
            self.notices[site] = words
            _log.info("{site}: {words}", site=site, words=words)
        else:
            self.notices.pop(site, None)

    def _tell(self) -> None:
        """Raise an alarm while an engine is away that somebody needs, and only then."""
        words = self._words if self._members else ""
        if self._alarm is None or words == self._told:
            return
        if words:
            self._alarm.raised(self._about, "", words)
        else:
            self._alarm.cleared(self._about, "")
        self._told = words

    def exited(self, exit: Exit) -> None:
        member = self._members.get(exit.site)
        if member is not None:
            member.post(e.Exited(exit.id, in_words(exit)))

    # Looking

    def _plan(self, after: float) -> None:
        # Later, so that all who ask in this turn are answered by one list.
        if self._there and not self._planned and not self._closed:
            self._planned = True
            self._clock.callLater(after, self._list, self._round)

    def _list(self, round: int) -> None:
        if round != self._round or self._closed:
            return
        assert self.engine is not None
        asked, self._asking = self._asking, {}
        listing = maybeDeferred(self.engine.list)
        listing.addCallbacks(
            self._listed, self._unlisted, callbackArgs=(round, asked), errbackArgs=(round, asked)
        )
        listing.addErrback(lambda f: _log.failure("A list of servers was not dealt with", f))

    def _listed(self, listed: Sequence[Instance], round: int, asked: dict[str, int]) -> None:
        if round != self._round or self._closed:
            return
        self._planned = False
        self._pause = FIRST_PAUSE
        found: dict[str, Instance] = {}
        former: dict[str, Instance] = {}
        others: dict[str, tuple[Instance, ...]] = {}
        # What was replaced and kept is older than what replaced it.
        for instance in sorted(listed, key=_when):
            site = instance.site
            if site in found and found[site].running:
                others[site] = (*others.get(site, ()), found[site])
            elif site in found and found[site].started is not None:
                # One that was made and never started is what an end in between has left.
                former[site] = found[site]
            found[site] = instance
        for site, epoch in asked.items():
            member = self._members.get(site)
            if member is not None:
                listing = e.Listed(epoch, found.get(site), former.get(site), others.get(site, ()))
                member.post(listing)
        for instance in found.values():
            if instance.site not in self._members and instance.id not in self._strangers:
                self._strangers.add(instance.id)
                _log.warn(
                    "{site}: there is a {kind} ({id}) of a site that the configuration has not;"
                    " it is left alone",
                    site=instance.site,
                    kind=self.kind,
                    id=instance.id,
                )
        if self._asking:
            self._plan(0)

    def _unlisted(self, failure: Failure, round: int, asked: dict[str, int]) -> None:
        if round != self._round or self._closed:
            return
        self._planned = False
        self._asking = {**asked, **self._asking}
        _log.warn(
            "The engine for {kind} cannot say what it has: {words}",
            kind=self.kind,
            words=failure.getErrorMessage(),
        )
        self._plan(self._pause)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
