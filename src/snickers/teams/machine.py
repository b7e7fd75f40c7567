"""How two teams take turns, as a pure function: `step` takes the pair, an event and the time, and
returns the next pair and what is to be done.

It must never do anything itself. What keeps it whole: every pair of stage and event has its entry
in `TABLE`; a member is told to accept only when the other was told to stand by or has gone; and
nothing that happens to a newcomer ends the one before it, until somebody commits.

=========  =============================================  =======================================
stage      who was told to accept                         leads by itself to
=========  =============================================  =======================================
down       nobody; a team is started after a pause        opening
opening    the live one, once it has proven itself        serving; down when it fails
serving    the live one
proving    the live one                                   yielding when the other is proven;
                                                          serving when it fails
yielding   nobody: newcomers wait in the kernel's queue   taking, after `GIVE_WITHIN` at the latest
taking     the other                                      trial or serving; returning when it fails
returning  the live one, again                            serving
trial      the newcomer; the one before stands by         serving by `commit after`; taking when
                                                          the newcomer ends, yielding when it errs
leaving    the live one until the other has ended         over
over       nobody
=========  =============================================  =======================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve

from snickers.teams import pair as p
from snickers.teams.pair import Command, Member, Pair, Purpose, Stage, Step, Trial
from snickers.teams.verdict import far_worse

PROVE_WITHIN = 120.0
"""Seconds a team is given until it has proven itself: thousands of certificates, a slow disk."""
GIVE_WITHIN = 2.0
"""Seconds the one that serves is given to stop accepting and give duty up; newcomers wait
meanwhile, and a browser's patience for a connection is longer than this."""
TAKE_WITHIN = 10.0
"""Seconds a team is given until it is on duty; it accepts connections already."""
LEAVE_WITHIN = 10.0
"""Seconds the one that stands by is given, at the end of all, before the live one ends, too."""
KILL_AFTER = 30.0
"""Seconds a newcomer that failed is given to end."""
STEADY = 300.0
"""Seconds for which a team must serve until it counts as good: its first minutes."""
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before each start in a row, the first one at once."""
SHORT_PAUSE = 1.0
"""Seconds at the most after the end of one that had proven itself: it can serve, and was killed or
met something that it is not up to; visitors wait meanwhile."""
ELSEWHERE = 2
"""Failures of the good team in a row that are borne; after the next one the other team is tried in
its place, and then both by turns."""

ENDED, TAKEN_BACK, DUTY = "team ended", "team taken back", "team duty"
"""Kinds of alarms."""

Handler = Callable[[Pair, Any, float], Step]


def step(pair: Pair, event: p.Event, now: float) -> Step:
    """Return the next pair, and what is to be done in this order."""
    if isinstance(event, p.OfMember) and pair.member(event.id) is None:
        return pair, ()
    return TABLE[pair.stage, type(event)](pair, event, now)


# Moves


def _nothing(pair: Pair, event: Any, now: float) -> Step:
    return pair, ()


def _refuse(words: str) -> Handler:
    def handler(pair: Pair, event: Any, now: float) -> Step:
        live = pair.live.team if pair.live is not None else pair.good
        other = pair.other.team if pair.other is not None else p.opponent(live)
        return pair, (p.Refuse(words.format(live=live, other=other)),)

    return handler


_BUSY = _refuse("teams are changing over right now; look again in some seconds")
_GOING = _refuse("the keeper ends")
_OPENS = _refuse("{live} is being started; again when it serves, or has failed")
_DOWN = _refuse("no team serves; it says why in the keeper's log")


def _dismiss(pair: Pair, member: Member, kill_at: float = math.inf) -> Pair:
    """Return the pair with *member* among those that end."""
    leaving = evolve(member, accepts=False, kill_at=kill_at)
    return evolve(
        pair,
        live=None if pair.live is not None and pair.live.id == member.id else pair.live,
        other=None if pair.other is not None and pair.other.id == member.id else pair.other,
        ending=(*(m for m in pair.ending if m.id != member.id), leaving),
    )


def _gone(pair: Pair, event: p.Ended | p.Stopping) -> Pair:
    """Return the pair without the one that has ended, or with it among those that end."""
    id = event.id
    if isinstance(event, p.Stopping):
        member = pair.member(id)
        assert member is not None
        return _dismiss(pair, member, member.kill_at)
    return evolve(
        pair,
        live=None if pair.live is not None and pair.live.id == id else pair.live,
        other=None if pair.other is not None and pair.other.id == id else pair.other,
        ending=tuple(member for member in pair.ending if member.id != id),
    )


def _spawn(pair: Pair, team: str, stand_by: bool, now: float) -> tuple[Pair, Member, p.Spawn]:
    member = Member(pair.next_id, team, now, accepts=not stand_by)
    spawn = p.Spawn(member.id, team, stand_by)
    return evolve(pair, next_id=pair.next_id + 1), member, spawn


def _open(pair: Pair, team: str, now: float) -> Step:
    """Start *team*, to serve as soon as it can."""
    pair, member, spawn = _spawn(pair, team, False, now)
    pair = evolve(pair, stage=Stage.OPENING, live=member, until=now + PROVE_WITHIN)
    return pair, (p.Say(f"{team}: is started, to serve"), spawn)


def _down(pair: Pair, now: float, served: bool = False) -> Step:
    """Nobody serves: start one, at once or after a pause; *served*: the last one had."""
    failures = pair.failures + 1
    unproven = 0 if served else pair.unproven + 1
    pause = min(SHORT_PAUSE, PAUSES[min(failures, len(PAUSES)) - 1])
    if unproven:
        pause = PAUSES[min(unproven, len(PAUSES)) - 1]
    pair = evolve(
        pair,
        stage=Stage.DOWN,
        failures=failures,
        unproven=unproven,
        until=now + pause,
        purpose=Purpose.NONE,
    )
    if pause:
        return pair, (p.Say(f"{_next_team(pair)}: is started in {pause:g} s"),)
    return _start(pair, None, now)


def _next_team(pair: Pair) -> str:
    """Return the team to start: the good one, and when it fails again and again both by turns."""
    odd = pair.failures > ELSEWHERE and (pair.failures - ELSEWHERE) % 2 == 1
    return p.opponent(pair.good) if odd else pair.good


def _start(pair: Pair, event: Any, now: float) -> Step:
    return _open(pair, _next_team(pair), now)


def _serve(pair: Pair, now: float) -> Pair:
    """Return the pair with the live one serving alone; it is good when it has done so for long."""
    live = pair.live
    assert live is not None
    began = now if live.serves is None else live.serves
    pair = pair.changed(evolve(live, serves=began))
    known = pair.good == live.team and now - began >= STEADY
    until = math.inf if known else max(now, began + STEADY)
    return evolve(pair, stage=Stage.SERVING, purpose=Purpose.NONE, until=until)


def _hand_over(pair: Pair, purpose: Purpose, now: float) -> Step:
    """Have the live one stand by, then the other accept."""
    live, other = pair.live, pair.other
    assert live is not None and other is not None  # noqa: PT018
    pair = pair.changed(evolve(live, accepts=False))
    pair = evolve(pair, stage=Stage.YIELDING, purpose=purpose, until=now + GIVE_WITHIN)
    return pair, (p.Say(f"{live.team}: stands by, for {other.team} to take over"), _stand_by(live))


def _stand_by(member: Member) -> p.StandBy:
    return p.StandBy(member.id)


def _take(pair: Pair, now: float) -> Step:
    """Have the other accept: the live one stands by or has gone."""
    other = pair.other
    assert other is not None
    pair = pair.changed(evolve(other, accepts=True))
    pair = evolve(pair, stage=Stage.TAKING, until=now + TAKE_WITHIN)
    return pair, (p.Say(f"{other.team}: takes over"), p.Accept(other.id))


def _return(pair: Pair, words: str, now: float, served: bool = False) -> Step:
    """The other one has failed: the live one accepts again, if it is there; *served*: the other
    one had, before."""
    commands: list[Command] = []
    failed = pair.other
    if failed is not None:
        if failed.accepts:
            commands.append(_stand_by(failed))
        pair = _dismiss(pair, failed, now + KILL_AFTER)
        commands.append(p.End(failed.id))
    live = pair.live
    if live is None:
        pair, more = _down(pair, now, served)
        return pair, (*commands, p.Raise(ENDED, words), p.Failed(words), *more)
    pair = pair.changed(evolve(live, accepts=True))
    pair = evolve(pair, stage=Stage.RETURNING, until=now + TAKE_WITHIN)
    commands.append(p.Accept(live.id))
    if pair.purpose is Purpose.ROLLBACK:
        commands.append(p.Raise(TAKEN_BACK, f"{words}; {live.team} accepts again"))
    return pair, (*commands, p.Failed(f"{words}; {live.team} goes on"))


def _trial_of(before: Member, newcomer: Member) -> Trial:
    return Trial(
        before.answers,
        before.errors,
        before.alarms,
        newcomer.answers,
        newcomer.errors,
    )


# Events in the life of a member


def _is(member: Member | None, event: p.OfMember) -> bool:
    return member is not None and member.id == event.id


def _heard(pair: Pair, event: Any, now: float) -> Step:
    """Keep what is told of a member; nothing follows from it."""
    member = pair.member(event.id)
    assert member is not None
    match event:
        case p.Proved():
            member = evolve(member, ready=True)
        case p.Took():
            member = evolve(member, duty=True)
        case p.Gave():
            member = evolve(member, duty=False)
        case p.Answered(_, answers, errors):
            member = evolve(member, answers=answers, errors=errors)
        case p.Counted(_, opened, alarms):
            member = evolve(
                member,
                open=member.open if opened is None else opened,
                alarms=member.alarms if alarms is None else alarms,
            )
        case p.Described(_, version, status):
            member = evolve(
                member,
                version=member.version if version is None else version,
                status=member.status if status is None else status,
            )
    return pair.changed(member), ()


def _opened(pair: Pair, event: p.Proved, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    live = pair.live
    if live is None or live.id != event.id:
        return pair, ()
    return _serve(pair, now), (p.Done(f"{live.team} serves"),)


def _proved(pair: Pair, event: p.Proved, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    if pair.other is None or pair.other.id != event.id:
        return pair, ()
    team = pair.other.team
    pair, commands = _hand_over(pair, pair.purpose, now)
    return pair, (p.Say(f"{team}: has proven itself"), *commands)


def _gave(pair: Pair, event: p.Gave, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    if pair.live is None or pair.live.id != event.id:
        return pair, ()
    return _take(pair, now)


def _took(pair: Pair, event: p.Took, now: float) -> Step:
    """The other is on duty: it is the live one from now on."""
    pair, _ = _heard(pair, event, now)
    if pair.other is None or pair.other.id != event.id:
        return pair, ()
    return _taken_over(pair, now)


def _taken_over(pair: Pair, now: float) -> Step:
    newcomer, before = pair.other, pair.live
    assert newcomer is not None
    newcomer = evolve(newcomer, serves=now)
    team, purpose = newcomer.team, pair.purpose
    pair = evolve(pair, live=newcomer, other=before)
    if before is None:
        return _serve(pair, now), (p.Done(f"{team} serves, alone"),)
    if purpose is Purpose.SWITCH:
        pair = evolve(
            pair,
            stage=Stage.TRIAL,
            trial=_trial_of(before, newcomer),
            until=now + pair.commit_after,
        )
        words = f"{team} serves; {before.team} stands by until commit or rollback"
        # What was taken back before is over.
        return pair, (p.Clear(TAKEN_BACK), p.Done(words))
    pair = _serve(_dismiss(pair, before), now)
    return pair, (p.End(before.id), p.Done(f"{team} serves; the one before it ends"))


def _on_duty(pair: Pair, event: p.Took, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    return pair, (p.Clear(DUTY),) if _is(pair.live, event) else ()


def _came_back(pair: Pair, event: p.Took, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    if pair.live is None or pair.live.id != event.id:
        return pair, ()
    return _serve(pair, now), ()


def _measured(pair: Pair, event: p.Answered, now: float) -> Step:
    """Look whether the newcomer answers far worse than the one before."""
    known = pair.live
    pair, _ = _heard(pair, event, now)
    live, other, trial = pair.live, pair.other, pair.trial
    if known is None or live is None or other is None or live.id != event.id:
        return pair, ()
    if live.errors > known.errors:
        trial = evolve(trial, spells=trial.spells + 1)
        pair = evolve(pair, trial=trial)
    since = (live.errors - trial.first_errors, live.answers - trial.first_answers)
    if not far_worse((trial.errors, trial.answers), since, trial.spells):
        return pair, ()
    words = (
        f"{live.team} answered {since[0]} of {since[1]} requests with an error, "
        f"{other.team} before it {trial.errors} of {trial.answers}: {other.team} takes over again"
    )
    pair, commands = _hand_over(pair, Purpose.ROLLBACK, now)
    return pair, (p.Raise(TAKEN_BACK, words), *commands)


def _tried(pair: Pair, event: p.Counted, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    live = pair.live
    if live is not None and live.id == event.id and live.alarms > pair.trial.alarms:
        pair = evolve(pair, trial=evolve(pair.trial, alarmed=True))
    return pair, ()


# Ends


def _ended(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    """One of those that were asked to end has, or nobody's end matters here."""
    return _gone(pair, event), ()


