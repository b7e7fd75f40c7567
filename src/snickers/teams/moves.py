"""The moves that two teams make: one is started, serves, hands over, takes back, is asked to end.

Pure: a pair and the time in, the next pair and what is to be done out. A move must never have two
members accept at once: whoever accepts has told the other to stand by, or knows that it has gone.
Nobody is asked to end without a time by which it must have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from attrs import evolve

from snickers.config.formats import show_duration
from snickers.teams import pair as p
from snickers.teams.pair import Command, Member, Pair, Purpose, Stage, Step, Trial

PROVE_WITHIN = 120.0
"""Seconds a team is given until it has proven itself: thousands of certificates, a slow disk."""
GIVE_WITHIN = 2.0
"""Seconds the one that serves is given to stop accepting and give duty up; newcomers wait
meanwhile, and a browser's patience for a connection is longer than this."""
SILENT = 9.0
"""Seconds of silence after which one that speaks each 7.5 s may hang: what it was told it may not
have done, and nothing is given to it before it is known whether it does."""
TAKE_WITHIN = 10.0
"""Seconds a team is given until it is on duty; it accepts connections already."""
KILL_AFTER = 30.0
"""Seconds a newcomer that has never accepted anything is given to end."""
DRAIN_MARGIN = 60.0
"""Seconds on top of `drain within` until a team that ends is asked once more: it closes what it
has begun with, when its connections have gone, on a machine that is busy."""
MOST = 30 * 86400.0
"""Seconds that a team may have to end at the most, if it says itself how long it needs."""
URGE_WITHIN = 10.0
"""Seconds a team is given that was asked once more, which has it end at once."""
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


def is_of(member: Member | None, event: p.OfMember) -> bool:
    """Say whether *event* is about *member*."""
    return member is not None and member.id == event.id


# Who ends


def end_by(pair: Pair, member: Member, now: float, within: float | None = None) -> float:
    """Return by when *member*, which is asked to end now, should have; *within*: what it says
    itself, which may be more. Whoever has accepted connections may finish them."""
    if not member.may_have_open:
        return now + KILL_AFTER
    return now + max(pair.drain_within + DRAIN_MARGIN, believed(within or 0.0))


def believed(within: float) -> float:
    """Return how many seconds one is given that says it needs *within*: whatever it says, its end
    must come."""
    return min(within, MOST)


def dismiss(pair: Pair, member: Member, now: float) -> Pair:
    """Return the pair with *member* among those that end: it is being asked to."""
    # One that has nothing open is not asked twice.
    leaving = evolve(member, kill_at=end_by(pair, member, now), urged=not member.may_have_open)
    return among_ending(pair, leaving)


def let_finish(pair: Pair, member: Member, now: float) -> Step:
    """Have *member*, which has no duty and is in nobody's way, finish what it has open, if it can
    be told to; one that cannot is asked to end."""
    if not member.finishes:
        return dismiss(pair, member, now), (p.End(member.id),)
    by = now + pair.finish_within + DRAIN_MARGIN
    pair = among_ending(pair, evolve(member, finishing=now, finish_by=by))
    return pair, (p.Finish(member.id),)


def hurry(pair: Pair, team: str | None, now: float) -> Step:
    """Have those of *team* (``None``: of both) that finish what they have open do so as one that
    is asked to end."""
    commands: list[Command] = []
    for member in pair.ending:
        if not member.at_leisure or team not in (None, member.team):
            continue
        pair = pair.changed(hurried(pair, member, now))
        # After the keeper's own update it is not known at once.
        things = {0: "what is open", 1: "1 connection"}.get(
            member.open, f"{member.open} connections"
        )
        words = (
            f"{member.team} still finishes {things} of before; it has "
            f"{show_duration(pair.drain_within)} more"
        )
        commands += [p.Say(words), p.End(member.id)]
    return pair, tuple(commands)


def hurried(pair: Pair, member: Member, now: float) -> Member:
    """Return *member* as one that has been asked to end: whatever time it had asked for is over."""
    by = end_by(pair, member, now)
    return evolve(member, kill_at=by, finish_by=math.inf, stopping=True)


def among_ending(pair: Pair, member: Member) -> Pair:
    """Return the pair with *member*, as it is now, among those that end."""
    pair = without(pair, member.id)
    accepted = member.accepted or member.accepts
    ends = evolve(member, accepts=False, accepted=accepted)
    return evolve(pair, ending=(*pair.ending, ends))


def without(pair: Pair, id: int) -> Pair:
    """Return the pair without the member *id*."""
    return evolve(
        pair,
        live=None if pair.live is not None and pair.live.id == id else pair.live,
        other=None if pair.other is not None and pair.other.id == id else pair.other,
        ending=tuple(member for member in pair.ending if member.id != id),
    )


# Who is started


def spawn(pair: Pair, team: str, stand_by: bool, now: float) -> tuple[Pair, Member, p.Spawn]:
    """Return the pair, the new member, which is not in it yet, and what starts it."""
    member = Member(pair.next_id, team, now, accepts=not stand_by)
    command = p.Spawn(member.id, team, stand_by)
    return evolve(pair, next_id=pair.next_id + 1), member, command


