"""The two teams as the keeper knows them: their state, what may happen to them, what is done then.

Pure values: no process, no socket, no clock. A member is one process of a team, from its start to
its end; it is known by a number that is never used again, so that what is heard of one that has
gone can harm no other.
"""

from __future__ import annotations

import math
from enum import Enum

from attrs import evolve, frozen

TEAMS = ("blue", "red")


def opponent(team: str) -> str:
    """Return the other team's name."""
    return TEAMS[1 - TEAMS.index(team)]


class Stage(Enum):
    """Where the pair is; the values are what ``snickers teams`` shows."""

    DOWN = "down"
    """Nobody serves; one is started when the pause is over."""
    OPENING = "opening"
    """The live one is started and serves as soon as it has proven itself."""
    SERVING = "serving"
    """The live one serves, alone."""
    PROVING = "proving"
    """...while the other is started, to stand by."""
    YIELDING = "yielding"
    """The live one is told to stand by, the other has proven itself."""
    TAKING = "taking"
    """The other is told to accept."""
    RETURNING = "returning"
    """The other has failed, the live one is told to accept again."""
    TRIAL = "trial"
    """The newcomer is live, the one before stands by until commit or rollback."""
    LEAVING = "leaving"
    """The keeper ends; the teams are ended one after the other."""
    OVER = "over"
    """None is left."""


class Purpose(Enum):
    """Why the other is to become the live one."""

    NONE = ""
    SWITCH = "switch"
    RESTART = "restart"
    """By another process of the same team."""
    ROLLBACK = "rollback"


@frozen
class Member:
    """One process of a team."""

    id: int
    team: str
    began: float
    """Seconds of the keeper's clock."""
    accepts: bool
    """Whether it was last told to accept (or started to)."""
    accepted: bool = False
    """Whether it ever was, of one that ends."""
    ready: bool = False
    """Whether it has proven itself."""
    duty: bool = False
    """Whether it says that it is on duty."""
    serves: float | None = None
    """Since when it has been the one that serves, if ever."""
    answers: int = 0
    """Running totals, as it tells them: all answers..."""
    errors: int = 0
    """...and those with 5xx."""
    open: int = 0
    alarms: int = 0
    version: str = ""
    status: str = ""
    kill_at: float = math.inf
    """Of one that was asked to end: when it is asked once more, or, if it was, ended by force."""
    urged: bool = False
    """Whether it was asked once more: force is next."""
    stopping: bool = False
    """Whether it has said itself that it ends."""
    beats: bool = False
    """Whether it has ever said that it is alive (``WATCHDOG=1``): it is held to that."""
    look_at: float = math.inf
    """When its silence is looked at, if it beats..."""
    doubted: bool = False
    """...and whether it has been looked at once."""
    finishes: bool = False
    """Whether it says that it can be told to finish what it has open, for long."""
    finishing: float | None = None
    """Since when it does, if it was told to."""
    finish_by: float = math.inf
    """When it has had its time for that, and is hurried."""

    @property
    def may_have_open(self) -> bool:
        """Whether visitors may have come to it, ever: what they have open it may finish."""
        served = self.serves is not None or self.finishing is not None
        return self.accepts or self.accepted or served

    @property
    def at_leisure(self) -> bool:
        """Whether it finishes what it has open, and nobody has hurried it yet."""
        return self.finishing is not None and not self.urged and math.isinf(self.kill_at)


@frozen
class Trial:
    """What a newcomer is measured by."""

    answers: int = 0
    """The totals of the one before, when it stood by..."""
    errors: int = 0
    alarms: int = 0
    """...and its alarms."""
    first_answers: int = 0
    """The newcomer's own totals when it took over."""
    first_errors: int = 0
    spells: int = 0
    """How many of the newcomer's reports told of new errors."""
    alarmed: bool = False
    """Whether it has had more alarms than the one before."""


@frozen
class Pair:
    """All that the keeper knows and wants."""

    stage: Stage = Stage.DOWN
    live: Member | None = None
    """The one that serves, is to serve, or served until a moment ago."""
    other: Member | None = None
    """The newcomer, or the one that stands by."""
    ending: tuple[Member, ...] = ()
    """Those that were asked to end and have not yet."""
    until: float = math.inf
    """When the stage is over by itself, in seconds of the keeper's clock."""
    purpose: Purpose = Purpose.NONE
    trial: Trial = Trial()
    good: str = TEAMS[0]
    """The team that is started when none serves: the last one that was committed or proved
    itself by time."""
    failures: int = 0
    """Ends in a row of those that should have served, each in its first minutes..."""
    unproven: int = 0
    """...and of those that had not even proven themselves."""
    commit_after: float = math.inf
    """Seconds without alarms after which a newcomer stays."""
    drain_within: float = 30.0
    """Seconds a team is given to finish what it has open, as the configuration says..."""
    finish_within: float = 86400.0
    """...and one that is in nobody's way."""
    raised: frozenset[str] = frozenset()
    """The kinds of alarms that hold."""
    calm_at: float = math.inf
    """When it is looked at whether alarms about ends are over, if there are any."""
    next_id: int = 1

    def members(self) -> tuple[Member, ...]:
        """Return all there are."""
        return tuple(m for m in (self.live, self.other, *self.ending) if m is not None)

    def watched(self) -> tuple[Member, ...]:
        """Return those that must not be silent for long. One that loads may block, and has a time
        for that; for one that was asked to end once more force is next in any case."""
        return tuple(m for m in self.members() if m.ready and not m.urged)

    def at_work(self) -> tuple[Member, ...]:
        """Return those that do not end, or not soon."""
        ending = [member for member in self.ending if member.at_leisure]
        return tuple(m for m in (self.live, self.other, *ending) if m is not None)

    def member(self, id: int) -> Member | None:
        """Return the one with this number, if it has not gone."""
        return next((member for member in self.members() if member.id == id), None)

    def changed(self, member: Member) -> Pair:
        """Return the pair with *member* in the place of the one with its number."""
        if self.live is not None and self.live.id == member.id:
            return evolve(self, live=member)
        if self.other is not None and self.other.id == member.id:
            return evolve(self, other=member)
        ending = tuple(member if m.id == member.id else m for m in self.ending)
        return evolve(self, ending=ending)


