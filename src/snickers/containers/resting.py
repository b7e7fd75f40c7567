"""How a life comes to rest and back: pauses, snapshots, vetoes, and room for others.

Each function is an entry of the table in ``lifecycle``, named for what it makes of the event;
each takes a state, the event and the time, and returns a `Step`. Pure, as all of the lifecycle.
What must hold here above all: a snapshot that failed never leads to a stop.
"""
# ruff: noqa: D103

from __future__ import annotations

from attrs import evolve

from snickers.containers import events as e
from snickers.containers import reactions as r
from snickers.containers import wishes as w
from snickers.containers.life import (
    SNAPSHOT_AGAIN,
    After,
    Phase,
    State,
    Step,
    check,
    crash,
    enter,
    finish,
    halt,
    leave,
    lose,
    replacing,
    rests_at,
    resume,
    rise,
    stop,
)

_WOKEN = "It was woken meanwhile."

# Pauses


def paused(s: State, event: e.Paused, now: float) -> Step:
    leaving = s.leaving
    s = enter(s, Phase.PAUSED, now)
    if leaving is not None:
        return stop(s, now, leaving)
    if s.waiters or s.asked is not None:
        return resume(s, now)
    return s, ()


def pause_failed(s: State, event: e.PauseFailed, now: float) -> Step:
    if event.away:
        s, commands = lose(s, now, event.words)
        return s, (e.SayUnslept(event.words), *commands)
    assert s.instance is not None
    if s.leaving is not None:
        return leave(s, now, s.leaving)
    s, commands = check(s, now, s.instance)
    return s, (e.Warn(event.words), *commands)


def recall(s: State, event: e.Arrived, now: float) -> Step:
    s, refusals = r.wait(s, event, now)
    s, commands = resume(s, now)
    return s, (*refusals, *commands)


def resumed(s: State, event: e.Resumed, now: float) -> Step:
    leaving = s.leaving
    if leaving is None:
        return rise(s, now)
    return (
        _rise_after_all(s, now) if leaving is After.SLEEP and _wanted(s) else stop(s, now, leaving)
    )


def resume_failed(s: State, event: e.ResumeFailed, now: float) -> Step:
    if event.away:
        s, commands = lose(s, now, event.words)
        return s, (e.SayUnslept(event.words), *commands)
    s, commands = leave(evolve(s, detail=event.words), now, After.CRASH)
    return s, (e.Warn(event.words), e.SayUnslept(event.words), *commands)


def exited_between(s: State, event: e.Exited, now: float) -> Step:
    if s.leaving is None or s.instance is None or s.instance.id != event.id:
        return r.exited(s, event, now)
    # It was to be stopped: that is done.
    return finish(evolve(s, after=s.leaving), now)


def compare_paused(s: State, event: e.Listed, now: float) -> Step:
    found = event.instance
    if found is None or not found.running or found.address is None:
        return crash(s, now, "It ended while it was paused.")
    s = evolve(s, instance=found)
    if found.fingerprint != s.fingerprint:
        return stop(s, now, replacing(s))
    # Somebody else may have had it go on.
    return (s, ()) if found.paused else check(s, now, found)


def tick_paused(s: State, event: e.TimePassed, now: float) -> Step:
    if s.life.wake == "always":
        return resume(s, now)
    return stop(s, now, After.SLEEP) if now >= s.used + s.life.idle_after else (s, ())


def tick_between(s: State, event: e.TimePassed, now: float) -> Step:
    return r.expire(s, now)


def lost_quiet(s: State, event: e.EngineLost, now: float) -> Step:
    # Without the engine it cannot go on; with it, it is found as it is.
    s, commands = lose(evolve(s, engine=False), now, event.words)
    return s, (e.SayUnslept(event.words), *commands)


# Persons and the configuration, while it is paused, about to be, or about to go on


def wake_paused(s: State, event: e.WakeAsked, now: float) -> Step:
    return resume(w.asked(s, now), now)


def want_between(s: State, event: e.WakeAsked, now: float) -> Step:
    if s.gone:
        return w.refuse_wake(s, event, now)
    if s.leaving is not After.SLEEP:
        return w.asked(s, now), ()
    # It is its sleep that is called off, and not what was changed meanwhile.
    assert s.instance is not None
    leaving = None if s.instance.fingerprint == s.fingerprint else replacing(s)
    return evolve(w.asked(s, now), leaving=leaving), (e.SayUnslept(_WOKEN),)


def sleep_paused(s: State, event: e.SleepAsked, now: float) -> Step:
    s, refusals = w.sleep_then(s, event, now)
    s, commands = stop(s, now, After.SLEEP)
    return s, (*refusals, *commands)


def sleep_between(s: State, event: e.SleepAsked, now: float) -> Step:
    s, refusals = w.sleep_then(s, event, now)
    return evolve(s, leaving=After.SLEEP), refusals


