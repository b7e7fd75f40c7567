"""What follows when a process of a team ends, says that it does, hangs, or does not end in time.

Pure: handlers of the machine's. What they must never do is wait for one that may never end: whoever
is asked to end has a time for it, is asked once more, and is then ended by force; whoever serves or
stands by, and has said that it lives, must go on saying so.
"""

from __future__ import annotations

import math

from attrs import evolve

from snickers.teams import pair as p
from snickers.teams.moves import (
    DRAIN_MARGIN,
    DUTY,
    ENDED,
    SILENT,
    STEADY,
    TAKE_WITHIN,
    TAKEN_BACK,
    URGE_WITHIN,
    Handler,
    among_ending,
    believed,
    dismiss,
    end_by,
    give_back,
    go_down,
    hurried,
    is_of,
    proof_failed,
    serve,
    start,
    take,
    without,
)
from snickers.teams.pair import Command, Member, Pair, Purpose, Stage, Step

WATCHDOG = 30.0
"""Seconds of silence after which a team counts as hung. It speaks four times as often, and a busy
machine gives a process its turn much sooner than this."""
LOOK_AGAIN = 10.0
"""The last seconds of that: silence is looked at twice, since after the keeper's own sleep, or the
host's, what was said meanwhile may not have been read yet."""
LATE = 5.0
"""Seconds by which a look may come too late: by more the keeper itself was held up, so what it has
not heard proves nothing, and it looks anew."""
ABORT_WITHIN = 3.0
"""Seconds to write into the log what it was doing, until force is used."""

Left = p.Ended | p.Stopping | p.Hung


# Whoever goes


def _gone(pair: Pair, event: Left, now: float) -> Pair:
    """Return the pair without the one that has ended, or with it among those that end."""
    member = pair.member(event.id)
    assert member is not None
    match event:
        case p.Stopping(within=within) if member.at_leisure:
            if within is not None and not member.stopping:
                by = now + believed(within) + DRAIN_MARGIN
                member = evolve(member, finish_by=by, stopping=True)
            return among_ending(pair, member)
        case p.Stopping(within=float(within), finishing=True) if not (
            member.stopping or member in pair.ending or pair.stage is Stage.LEAVING
        ):
            # A former keeper told it to, and that was not written down.
            by = now + believed(within) + DRAIN_MARGIN
            member = evolve(member, finishing=now, finish_by=by, kill_at=math.inf, stopping=True)
            return among_ending(pair, member)
        case p.Stopping(within=within, finishing=finishing):
            # Who must not take that long has as long as anybody.
            within = None if finishing else within
            if not member.stopping and not member.urged:
                known = end_by(pair, member, now, within)
                # What it says itself is better than what the configuration said when it was asked.
                by = known if within is not None else min(known, member.kill_at)
                urged = not member.may_have_open
                member = evolve(member, kill_at=by, urged=urged, stopping=True)
            return among_ending(pair, member)
        case p.Hung():
            return among_ending(pair, evolve(member, kill_at=now + ABORT_WITHIN, urged=True))
    return without(pair, event.id)


def ended(pair: Pair, event: Left, now: float) -> Step:
    """One of those that were asked to end has, or nobody's end matters here."""
    return _gone(pair, event, now), ()


def _live_died(pair: Pair, event: Left, now: float, after: str = "") -> Step:
    """The one that serves has ended: another is started."""
    live = pair.live
    assert live is not None
    pair = _gone(pair, event, now)
    words = f"{live.team} {event.words}{after}"
    served = live.serves is not None
    if live.serves is not None and now - live.serves >= STEADY:
        pair = evolve(pair, failures=0, unproven=0)
    if served and isinstance(event, p.Stopping):
        # Somebody has asked it to end: that is no failure.
        pair, commands = start(pair, None, now)
    else:
        pair, commands = go_down(pair, now, served)
    return pair, (p.Clear(DUTY), p.Raise(ENDED, words), p.Failed(words), *commands)


def died_serving(pair: Pair, event: Left, now: float) -> Step:
    """If it is the live one another is started."""
    if not is_of(pair.live, event):
        return ended(pair, event, now)
    return _live_died(pair, event, now)


def died_proving(pair: Pair, event: Left, now: float) -> Step:
    """A newcomer's end is told, nothing more; that of the live one ends the switch, too."""
    if is_of(pair.other, event):
        # Nobody needs to have asked it: one that finds that it is not fit says so, too.
        words = "ends" if isinstance(event, p.Stopping) else event.words
        return proof_failed(_gone(pair, event, now), pair.other, words, now)
    if not is_of(pair.live, event):
        return ended(pair, event, now)
    newcomer = pair.other
    assert newcomer is not None
    # It has not proven itself: the good one is back sooner.
    pair = dismiss(pair, newcomer, now)
    pair, commands = _live_died(pair, event, now, "; the switch is given up for that")
    return pair, (p.End(newcomer.id), *commands)


def died_yielding(pair: Pair, event: Left, now: float) -> Step:
    """The one that is left accepts: the live one again, or the other at once."""
    if is_of(pair.other, event):
        assert pair.other is not None
        team, served = pair.other.team, pair.other.serves is not None
        words = f"{team} {event.words} as it was to take over"
        return give_back(_gone(pair, event, now), words, now, served)
    if is_of(pair.live, event):
        return take(_gone(pair, event, now), now)
    return ended(pair, event, now)


