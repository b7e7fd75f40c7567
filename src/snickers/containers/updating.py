"""How another server takes the place of the one that serves, and how that one comes back.

What the next server needs is fetched while the old one serves; then requests are held, the old one
is drained, makes its snapshot and is stopped, the new one is started and must prove itself before
it is given a single request. If it cannot, the old one comes back, while they still wait. Each
function is an entry of the table in ``lifecycle``. Pure, as all of the lifecycle.
"""
# ruff: noqa: D103

from __future__ import annotations

from attrs import evolve

from snickers.containers import events as e
from snickers.containers import parallel as p
from snickers.containers import reactions as r
from snickers.containers import wishes as w
from snickers.containers.life import (
    After,
    Phase,
    State,
    Step,
    begin,
    check,
    clear,
    crash,
    enter,
    fall,
    launch,
    leave,
    lose,
    owed,
    prepare,
    replacing,
    revert,
    stop,
)

_REACHED = "The engine cannot be reached."
_NOT_BACK = "The server before cannot come back:"
_NOT_NOW = "It is being started, stopped or changed: ask again when that is done."


# What the next server needs


def prepared(s: State, event: e.Prepared, now: float) -> Step:
    s = evolve(s, preparing=False)
    assert s.instance is not None
    another = s.instance.fingerprint != s.fingerprint
    if s.life.update == "parallel" and (another or event.changed):
        return p.replace(s, now)
    if another:
        return leave(s, now, After.START if s.updating else replacing(s))
    if event.changed:
        return leave(s, now, After.START)
    # What serves is what is wanted, so that nothing holds any more of what once failed.
    calm = e.Calm("update")
    return evolve(s, updating=False), (calm, e.Tell("there is nothing newer"), e.SayWoken())


def unprepared(s: State, event: e.PrepareFailed, now: float) -> Step:
    if event.away:
        # When the engine is back it is compared, and what is declared anew is replaced then. Not so
        # a newer image: whoever asked for one is told that it was not tried.
        s = evolve(s, preparing=False, updating=False)
        return s, (e.Warn(event.words), e.SayUnwoken(event.words))
    assert s.instance is not None
    refused = s.fingerprint if s.fingerprint != s.instance.fingerprint else ""
    s = evolve(
        s,
        preparing=False,
        updating=False,
        fingerprint=s.instance.fingerprint,
        refused=refused,
        detail=event.words,
    )
    words = f"{event.words} The server before goes on serving."
    return s, (e.Warn(words, "update"), e.SayUnwoken(words))


# A copy of its folder, before another server is tried on it


def copied(s: State, event: e.Copied, now: float) -> Step:
    if s.gone:
        return clear(s, now)
    touched = s.touched and event.copy == s.copied
    back = s.back
    s = evolve(s, copied=event.copy, touched=touched, held=bool(event.copy))
    return launch(s, now) if back is None else revert(s, now, back)


def not_copied(s: State, event: e.CopyFailed, now: float) -> Step:
    s = evolve(s, held=False)
    if not owed(s):
        words = f"Its folder could not be copied, so nothing was tried. {event.words}"
        return crash(s, now, words)
    # The one before may not have it as it is: it rests, and then its turn may come.
    words = f"Its folder is not to be had, which has to be put back. {event.words}"
    return fall(s, now, words, way_back=True)


def lost_copying(s: State, event: e.EngineLost, now: float) -> Step:
    return r.lost(evolve(s, held=False), event, now)


def sleep_copying(s: State, event: e.SleepAsked, now: float) -> Step:
    if s.gone:
        return no_sleep(s, event, now)
    # Nothing of it runs.
    s, refusals = w.sleep_then(s, event, now)
    return enter(s, Phase.ASLEEP, now), (*refusals, e.SaySlept())


# Going back


def wait(s: State, event: e.Arrived, now: float) -> Step:
    return r.deny(s, event, now) if s.gone else r.wait(s, event, now)


def reverted(s: State, event: e.Reverted, now: float) -> Step:
    instance = event.instance
    words = f"{s.detail} The server before serves again.".lstrip()
    if s.refused or instance.fingerprint == s.declared:
        # (What is declared may be what failed once, and is what a person has gone back to.)
        s = evolve(s, fingerprint=instance.fingerprint)
    verdict = s.detail
    told: tuple[e.Command, ...] = (e.Warn(words, "update"),) if verdict else (e.Tell(words),)
    told = (*told, e.Keep(instance))
    # What was tried in vain has changed nothing: the one before the last good one is there still.
    same = s.good is not None and s.back is not None and s.back.id == s.good.id
    before = s.before if same else None
    s = evolve(s, good=instance, before=before, instance=instance, copied="", touched=False)
    if s.gone:
        s, commands = leave(s, now, After.SLEEP)
        return s, (*told, *commands)
    # Persons hear of it when it answers: what they ask for next is not refused then.
    s, commands = check(s, now, instance)
    s = evolve(s, verdict=verdict)
    look = (e.Look(s.epoch),) if s.heard == instance.id else ()
    return s, (*told, *commands, *look)


