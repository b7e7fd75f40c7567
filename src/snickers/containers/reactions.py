"""How a life answers what the world does: requests, the engine, the probe, the passing of time.

Each function is an entry of the table in ``lifecycle``, named for what it makes of the event;
each takes a state, the event and the time, and returns a `Step`. Pure, as all of the lifecycle.
"""
# ruff: noqa: D103

from __future__ import annotations

import math
from typing import Any

from attrs import evolve

from snickers.containers import events as e
from snickers.containers.life import (
    AWAY_RETRY,
    CLEAR_AGAIN,
    QUEUE,
    RESTING_RETRY,
    SOON,
    STEADY,
    STOP_AGAIN,
    After,
    Parting,
    Phase,
    State,
    Step,
    Waiter,
    begin,
    can_go_back,
    check,
    clear,
    crash,
    enter,
    finish,
    halt,
    leave,
    lose,
    on_trial,
    part,
    patience,
    pause,
    prepare,
    refuse,
    replacing,
    rests_at,
    resume,
    revert,
    rise,
    settle,
    stop,
)
from snickers.interfaces.engine import Instance
from snickers.interfaces.leases import Refusal

# Requests


def nothing(s: State, event: Any, now: float) -> Step:
    return s, ()


def wait(s: State, event: e.Arrived, now: float) -> Step:
    room = max(0, QUEUE - len(s.waiters))
    come, late = event.tickets[:room], event.tickets[room:]
    s = evolve(s, waiters=s.waiters + tuple([Waiter(ticket, now) for ticket in come]))
    return s, (e.Refuse(late, Refusal("slow", SOON)),) if late else ()


def deny(s: State, event: e.Arrived, now: float) -> Step:
    return s, (e.Refuse(event.tickets, Refusal("stopping", SOON)),)


def wait_away(s: State, event: e.Arrived, now: float) -> Step:
    if s.gone:
        return deny(s, event, now)
    if s.hopeless:
        return s, (e.Refuse(event.tickets, Refusal("away", RESTING_RETRY)),)
    return wait(s, event, now)


def rouse(s: State, event: e.Arrived, now: float) -> Step:
    if s.life.wake == "manual":
        return s, (e.Refuse(event.tickets, Refusal("resting", RESTING_RETRY)),)
    s, refusals = wait(s, event, now)
    s, commands = begin(s, now)
    return s, (*refusals, *commands)


def lease(s: State, event: e.Arrived, now: float) -> Step:
    assert s.instance is not None
    assert s.instance.address is not None
    uses = s.uses + len(event.tickets)
    return evolve(s, uses=uses, used=now), (e.Grant(event.tickets, s.instance.address),)


def hold(s: State, event: e.Arrived, now: float) -> Step:
    if s.gone:
        return deny(s, event, now)
    if s.after is After.CRASH and not on_trial(s):
        return s, (e.Refuse(event.tickets, Refusal("crashed", SOON)),)
    if s.after is After.SLEEP and s.life.wake == "manual":
        return s, (e.Refuse(event.tickets, Refusal("resting", RESTING_RETRY)),)
    return wait(s, event, now)


def rebuff(s: State, event: e.Arrived, now: float) -> Step:
    retry = RESTING_RETRY if s.until == math.inf else max(1, math.ceil(s.until - now))
    return s, (e.Refuse(event.tickets, Refusal("crashed", retry)),)


def forget(s: State, event: e.Forgotten, now: float) -> Step:
    gone = frozenset(event.tickets)
    return evolve(s, waiters=tuple([w for w in s.waiters if w.ticket not in gone])), ()


def take(s: State, event: e.Taken, now: float) -> Step:
    return evolve(s, uses=s.uses + 1, used=now), ()


def give(s: State, event: e.GivenBack, now: float) -> Step:
    parting = s.parting
    former = None if parting is None else parting.instance
    uses = max(0, s.uses - 1)
    if parting and parting.uses:
        own = parting.uses - (former is not None and former.address == event.address)
        # Those of servers that are long gone may have been counted as its own.
        s = evolve(s, parting=evolve(parting, uses=min(own, uses)))
    return evolve(s, uses=uses, used=now), ()


