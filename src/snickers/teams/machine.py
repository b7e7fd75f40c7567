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
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from snickers.teams import pair as p
from snickers.teams.ends import (
    alive,
    died_in_trial,
    died_leaving,
    died_proving,
    died_serving,
    died_taking,
    died_yielding,
    ended,
    hung,
    leave,
    listened,
    overdue,
    silent,
    verdict_on,
)
from snickers.teams.moves import (
    DUTY,
    ENDED,
    KILL_AFTER,
    PROVE_WITHIN,
    STEADY,
    TAKE_WITHIN,
    TAKEN_BACK,
    Handler,
    among_ending,
    dismiss,
    give_back,
    go_down,
    hand_over,
    how_it_ends,
    hurry,
    is_of,
    let_finish,
    open_up,
    proof_failed,
    serve,
    spawn,
    start,
    take,
    taken_over,
)
from snickers.teams.pair import Command, Pair, Purpose, Stage, Step
from snickers.teams.verdict import far_worse

LEAVE_WITHIN = 10.0
"""Seconds the one that stands by is given, at the end of all, before the live one ends, too."""
ASK_AGAIN = 1.0
"""Seconds from the first to the second word to one that is to end at once."""


def step(pair: Pair, event: p.Event, now: float) -> Step:
    """Return the next pair, and what is to be done in this order."""
    if isinstance(event, p.OfMember) and pair.member(event.id) is None:
        return pair, ()
    if isinstance(event, p.Told):
        pair = alive(pair, event.id, now)
    pair, commands = TABLE[pair.stage, type(event)](pair, event, now)
    return _alarmed(pair, commands, now)


def _alarmed(pair: Pair, commands: tuple[Command, ...], now: float) -> Step:
    """Keep in mind which alarms hold; what was not raised need not be cleared."""
    kept: list[Command] = []
    for command in commands:
        match command:
            case p.Raise(kind):
                calm_at = now + STEADY if kind == ENDED else pair.calm_at
                pair = evolve(pair, raised=pair.raised | {kind}, calm_at=calm_at)
            case p.Clear(kind):
                if kind not in pair.raised:
                    continue
                calm_at = math.inf if kind == ENDED else pair.calm_at
                pair = evolve(pair, raised=pair.raised - {kind}, calm_at=calm_at)
        kept.append(command)
    return pair, tuple(kept)


# Refusals


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


# Events in the life of a member


def _heard(pair: Pair, event: Any, now: float) -> Step:
    """Keep what is told of a member; nothing follows from it."""
    member = pair.member(event.id)
    assert member is not None
    match event:
        case p.Beat():
            member = listened(evolve(member, beats=True), now)
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
        case p.Described(_, version, status, finishes):
            member = evolve(
                member,
                version=member.version if version is None else version,
                status=member.status if status is None else status,
                finishes=member.finishes if finishes is None else finishes,
            )
    return pair.changed(member), ()


def _configured(pair: Pair, event: p.Configured, now: float) -> Step:
    return evolve(pair, drain_within=event.drain_within, finish_within=event.finish_within), ()


