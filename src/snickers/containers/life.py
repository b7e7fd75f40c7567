"""A personal server's states, and the moves from one to the next.

`State` says all that is known of one life; a move is what several events lead to. Like all of
the lifecycle it is pure, and it decides nothing of when: that is the table's (``lifecycle``).
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any

from attrs import evolve, frozen

from snickers.config.values import Lifecycle
from snickers.containers import events as e
from snickers.interfaces.engine import Instance
from snickers.interfaces.leases import Refusal

QUEUE = 1000
"""How many may wait for one site: about what a browser page and its reloads make, times many;
beyond it a waiting request costs more than asking again."""
CRASHES = 5
"""Crashes in a row after which starting again is left to a person."""
LONGEST_PAUSE = 60.0
"""Seconds: the longest rest between two crashes."""
STEADY = 300.0
"""Seconds awake after which former crashes are forgotten."""
PATIENCE = 3
"""A start or a check may take so many times ``wake within`` before it counts as a crash."""
TRIAL = 0.5
"""...and so many times where another server can come back: nobody shall wait in vain."""
BESIDE = 1.0
"""...and so many times where another server serves meanwhile."""
STOP_AGAIN = 5.0
"""Seconds after which a stop that failed is tried again."""
CLEAR_AGAIN = 60.0
"""Seconds after which a removal that failed is tried again; nobody waits for it."""
SNAPSHOT_AGAIN = 300.0
"""Seconds after which a server that is to be removed tries again to make its snapshot."""

# Retry-After, seconds: when asking again makes sense.
SOON = 5
AWAY_RETRY = 30
RESTING_RETRY = 300


class Phase(Enum):
    """Where a life is; the values are what ``status`` and the metrics show."""

    AWAY = "away"
    ASLEEP = "asleep"
    STARTING = "starting"
    CHECKING = "checking"
    AWAKE = "awake"
    DRAINING = "draining"
    STOPPING = "stopping"
    REMOVING = "removing"
    CRASHED = "crashed"
    OVER = "over"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    SNAPSHOTTING = "snapshotting"
    REVERTING = "reverting"
    REPLACING = "replacing"
    COPYING = "copying"


SERVING = frozenset({Phase.AWAKE, Phase.REPLACING})
"""It answers, and whoever comes gets a lease."""
_PARTING = frozenset({Phase.AWAKE, Phase.CHECKING, Phase.DRAINING, Phase.SNAPSHOTTING})
"""In which another server may run beside: in all others the engine sees to it that none does."""
_TRYING = frozenset(
    {
        Phase.AWAY,
        Phase.STARTING,
        Phase.CHECKING,
        Phase.DRAINING,
        Phase.STOPPING,
        Phase.REVERTING,
        Phase.COPYING,
    }
)
"""In which others may be kept from the site's folder, since another server is tried on it."""
_UNPROVEN = _TRYING | {Phase.ASLEEP, Phase.CRASHED}
"""In which the folder may be what a server has left that has not proven itself."""


class After(Enum):
    """What follows a stop."""

    SLEEP = "sleep"
    """Sleep, unless somebody waits by then."""
    START = "start"
    CRASH = "crash"
    """The server was stopped because it did not answer."""
    BACK = "back"
    """The server before comes back."""


@frozen
class Waiter:
    """One who waits for a lease."""

    ticket: int
    since: float


@frozen
class Parting:
    """A server beside the one that serves, to be ended when nobody uses it any more."""

    instance: Instance | None = None
    """``None``: whatever else runs, and nobody uses it."""
    uses: int = 0
    """Of all uses those that are of this one."""
    until: float = 0.0
    """Whoever uses it then is cut off."""
    sound: bool = False
    """It has served well until another one took its place, and can serve again."""
    failed: bool = False
    """It was tried and did not prove itself."""
    told: bool = False
    """The engine was told to end it."""
    unsure: bool = False
    """Others may use it, too, who have not said so: another Snickers looked after them."""