def restart_paused(s: State, event: e.RestartAsked, now: float) -> Step:
    return stop(w.asked(s, now), now, After.START)


def restart_between(s: State, event: e.RestartAsked, now: float) -> Step:
    if s.gone:
        return w.refuse_wake(s, event, now)
    return evolve(w.asked(s, now), leaving=After.START), ()


def change_paused(s: State, event: e.Changed, now: float) -> Step:
    s, _ = w.change(s, event, now)
    assert s.instance is not None
    if s.instance.fingerprint != s.fingerprint:
        return stop(s, now, replacing(s))
    return resume(s, now) if s.life.wake == "always" else (s, ())


def change_between(s: State, event: e.Changed, now: float) -> Step:
    assert s.instance is not None
    replaced = s.gone or s.instance.fingerprint != s.fingerprint
    asked, idle = s.put or s.asked is not None, s.leaving is After.SLEEP
    s, _ = w.change(s, event, now)
    assert s.instance is not None
    if s.instance.fingerprint != s.fingerprint:
        return evolve(s, leaving=replacing(s)), ()
    if not asked and (replaced or (idle and s.life.wake == "always")):
        # What it was to go for holds no more; what a person has asked for does, and is waited for.
        return evolve(s, leaving=None), ()
    return s, ()


def remove_paused(s: State, event: e.Removed, now: float) -> Step:
    s, told = w.remove_later(s, event, now)
    s, commands = stop(s, now, After.SLEEP)
    return s, (*told, *commands)


def remove_between(s: State, event: e.Removed, now: float) -> Step:
    s, told = w.remove_later(s, event, now)
    return evolve(s, leaving=After.SLEEP), told


# Vetoes, work that no request asked for, and room for others


def consented(s: State, event: e.Consented, now: float) -> Step:
    crowded = s.crowded
    s = evolve(s, inquiring=False, crowded=False)
    if crowded and not s.uses and (s.parting is None or not s.parting.unsure):
        return stop(s, now, After.SLEEP)
    if s.uses or now < rests_at(s):
        return s, ()
    return r.depart(s, now)


def vetoed(s: State, event: e.Vetoed, now: float) -> Step:
    return evolve(s, inquiring=False, crowded=False, used=now), ()


def busy(s: State, event: e.Busy, now: float) -> Step:
    return evolve(s, used=now), ()


def make_room(s: State, event: e.Crowded, now: float) -> Step:
    unsure = s.parting is not None and s.parting.unsure
    if s.uses or unsure or s.preparing or not s.engine or s.life.wake == "always":
        # Of what is being prepared: whoever has asked for it waits.
        return s, ()
    if s.phase is Phase.AWAKE and s.life.veto:
        # It has the last word.
        s, commands = (s, ()) if s.inquiring else r.inquire(s, now)
        return evolve(s, crowded=True), commands
    return stop(s, now, After.SLEEP)


# Snapshots


def _stays(s: State) -> bool:
    """Whether it is about to be put to sleep for want of use alone."""
    assert s.instance is not None
    return not s.put and not s.gone and s.instance.fingerprint == s.fingerprint


def _wanted(s: State) -> bool:
    """Whether somebody has come while it was about to be put to sleep for want of use."""
    return _stays(s) and bool(s.uses or s.waiters or s.asked is not None)


def _rise_after_all(s: State, now: float) -> Step:
    # Whoever has wanted it asleep, before its section was changed, waits for that no longer.
    s, commands = rise(s, now)
    return s, (*commands, e.SayUnslept(_WOKEN))


def interrupt(s: State, event: e.Arrived, now: float) -> Step:
    sleeps = s.after is After.SLEEP and _stays(s)
    # It runs, and nobody has to wait for the end of a snapshot: it will be awake again.
    return r.lease(s, event, now) if sleeps else r.hold(s, event, now)


def snapshotted(s: State, event: e.Snapshotted, now: float) -> Step:
    calm = e.Calm("snapshot")
    if s.after is After.SLEEP and _wanted(s):
        s, commands = _rise_after_all(s, now)
    else:
        s, commands = halt(s, now, s.after)
    return s, (calm, *commands)


def snapshot_failed(s: State, event: e.SnapshotFailed, now: float) -> Step:
    words = event.words
    told = (e.SayUnslept(words), e.SayUnwoken(words))
    if event.away:
        s, commands = lose(s, now, words)
        return s, (*told, *commands)
    warn = e.Warn(words, "snapshot")
    if s.gone:
        # It must go, but not without its snapshot: try again later.
        s = enter(s, Phase.DRAINING, now, until=now + SNAPSHOT_AGAIN, after=s.after, detail=words)
        return s, (warn, *told, e.Look(s.epoch))
    # It may have failed because the server is not well, or does not run any more.
    assert s.instance is not None
    s, commands = check(evolve(s, asked=None, detail=words), now, s.instance)
    return s, (warn, *told, *commands, e.Look(s.epoch))