def _opened(pair: Pair, event: p.Proved, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    live = pair.live
    if live is None or live.id != event.id:
        return pair, ()
    return serve(pair, now), (p.Done(f"{live.team} serves"),)


def _proved(pair: Pair, event: p.Proved, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    if pair.other is None or pair.other.id != event.id:
        return pair, ()
    team = pair.other.team
    pair, commands = hand_over(pair, pair.purpose, now)
    return pair, (p.Say(f"{team}: has proven itself"), *commands)


def _gave(pair: Pair, event: p.Gave, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    if pair.live is None or pair.live.id != event.id:
        return pair, ()
    return take(pair, now)


def _took(pair: Pair, event: p.Took, now: float) -> Step:
    """The other is on duty: it is the live one from now on."""
    pair, _ = _heard(pair, event, now)
    if pair.other is None or pair.other.id != event.id:
        return pair, ()
    pair, commands = taken_over(pair, now)
    return pair, (p.Clear(DUTY), *commands)


def _on_duty(pair: Pair, event: p.Took, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    return pair, (p.Clear(DUTY),) if is_of(pair.live, event) else ()


def _came_back(pair: Pair, event: p.Took, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    if pair.live is None or pair.live.id != event.id:
        return pair, ()
    return serve(pair, now), (p.Clear(DUTY),)


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
    pair, commands = hand_over(pair, Purpose.ROLLBACK, now)
    return pair, (p.Raise(TAKEN_BACK, words), *commands)


def _tried(pair: Pair, event: p.Counted, now: float) -> Step:
    pair, _ = _heard(pair, event, now)
    live = pair.live
    if live is not None and live.id == event.id and live.alarms > pair.trial.alarms:
        pair = evolve(pair, trial=evolve(pair.trial, alarmed=True))
    return pair, ()


# Time


def _late(handler: Handler) -> Handler:
    """See to those that end too slowly, to alarms, and to those that are silent; then let *handler*
    see to the stage."""

    def passed(pair: Pair, event: p.Passed, now: float) -> Step:
        pair, commands = overdue(pair, now)
        pair, more = _calm(pair, now)
        commands += more
        pair, silent_one = silent(pair, now)
        if silent_one is not None:
            # The stage may be another one after that; what is due there is seen to next.
            pair, more = TABLE[pair.stage, p.Hung](pair, p.Hung(silent_one.id), now)
            return pair, (*commands, *more)
        if pair.until > now:
            return pair, commands
        pair, more = handler(evolve(pair, until=math.inf), event, now)
        return pair, (*commands, *more)

    return passed


def _calm(pair: Pair, now: float) -> Step:
    """What was alarmed about ends is over when one has served for its first minutes since."""
    if pair.calm_at > now:
        return pair, ()
    live = pair.live
    if live is None or live.serves is None:
        return evolve(pair, calm_at=now + STEADY), ()
    if live.serves + STEADY > now:
        return evolve(pair, calm_at=live.serves + STEADY), ()
    return evolve(pair, calm_at=math.inf), (p.Clear(ENDED),)


def _never_opened(pair: Pair, event: p.Passed, now: float) -> Step:
    live = pair.live
    assert live is not None
    pair = among_ending(pair, live)
    words = f"{live.team} has not proven itself within {PROVE_WITHIN:g} s"
    pair, commands = go_down(pair, now)
    return pair, (p.Kill(live.id), p.Raise(ENDED, words), p.Failed(words), *commands)


def _steady(pair: Pair, event: p.Passed, now: float) -> Step:
    live = pair.live
    assert live is not None
    return evolve(pair, good=live.team, failures=0, unproven=0), ()


def _never_proved(pair: Pair, event: p.Passed, now: float) -> Step:
    other = pair.other
    assert other is not None
    pair = dismiss(pair, other, now)
    words = f"has had {PROVE_WITHIN:g} s for it"
    pair, commands = proof_failed(pair, other, words, now)
    return pair, (p.End(other.id), *commands)


def _never_gave(pair: Pair, event: p.Passed, now: float) -> Step:
    """Newcomers wait: the other accepts, and takes duty when it can."""
    return take(pair, now)


def _never_took(pair: Pair, event: p.Passed, now: float) -> Step:
    other = pair.other
    assert other is not None
    words = f"{other.team} has not taken duty within {TAKE_WITHIN:g} s"
    verdict = verdict_on(pair.live, now)
    if verdict is not None:
        # It may hang, with duty: the other accepts meanwhile.
        return evolve(pair, until=max(verdict, now + 1.0)), ()
    if pair.live is not None:
        return give_back(pair, words, now)
    # There is nobody else: it accepts, which is most of it.
    pair, commands = taken_over(pair, now)
    return pair, (p.Raise(DUTY, words), *commands)


def _never_returned(pair: Pair, event: p.Passed, now: float) -> Step:
    live = pair.live
    assert live is not None
    words = f"{live.team} has not taken duty again within {TAKE_WITHIN:g} s"
    return serve(pair, now), (p.Raise(DUTY, words),)


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
    return dismiss(pair, live, now), (p.End(live.id),)


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
    pair, hurrying = hurry(pair, team, now)
    pair, member, command = spawn(pair, team, True, now)
    pair = evolve(
        pair,
        stage=Stage.PROVING,
        other=member,
        purpose=purpose,
        until=now + PROVE_WITHIN,
    )
    return pair, (*hurrying, p.Say(f"{team}: is started, to stand by"), command)


def _switch_down(pair: Pair, event: p.AskedSwitch, now: float) -> Step:
    """The good team fails again and again: a person says which one to start instead."""
    pair = evolve(pair, good=p.opponent(pair.good), failures=0, unproven=0)
    return _open_asked(pair, now)


def _start_now(pair: Pair, event: p.AskedRestart, now: float) -> Step:
    return _open_asked(evolve(pair, failures=0, unproven=0), now)


def _open_asked(pair: Pair, now: float) -> Step:
    """Start the good team as a person wishes: there may be something new in its folder."""
    pair, hurrying = hurry(pair, pair.good, now)
    pair, commands = open_up(pair, pair.good, now)
    return pair, (*hurrying, *commands)


def _hurry(pair: Pair, event: p.AskedHurry, now: float) -> Step:
    pair, commands = hurry(pair, event.team, now)
    words = "has been told to end soon" if commands else "has nothing to be hurried"
    return pair, (*commands, p.Reply(f"{event.team} {words}"))


def _commit(pair: Pair, event: p.Event, now: float) -> Step:
    live, before = pair.live, pair.other
    assert live is not None and before is not None  # noqa: PT018
    pair, commands = let_finish(pair, before, now)
    pair = evolve(pair, good=live.team, failures=0, unproven=0)
    words = f"{live.team} stays; {before.team} {how_it_ends(pair, before.id)}"
    return serve(pair, now), (
        *commands,
        p.Clear(TAKEN_BACK),
        p.Clear(ENDED),
        p.Done(words),
    )


def _roll_back(pair: Pair, event: p.AskedRollback, now: float) -> Step:
    return hand_over(pair, Purpose.ROLLBACK, now)


def _give_up(pair: Pair, event: p.AskedRollback, now: float) -> Step:
    """Before the newcomer has proven itself, back means: it ends."""
    newcomer, live = pair.other, pair.live
    assert newcomer is not None and live is not None  # noqa: PT018
    words = f"given up: {newcomer.team} ends, {live.team} goes on"
    pair = serve(dismiss(pair, newcomer, now), now)
    # The first is for who asked for the switch, the second for who asks for the end of it.
    return pair, (p.End(newcomer.id), p.Failed(words), p.Done(words))


def _end(pair: Pair, event: p.AskedEnd, now: float) -> Step:
    """End the one that stands by first: its connections live from the other's being on duty."""
    pair, hurrying = hurry(pair, None, now)
    commands: list[Command] = [p.Failed("the keeper ends"), *hurrying]
    pair = evolve(pair, stage=Stage.LEAVING, until=now + LEAVE_WITHIN)
    second = pair.other
    if second is not None:
        pair = dismiss(pair, second, now)
        commands.append(p.End(second.id))
    pair, more = leave(pair, now)
    return pair, (*commands, *more)


def _end_at_once(pair: Pair, event: p.AskedEnd, now: float) -> Step:
    """A second time: nobody waits any more. A second SIGTERM has a team end at once."""
    commands = [p.End(member.id) for member in pair.members()]
    for member in pair.members():
        # One that is asked for the first time only is soon asked a second time: two signals that
        # come together are one.
        asked = member in pair.ending
        by = min(member.kill_at, now + (KILL_AFTER if asked else ASK_AGAIN))
        leaving = evolve(member, kill_at=by, urged=asked, stopping=True)
        pair = among_ending(pair, leaving)
    return pair, tuple(commands)


_ = _nothing

# fmt: off
_ROWS: Mapping[type[p.Event], tuple[Handler, ...]] = {
    # DOWN             OPENING          SERVING          PROVING          YIELDING
    # TAKING           RETURNING        TRIAL            LEAVING          OVER
    p.Passed: (
        start,         _never_opened,   _steady,         _never_proved,   _never_gave,
        _never_took,   _never_returned, _trial_over,     _leave_all,      _),
    p.Configured: (
        _configured,   _configured,     _configured,     _configured,     _configured,
        _configured,   _configured,     _configured,     _configured,     _configured),
    p.Beat: (
        _heard,        _heard,          _heard,          _heard,          _heard,
        _heard,        _heard,          _heard,          _heard,          _),
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
        ended,         died_serving,    died_serving,    died_proving,    died_yielding,
        died_taking,   died_serving,    died_in_trial,   died_leaving,    _),
    p.Stopping: (
        ended,         died_serving,    died_serving,    died_proving,    died_yielding,
        died_taking,   died_serving,    died_in_trial,   died_leaving,    _),
    p.Hung: (
        hung(ended),   hung(died_serving), hung(died_serving), hung(died_proving),
        hung(died_yielding), hung(died_taking), hung(died_serving), hung(died_in_trial),
        hung(died_leaving), _),
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
    p.AskedHurry: (
        _hurry,        _hurry,          _hurry,          _hurry,          _hurry,
        _hurry,        _hurry,          _hurry,          _GOING,          _GOING),
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
