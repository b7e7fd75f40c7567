"""The keeper: has the machine decide, and does what it says with the processes of the teams.

Everything it is told comes in as an event, one after the other; everything it does is a command of
the machine's. It knows of a team only its process and its notices. Nothing that a team says or does
may end it, and nothing it does may block: while it is there, the other team is one signal away.
"""

from __future__ import annotations

import math
import signal
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from snickers.interfaces.alarm import IAlarm
from snickers.teams import notices
from snickers.teams import pair as p
from snickers.teams.machine import step
from snickers.teams.moves import TAKEN_BACK
from snickers.teams.pair import Member, Pair, Stage, due
from snickers.teams.processes import CannotStart, IProcess
from snickers.teams.record import Process

NUMBERS = {
    p.StandBy: signal.SIGUSR1,
    p.Accept: signal.SIGUSR2,
    p.End: signal.SIGTERM,
    p.Finish: signal.SIGURG,
    p.Abort: signal.SIGABRT,
    p.Kill: signal.SIGKILL,
}
"""The signal that is each command to a member."""

ASKS: Mapping[str, Callable[[float], p.Asked]] = {
    "switch": p.AskedSwitch,
    "restart": lambda after: p.AskedRestart(),
    "commit": lambda after: p.AskedCommit(),
    "rollback": lambda after: p.AskedRollback(),
    "hurry blue": lambda after: p.AskedHurry("blue"),
    "hurry red": lambda after: p.AskedHurry("red"),
}
"""What may be asked for, and the event that it is."""


class IAsker(Protocol):
    """One who has asked for something, and is told how it goes."""

    def progress(self, words: str) -> None: ...

    def done(self, words: str) -> None: ...

    def failed(self, words: str) -> None: ...


class Launch(Protocol):
    """Starts a process of a team."""

    def __call__(self, team: str, stand_by: bool, ended: Callable[[str], None]) -> IProcess:
        """Start one of *team*; *ended* is called with words when it has ended. Raises
        `CannotStart`."""


@frozen
class _Running:
    process: IProcess
    known: Process | None
    """Which process it is, for the record."""
    since: float
    """Seconds since the epoch."""


