"""What a keeper leaves behind for the next one: who runs, who serves, and which team is good.

Pure: text in, values out. A record that cannot be read is as good as none, so
reading never fails; a member it names is only believed in by who has looked whether that very
process still runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import asdict, evolve, fields_dict, frozen

from snickers.teams import pair as p
from snickers.teams.ends import listened
from snickers.teams.machine import step
from snickers.teams.moves import ENDED, STEADY, dismiss, end_by
from snickers.teams.pair import Command, Member, Pair, Purpose, Stage, Step, Trial
from snickers.teams.survivors import Survivor

FORMAT = 1
"""Raised when a record of before cannot be understood any more."""


Told = tuple[str, str, float]
"""An alarm of the keeper's: kind, message, and since when in seconds since the epoch."""


@frozen
class Process:
    """Which process a member is."""

    pid: int
    began: int
    """Ticks since the boot: see `snickers.teams.processes.began`."""


@frozen
class Record:
    """What was going on."""

    pair: Pair
    processes: Mapping[int, Process]
    """By the members' numbers."""
    names: tuple[str, ...]
    """Of the listening sockets, in order, as the teams were handed them."""
    boot: str
    """Which boot of the host it was."""
    alarms: tuple[Told, ...] = ()
    """That a person was told and that hold."""


def write(record: Record) -> bytes:
    """Return the text of *record*: times are those of the boot's own clock, which goes on."""
    pair = record.pair

    def member(one: Member | None) -> dict[str, Any] | None:
        if one is None:
            return None
        process = record.processes.get(one.id)
        told = {
            **asdict(one),
            # JSON has no infinity. Whoever is silent is looked at anew.
            "kill_at": one.kill_at if math.isfinite(one.kill_at) else None,
            "finish_by": one.finish_by if math.isfinite(one.finish_by) else None,
            "look_at": None,
            "process": None if process is None else asdict(process),
        }
        # What changes every second is told again by the team itself.
        for name in ("answers", "errors", "open"):
            del told[name]
        return told

    return (
        json.dumps(
            {
                "format": FORMAT,
                "boot": record.boot,
                "names": record.names,
                "stage": pair.stage.value,
                "live": member(pair.live),
                "other": member(pair.other),
                "ending": [member(one) for one in pair.ending],
                "trial": asdict(pair.trial),
                "good": pair.good,
                "failures": pair.failures,
                "unproven": pair.unproven,
                "next_id": pair.next_id,
                "until": pair.until if math.isfinite(pair.until) else None,
                "calm_at": pair.calm_at if math.isfinite(pair.calm_at) else None,
                "alarms": record.alarms,
            },
            indent=1,
        ).encode()
        + b"\n"
    )


def read(data: bytes) -> Record | None:
    """Return what *data* says; ``None`` where it says nothing usable."""
    try:
        told = json.loads(data)
        if told["format"] != FORMAT:
            return None
        processes: dict[int, Process] = {}

        def member(entry: dict[str, Any] | None) -> Member | None:
            if entry is None:
                return None
            entry = dict(entry)
            process = entry.pop("process")
            if process is not None:
                processes[int(entry["id"])] = Process(int(process["pid"]), int(process["began"]))
            serves, finishing = entry["serves"], entry.get("finishing")
            if entry["team"] not in p.TEAMS:
                raise ValueError
            told = {
                **entry,
                "began": float(entry["began"]),
                "serves": None if serves is None else float(serves),
                "kill_at": _time(entry["kill_at"]),
                "finish_by": _time(entry.get("finish_by")),
                "finishing": None if finishing is None else float(finishing),
                "look_at": math.inf,
            }
            return Member(**_known(Member, told))

        pair = Pair(
            stage=Stage(told["stage"]),
            live=member(told["live"]),
            other=member(told["other"]),
            ending=tuple(one for one in map(member, told["ending"]) if one is not None),
            until=_time(told["until"]),
            trial=Trial(**_known(Trial, told["trial"])),
            good=p.TEAMS[p.TEAMS.index(told["good"])],
            failures=int(told["failures"]),
            unproven=int(told["unproven"]),
            next_id=int(told["next_id"]),
            calm_at=_time(told.get("calm_at")),
        )
        names = tuple(str(name) for name in told["names"])
        alarms = _alarms(told.get("alarms"))
        pair = evolve(pair, raised=frozenset(kind for kind, _, _ in alarms))
        return Record(pair, processes, names, str(told["boot"]), alarms)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _time(told: Any) -> float:
    return math.inf if told is None else float(told)


def _alarms(told: Any) -> tuple[Told, ...]:
    # Whatever is wrong with them is no reason to know of no team.
    try:
        return tuple((str(kind), str(words), float(since)) for kind, words, since in told)
    except (ValueError, TypeError):
        return ()


