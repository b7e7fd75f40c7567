"""How the next server is started beside the one that serves, proves itself, and takes over.

For servers that allow two of them on one folder (``update = parallel``). The old one is given every
request until the new one has proven itself, and keeps those it has until they are done or ``drain
within`` is over. A newcomer that fails is removed, and nobody has noticed. Each function is an
entry of the table in ``lifecycle``. Pure, as all of the lifecycle. It must never have three.
"""
# ruff: noqa: D103

from __future__ import annotations

from attrs import evolve

from snickers.containers import events as e
from snickers.containers import reactions as r
from snickers.containers import wishes as w
from snickers.containers.life import (
    CLEAR_AGAIN,
    Parting,
    Phase,
    State,
    Step,
    crash,
    enter,
    part,
    patience,
    prepare,
)


def replace(s: State, now: float) -> Step:
    if s.parting is not None:
        # First the one before must be gone: see `settled`.
        return s, (e.Tell("waiting until nobody uses the server before any more"),)
    assert s.instance is not None
    serving = s.instance.id
    s = enter(s, Phase.REPLACING, now, began=now)
    start = e.Start(s.epoch, s.updating, beside=serving)
    return s, (start, e.Tell("starting the next server beside this one"))


# What becomes of the newcomer


def started(s: State, event: e.Started, now: float) -> Step:
    instance = event.instance
    if not instance.running or instance.address is None:
        words = "It ended as soon as it was started."
        if instance.running:
            words = "It runs, but has no address at which it could be reached."
        return withdraw(s, now, words)
    s = evolve(s, newcomer=instance, epoch=s.epoch + 1)
    return s, (e.Probe(s.epoch, instance), e.Tell("checking the next server"))


def not_started(s: State, event: e.StartFailed, now: float) -> Step:
    # An engine that cannot be reached says nothing about the newcomer.
    return _later(s, now, event.words) if event.away else withdraw(s, now, event.words)


def withdraw(s: State, now: float, words: str) -> Step:
    """The newcomer is removed, and the one that serves goes on."""
    assert s.instance is not None
    refused = s.fingerprint if s.fingerprint != s.instance.fingerprint else ""
    words = f"{words} The server before goes on serving."
    s = enter(
        s,
        Phase.AWAKE,
        now,
        fingerprint=s.instance.fingerprint,
        refused=refused,
        updating=False,
        used=now,
        detail=words,
        parting=Parting(until=now, failed=True),
    )
    s, parting = part(s, now)
    kept = (e.Keep(s.instance),) if s.instance is not None else ()
    return s, (e.Warn(words, "update"), e.SayUnwoken(words), *kept, *parting)


def take_over(s: State, event: e.HealthPassed, now: float) -> Step:
    former, newcomer = s.instance, s.newcomer
    if former is None or newcomer is None or s.heard == newcomer.id:
        return s, ()
    until = now + s.life.drain_within
    s = enter(
        s,
        Phase.AWAKE,
        now,
        instance=newcomer,
        used=now,
        put=False,
        detail="",
        proven=True,
        before=former,
        good=newcomer,
        updating=False,
        parting=Parting(former, s.uses, until, sound=True),
    )
    s, parting = part(s, now)
    spared = parting or (e.Settle(newcomer.id, spare=former.id),)
    return s, (e.SayWoken(), e.Calm("update"), e.Trust(), *spared)


def not_healthy(s: State, event: e.HealthFailed, now: float) -> Step:
    return withdraw(s, now, event.words)


def exited(s: State, event: e.Exited, now: float) -> Step:
    newcomer = s.newcomer
    if newcomer is not None and newcomer.id == event.id:
        # Whether the one that serves has ended with it is to be known before that is said.
        return evolve(s, heard=event.id, said=event.words), (e.Look(s.epoch),)
    if s.instance is None or s.instance.id != event.id:
        return s, ()
    # Whoever comes waits for the next one, which is on its way already.
    phase = Phase.STARTING if newcomer is None else Phase.CHECKING
    s = evolve(s, phase=phase, since=now, began=now, instance=newcomer, newcomer=None, proven=False)
    return s, (e.Warn(event.words), e.Tell("the server before has ended"))