def give_awake(s: State, event: e.GivenBack, now: float) -> Step:
    s, _ = give(s, event, now)
    return part(s, now)


def give_checked(s: State, event: e.GivenBack, now: float) -> Step:
    s, _ = give(s, event, now)
    # It was found dead while in use, and nobody uses it any more.
    return stop(s, now, After.CRASH) if s.doubted and not s.uses else (s, ())


def give_drained(s: State, event: e.GivenBack, now: float) -> Step:
    s, _ = give(s, event, now)
    return (s, ()) if s.uses else stop(s, now, s.after)


def doubt(s: State, event: e.Doubted, now: float) -> Step:
    instance = s.instance
    if s.doubted or instance is None or instance.address != event.address:
        return s, ()
    # In the same epoch: what is being prepared or inquired about meanwhile is still wanted.
    s = evolve(s, doubted=True)
    look = (e.Look(s.epoch),) if s.engine else ()
    return s, (e.Probe(s.epoch, instance, brief=True), *look)


# The engine's answers


def started(s: State, event: e.Started, now: float) -> Step:
    if s.refused and event.instance.fingerprint == s.refused:
        # What came back in its place is there no more, and could not be made again.
        s = evolve(s, fingerprint=s.refused, refused="")
    if not event.instance.running or event.instance.address is None:
        words = s.said if s.heard == event.instance.id else ""
        words = words or "It ended as soon as it was started."
        if event.instance.running:
            words = "It runs, but has no address at which it could be reached."
        return stop(evolve(s, instance=event.instance, detail=words), now, After.CRASH)
    s, commands = check(s, now, event.instance)
    # Either this server ended at once, or the news of its last end came late: ask.
    look = (e.Look(s.epoch),) if s.heard == event.instance.id else ()
    return s, (*commands, *look)


def late_start(s: State) -> Step:
    # A start that was given up has come about after all: is there a server nobody wants?
    if s.engine and s.phase in (Phase.AWAY, Phase.ASLEEP, Phase.CRASHED):
        return s, (e.Look(s.epoch),)
    return s, ()


def start_failed(s: State, event: e.StartFailed, now: float) -> Step:
    if event.away:
        return lose(s, now, event.words)
    # What was never started has touched nothing.
    return crash(evolve(s, touched=s.touched and not s.clean), now, event.words)


def stopped(s: State, event: e.Stopped, now: float) -> Step:
    return finish(s, now)


def stop_failed(s: State, event: e.StopFailed, now: float) -> Step:
    s = evolve(s, detail=event.words)
    told = (e.Warn(event.words), e.SayUnslept(event.words))
    same = s.instance is not None and s.instance.fingerprint == s.fingerprint
    if same and s.after is After.SLEEP and not s.gone and not event.away:
        # As far as anybody knows it runs on, so let it serve.
        assert s.instance is not None
        s, commands = check(s, now, s.instance)
        return s, (*told, *commands, e.Look(s.epoch))
    return evolve(s, until=now + STOP_AGAIN if s.engine else math.inf), told


def cleared(s: State, event: e.Cleared, now: float) -> Step:
    if s.gone:
        return enter(s, Phase.OVER, now, detail=""), (e.Part(),)
    return settle(s, now)


def clear_failed(s: State, event: e.ClearFailed, now: float) -> Step:
    until = now + CLEAR_AGAIN if s.engine else math.inf
    return evolve(s, until=until, detail=event.words), (e.Warn(event.words),)