@frozen
class State:
    """A life. Times are of the clock that `step` is given."""

    life: Lifecycle
    fingerprint: str
    """Of what shall run: what is declared, unless that was tried and failed."""
    phase: Phase = Phase.AWAY
    since: float = 0.0
    epoch: int = 0
    engine: bool = False
    """The engine can be reached."""
    hopeless: bool = False
    """There is no engine, and none will come."""
    instance: Instance | None = None
    """The server that runs, or is being stopped."""
    waiters: tuple[Waiter, ...] = ()
    """In order of arrival."""
    newcomer: Instance | None = None
    """The server that is started beside it, as far as it is known yet."""
    parting: Parting | None = None
    """What else may run."""
    uses: int = 0
    """Of all its servers, a parting one included."""
    used: float = 0.0
    """When it was last used."""
    began: float = 0.0
    """When the start, or the check without a start, began."""
    until: float = math.inf
    """When the drain or the rest ends, or what failed is tried again."""
    after: After = After.SLEEP
    leaving: After | None = None
    """While it is paused or resumed: to be stopped, and what follows; ``None``: to be awake."""
    proven: bool = False
    """It has answered since it was started, so that it can make a snapshot."""
    inquiring: bool = False
    """It is being asked whether it is in use."""
    inherited: e.Inherited | None = None
    """What another Snickers has told of the server, until that is found."""
    good: Instance | None = None
    """The last server that has answered, as it was then."""
    before: Instance | None = None
    """The one before that."""
    updating: bool = False
    """A newer image is wanted, though the declaration is the same."""
    preparing: bool = False
    """What the next server needs is being fetched, while this one serves."""
    declared: str = ""
    """The fingerprint of what the configuration says."""
    refused: str = ""
    """The fingerprint that was tried and failed: not tried again until it changes."""
    copied: str = ""
    """The copy of the site's folder that was made before another server was tried on it, until one
    has proven itself or the folder was put back."""
    touched: bool = False
    """A server that may have changed the folder was started since."""
    clean: bool = False
    """...and none but the one that is being started."""
    held: bool = False
    """Others are kept from the folder."""
    back: Instance | None = None
    """Which server before is coming back, or shall as soon as the engine can be reached."""
    crowded: bool = False
    """It is being asked because its room is needed."""
    crashes: int = 0
    """In a row."""
    asked: float | None = None
    """When a person asked to wake it, until that is done or has failed."""
    put: bool = False
    """A person put it to sleep: ``always`` waits for somebody to want it."""
    gone: bool = False
    """The configuration has it no more."""
    doubted: bool = False
    """A connection failed, and the server has not answered since."""
    heard: str = ""
    """The id of a server whose end was heard of while starting."""
    said: str = ""
    """How it is said to have ended, until the engine was asked whether it has."""
    detail: str = ""
    """What went wrong last, in words."""
    verdict: str = ""
    """Why what persons asked for has failed: they are told when the server that came back instead
    answers, or does not."""


Step = tuple[State, tuple[e.Command, ...]]


def due(state: State) -> float:
    """Return when `TimePassed` will change something, at the earliest; ``inf``: never.

    A lower bound: uses counted outside only move it later.
    """
    life = state.life
    when = state.waiters[0].since + life.wake_within if state.waiters else math.inf
    match state.phase:
        case Phase.AWAY if state.asked is not None:
            when = min(when, state.asked + life.wake_within)
        case Phase.STARTING | Phase.CHECKING | Phase.REPLACING:
            when = min(when, state.began + patience(state))
        case Phase.AWAKE:
            if state.engine and state.parting is not None and not state.parting.told:
                when = min(when, state.parting.until)
            if state.engine and life.wake != "always" and not (state.inquiring or state.preparing):
                when = min(when, rests_at(state))
            if state.crashes:
                when = min(when, state.since + STEADY)
        case Phase.PAUSED:
            when = min(when, state.used + life.idle_after)
        case Phase.DRAINING | Phase.STOPPING | Phase.REMOVING | Phase.CRASHED:
            when = min(when, state.until)
    return when


def rests_at(s: State) -> float:
    """Return when it comes to rest if nobody uses it before."""
    if s.parting is not None:
        # Not frozen before what runs beside it has gone, of which nothing would be known then; and
        # not stopped with it while that may be in use.
        idle = s.used + s.life.idle_after
        return max(idle, s.parting.until) if s.parting.unsure else idle
    return s.used + min(s.life.idle_after, s.life.pause_after)


def _fresh(s: State) -> bool:
    """Whether what shall run is another server than the last good one."""
    fresh = s.updating or (s.good is not None and s.fingerprint != s.good.fingerprint)
    return s.good is not None and fresh and not s.gone