def revert_failed(s: State, event: e.RevertFailed, now: float) -> Step:
    # What was said of the way back before is not said again.
    why = s.detail.partition(_NOT_BACK)[0].rstrip()
    words = f"{why} {_NOT_BACK} {event.words}".lstrip()
    if event.away:
        # It may be half done, so it is gone on with, and nothing else is tried before.
        back, detail = s.back, s.detail
        s, commands = lose(s, now, detail)
        return evolve(s, back=back), (e.Warn(words), *commands)
    if event.folder and owed(s):
        return _not_put_back(s, now, words)
    good, back = s.good, s.back
    if back is None or s.before is None or back.id == s.before.id:
        s = evolve(s, before=None)
    s = evolve(s, copied="", touched=False, back=None)
    told = (e.Warn(words), e.SayUnwoken(words))
    if good is not None and back is not None and back.id != good.id and not s.gone:
        # The one that was to make way for it was well, and nobody shall miss it for that.
        s, commands = begin(evolve(s, refused="", detail=words), now)
        return s, (*told, *commands)
    # Nothing is left to go back to: from now on it is a crash like another...
    s = evolve(s, good=None)
    if good is None or s.gone or good.fingerprint == s.fingerprint:
        return crash(s, now, words)
    # ...but what it was made of is known, and those who wait may have another one of that.
    s, commands = begin(evolve(s, fingerprint=good.fingerprint, detail=words), now)
    return s, (e.Warn(words, "update"), e.SayUnwoken(words), *commands)


def _not_put_back(s: State, now: float, words: str) -> Step:
    """What the last good server shall run on is not to be had yet, as when the disk is full: the
    way back is gone again after a while, or when somebody asks, and nothing else is tried."""
    assert s.good is not None
    words = f"{words} It is tried again; nothing else is started meanwhile."
    wanted = s.good.fingerprint if s.refused else s.fingerprint
    return fall(evolve(s, fingerprint=wanted, updating=False), now, words, way_back=True)


def no_sleep(s: State, event: e.SleepAsked, now: float) -> Step:
    return s, (e.SayUnslept(_NOT_NOW),)


def want(s: State, event: e.WakeAsked | e.RestartAsked, now: float) -> Step:
    return w.refuse_wake(s, event, now) if s.gone else (w.asked(s, now), ())


# Persons


def _afresh(s: State, event: e.UpdateAsked) -> State:
    """Let what was asked for be tried, also if it has failed before."""
    wanted = event.fingerprint or s.declared or s.fingerprint
    return evolve(s, fingerprint=wanted, declared=wanted, refused="", updating=True)


def update(s: State, event: e.UpdateAsked, now: float) -> Step:
    if not s.engine:
        return s, (e.Decline(_REACHED),)
    wanted = _afresh(s, event)
    if s.preparing and s.updating and wanted.fingerprint != s.fingerprint:
        # Whoever asked for that would be told that it is done, of this.
        return not_now(s, event, now)
    return prepare(wanted)


def update_asleep(s: State, event: e.UpdateAsked, now: float) -> Step:
    return begin(evolve(_afresh(w.asked(s, now), event), crashes=0), now)


def update_paused(s: State, event: e.UpdateAsked, now: float) -> Step:
    return stop(_afresh(w.asked(s, now), event), now, After.START)


def not_now(s: State, event: e.UpdateAsked | e.RollbackAsked, now: float) -> Step:
    return s, (e.Decline(_NOT_NOW),)


def not_away(s: State, event: e.UpdateAsked | e.RollbackAsked, now: float) -> Step:
    return s, (e.Decline(s.detail or _REACHED),)


def not_paused(s: State, event: e.RollbackAsked, now: float) -> Step:
    return s, (e.Decline("It is paused: wake it first."),)


def roll_back(s: State, event: e.RollbackAsked, now: float) -> Step:
    if s.before is None and not owed(s):
        return s, (e.Decline("There is no server before this one that could come back."),)
    if not s.engine:
        return s, (e.Decline(_REACHED),)
    if s.preparing:
        return not_now(s, event, now)
    s = evolve(w.asked(s, now), detail="", crashes=0)
    if s.phase in (Phase.ASLEEP, Phase.CRASHED):
        # What was tried and put to sleep before it has proven itself is what is not wanted.
        former = s.good if owed(s) else s.before
        assert former is not None
        return revert(s, now, former)
    return leave(s, now, After.BACK)