def adopt(s: State, event: e.Listed, now: float) -> Step:
    found = event.instance
    if found is not None and s.good is None:
        # What another Snickers left, even asleep, is what there is to go back to.
        s = evolve(s, good=found, before=event.former)
    told = s.inherited
    if s.phase is Phase.AWAY and s.back is not None and not s.gone:
        return revert(s, now, s.back)
    if told is not None and told.good and found is not None:
        s = _go_on_trying(s, told, found, event.former)
        if s.back is not None and not s.gone:
            return revert(s, now, s.back)
    if found is None or not found.running or found.address is None:
        if s.phase is not Phase.AWAY:
            return s, ()
        if told is not None and told.until > now:
            return rest(s, now, told)
        # Why nothing was known of it is over, now that something is.
        return settle(evolve(s, detail=""), now)
    s = _beside(evolve(s, instance=found), event, now, known=False)
    if s.copied and not s.held and not s.gone:
        # It was being tried: begin anew, with others kept from the folder.
        return halt(s, now, After.START)
    if told is not None and told.stopping:
        # The call may go on that was made to stop it: it will not be there for long.
        return halt(s, now, After.SLEEP)
    if found.fingerprint != s.fingerprint or s.gone:
        # Whoever left it running had seen it answer: it can make its snapshot.
        s = evolve(s, proven=True)
        if s.life.update == "parallel" and not found.paused and not s.gone:
            # It serves while the next one is prepared: see `healthy`.
            return check(s, now, found)
        if found.paused:
            return stop(enter(s, Phase.PAUSED, now, used=now), now, replacing(s))
        return leave(s, now, replacing(s))
    if not found.paused:
        came_back = told is not None and told.back and told.good == found.id
        s, commands = check(s, now, found)
        # Whoever had it come back was ended, or relieved, before that was written down.
        return s, (e.Keep(found), *commands) if came_back else commands
    used = now if told is None else told.used
    s = enter(s, Phase.PAUSED, now, used=used, proven=True)
    wanted = s.uses or s.waiters or s.asked is not None or s.life.wake == "always"
    return resume(s, now) if wanted else (s, ())


def _go_on_trying(s: State, told: e.Inherited, found: Instance, former: Instance | None) -> State:
    """Another Snickers was trying a server; *found* is that or the good one."""
    good = next((each for each in (found, former) if each and each.id == told.good), None)
    serves = good is found and found.running
    if good is None or serves:
        # Nothing can come back, or it serves on what is its own.
        s = evolve(s, copied="", touched=False, updating=False)
    else:
        s = evolve(s, good=good, before=None)
    if good is None or not told.back:
        return s
    if good is not found and not s.copied and s.fingerprint == good.fingerprint:
        # What was tried is of the same declaration: a start could be of that again.
        return evolve(s, back=good)
    refused = "" if s.fingerprint == good.fingerprint else s.fingerprint
    return evolve(s, fingerprint=good.fingerprint, refused=refused, updating=False)


def inherit(s: State, event: e.Inherited, now: float) -> Step:
    s = evolve(s, inherited=event, crashes=event.crashes, put=event.put, updating=event.updating)
    return evolve(s, copied=event.copied, touched=bool(event.copied)), ()


def rest(s: State, now: float, told: e.Inherited) -> Step:
    s, refusals = refuse(s, "crashed", RESTING_RETRY)
    s = enter(s, Phase.CRASHED, now, until=told.until, instance=None, detail=told.detail)
    return s, refusals


def _beside(s: State, event: e.Listed, now: float, known: bool = True) -> State:
    """Have what runs beside the site's server ended, if nobody knows why it does.

    *known*: all uses are. Where they are not, as after a change of duty, whoever uses a server
    whose place the site's own has taken has ``drain within`` still. One that was started after
    that was only to be tried, and nobody uses it.
    """
    if not event.others or s.parting is not None:
        return s
    taken = max(_began(each) for each in event.others) <= _began(s.instance)
    if known or not taken:
        return evolve(s, parting=Parting(until=now))
    former = event.others[0] if len(event.others) == 1 else None
    return evolve(s, parting=Parting(former, until=now + s.life.drain_within, unsure=True))


def _began(server: Instance | None) -> float:
    return 0.0 if server is None or server.started is None else server.started


def compare(s: State, event: e.Listed, now: float) -> Step:
    found, had = event.instance, s.instance
    assert had is not None
    # Of two that run it is the one that it was, whichever the engine has in mind.
    found = next((each for each in event.others if each.id == had.id), found)
    s = _beside(s, event, now)
    if found is None or not found.running or found.address is None:
        return crash(s, now, s.said or "It ended while nobody looked.")
    s = evolve(s, instance=found, said="")
    if found.fingerprint != s.fingerprint and not s.preparing:
        if s.phase is Phase.AWAKE and s.life.update == "parallel":
            return prepare(s)
        return leave(s, now, replacing(s))
    if (found.id, found.address) != (had.id, had.address):
        return check(s, now, found)
    return s, ()


