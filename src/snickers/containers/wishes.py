"""How a life answers persons and the configuration, and the end of Snickers.

Each function is an entry of the table in ``lifecycle``, named for what it makes of the event;
each takes a state, the event and the time, and returns a `Step`. Pure, as all of the lifecycle.
"""
# ruff: noqa: D103

from __future__ import annotations

import math

from attrs import evolve

from snickers.containers import events as e
from snickers.containers.life import (
    RESTING_RETRY,
    SOON,
    After,
    Phase,
    State,
    Step,
    begin,
    check,
    clear,
    enter,
    leave,
    prepare,
    refuse,
    replacing,
    settle,
    stop,
)

_GONE = "The configuration has it no more."


def asked(s: State, now: float) -> State:
    return evolve(s, asked=now if s.asked is None else s.asked, put=False)


def _turn_away(s: State, why: str, kind: str = "resting") -> Step:
    # Somebody decided that it shall not be awake, whoever waits for it.
    s, refusals = refuse(evolve(s, asked=None), kind, SOON if kind == "stopping" else RESTING_RETRY)
    return s, (*refusals, e.SayUnwoken(why))


def want(s: State, event: e.WakeAsked, now: float) -> Step:
    return asked(s, now), ()


def want_away(s: State, event: e.WakeAsked, now: float) -> Step:
    if s.hopeless or s.gone:
        return s, (e.SayUnwoken(_GONE if s.gone else s.detail),)
    return asked(s, now), (e.Tell("waiting for the engine"),)


def wake(s: State, event: e.WakeAsked, now: float) -> Step:
    return begin(evolve(asked(s, now), crashes=0), now)


def woken(s: State, event: e.WakeAsked, now: float) -> Step:
    # Others may wait for what is being prepared.
    return s, (e.Confirm(),)


def keep(s: State, event: e.WakeAsked, now: float) -> Step:
    if s.gone:
        return s, (e.SayUnwoken(_GONE),)
    assert s.instance is not None
    if s.after is After.SLEEP and s.instance.fingerprint == s.fingerprint:
        s, commands = check(asked(s, now), now, s.instance)
        return s, (e.SayUnslept("It was woken meanwhile."), *commands)
    return come_back(s, event, now)


def come_back(s: State, event: e.WakeAsked | e.RestartAsked, now: float) -> Step:
    if s.gone:
        return s, (e.SayUnwoken(_GONE),)
    # On the way to the server before it is that one which will be awake.
    after = After.BACK if s.after is After.BACK else After.START
    return evolve(asked(s, now), after=after), ()


def refuse_wake(s: State, event: e.WakeAsked | e.RestartAsked, now: float) -> Step:
    return s, (e.SayUnwoken(_GONE if s.gone else "Snickers ends."),)


def restart(s: State, event: e.RestartAsked, now: float) -> Step:
    if not s.engine:
        return s, (e.SayUnwoken("The engine cannot be reached."),)
    return leave(asked(s, now), now, After.START)


def sleep_away(s: State, event: e.SleepAsked, now: float) -> Step:
    return s, (e.SayUnslept(s.detail or "The engine cannot be reached."),)


def slept(s: State, event: e.SleepAsked, now: float) -> Step:
    return evolve(s, put=True), (e.SaySlept(),)


def sleep(s: State, event: e.SleepAsked, now: float) -> Step:
    if not s.engine:
        return s, (e.SayUnslept("The engine cannot be reached."),)
    s, refusals = _turn_away(evolve(s, put=True), "It was put to sleep.")
    move = stop if s.phase is Phase.STARTING else leave
    s, commands = move(s, now, After.SLEEP)
    return s, (*refusals, *commands)


def sleep_then(s: State, event: e.SleepAsked, now: float) -> Step:
    s, refusals = _turn_away(evolve(s, put=True, after=After.SLEEP), "It was put to sleep.")
    return s, refusals


def sleep_crashed(s: State, event: e.SleepAsked, now: float) -> Step:
    # Resting after many crashes goes on: only a change or a person's wake ends that.
    s = evolve(s, put=True)
    if s.until != math.inf:
        s = enter(s, Phase.ASLEEP, now)
    return s, (e.SaySlept(),)


def refuse_sleep(s: State, event: e.SleepAsked, now: float) -> Step:
    return s, (e.SayUnslept(_GONE if s.gone else "Snickers ends."),)


def _declare(s: State, event: e.Changed) -> State:
    fingerprint = event.fingerprint
    refused = s.refused
    if fingerprint == refused and s.good is not None:
        # It was tried, and nothing of it has changed.
        fingerprint = s.good.fingerprint
    else:
        refused = ""
    return evolve(
        s,
        life=event.life,
        fingerprint=fingerprint,
        declared=event.fingerprint,
        refused=refused,
        gone=False,
        put=False,
        crashes=0,
    )


def change(s: State, event: e.Changed, now: float) -> Step:
    return _declare(s, event), ()


def change_settled(s: State, event: e.Changed, now: float) -> Step:
    return settle(_declare(s, event), now)


def change_starting(s: State, event: e.Changed, now: float) -> Step:
    same = s.fingerprint == event.fingerprint
    s = _declare(s, event)
    return (s, ()) if same else stop(s, now, After.START)


def change_awake(s: State, event: e.Changed, now: float) -> Step:
    probed, began = s.life.health, s.began
    s = _declare(s, event)
    instance = s.instance
    assert instance is not None
    # Without the engine it cannot be replaced: it serves on, and is compared when that is back.
    if instance.fingerprint != s.fingerprint and s.engine:
        return prepare(s) if s.phase is Phase.AWAKE else leave(s, now, replacing(s))
    if s.phase is Phase.AWAKE or s.life.health == probed:
        return s, ()
    s, commands = check(s, now, instance)
    return evolve(s, began=began), commands


def change_draining(s: State, event: e.Changed, now: float) -> Step:
    s = _declare(s, event)
    assert s.instance is not None
    if s.after is After.START and s.asked is None and s.instance.fingerprint == s.fingerprint:
        return check(s, now, s.instance)
    return s, ()


def change_stopping(s: State, event: e.Changed, now: float) -> Step:
    after = After.SLEEP if s.gone or s.after is After.CRASH else s.after
    return evolve(_declare(s, event), after=after), ()


def _part(s: State) -> Step:
    return _turn_away(evolve(s, gone=True), _GONE, "stopping")


def remove(s: State, event: e.Removed, now: float) -> Step:
    s, told = _part(s)
    s, commands = clear(s, now)
    return s, (*told, *commands)


def remove_away(s: State, event: e.Removed, now: float) -> Step:
    s, told = _part(s)
    if s.hopeless:
        return enter(s, Phase.OVER, now), (*told, e.Part())
    return s, told


def remove_starting(s: State, event: e.Removed, now: float) -> Step:
    s, told = _part(s)
    s, commands = stop(s, now, After.SLEEP)
    return s, (*told, *commands)


def remove_awake(s: State, event: e.Removed, now: float) -> Step:
    s, told = _part(s)
    s, commands = leave(s, now, After.START)
    return s, (*told, *commands)


def remove_later(s: State, event: e.Removed, now: float) -> Step:
    return _part(s)


def end(s: State, event: e.Ended, now: float) -> Step:
    why = "Snickers ends."
    s, told = _turn_away(s, why, "stopping")
    return enter(s, Phase.OVER, now, instance=None), (*told, e.SayUnslept(why))