def on_trial(s: State) -> bool:
    """Whether another server than the last good one is being tried."""
    # While what is to be replaced is still there, nothing else has been tried.
    same = s.instance is not None and s.good is not None and s.instance.id == s.good.id
    return _fresh(s) and not same and s.phase is not Phase.AWAKE


def owed(s: State) -> bool:
    """Whether the folder has to be put back before the last good server may have it again."""
    return bool(s.copied) and s.touched and s.good is not None and not s.gone


def tried(s: State) -> bool:
    """Whether another server than the last good one is tried, or has to be undone."""
    if s.good is None or s.gone:
        return False
    # Of the same declaration nothing else tells what has failed from the one that comes back.
    comes_back = s.back is not None and s.back.id == s.good.id
    return on_trial(s) or owed(s) or comes_back


def patience(s: State) -> float:
    """Return the seconds that a start, its check included, may take."""
    if s.phase is Phase.REPLACING:
        return BESIDE * s.life.wake_within
    return (TRIAL if on_trial(s) else PATIENCE) * s.life.wake_within


# Moves from phase to phase


def refuse(s: State, kind: str, retry_after: float) -> Step:
    """Answer all who wait."""
    if not s.waiters:
        return s, ()
    tickets = tuple(w.ticket for w in s.waiters)
    return evolve(s, waiters=()), (e.Refuse(tickets, Refusal(kind, math.ceil(retry_after))),)


def enter(s: State, phase: Phase, now: float, **fields: Any) -> State:
    """Come into *phase*: what was asked for before is not heard any more."""
    fields = {
        "doubted": False,
        "inquiring": False,
        "crowded": False,
        "preparing": False,
        "leaving": None,
        "inherited": None,
        "newcomer": None,
        "back": None,
        "verdict": s.verdict if phase is Phase.CHECKING else "",
        "parting": s.parting if phase in _PARTING else None,
        **fields,
    }
    if phase not in _TRYING:
        fields["held"] = False
    if phase not in _UNPROVEN:
        fields |= {"copied": "", "touched": False}
    return evolve(s, phase=phase, since=now, epoch=s.epoch + 1, **fields)


def begin(s: State, now: float) -> Step:
    """Start it, with a copy of its folder made before where that is wanted; without the engine wait
    for that."""
    if not s.engine:
        return lose(s, now, s.detail)
    wanted = not s.held if s.copied else s.life.copy_before_update
    return copy(s, now) if wanted and _fresh(s) else launch(s, now)


def copy(s: State, now: float, back: Instance | None = None) -> Step:
    """Keep others from its folder, and have it copied, if it was not before a server touched it."""
    s = enter(s, Phase.COPYING, now, instance=None, put=False, held=True, back=back)
    had = s.copied if s.touched else ""
    return s, (e.Copy(s.epoch, s.life.snapshot_within, had), e.Tell("copying its folder"))


def launch(s: State, now: float) -> Step:
    """Start it, whatever had to be done before is done."""
    if not _fresh(s):
        if s.good is not None and owed(s):
            # It is the one before that is wanted again, and not on what the next one has left.
            return revert(s, now, s.good)
        s = evolve(s, copied="", touched=False, held=False)
    clean = not s.touched
    s = enter(
        s,
        Phase.STARTING,
        now,
        began=now,
        instance=None,
        heard="",
        said="",
        put=False,
        proven=False,
        touched=bool(s.copied),
        clean=clean,
    )
    return s, (e.Start(s.epoch, s.updating), e.Tell("starting"))


def check(s: State, now: float, instance: Instance, doubted: bool = False) -> Step:
    """See whether *instance* answers."""
    began = s.began if s.phase is Phase.STARTING else now
    inherited = s.inherited
    s = enter(s, Phase.CHECKING, now, began=began, instance=instance, inherited=inherited)
    return evolve(s, doubted=doubted), (e.Probe(s.epoch, instance), e.Tell("checking"))


def rise(s: State, now: float) -> Step:
    """It answers: everybody who waited gets a lease."""
    assert s.instance is not None
    assert s.instance.address is not None
    address = s.instance.address
    tickets = tuple(w.ticket for w in s.waiters)
    uses = s.uses + len(tickets)
    fresh = s.good is not None and s.good.id != s.instance.id
    tried = fresh and on_trial(s)
    if tried and s.parting is None:
        s = evolve(s, parting=Parting(until=now))
    calm = (e.Calm("update"), e.Trust()) if tried else ()
    # It was awake all the time, and is as idle as it was.
    used = now if uses or s.inherited is None else s.inherited.used
    s = enter(
        s,
        Phase.AWAKE,
        now,
        waiters=(),
        uses=uses,
        used=used,
        asked=None,
        put=False,
        detail="",
        proven=True,
        before=s.good if fresh else s.before,
        good=s.instance,
        updating=False,
    )
    grant = (e.Grant(tickets, address),) if tickets else ()
    s, settling = part(s, now)
    return s, (*grant, e.SayWoken(), *settling, *calm)