def _known(of: type[Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this version knows of what another one may have written down."""
    return {name: told[name] for name in fields_dict(of) if name in told}


def taken_up(recorded: Pair, alive: Iterable[int], now: float) -> Step:
    """Return the pair of a keeper that finds what another one left, and what to do.

    *alive*: the members whose processes still run. What was under way is led back to where the
    live one serves: what its messages said meanwhile, nobody has heard.
    """
    commands: list[Command] = []
    pair = _watched(recorded, now)
    live, other = pair.live, pair.other
    if pair.stage is Stage.TRIAL and live is not None and other is not None:
        pair = evolve(
            pair,
            live=evolve(live, accepts=True),
            other=evolve(other, accepts=False),
            trial=evolve(pair.trial, spells=0),
        )
    elif pair.stage is Stage.TAKING and other is not None:
        # It was told to, whoever it was taken from had stood by: nobody is ended for that.
        other = evolve(other, accepts=True, serves=now)
        if live is not None:
            commands.append(p.StandBy(live.id))
            live = evolve(live, accepts=False)
        stage = Stage.SERVING if live is None else Stage.TRIAL
        pair = evolve(pair, stage=stage, live=other, other=live, until=math.inf)
        commands.append(p.Accept(other.id))
    elif live is not None and pair.stage is not Stage.DOWN:
        pair = _without_other(pair, commands, now)
        serves = now if live.serves is None else live.serves
        live = evolve(live, accepts=True, serves=serves)
        if pair.stage is not Stage.OPENING:
            # One that was started to serve does so by itself, and may have no handlers yet.
            commands.append(p.Accept(live.id))
        pair = evolve(pair, stage=Stage.SERVING, live=live, until=now)
    else:
        pair = _without_other(pair, commands, now)
        pair = _without_other(evolve(pair, live=None, other=live), commands, now)
        pair = evolve(pair, stage=Stage.DOWN, until=now)
    pair = evolve(pair, purpose=Purpose.NONE, until=_until(pair, now))
    living = set(alive)
    for member in pair.members():
        if member.id not in living:
            commands = [c for c in commands if getattr(c, "id", None) != member.id]
            pair, more = step(pair, p.Ended(member.id, "ended while no keeper watched"), now)
            commands += more
    return pair, tuple(commands)


def with_survivors(
    left: Record | None, alive: Iterable[int], found: Sequence[Survivor], on_duty: int, now: float
) -> tuple[Record | None, tuple[Command, ...]]:
    """Return the record with the processes *found* that it does not know of, and what is to be done
    before it is taken up.

    *alive*: its own members whose processes still run; *on_duty*: the process that is, 0 if that
    is not known. Whoever is on duty serves, or the youngest one if nobody says so; the others that
    the record is wrong about end, since nobody knows what they were to become.
    """
    if not found:
        return left, ()
    living = set(alive)
    names = found[-1].names
    record = Record(Pair(), {}, names, "") if left is None else left
    pair, processes = record.pair, dict(record.processes)
    known = {processes[id].pid for id in living if id in processes}
    lives = pair.live is not None and pair.live.id in living
    serves = 0 if on_duty in known else on_duty
    if serves not in {one.pid for one in found}:
        serves = 0 if lives or on_duty in known else found[-1].pid
    commands: list[Command] = []
    superfluous = [one for one in (pair.live, pair.other) if one is not None and serves]
    live = None
    for one in found:
        member = Member(pair.next_id, one.team, now, accepts=one.pid == serves, serves=now)
        pair = evolve(pair, next_id=pair.next_id + 1)
        processes[member.id] = Process(one.pid, one.began)
        if one.pid == serves:
            live = member
        else:
            superfluous.append(member)
    for member in superfluous:
        pair = dismiss(pair, member, now)
        if member.id in living or member.id in processes:
            commands += [p.StandBy(member.id), p.End(member.id)]
    if live is not None:
        pair = evolve(pair, stage=Stage.SERVING, live=live, other=None, until=now)
    return evolve(record, pair=pair, processes=processes, names=names), tuple(commands)


def _watched(pair: Pair, now: float) -> Pair:
    """Return *pair* as one that begins to be watched now: nobody has been silent yet, and who ends
    has a time for it, as one of an older keeper had not."""
    for member in pair.watched():
        pair = pair.changed(listened(member, now))
    for member in pair.ending:
        if not math.isfinite(member.kill_at) and not member.at_leisure:
            pair = pair.changed(evolve(member, kill_at=end_by(pair, member, now)))
    return pair


def _without_other(pair: Pair, commands: list[Command], now: float) -> Pair:
    """Have the other one, if there is one, end."""
    other = pair.other
    if other is None:
        return pair
    commands += [p.StandBy(other.id), p.End(other.id)]
    return dismiss(pair, other, now)


def _until(pair: Pair, now: float) -> float:
    """A team is good after its time only: the clock of that begins with what is known."""
    live = pair.live
    if pair.stage is Stage.SERVING and live is not None and live.serves is not None:
        return max(now, live.serves + STEADY)
    return pair.until


def without_members(left: Record) -> Record:
    """Return what still holds of a record when none of its processes can run any more."""
    alarmed = any(kind == ENDED for kind, _, _ in left.alarms)
    # Its clock began anew.
    calm_at = 0.0 if alarmed else math.inf
    pair = Pair(
        good=left.pair.good,
        next_id=left.pair.next_id,
        raised=left.pair.raised,
        calm_at=calm_at,
    )
    return Record(pair, {}, left.names, left.boot, left.alarms)