def compare_drained(s: State, event: e.Listed, now: float) -> Step:
    if event.instance is None or not event.instance.running:
        return finish(s, now)
    return s, ()


def _is(s: State, event: e.Exited) -> bool:
    return s.instance is not None and s.instance.id == event.id


def heard(s: State, event: e.Exited, now: float) -> Step:
    return evolve(s, heard=event.id, said=event.words), ()


def _parted(s: State, event: e.Exited) -> State:
    """Take note if it is a parting one that has ended: it cannot serve again."""
    parting = s.parting
    if parting is None or parting.instance is None or parting.instance.id != event.id:
        return s
    return evolve(s, parting=evolve(parting, uses=0, sound=False, unsure=False))


def ask(s: State, event: e.Exited, now: float) -> Step:
    # An engine may start the same server again: this may be late news of its last end.
    if not _is(s, event):
        return _parted(s, event), ()
    if not s.engine:
        return crash(s, now, event.words)
    return evolve(s, said=event.words), (e.Look(s.epoch),)


def exited(s: State, event: e.Exited, now: float) -> Step:
    return crash(s, now, event.words) if _is(s, event) else (s, ())


def exited_awake(s: State, event: e.Exited, now: float) -> Step:
    return crash(s, now, event.words) if _is(s, event) else part(_parted(s, event), now)


def exited_drained(s: State, event: e.Exited, now: float) -> Step:
    return finish(s, now) if _is(s, event) else (_parted(s, event), ())


def exited_stopped(s: State, event: e.Exited, now: float) -> Step:
    # While a stop is under way its own answer counts.
    if not _is(s, event):
        return s, ()
    if s.until != math.inf:
        return finish(s, now)
    ended_at_once = s.after is After.CRASH and s.instance is not None and not s.instance.running
    return (evolve(s, detail=event.words), ()) if ended_at_once else (s, ())


def lost_away(s: State, event: e.EngineLost, now: float) -> Step:
    s = evolve(s, engine=False, epoch=s.epoch + 1, detail=event.words, hopeless=event.for_good)
    if not s.hopeless:
        return s, ()
    s, refusals = refuse(evolve(s, asked=None), "away", RESTING_RETRY)
    if s.gone:
        return enter(s, Phase.OVER, now), (*refusals, e.SayUnwoken(event.words), e.Part())
    return s, (*refusals, e.SayUnwoken(event.words))


def lost(s: State, event: e.EngineLost, now: float) -> Step:
    return lose(evolve(s, engine=False), now, event.words)


def lost_alone(s: State, event: e.EngineLost, now: float) -> Step:
    return evolve(s, engine=False), ()


def lost_tried(s: State, event: e.EngineLost, now: float) -> Step:
    return evolve(s, engine=False, until=math.inf), ()


def lost_crashed(s: State, event: e.EngineLost, now: float) -> Step:
    return (lost_alone if s.until == math.inf else lost)(s, event, now)


def found(s: State, event: e.EngineFound, now: float) -> Step:
    return evolve(s, engine=True, hopeless=False), (e.Look(s.epoch),)


def found_known(s: State, event: e.EngineFound, now: float) -> Step:
    return evolve(s, engine=True), ()


def found_stopping(s: State, event: e.EngineFound, now: float) -> Step:
    return halt(evolve(s, engine=True), now, s.after)


def found_removing(s: State, event: e.EngineFound, now: float) -> Step:
    return clear(evolve(s, engine=True), now)


# The probe and the clock


def healthy(s: State, event: e.HealthPassed, now: float) -> Step:
    s, commands = rise(s, now)
    assert s.instance is not None
    if s.instance.fingerprint == s.fingerprint or not s.engine:
        return s, commands
    # The configuration has changed again while this one came back.
    s, preparing = prepare(s)
    return s, (*commands, *preparing)