def part(s: State, now: float) -> Step:
    """Have what runs beside it ended, if nobody uses that or its time is over."""
    parting = s.parting
    if parting is None or parting.told or not s.engine:
        return s, ()
    if (parting.uses or parting.unsure) and now < parting.until:
        return s, ()
    assert s.instance is not None
    settle = e.Settle(s.instance.id, failed=parting.failed)
    return evolve(s, parting=evolve(parting, told=True)), (settle,)


def go_back(s: State, now: float, words: str, until: float) -> Step:
    """Have the parting server serve again, which did so well; the one in its place parts."""
    assert s.parting is not None
    assert s.parting.instance is not None
    former, told = s.parting.instance, s.parting.told
    refused = s.declared or s.fingerprint
    if refused == former.fingerprint:
        refused = ""
    detail = f"{words} The server before serves again."
    s = evolve(
        s,
        fingerprint=former.fingerprint if refused else s.fingerprint,
        refused=refused,
        good=former,
        before=None,
        updating=False,
        parting=Parting(s.instance, max(0, s.uses - s.parting.uses), until, failed=True),
    )
    if told:
        # It is being ended, and has to be started again.
        return revert(evolve(s, detail=words), now, former)
    s, commands = check(evolve(s, detail=detail), now, former)
    return s, (e.Warn(detail, "update"), e.Keep(former), *commands)


def can_go_back(s: State) -> bool:
    """Whether the server that it has replaced can serve again."""
    parting = s.parting
    return parting is not None and parting.sound and not s.gone and (s.engine or not parting.told)


def leave(s: State, now: float, after: After) -> Step:
    """Stop it when nobody uses it, or ``drain within`` is over."""
    if after is After.CRASH and can_go_back(s):
        return go_back(s, now, s.detail, now + s.life.drain_within)
    if not s.uses:
        return stop(s, now, after)
    s = enter(s, Phase.DRAINING, now, until=now + s.life.drain_within, after=after)
    return s, (e.Tell(f"draining: {s.uses} in use"),)


def stop(s: State, now: float, after: After) -> Step:
    """Stop it now; after a snapshot, where one is wanted of a server that can make it."""
    if after is After.CRASH and can_go_back(s):
        return go_back(s, now, s.detail, now)
    if s.life.snapshot and s.proven and s.instance is not None and after is not After.CRASH:
        if s.phase is Phase.PAUSED:
            return resume(s, now, after)
        s = enter(s, Phase.SNAPSHOTTING, now, after=after)
        command = e.Snapshot(s.epoch, s.life.snapshot, s.life.snapshot_within)
        return s, (command, e.Tell("making a snapshot"))
    return halt(s, now, after)


def halt(s: State, now: float, after: After) -> Step:
    """Stop it: whatever had to be done before is done."""
    s = enter(s, Phase.STOPPING, now, until=math.inf, after=after)
    return s, (e.Stop(s.epoch, s.life.stop_within), e.Tell("stopping"))


def pause(s: State, now: float) -> Step:
    """Freeze it."""
    s = enter(s, Phase.PAUSING, now)
    return s, (e.Pause(s.epoch),)


def resume(s: State, now: float, leaving: After | None = None) -> Step:
    """Have it go on, to be used, or to be stopped as *leaving* says."""
    s = enter(s, Phase.RESUMING, now, leaving=leaving)
    return s, (e.Resume(s.epoch), e.Tell("resuming"))


def finish(s: State, now: float) -> Step:
    """Nothing of it runs any more, as it was wanted: what is next?"""
    if s.parting is not None and s.engine:
        # It ended by itself, and what runs beside it did not: that may be in use.
        if s.phase is Phase.DRAINING and s.parting.instance is not None and s.parting.uses:
            return evolve(s, instance=s.parting.instance, parting=None), ()
        return halt(s, now, s.after)
    if s.after is After.CRASH and not s.gone:
        return crash(s, now, s.detail)
    s = evolve(s, instance=None)
    if s.gone:
        s, commands = clear(s, now)
    elif s.after is After.BACK and s.before is not None:
        return revert(s, now, s.before)
    elif s.after is After.START:
        s, commands = begin(s, now)
    else:
        s, commands = settle(s, now)
    return s, (e.SaySlept(), *commands)