def _live_died(pair: Pair, event: p.Ended | p.Stopping, now: float, after: str = "") -> Step:
    """The one that serves has ended: another is started."""
    live = pair.live
    assert live is not None
    pair = _gone(pair, event)
    words = f"{live.team} {event.words}{after}"
    served = live.serves is not None
    if live.serves is not None and now - live.serves >= STEADY:
        pair = evolve(pair, failures=0, unproven=0)
    if served and isinstance(event, p.Stopping):
        # Somebody has asked it to end: that is no failure.
        pair, commands = _start(pair, None, now)
    else:
        pair, commands = _down(pair, now, served)
    return pair, (p.Raise(ENDED, words), p.Failed(words), *commands)


def _died_serving(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    if not _is(pair.live, event):
        return _ended(pair, event, now)
    return _live_died(pair, event, now)


def _died_proving(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    if _is(pair.other, event):
        return _proof_failed(_gone(pair, event), pair.other, event.words, now)
    if not _is(pair.live, event):
        return _ended(pair, event, now)
    newcomer = pair.other
    assert newcomer is not None
    # It has not proven itself: the good one is back sooner.
    pair = _dismiss(pair, newcomer, now + KILL_AFTER)
    pair, commands = _live_died(pair, event, now, "; the switch is given up for that")
    return pair, (p.End(newcomer.id), *commands)


def _proof_failed(pair: Pair, other: Member | None, words: str, now: float) -> Step:
    assert other is not None and pair.live is not None  # noqa: PT018
    live = pair.live.team
    words = f"{other.team} {words} before it had proven itself (see the log); {live} goes on"
    return _serve(pair, now), (p.Failed(words),)


def _died_yielding(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    if _is(pair.other, event):
        assert pair.other is not None
        team, served = pair.other.team, pair.other.serves is not None
        words = f"{team} {event.words} as it was to take over"
        return _return(_gone(pair, event), words, now, served)
    if _is(pair.live, event):
        return _take(_gone(pair, event), now)
    return _ended(pair, event, now)


def _died_taking(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    if _is(pair.other, event):
        assert pair.other is not None
        team, served = pair.other.team, pair.other.serves is not None
        words = f"{team} {event.words} as it took over"
        return _return(_gone(pair, event), words, now, served)
    # Without the one before, too, it goes on.
    return _ended(pair, event, now)


def _died_in_trial(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    if _is(pair.other, event):
        assert pair.other is not None and pair.live is not None  # noqa: PT018
        words = f"{pair.other.team}, which stood by, {event.words}: no rollback is possible now"
        return _serve(_gone(pair, event), now), (p.Say(words),)
    if not _is(pair.live, event):
        return _ended(pair, event, now)
    assert pair.live is not None and pair.other is not None  # noqa: PT018
    words = f"{pair.live.team} {event.words} on trial: {pair.other.team} has taken over again"
    pair = evolve(_gone(pair, event), purpose=Purpose.ROLLBACK)
    pair, commands = _take(pair, now)
    return pair, (*commands, p.Raise(TAKEN_BACK, words))


def _died_leaving(pair: Pair, event: p.Ended | p.Stopping, now: float) -> Step:
    return _leave(_gone(pair, event), now)


# Time


def _late(handler: Handler) -> Handler:
    """End by force whoever should have ended by now, then let *handler* see to the stage."""

    def passed(pair: Pair, event: p.Passed, now: float) -> Step:
        late = [member for member in pair.ending if member.kill_at <= now]
        for member in late:
            pair = pair.changed(evolve(member, kill_at=math.inf))
        commands = tuple(p.Kill(member.id) for member in late)
        if pair.until > now:
            return pair, commands
        pair, more = handler(evolve(pair, until=math.inf), event, now)
        return pair, (*commands, *more)

    return passed


def _never_opened(pair: Pair, event: p.Passed, now: float) -> Step:
    live = pair.live
    assert live is not None
    pair = _dismiss(pair, live, math.inf)
    words = f"{live.team} has not proven itself within {PROVE_WITHIN:g} s"
    pair, commands = _down(pair, now)
    return pair, (p.Kill(live.id), p.Raise(ENDED, words), p.Failed(words), *commands)


def _steady(pair: Pair, event: p.Passed, now: float) -> Step:
    live = pair.live
    assert live is not None
    pair = evolve(pair, good=live.team, failures=0, unproven=0)
    return pair, (p.Clear(ENDED),)


def _never_proved(pair: Pair, event: p.Passed, now: float) -> Step:
    other = pair.other
    assert other is not None
    pair = _dismiss(pair, other, now + KILL_AFTER)
    words = f"needed more than {PROVE_WITHIN:g} s"
    pair, commands = _proof_failed(pair, other, words, now)
    return pair, (p.End(other.id), *commands)


def _never_gave(pair: Pair, event: p.Passed, now: float) -> Step:
    """Newcomers wait: the other accepts, and takes duty when it can."""
    return _take(pair, now)


def _never_took(pair: Pair, event: p.Passed, now: float) -> Step:
    other = pair.other
    assert other is not None
    words = f"{other.team} has not taken duty within {TAKE_WITHIN:g} s"
    if pair.live is not None:
        return _return(pair, words, now)
    # There is nobody else: it accepts, which is most of it.
    pair, commands = _taken_over(pair, now)
    return pair, (p.Raise(DUTY, words), *commands)


def _never_returned(pair: Pair, event: p.Passed, now: float) -> Step:
    live = pair.live
    assert live is not None
    words = f"{live.team} has not taken duty again within {TAKE_WITHIN:g} s"
    return _serve(pair, now), (p.Raise(DUTY, words),)


def _trial_over(pair: Pair, event: p.Passed, now: float) -> Step:
    if pair.trial.alarmed:
        words = "there were alarms: it is not committed by itself; commit or roll back by hand"
        return pair, (p.Say(words),)
    return _commit(pair, event, now)


def _leave_all(pair: Pair, event: p.Passed, now: float) -> Step:
    """The one that stood by has had its time: the live one ends, too."""
    live = pair.live
    if live is None:
        return pair, ()
    return _dismiss(pair, live), (p.End(live.id),)


# Wishes


def _switch(pair: Pair, event: p.AskedSwitch, now: float) -> Step:
    live = pair.live
    assert live is not None
    pair = evolve(pair, commit_after=event.commit_after)
    return _prove(pair, p.opponent(live.team), Purpose.SWITCH, now)


def _restart(pair: Pair, event: p.AskedRestart, now: float) -> Step:
    assert pair.live is not None
    return _prove(pair, pair.live.team, Purpose.RESTART, now)


def _prove(pair: Pair, team: str, purpose: Purpose, now: float) -> Step:
    pair, member, spawn = _spawn(pair, team, True, now)
    pair = evolve(
        pair,
        stage=Stage.PROVING,
        other=member,
        purpose=purpose,
        until=now + PROVE_WITHIN,
    )
    return pair, (p.Say(f"{team}: is started, to stand by"), spawn)


def _switch_down(pair: Pair, event: p.AskedSwitch, now: float) -> Step:
    """The good team fails again and again: a person says which one to start instead."""
    pair = evolve(pair, good=p.opponent(pair.good), failures=0, unproven=0)
    return _open(pair, pair.good, now)


def _start_now(pair: Pair, event: p.AskedRestart, now: float) -> Step:
    return _open(evolve(pair, failures=0, unproven=0), pair.good, now)


def _commit(pair: Pair, event: p.Event, now: float) -> Step:
    live, before = pair.live, pair.other
    assert live is not None and before is not None  # noqa: PT018
    pair = evolve(_dismiss(pair, before), good=live.team, failures=0, unproven=0)
    words = f"{live.team} stays; {before.team} finishes what it has open, and ends"
    return _serve(pair, now), (
        p.End(before.id),
        p.Clear(TAKEN_BACK),
        p.Clear(ENDED),
        p.Done(words),
    )


def _roll_back(pair: Pair, event: p.AskedRollback, now: float) -> Step:
    return _hand_over(pair, Purpose.ROLLBACK, now)


def _give_up(pair: Pair, event: p.AskedRollback, now: float) -> Step:
    """Before the newcomer has proven itself, back means: it ends."""
    newcomer, live = pair.other, pair.live
    assert newcomer is not None and live is not None  # noqa: PT018
    words = f"given up: {newcomer.team} ends, {live.team} goes on"
    pair = _serve(_dismiss(pair, newcomer, now + KILL_AFTER), now)
    # The first is for who asked for the switch, the second for who asks for the end of it.
    return pair, (p.End(newcomer.id), p.Failed(words), p.Done(words))


def _end(pair: Pair, event: p.AskedEnd, now: float) -> Step:
    """End the one that stands by first: its connections live from the other's being on duty."""
    commands: list[Command] = [p.Failed("the keeper ends")]
    pair = evolve(pair, stage=Stage.LEAVING, until=now + LEAVE_WITHIN)
    second = pair.other
    if second is not None:
        pair = _dismiss(pair, second)
        commands.append(p.End(second.id))
    pair, more = _leave(pair, now)
    return pair, (*commands, *more)


def _leave(pair: Pair, now: float) -> Step:
    live = pair.live
    if live is not None and not pair.ending:
        return _dismiss(pair, live), (p.End(live.id),)
    if live is None and not pair.ending:
        return evolve(pair, stage=Stage.OVER, until=math.inf), (p.Quit(),)
    return pair, ()


def _end_at_once(pair: Pair, event: p.AskedEnd, now: float) -> Step:
    """A second time: nobody waits any more. A second SIGTERM has a team end at once."""
    commands = [p.End(member.id) for member in pair.members()]
    if pair.live is not None:
        pair = _dismiss(pair, pair.live)
    return pair, tuple(commands)


_ = _nothing

# fmt: off
_ROWS: Mapping[type[p.Event], tuple[Handler, ...]] = {
    # DOWN             OPENING          SERVING          PROVING          YIELDING
    # TAKING           RETURNING        TRIAL            LEAVING          OVER
    p.Passed: (
        _start,        _never_opened,   _steady,         _never_proved,   _never_gave,
        _never_took,   _never_returned, _trial_over,     _leave_all,      _),
    p.Proved: (
        _heard,        _opened,         _heard,          _proved,         _heard,
        _heard,        _heard,          _heard,          _heard,          _),
    p.Gave: (
        _heard,        _heard,          _heard,          _heard,          _gave,
        _heard,        _heard,          _heard,          _heard,          _),
    p.Took: (
        _heard,        _on_duty,        _on_duty,        _on_duty,        _heard,
        _took,         _came_back,      _on_duty,        _heard,          _),
    p.Answered: (
        _heard,        _heard,          _heard,          _heard,          _heard,
        _heard,        _heard,          _measured,       _heard,          _),
    p.Counted: (
        _heard,        _heard,          _heard,          _heard,          _heard,
        _heard,        _heard,          _tried,          _heard,          _),
    p.Described: (
        _heard,        _heard,          _heard,          _heard,          _heard,
        _heard,        _heard,          _heard,          _heard,          _),
    p.Ended: (
        _ended,        _died_serving,   _died_serving,   _died_proving,   _died_yielding,
        _died_taking,  _died_serving,   _died_in_trial,  _died_leaving,   _),
    p.Stopping: (
        _ended,        _died_serving,   _died_serving,   _died_proving,   _died_yielding,
        _died_taking,  _died_serving,   _died_in_trial,  _died_leaving,   _),
    p.AskedSwitch: (
        _switch_down,  _OPENS,          _switch,         _BUSY,           _BUSY,
        _BUSY,         _BUSY,
        _refuse("{other} still stands by: commit, or roll back, first"), _GOING, _GOING),
    p.AskedRestart: (
        _start_now,    _OPENS,          _restart,        _BUSY,           _BUSY,
        _BUSY,         _BUSY,
        _refuse("{other} still stands by: commit, or roll back, first"), _GOING, _GOING),
    p.AskedCommit: (
        _DOWN,         _OPENS,
        _refuse("nothing is on trial: {live} serves alone"),
        _refuse("{other} has not proven itself yet"), _BUSY,
        _BUSY,         _BUSY,           _commit,         _GOING,          _GOING),
    p.AskedRollback: (
        _DOWN,         _OPENS,
        _refuse("nobody stands by to go back to; 'teams switch' starts {other}"),
        _give_up,      _BUSY,
        _BUSY,         _BUSY,           _roll_back,      _GOING,          _GOING),
    p.AskedEnd: (
        _end,          _end,            _end,            _end,            _end,
        _end,          _end,            _end,            _end_at_once,    _),
}
# fmt: on

TABLE: Mapping[tuple[Stage, type[p.Event]], Handler] = {
    (stage, event): _late(handler) if event is p.Passed else handler
    for event, row in _ROWS.items()
    for stage, handler in zip(Stage, row, strict=True)
}
"""What answers each event in each stage."""