def compare(s: State, event: e.Listed, now: float) -> Step:
    """The newcomer is said to have ended: does the one that serves run on?"""
    assert s.instance is not None
    serving, newcomer, words = s.instance, s.newcomer, s.said
    if not words or newcomer is None or s.heard != newcomer.id:
        return s, ()
    s = evolve(s, heard="", said="")
    there = (event.instance, *event.others)
    if any(each is not None and each.id == serving.id and each.running for each in there):
        return withdraw(s, now, words)
    # Both have ended: it is the newcomer that was waited for.
    s = evolve(s, phase=Phase.CHECKING, began=now, instance=newcomer, newcomer=None, proven=False)
    return crash(s, now, words)


def tick(s: State, event: e.TimePassed, now: float) -> Step:
    allowed = patience(s)
    if now < s.began + allowed:
        return s, ()
    words = f"It was not ready within {allowed:g} s{r.lack(s.life.health, s.newcomer)}."
    return withdraw(s, now, words)


def lost(s: State, event: e.EngineLost, now: float) -> Step:
    return _later(evolve(s, engine=False), now, event.words)


def _later(s: State, now: float, words: str) -> Step:
    """The one that serves goes on; when the engine is back the next one is tried again."""
    s = enter(s, Phase.AWAKE, now, used=now, parting=Parting(until=now))
    look = (e.Look(s.epoch),) if s.engine else ()
    return s, (e.Warn(words), e.SayUnwoken(words), *look)


# When nobody uses the one before any more


def settled(s: State, event: e.Settled, now: float) -> Step:
    had = s.parting
    s, _ = settled_quietly(s, event, now)
    if had is None or s.parting is not None or s.preparing or not s.engine:
        return s, ()
    assert s.instance is not None
    if s.updating or s.instance.fingerprint != s.fingerprint:
        return prepare(s)
    return s, ()


def settled_quietly(s: State, event: e.Settled, now: float) -> Step:
    if event.spare or s.parting is None or not s.parting.told:
        return s, ()
    return evolve(s, parting=None), ()


def not_settled(s: State, event: e.SettleFailed, now: float) -> Step:
    if event.spare or s.parting is None or not s.parting.told:
        return s, ()
    until = now if event.away else now + CLEAR_AGAIN
    s = evolve(s, parting=evolve(s.parting, told=False, uses=0, until=until, unsure=False))
    return s, () if event.away else (e.Warn(event.words),)


# Persons and the configuration


def _abandon(s: State, now: float) -> State:
    """Whatever was started beside it is to be ended."""
    return evolve(s, parting=Parting(until=now))


def want(s: State, event: e.WakeAsked, now: float) -> Step:
    if event.alone:
        return s, (e.Tell("the next server is being tried"),)
    return w.woken(s, event, now)


def sleep(s: State, event: e.SleepAsked, now: float) -> Step:
    return w.sleep(_abandon(s, now), event, now)


def restart(s: State, event: e.RestartAsked, now: float) -> Step:
    return w.restart(_abandon(s, now), event, now)


def remove(s: State, event: e.Removed, now: float) -> Step:
    return w.remove_awake(_abandon(s, now), event, now)


def change(s: State, event: e.Changed, now: float) -> Step:
    had, health, newcomer = s.fingerprint, s.life.health, s.newcomer
    s, _ = w.change(s, event, now)
    assert s.instance is not None
    serving = s.instance
    if s.fingerprint == had:
        if newcomer is None or s.life.health == health:
            return s, ()
        s = evolve(s, epoch=s.epoch + 1)
        return s, (e.Probe(s.epoch, newcomer),)
    # Another one is wanted than the one that is being tried; what is to be done then: `settled`.
    s = enter(s, Phase.AWAKE, now, used=now, parting=Parting(until=now))
    told: tuple[e.Command, ...] = ()
    if s.fingerprint == serving.fingerprint and not s.updating:
        told = (e.SayWoken(),)
    s, parting = part(s, now)
    return s, (*told, *parting)
