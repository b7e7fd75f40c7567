"""What happens to a personal server, and what is to be done about it.

The words that ``lifecycle`` hears (events, past tense) and says (commands, imperative). They are
values without behaviour; nothing here decides anything.

An *epoch* names the one thing that was asked for last: a result that carries another epoch than
the state has come too late and is not heard. A *ticket* stands for one who waits for a lease.
"""

from __future__ import annotations

from math import inf

from attrs import frozen

from snickers.config.values import Lifecycle
from snickers.interfaces.engine import Address, Instance
from snickers.interfaces.leases import Refusal

# Events: the data plane


@frozen
class Arrived:
    """Requests found no server ready; each ticket waits for a lease."""

    ticket: int
    more: tuple[int, ...] = ()
    """Those that came in the same moment, in order: a crowd costs one step."""

    @property
    def tickets(self) -> tuple[int, ...]:
        """All of them, in order."""
        return (self.ticket, *self.more)


@frozen
class Forgotten:
    """Who held these tickets waits no more."""

    ticket: int
    more: tuple[int, ...] = ()

    @property
    def tickets(self) -> tuple[int, ...]:
        """All of them."""
        return (self.ticket, *self.more)


@frozen
class Taken:
    """One use more of the server that is awake."""


@frozen
class GivenBack:
    """One use less, of the server at *address*."""

    address: Address


@frozen
class Doubted:
    """A new connection to *address* was refused or timed out."""

    address: Address


# Events: the engine


@frozen
class Started:
    """The engine has started *instance*."""

    epoch: int
    instance: Instance


@frozen
class StartFailed:
    """The engine could not start a server."""

    epoch: int
    words: str
    away: bool = False
    """The engine could not be reached: it says nothing about the server."""


@frozen
class Stopped:
    """No server of the site runs any more."""

    epoch: int


@frozen
class StopFailed:
    """The engine could not stop the server."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Cleared:
    """The engine has forgotten the site."""

    epoch: int


@frozen
class ClearFailed:
    """The engine could not forget the site."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Listed:
    """The engine was asked what it has of the site: *instance*, or nothing."""

    epoch: int
    instance: Instance | None
    former: Instance | None = None
    """The one before *instance*, which could come back."""
    others: tuple[Instance, ...] = ()
    """What runs of it beside that."""


@frozen
class Exited:
    """The server *id* ended, whether asked to or not."""

    id: str
    words: str


@frozen
class EngineLost:
    """The engine cannot be reached."""

    words: str
    for_good: bool = False
    """There is none, and none will come."""


@frozen
class EngineFound:
    """The engine can be reached; what it has is not known yet."""


@frozen
class Paused:
    """The server is frozen."""

    epoch: int


@frozen
class PauseFailed:
    """The engine could not freeze the server."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Resumed:
    """The server goes on."""

    epoch: int


@frozen
class ResumeFailed:
    """The engine could not have the server go on."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Snapshotted:
    """The server has made its snapshot."""

    epoch: int


@frozen
class SnapshotFailed:
    """The server has made no snapshot."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Prepared:
    """What a start needs is at hand; *changed*: it would make another server."""

    epoch: int
    changed: bool


@frozen
class PrepareFailed:
    """What a start needs cannot be had."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Reverted:
    """The server before runs again: *instance*."""

    epoch: int
    instance: Instance


@frozen
class RevertFailed:
    """The server before cannot run again."""

    epoch: int
    words: str
    away: bool = False
    folder: bool = False
    """The site's folder was not put back, so that it was not even tried."""


@frozen
class Settled:
    """Of the site's servers only *id* runs any more, and *spare* if it was to be spared."""

    id: str
    spare: str = ""


@frozen
class SettleFailed:
    """The engine could not end what runs beside the server *id*."""

    id: str
    words: str
    away: bool = False
    spare: str = ""