def open_up(pair: Pair, team: str, now: float) -> Step:
    """Start *team*, to serve as soon as it can."""
    pair, member, command = spawn(pair, team, False, now)
    pair = evolve(pair, stage=Stage.OPENING, live=member, until=now + PROVE_WITHIN)
    return pair, (p.Say(f"{team}: is started, to serve"), command)


def go_down(pair: Pair, now: float, served: bool = False) -> Step:
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
    return start(pair, None, now)


def _next_team(pair: Pair) -> str:
    """Return the team to start: the good one, and when it fails again and again both by turns."""
    odd = pair.failures > ELSEWHERE and (pair.failures - ELSEWHERE) % 2 == 1
    return p.opponent(pair.good) if odd else pair.good


def start(pair: Pair, event: Any, now: float) -> Step:
    """Start the team whose turn it is, to serve."""
    return open_up(pair, _next_team(pair), now)


# Who serves


def serve(pair: Pair, now: float) -> Pair:
    """Return the pair with the live one serving alone; it is good when it has done so for long."""
    live = pair.live
    assert live is not None
    began = now if live.serves is None else live.serves
    pair = pair.changed(evolve(live, serves=began))
    known = pair.good == live.team and now - began >= STEADY
    until = math.inf if known else max(now, began + STEADY)
    return evolve(pair, stage=Stage.SERVING, purpose=Purpose.NONE, until=until)


def hand_over(pair: Pair, purpose: Purpose, now: float) -> Step:
    """Have the live one stand by, then the other accept."""
    live, other = pair.live, pair.other
    assert live is not None and other is not None  # noqa: PT018
    pair = pair.changed(evolve(live, accepts=False))
    pair = evolve(pair, stage=Stage.YIELDING, purpose=purpose, until=now + GIVE_WITHIN)
    words = f"{live.team}: stands by, for {other.team} to take over"
    return pair, (p.Say(words), p.StandBy(live.id))


def take(pair: Pair, now: float) -> Step:
    """Have the other accept: the live one stands by or has gone."""
    other = pair.other
    assert other is not None
    pair = pair.changed(evolve(other, accepts=True))
    pair = evolve(pair, stage=Stage.TAKING, until=now + TAKE_WITHIN)
    return pair, (p.Say(f"{other.team}: takes over"), p.Accept(other.id))


def taken_over(pair: Pair, now: float) -> Step:
    """The other serves: it is the live one from now on."""
    newcomer, before = pair.other, pair.live
    assert newcomer is not None
    newcomer = evolve(newcomer, serves=now)
    team, purpose = newcomer.team, pair.purpose
    pair = evolve(pair, live=newcomer, other=before)
    if before is None:
        return serve(pair, now), (p.Done(f"{team} serves, alone"),)
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
    pair, commands = let_finish(pair, before, now)
    words = f"{team} serves; the one before it {how_it_ends(pair, before.id)}"
    return serve(pair, now), (*commands, p.Done(words))


def how_it_ends(pair: Pair, id: int) -> str:
    """Return in words how the member *id*, which has just been told to, ends."""
    member = pair.member(id)
    if member is None or not member.at_leisure:
        return "finishes what it has open, and ends"
    limit = show_duration(pair.finish_within)
    return f"finishes what it has open, within {limit}, and ends"


def _trial_of(before: Member, newcomer: Member) -> Trial:
    return Trial(
        before.answers,
        before.errors,
        before.alarms,
        newcomer.answers,
        newcomer.errors,
    )


def give_back(pair: Pair, words: str, now: float, served: bool = False) -> Step:
    """The other one has failed: the live one accepts again, if it is there; *served*: the other
    one had, before."""
    commands: list[Command] = []
    failed = pair.other
    if failed is not None:
        if failed.accepts:
            commands.append(p.StandBy(failed.id))
        pair = dismiss(pair, failed, now)
        commands.append(p.End(failed.id))
    live = pair.live
    if live is None:
        pair, more = go_down(pair, now, served)
        return pair, (*commands, p.Raise(ENDED, words), p.Failed(words), *more)
    pair = pair.changed(evolve(live, accepts=True))
    pair = evolve(pair, stage=Stage.RETURNING, until=now + TAKE_WITHIN)
    commands.append(p.Accept(live.id))
    if pair.purpose is Purpose.ROLLBACK:
        commands.append(p.Raise(TAKEN_BACK, f"{words}; {live.team} accepts again"))
    return pair, (*commands, p.Failed(f"{words}; {live.team} goes on"))


def proof_failed(pair: Pair, other: Member | None, words: str, now: float) -> Step:
    """The newcomer *other*, which is in the pair no more, has not proven itself."""
    assert other is not None and pair.live is not None  # noqa: PT018
    live = pair.live.team
    words = f"{other.team} has not proven itself: it {words} (see the log); {live} goes on"
    return serve(pair, now), (p.Failed(words),)