def settle(s: State, now: float) -> Step:
    """Nothing runs: does anybody want it?"""
    always = s.life.wake == "always" and not s.put
    if s.gone:
        return clear(s, now)
    if s.asked is not None or always or (s.waiters and s.life.wake != "manual"):
        return begin(s, now)
    if not s.engine:
        return lose(s, now, s.detail)
    s, refusals = refuse(s, "resting", RESTING_RETRY)
    # What the engine lacked is over; of what ails the server nobody knows before the next start.
    detail = s.detail if s.phase is Phase.CRASHED else ""
    return enter(s, Phase.ASLEEP, now, instance=None, detail=detail), refusals


def crash(s: State, now: float, words: str) -> Step:
    """It ended, or was given up, unasked."""
    if s.gone:
        return clear(s, now)
    if can_go_back(s):
        return go_back(s, now, words, now)
    if s.parting is not None and s.engine:
        # What runs beside it must not be left behind.
        return halt(evolve(s, detail=words), now, After.CRASH)
    if s.good is not None and (on_trial(s) or owed(s)):
        if s.engine:
            return revert(evolve(s, detail=words), now, s.good)
        s, commands = lose(s, now, words)
        return evolve(s, back=s.good), (e.Warn(words), *commands)
    return fall(s, now, words)


def fall(s: State, now: float, words: str, way_back: bool = False) -> Step:
    """It rests until it is tried again; *way_back*: which it is without end, since it is not the
    server that fails, but what there was before is not to be had yet."""
    crashes = s.crashes + 1
    rests = crashes >= CRASHES and not way_back
    pause = math.inf if rests else min(LONGEST_PAUSE, 2.0 ** min(crashes - 1, 10))
    s, refusals = refuse(s, "crashed", RESTING_RETRY if rests else pause)
    s = enter(
        s,
        Phase.CRASHED,
        now,
        until=now + pause,
        instance=None,
        crashes=crashes,
        asked=None,
        detail=words,
    )
    more = f" It failed {crashes} times in a row and rests until it is changed or woken by hand."
    warn = e.Warn(words + more, "crashed") if rests else e.Warn(words)
    if way_back:
        warn = e.Warn(words, "crashed")
    return s, (warn, *refusals, e.SayUnwoken(words))


def revert(s: State, now: float, former: Instance) -> Step:
    """Have *former* run again; those who wait go on waiting."""
    refused = s.declared or s.fingerprint
    if refused == former.fingerprint:
        refused = ""
    s = evolve(s, refused=refused, updating=False)
    if owed(s) and not s.held:
        return copy(
            evolve(s, fingerprint=former.fingerprint if refused else s.fingerprint), now, former
        )
    s = enter(s, Phase.REVERTING, now, instance=None, heard="", back=former)
    put_back = s.copied if s.touched else ""
    return s, (e.Revert(s.epoch, former.id, put_back), e.Tell("going back to the server before"))


def prepare(s: State) -> Step:
    """Have at hand what the next server needs, while this one serves."""
    s = evolve(s, preparing=True, inquiring=False, epoch=s.epoch + 1, doubted=False)
    return s, (e.Prepare(s.epoch, s.updating), e.Tell("preparing"))


def lose(s: State, now: float, words: str) -> Step:
    """Nothing is known of the server; an engine believed to be there all the same is asked."""
    s = enter(s, Phase.AWAY, now, instance=None, detail=words)
    look = (e.Look(s.epoch),) if s.engine else ()
    return s, (e.Tell("waiting for the engine"), *look)


def clear(s: State, now: float) -> Step:
    """Have the engine forget the site."""
    s = enter(s, Phase.REMOVING, now, until=math.inf, instance=None, after=After.SLEEP)
    # Nothing of it will be there that could come back, should the site.
    return evolve(s, good=None, before=None, updating=False), (e.Clear(s.epoch),)


def replacing(s: State) -> After:
    """A server of another declaration is to go: whether the new one starts at once."""
    wanted = s.life.wake != "demand" or s.uses or s.waiters or s.asked is not None
    return After.START if wanted else After.SLEEP