class Keeper:
    """Two teams, kept.

    :param clock: of all times; must not go backwards.
    :param wall: seconds since the epoch.
    :param began: says when a process began, see `snickers.teams.processes.began`.
    :param changed: called when what is to be remembered has changed.
    :param told: called with words when what is going on has changed.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        wall: Callable[[], float],
        launch: Launch,
        began: Callable[[int], int | None],
        alarm: IAlarm,
        changed: Callable[[], None],
        told: Callable[[Stage, str], None],
    ) -> None:
        self.pair = Pair()
        self.commit_after = math.inf
        """Seconds; what the next switch gets."""
        self.over: Deferred[None] = Deferred()
        """Fires when no team is left, after `end`."""
        self.waiting: list[IAsker] = []
        """Those who wait for the end of what goes on."""
        self.taken_back = ""
        """Why a newcomer was last taken back, if one was since the last switch."""
        self.listen: Callable[[], object] = lambda: None
        """Hears what the teams have told by now: before it is decided that they are silent."""
        self._clock = clock
        self._wall = wall
        self._launch = launch
        self._began = began
        self._alarm = alarm
        self._changed = changed
        self._told = told
        self._running: dict[int, _Running] = {}
        self._events: deque[tuple[p.Event, IAsker | None]] = deque()
        self._busy = False
        self._timer: IDelayedCall | None = None
        self._said = ""
        self._news = False
        """Whether alarms have been raised, or are over, that are to be written down."""
        self._owed: dict[int, set[int]] = {}
        """By member: the signals that it gets when it has proven itself."""

    # What happens

    def begin(self) -> None:
        """Start the good team."""
        self.pair = evolve(self.pair, until=self._clock.seconds())
        self.feed(p.Passed())

    def take_up(
        self,
        pair: Pair,
        commands: tuple[p.Command, ...],
        processes: Mapping[int, tuple[IProcess, Process]],
    ) -> None:
        """Go on with what another keeper left: the pair, what to do, and who still runs."""
        now, wall = self._clock.seconds(), self._wall()
        for id, (process, known) in processes.items():
            member = pair.member(id)
            if member is not None:
                since = wall - (now - member.began)
                self._running[id] = _Running(process, known, since)
        self.pair = pair
        self._busy = True
        for command in commands:
            self._try(command, None)
        self._changed()
        self._go_on()

    def ended(self, id: int, words: str) -> None:
        """The process of the member *id* has ended."""
        self._running.pop(id, None)
        self._owed.pop(id, None)
        self.feed(p.Ended(id, words))

    def heard(self, pid: int, data: bytes) -> None:
        """A datagram came from the process *pid*."""
        for id, running in self._running.items():
            if running.process.pid == pid:
                for event in notices.events(id, data):
                    self.feed(event)
                    if isinstance(event, p.Proved):
                        for number in self._owed.pop(id, ()):
                            running.process.signal(number)
                return

    def configured(self, commit_after: float, drain_within: float, finish_within: float) -> None:
        """The configuration was read; all in seconds."""
        self.commit_after = commit_after
        self.feed(p.Configured(drain_within, finish_within))

    def ask(self, what: str, asker: IAsker) -> None:
        """*asker* asks for one of `ASKS`."""
        self.feed(ASKS[what](self.commit_after), asker)

    def gone(self, asker: IAsker) -> None:
        """*asker* waits no more."""
        if asker in self.waiting:
            self.waiting.remove(asker)

    def end(self) -> Deferred[None]:
        """End all teams; fires when they have ended. A second time: at once."""
        self.feed(p.AskedEnd())
        return self.over

    def signal_all(self, number: int) -> None:
        """Send a signal to those that serve, stand by, or finish for long what they have open; to
        one that is being started when it has proven itself."""
        for member in self.pair.at_work():
            if member.id not in self._running:
                continue
            if member.ready or member.serves is not None:
                self._running[member.id].process.signal(number)
            else:
                # Before it has handlers any signal would end it.
                self._owed.setdefault(member.id, set()).add(number)

    def feed(self, event: p.Event, asker: IAsker | None = None) -> None:
        """Have the machine decide on *event*, after those that came before it."""
        self._events.append((event, asker))
        if not self._busy:
            self._go_on()

    def _go_on(self) -> None:
        self._busy = True
        try:
            while self._events:
                event, asker = self._events.popleft()
                before = self.pair
                self.pair, commands = step(before, event, self._clock.seconds())
                for command in commands:
                    asker = self._try(command, asker)
                if asker is not None:
                    self.waiting.append(asker)
                if self._news or _remembered(before) != _remembered(self.pair):
                    self._news = False
                    self._changed()
        finally:
            self._busy = False
            self._schedule()
        words = in_words(self.pair)
        if words != self._said:
            self._said = words
            self._told(self.pair.stage, words)

    def _schedule(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        at = due(self.pair)
        if math.isfinite(at):
            wait = max(0.0, at - self._clock.seconds())
            self._timer = self._clock.callLater(wait, self._passed)

    def _passed(self) -> None:
        try:
            # The keeper may have been held up itself: what was told meanwhile is heard first.
            self.listen()
        except Exception:
            self.log.failure("listening")
        self.feed(p.Passed())

    # What is done

    def _try(self, command: p.Command, asker: IAsker | None) -> IAsker | None:
        """As `_do`; what fails keeps none of the others from being done."""
        try:
            return self._do(command, asker)
        except Exception:
            self.log.failure("{command} was not carried out", command=command)
            return asker

    def _do(self, command: p.Command, asker: IAsker | None) -> IAsker | None:
        """Do it, and return *asker* if that has not been answered by it."""
        match command:
            case p.Spawn(id, team, stand_by):
                self._spawn(id, team, stand_by)
            case p.ToMember(id):
                running = self._running.get(id)
                if running is not None:
                    running.process.signal(NUMBERS[type(command)])
            case p.Say(words):
                self.log.info("{words}", words=words)
                for waiting in [*self.waiting, *([asker] if asker is not None else [])]:
                    waiting.progress(words)
            case p.Refuse(words):
                if asker is not None:
                    asker.failed(words)
                return None
            case p.Reply(words):
                if asker is not None:
                    asker.done(words)
                return None
            case p.Failed(words):
                self.log.info("{words}", words=words)
                for waiting in self._answered():
                    waiting.failed(words)
            case p.Done(words):
                self.log.info("{words}", words=words)
                for waiting in self._answered():
                    waiting.done(words)
                if asker is not None:
                    asker.done(words)
                return None
            case p.Raise(kind, words):
                if kind == TAKEN_BACK:
                    self.taken_back = words
                self._news = True
                self._alarm.raised(kind, "", words)
            case p.Clear(kind):
                if kind == TAKEN_BACK:
                    self.taken_back = ""
                self._news = True
                self._alarm.cleared(kind, "")
            case p.Quit():
                if not self.over.called:
                    self.over.callback(None)
        return asker

    def _answered(self) -> list[IAsker]:
        waiting, self.waiting = self.waiting, []
        return waiting

    def _spawn(self, id: int, team: str, stand_by: bool) -> None:
        try:
            process = self._launch(team, stand_by, lambda words: self.ended(id, words))
        except CannotStart as problem:
            self.feed(p.Ended(id, str(problem)))
            return
        ticks = self._began(process.pid)
        known = None if ticks is None else Process(process.pid, ticks)
        self._running[id] = _Running(process, known, self._wall())

    # What there is to say

    def processes(self) -> dict[int, Process]:
        """Return which process each member is, as far as it is known."""
        return {
            id: running.known for id, running in self._running.items() if running.known is not None
        }

    def status(self) -> dict[str, Any]:
        """Return what is going on, as ``snickers teams`` shows it."""
        pair, now = self.pair, self._clock.seconds()
        left = pair.until - now if pair.stage is Stage.TRIAL else math.inf
        return {
            "stage": pair.stage.value,
            "words": in_words(pair),
            "good": pair.good,
            "live": self._of(pair.live),
            "other": self._of(pair.other),
            "ending": [self._of(member) for member in pair.ending],
            "commits_in": round(left, 1) if math.isfinite(left) else None,
            "taken_back": self.taken_back,
            "now": self._wall(),
        }

    def _of(self, member: Member | None) -> dict[str, Any] | None:
        if member is None:
            return None
        running = self._running.get(member.id)
        now, wall = self._clock.seconds(), self._wall()
        by = min(member.kill_at, member.finish_by)
        finishing = member.finishing
        return {
            "id": member.id,
            "team": member.team,
            "pid": 0 if running is None else running.process.pid,
            "since": None if running is None else running.since,
            "live_since": None if member.serves is None else wall - (now - member.serves),
            "accepts": member.accepts,
            "ready": member.ready,
            "duty": member.duty,
            "version": member.version,
            "status": member.status,
            "open": member.open,
            "answers": member.answers,
            "errors": member.errors,
            "alarms": member.alarms,
            "finishing_since": None if finishing is None else wall - (now - finishing),
            "hurried": finishing is not None and not member.at_leisure,
            "ends_by": wall + (by - now) if math.isfinite(by) else None,
        }


def _remembered(pair: Pair) -> tuple[Any, ...]:
    """What of *pair* a later keeper needs to know at once."""
    return (
        pair.stage,
        pair.good,
        pair.failures,
        pair.unproven,
        pair.trial.alarmed,
        *(
            None
            if member is None
            else (
                *(member.id, member.accepts, member.version, member.beats, member.kill_at),
                *(member.finishes, member.finish_by),
            )
            for member in (pair.live, pair.other, *pair.ending)
        ),
    )


def in_words(pair: Pair) -> str:
    """Return what is going on, in words."""
    live = "" if pair.live is None else pair.live.team
    other = "" if pair.other is None else pair.other.team
    words = {
        Stage.DOWN: "no team serves; one is started soon",
        Stage.OPENING: f"{live} is being started",
        Stage.SERVING: f"{live} serves",
        Stage.PROVING: f"{live} serves; {other} is started and proves itself",
        Stage.YIELDING: f"{live} stands by, for {other} to take over",
        Stage.TAKING: f"{other} takes over",
        Stage.RETURNING: f"{live} accepts again",
        Stage.TRIAL: f"{live} serves, on trial; {other} stands by",
        Stage.LEAVING: "the keeper ends; so do the teams",
        Stage.OVER: "no team is left",
    }[pair.stage]
    ending = ", ".join(sorted({member.team for member in pair.ending}))
    return f"{words}; {ending} finishes what is open" if ending else words