@frozen
class Copied:
    """The site's folder was copied; *copy* names the copy, empty: there was nothing to copy."""

    epoch: int
    copy: str


@frozen
class CopyFailed:
    """The site's folder could not be copied."""

    epoch: int
    words: str
    away: bool = False


@frozen
class Consented:
    """The server was asked and may be left alone."""

    epoch: int


@frozen
class Vetoed:
    """The server was asked and is in use, or could not say."""

    epoch: int


# Events: the probe and the clock


@frozen
class HealthPassed:
    """The server answers."""

    epoch: int


@frozen
class HealthFailed:
    """The server does not answer, and the probe has given up."""

    epoch: int
    words: str


@frozen
class TimePassed:
    """A moment has come; perhaps nothing is due."""


@frozen
class Busy:
    """The server works, though no request uses it."""


@frozen
class Crowded:
    """There is no room for all who are awake: who is not in use shall sleep."""


# Events: persons and the configuration


@frozen
class WakeAsked:
    """A person wants it awake."""

    alone: bool = False
    """...and no other server being tried beside it."""


@frozen
class SleepAsked:
    """A person wants it asleep."""


@frozen
class RestartAsked:
    """A person wants it stopped and started."""


@frozen
class UpdateAsked:
    """A person wants what *fingerprint* declares, of a newer image if there is one."""

    fingerprint: str = ""
    """Empty: what is declared already."""


@frozen
class RollbackAsked:
    """A person wants the server before back."""


@frozen
class Changed:
    """The configuration says this of the site now."""

    life: Lifecycle
    fingerprint: str


@frozen
class Inherited:
    """Another Snickers was on duty before, and has told this of the server. Times are of the clock
    that the machine is given."""

    used: float
    """When it was used last."""
    crashes: int = 0
    until: float = -inf
    """Until when it rests after a crash."""
    put: bool = False
    stopping: bool = False
    """It was about to be stopped."""
    detail: str = ""
    good: str = ""
    """The id of the last good server, while another one is tried; else empty."""
    updating: bool = False
    """...which is of a newer image, though the declaration is the same."""
    copied: str = ""
    """...and the copy of the site's folder that was made before."""
    back: bool = False
    """...and that has failed: the good one was about to come back."""


@frozen
class Removed:
    """The configuration has the site no more."""


@frozen
class Ended:
    """Snickers itself ends."""


Event = (
    Arrived
    | Forgotten
    | Taken
    | GivenBack
    | Doubted
    | Started
    | StartFailed
    | Stopped
    | StopFailed
    | Cleared
    | ClearFailed
    | Paused
    | PauseFailed
    | Resumed
    | ResumeFailed
    | Snapshotted
    | SnapshotFailed
    | Prepared
    | PrepareFailed
    | Reverted
    | RevertFailed
    | Settled
    | SettleFailed
    | Copied
    | CopyFailed
    | Consented
    | Vetoed
    | Listed
    | Exited
    | EngineLost
    | EngineFound
    | HealthPassed
    | HealthFailed
    | TimePassed
    | Busy
    | Crowded
    | WakeAsked
    | SleepAsked
    | RestartAsked
    | UpdateAsked
    | RollbackAsked
    | Changed
    | Inherited
    | Removed
    | Ended
)


# Commands


@frozen
class Start:
    """Have the engine run what is declared; `Started` or `StartFailed` follows."""

    epoch: int
    fresh: bool = False
    """From the newest image, even if an older one was used before."""
    beside: str = ""
    """The server of this id runs on beside it; empty: none does."""


@frozen
class Prepare:
    """Have at hand what a start needs; `Prepared` or `PrepareFailed` follows."""

    epoch: int
    fresh: bool


@frozen
class Revert:
    """Have the server *id*, which ran before, run again; `Reverted` or `RevertFailed` follows."""

    epoch: int
    id: str
    copy: str = ""
    """What the site's folder shall be before it does: this copy; empty: as it is."""