def died_taking(pair: Pair, event: Left, now: float) -> Step:
    """The live one accepts again, if it is the other that has gone."""
    if is_of(pair.other, event):
        assert pair.other is not None
        team, served = pair.other.team, pair.other.serves is not None
        words = f"{team} {event.words} as it took over"
        return give_back(_gone(pair, event, now), words, now, served)
    if is_of(pair.live, event):
        # Duty is free only now.
        pair = evolve(pair, until=max(pair.until, now + TAKE_WITHIN))
    # Without the one before, too, it goes on.
    return ended(pair, event, now)


def died_in_trial(pair: Pair, event: Left, now: float) -> Step:
    """The one that stood by takes over again, if it is the newcomer that has gone."""
    if is_of(pair.other, event):
        assert pair.other is not None and pair.live is not None  # noqa: PT018
        words = f"{pair.other.team}, which stood by, {event.words}: no rollback is possible now"
        return serve(_gone(pair, event, now), now), (p.Say(words),)
    if not is_of(pair.live, event):
        return ended(pair, event, now)
    assert pair.live is not None and pair.other is not None  # noqa: PT018
    words = f"{pair.live.team} {event.words} on trial: {pair.other.team} has taken over again"
    pair = evolve(_gone(pair, event, now), purpose=Purpose.ROLLBACK)
    pair, commands = take(pair, now)
    return pair, (*commands, p.Clear(DUTY), p.Raise(TAKEN_BACK, words))


def died_leaving(pair: Pair, event: Left, now: float) -> Step:
    """Whoever is next ends."""
    return leave(_gone(pair, event, now), now)


def hung(died: Handler) -> Handler:
    """As *died*, for one that hangs: it can do nothing any more, and is made to end."""

    def handler(pair: Pair, event: p.Hung, now: float) -> Step:
        pair, commands = died(pair, event, now)
        return pair, (p.Abort(event.id), *commands)

    return handler


def leave(pair: Pair, now: float) -> Step:
    """The keeper ends: the live one follows those that end, and then the keeper."""
    live = pair.live
    if live is not None and not pair.ending:
        return dismiss(pair, live, now), (p.End(live.id),)
    if live is None and not pair.ending:
        return evolve(pair, stage=Stage.OVER, until=math.inf), (p.Quit(),)
    return pair, ()


def leaves_within(pair: Pair, now: float) -> float:
    """Return in how many seconds all have ended, at the latest, as far as it is known now."""
    by = [now]
    for member in pair.ending:
        if math.isfinite(member.kill_at):
            by.append(member.kill_at + (0.0 if member.urged else URGE_WITHIN))
    if pair.live is not None:
        asked = pair.until if math.isfinite(pair.until) else max(by)
        by.append(end_by(pair, pair.live, max(now, asked)) + URGE_WITHIN)
    return max(by) - now


# Whoever does not


def overdue(pair: Pair, now: float) -> Step:
    """Ask those that should have ended once more, and end by force those that were."""
    commands: list[Command] = []
    for member in pair.ending:
        if member.at_leisure and member.finish_by <= now:
            words = f"{member.team}: what a process of it still finishes has had its time"
            commands += [p.Say(words), p.End(member.id)]
            pair = pair.changed(hurried(pair, member, now))
            continue
        if member.kill_at > now:
            continue
        if member.urged:
            words = f"{member.team}: a process of it does not end, and is killed"
            commands += [p.Say(words), p.Kill(member.id)]
            pair = pair.changed(evolve(member, kill_at=math.inf))
        else:
            words = f"{member.team}: a process of it has not ended in its time: it is to end now"
            commands += [p.Say(words), p.End(member.id)]
            pair = pair.changed(evolve(member, kill_at=now + URGE_WITHIN, urged=True))
    return pair, tuple(commands)


# Whoever is silent


def alive(pair: Pair, id: int, now: float) -> Pair:
    """Return the pair when something was heard of the member *id*."""
    member = pair.member(id)
    if member is None or not member.beats:
        return pair
    return pair.changed(listened(member, now))


def listened(member: Member, now: float) -> Member:
    """Return *member* as one that was heard right now."""
    at = now + WATCHDOG - LOOK_AGAIN if member.beats else math.inf
    return evolve(member, look_at=at, doubted=False)


def verdict_on(member: Member | None, now: float) -> float | None:
    """Return when it is known whether *member*, which is silent for long, hangs; ``None`` for one
    that is heard, or is not held to it."""
    if member is None or not member.beats:
        return None
    if member.doubted:
        return member.look_at
    heard = member.look_at - (WATCHDOG - LOOK_AGAIN)
    return member.look_at + LOOK_AGAIN if now - heard >= SILENT else None


def silent(pair: Pair, now: float) -> tuple[Pair, Member | None]:
    """Look at those that have not been heard for long; return one that hangs, if one does."""
    for member in pair.watched():
        if member.look_at > now:
            continue
        if member.doubted and now - member.look_at <= LATE:
            return pair, member
        pair = pair.changed(evolve(member, look_at=now + LOOK_AGAIN, doubted=True))
    return pair, None