def due(pair: Pair) -> float:
    """Return when `Passed` has something to do, in seconds of the keeper's clock."""
    watched = [member.look_at for member in pair.watched()]
    ends = [at for one in pair.ending for at in (one.kill_at, one.finish_by)]
    return min([pair.until, pair.calm_at, *watched, *ends])


# What happens


@frozen
class Event:
    """Something that has happened."""


@frozen
class Passed(Event):
    """Time has passed."""


@frozen
class Configured(Event):
    """The configuration was read."""

    drain_within: float
    """Seconds."""
    finish_within: float = 86400.0
    """Seconds."""


@frozen
class OfMember(Event):
    """Something was heard of one process."""

    id: int


@frozen
class Told(OfMember):
    """It has told something itself: it lives."""


@frozen
class Beat(Told):
    """It is alive, and will say so again and again (``WATCHDOG=1``)."""


@frozen
class Proved(Told):
    """It has loaded everything and proven itself (``READY=1``)."""


@frozen
class Gave(Told):
    """It has given up duty."""


@frozen
class Took(Told):
    """It has taken duty."""


@frozen
class Answered(Told):
    """Its running totals."""

    answers: int
    errors: int


@frozen
class Counted(Told):
    """Its open connections and its alarms; ``None``: not told."""

    open: int | None = None
    alarms: int | None = None


@frozen
class Described(Told):
    """Its version, its own words about itself, whether it can be told to finish what it has open;
    ``None``: not told."""

    version: str | None = None
    status: str | None = None
    finishes: bool | None = None


@frozen
class Ended(OfMember):
    """The process has ended, or could not be started: *words* say how."""

    words: str


@frozen
class Stopping(Told):
    """It accepts no more, finishes what it has open and ends, whoever asked for that
    (``STOPPING=1``)."""

    words: str = "was asked to end"
    within: float | None = None
    """Seconds that it needs for that at the most (``EXTEND_TIMEOUT_USEC=``), if it has said so."""
    finishing: bool = False
    """Whether it was told to finish, by a keeper whose record may be lost."""


@frozen
class Hung(OfMember):
    """It has been silent for too long: it can do nothing any more, nor end by itself."""

    words: str = "hung and was ended"


@frozen
class Asked(Event):
    """A person asks for something."""


@frozen
class AskedSwitch(Asked):
    """The other team is to take over; after *commit_after* seconds without alarms it stays."""

    commit_after: float = math.inf


@frozen
class AskedRestart(Asked):
    """Another process of the live team is to take over."""


@frozen
class AskedCommit(Asked):
    """The newcomer stays, the one before ends."""


@frozen
class AskedRollback(Asked):
    """The one before takes over again."""


@frozen
class AskedHurry(Asked):
    """What *team* still finishes is in the way: something is to be done to its folder."""

    team: str = TEAMS[0]


@frozen
class AskedEnd(Asked):
    """The keeper is to end, and all teams with it."""


EVENTS = (
    *(Passed, Configured, Beat, Proved, Gave, Took, Answered, Counted, Described),
    *(Ended, Stopping, Hung),
    *(AskedSwitch, AskedRestart, AskedCommit, AskedRollback, AskedHurry, AskedEnd),
)


# What is done


@frozen
class Command:
    """Something to do, at once and in the order given."""


@frozen
class Spawn(Command):
    """Start a process of *team*, known as *id*; what fails is an `Ended`."""

    id: int
    team: str
    stand_by: bool


@frozen
class ToMember(Command):
    """A signal for one process; nothing, if it has just gone."""

    id: int


@frozen
class StandBy(ToMember):
    """Accept no more, give duty up (SIGUSR1)."""


@frozen
class Accept(ToMember):
    """Accept, take duty (SIGUSR2)."""


@frozen
class End(ToMember):
    """Finish what is open within `drain within`, and end (SIGTERM)."""


@frozen
class Finish(ToMember):
    """Finish what is open within `finish within`, and end (SIGURG, which one that does not know
    of it ignores); `End` hurries it."""


@frozen
class Abort(ToMember):
    """End at once, and leave in the log what it was doing (SIGABRT); it runs no code of its own
    any more."""


@frozen
class Kill(ToMember):
    """End by force (SIGKILL)."""


@frozen
class Worded(Command):
    """Words for a person."""

    words: str


@frozen
class Say(Worded):
    """What goes on, for the log and for who waits."""


@frozen
class Done(Worded):
    """What was asked for is done."""


@frozen
class Reply(Worded):
    """What is being asked for right now is done; who waits for anything else goes on waiting."""


@frozen
class Failed(Worded):
    """What was asked for could not be done."""


@frozen
class Refuse(Worded):
    """What is being asked for right now cannot be done now; nothing has changed."""


@frozen
class Raise(Command):
    """Raise an alarm."""

    kind: str
    words: str


@frozen
class Clear(Command):
    """The alarms of this kind hold no more."""

    kind: str


@frozen
class Quit(Command):
    """No team is left: the keeper may go."""


Step = tuple[Pair, tuple[Command, ...]]