@frozen
class Settle:
    """The server *id* is the right one: end what runs beside it, forget those before the last one,
    and those after it; `Settled` or `SettleFailed` follows."""

    id: str
    spare: str = ""
    """This one is used and runs on for now."""
    failed: bool = False
    """What is ended was tried and has failed: what it said last is worth keeping."""


@frozen
class Keep:
    """*instance* has come back, or goes on: whatever the name of its image means later, the next
    start is to be of this one. Nothing follows."""

    instance: Instance


@frozen
class Trust:
    """What was tried has proven itself: starts are of what its declaration says. Nothing
    follows."""


@frozen
class Copy:
    """Have the site's folder copied, and others kept from it; `Copied` or `CopyFailed` follows."""

    epoch: int
    within: float
    had: str = ""
    """The copy that was made before a server changed the folder that has not proven itself: as
    long as that one is there, and nobody has restored another, no other is made."""


@frozen
class Stop:
    """Have the engine stop it, killed after *within* seconds; `Stopped` or `StopFailed` follows."""

    epoch: int
    within: float


@frozen
class Clear:
    """Have the engine forget the site; `Cleared` or `ClearFailed` follows."""

    epoch: int


@frozen
class Pause:
    """Have the engine freeze it; `Paused` or `PauseFailed` follows."""

    epoch: int


@frozen
class Resume:
    """Have it go on; `Resumed` or `ResumeFailed` follows."""

    epoch: int


@frozen
class Snapshot:
    """Run *command* inside, for *within* seconds at the most; `Snapshotted` or `SnapshotFailed`
    follows."""

    epoch: int
    command: tuple[str, ...]
    within: float


@frozen
class Inquire:
    """Run *command* inside to hear whether it is in use; `Consented` or `Vetoed` follows."""

    epoch: int
    command: tuple[str, ...]


@frozen
class Look:
    """Ask the engine what it has of the site; `Listed` follows."""

    epoch: int


@frozen
class Probe:
    """See whether *instance* answers; `HealthPassed` follows, or, if *brief*, `HealthFailed`.

    A probe that is not brief asks until it passes or the epoch is over.
    """

    epoch: int
    instance: Instance
    brief: bool = False


@frozen
class Grant:
    """Tell these who wait that the server is at *address*; their uses are counted already."""

    tickets: tuple[int, ...]
    address: Address


@frozen
class Refuse:
    """Tell these who wait why there is no server for them."""

    tickets: tuple[int, ...]
    refusal: Refusal


@frozen
class Tell:
    """Tell the persons who asked for something how far it is."""

    words: str


@frozen
class SayWoken:
    """It is awake: what persons asked for is done."""


@frozen
class SayUnwoken:
    """It will not be awake: tell the persons who asked why."""

    words: str


@frozen
class Confirm:
    """What was asked for last is done already: tell that person. The others wait on."""


@frozen
class Decline:
    """What was asked for last is not done: tell that person why. The others wait on."""

    words: str


@frozen
class SaySlept:
    """It sleeps: what persons asked for is done."""


@frozen
class SayUnslept:
    """It will not sleep: tell the persons who asked why."""

    words: str


@frozen
class Warn:
    """Something is wrong: log it, and tell a person if it has the name of an *alarm*."""

    words: str
    alarm: str = ""


@frozen
class Calm:
    """What the *alarm* was raised for holds no more."""

    alarm: str


@frozen
class Part:
    """The life is over: forget it."""


Command = (
    Start
    | Stop
    | Clear
    | Pause
    | Resume
    | Snapshot
    | Inquire
    | Prepare
    | Revert
    | Settle
    | Keep
    | Trust
    | Confirm
    | Decline
    | Copy
    | Look
    | Probe
    | Grant
    | Refuse
    | Tell
    | SayWoken
    | SayUnwoken
    | SaySlept
    | SayUnslept
    | Warn
    | Calm
    | Part
)