def assured(s: State, event: e.HealthPassed, now: float) -> Step:
    return evolve(s, doubted=False), ()


def sick(s: State, event: e.HealthFailed, now: float) -> Step:
    return leave(evolve(s, detail=event.words), now, After.CRASH)


def dead(s: State, event: e.HealthFailed, now: float) -> Step:
    instance = s.instance
    assert instance is not None
    s = evolve(s, detail=event.words)
    if can_go_back(s):
        return leave(s, now, After.CRASH)
    if not s.engine:
        return lose(s, now, event.words)
    if not s.uses:
        return stop(s, now, After.CRASH)
    s, commands = check(s, now, instance, doubted=True)
    return s, (e.Warn(event.words), *commands)


def expire(s: State, now: float, kind: str = "slow", retry_after: int = SOON) -> Step:
    late = tuple(w.ticket for w in s.waiters if w.since + s.life.wake_within <= now)
    if not late:
        return s, ()
    s = evolve(s, waiters=s.waiters[len(late) :])
    return s, (e.Refuse(late, Refusal(kind, retry_after)),)


def tick_away(s: State, event: e.TimePassed, now: float) -> Step:
    s, refusals = expire(s, now, "away", AWAY_RETRY)
    if s.asked is None or s.asked + s.life.wake_within > now:
        return s, refusals
    return evolve(s, asked=None), (*refusals, e.SayUnwoken(s.detail))


def lack(health: str, instance: Instance | None) -> str:
    """Return what was waited for in vain, where that is known."""
    if instance is None:
        return ""
    if health == "docker":
        return ": its own check did not pass (health = docker)"
    if health != "tcp":
        return f": {health} was not answered with 200 to 399 (health = {health})"
    address = instance.address
    if not isinstance(address, tuple):
        return ": it accepted no connections"
    return f": it accepted no connections on port {address[1]} of {address[0]}"


def tick_rising(s: State, event: e.TimePassed, now: float) -> Step:
    s, refusals = expire(s, now)
    allowed = patience(s)
    if now < s.began + allowed:
        return s, refusals
    tried = s.instance if s.phase is Phase.CHECKING else None
    words = f"It was not ready within {allowed:g} s{lack(s.life.health, tried)}."
    # While it starts, those counted still used the one before: there is nothing to drain.
    move = stop if s.phase is Phase.STARTING else leave
    s, commands = move(evolve(s, detail=words), now, After.CRASH)
    return s, (*refusals, *commands)


def tick_awake(s: State, event: e.TimePassed, now: float) -> Step:
    if s.crashes and now >= s.since + STEADY:
        s = evolve(s, crashes=0)
    s, parting = part(s, now)
    if s.uses:
        return evolve(s, used=now), parting
    life = s.life
    # Whoever has asked for what is being prepared waits for it.
    idle = s.engine and life.wake != "always" and not (s.inquiring or s.preparing)
    if not idle or now < rests_at(s):
        return s, parting
    s, commands = inquire(s, now) if life.veto else depart(s, now)
    return s, (*parting, *commands)


def inquire(s: State, now: float) -> Step:
    return evolve(s, inquiring=True), (e.Inquire(s.epoch, s.life.veto),)


def depart(s: State, now: float) -> Step:
    if now >= s.used + s.life.idle_after:
        return stop(s, now, After.SLEEP)
    return pause(s, now)


def tick_drained(s: State, event: e.TimePassed, now: float) -> Step:
    s, refusals = expire(s, now)
    if now < s.until:
        return s, refusals
    # The drain is over, or a stop that failed is tried again.
    s, commands = (halt if s.phase is Phase.STOPPING else stop)(s, now, s.after)
    return s, (*refusals, *commands)


def tick_removing(s: State, event: e.TimePassed, now: float) -> Step:
    s, refusals = expire(s, now)
    if now < s.until:
        return s, refusals
    s, commands = clear(s, now)
    return s, (*refusals, *commands)


def tick_crashed(s: State, event: e.TimePassed, now: float) -> Step:
    return settle(s, now) if now >= s.until else (s, ())
