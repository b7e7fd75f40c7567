"""How duty passes, as a pure function: `step` takes a state and an event, and returns the next
state and what is to be done.

Pure: it must never do anything itself. Every pair of phase and event has its entry in `TABLE`, and
what is asked for while a step is under way is kept as a wish until that is over.

============  ====================================================================================
phase         meaning
============  ====================================================================================
proving       everything is loaded and tried; nothing is accepted
standing by   accepts nothing, is not on duty; what is open goes on
taking        accepts, and asks for the lock again and again, which another one still holds
beginning     holds the lock; what belongs to duty is being begun
on duty
giving        accepts nothing, and lets go of what belongs to duty; still holds the lock
ending        is not on duty, and never will be
============  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from attrs import evolve, frozen


class Phase(Enum):
    """Where it is; the values are for people."""

    PROVING = "proving itself"
    STANDING_BY = "standing by"
    TAKING = "taking duty"
    BEGINNING = "beginning"
    ON_DUTY = "on duty"
    GIVING = "giving duty up"
    ENDING = "ending"


class Event(Enum):
    """What has happened."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    TAKE_ASKED = "take asked"
    GIVE_ASKED = "give asked"
    END_ASKED = "end asked"
    TIME_PASSED = "time passed"
    """The moment for `Command.TRY_LATER` has come."""
    LOCKED = "locked"
    TAKEN = "taken"
    """Somebody else holds the lock."""
    BEGUN = "begun"
    NOT_BEGUN = "not begun"
    """What belongs to duty could not be begun; whatever was is undone."""
    LET_GO = "let go"


class Command(Enum):
    """What is to be done."""

    ACCEPT = "accept"
    STOP_ACCEPTING = "stop accepting"
    TRY = "try"
    """Try to have the lock: `Event.LOCKED` or `Event.TAKEN` follows."""
    TRY_LATER = "try later"
    """`Event.TIME_PASSED` follows."""
    BEGIN = "begin"
    LET_GO = "let go"
    UNLOCK = "unlock"
    SAY_READY = "say ready"
    SAY_ON = "say on"
    SAY_OFF = "say off"
    FAIL = "fail"
    """End the process, with the reason."""


@frozen
class State:
    """A team, as far as duty is concerned."""

    phase: Phase
    wanted: bool = False
    """To be on duty when the step that is under way is over."""
    ending: bool = False
    """To end when the step that is under way is over."""


Step = tuple[State, tuple[Command, ...]]
Handler = Callable[[State], Step]

_C = Command


def _to(phase: Phase, *commands: Command) -> Handler:
    return lambda s: (State(phase), commands)


def _stay(*commands: Command) -> Handler:
    return lambda s: (s, commands)


def _wish(wanted: bool, *commands: Command) -> Handler:
    """Remember what is to be; who ends wants nothing any more."""
    return lambda s: (s, ()) if s.ending else (evolve(s, wanted=wanted), commands)


def _end_then(s: State) -> Step:
    return evolve(s, wanted=False, ending=True), ()


def _begun(s: State) -> Step:
    if s.wanted:
        return State(Phase.ON_DUTY), (_C.SAY_ON,)
    return State(Phase.GIVING, ending=s.ending), (_C.LET_GO,)


def _without(s: State, *more: Command) -> Step:
    """It has let go of all: what is next?"""
    if s.ending:
        return State(Phase.ENDING), (_C.UNLOCK, *more)
    if s.wanted:
        # Not at once: somebody else may have been told to take it.
        return State(Phase.TAKING), (_C.UNLOCK, *more, _C.TRY_LATER)
    return State(Phase.STANDING_BY), (_C.UNLOCK, *more)


def _not_begun(s: State) -> Step:
    return _without(s) if s.wanted else _without(s, _C.SAY_OFF)


def _let_go(s: State) -> Step:
    return _without(s, _C.SAY_OFF)


def _give_and_end(s: State) -> Step:
    return State(Phase.GIVING, ending=True), (_C.LET_GO,)


def _take(*before: Command) -> Handler:
    # Duty takes its time where there are many sites: those who wait to be accepted are first.
    return _to(Phase.TAKING, _C.ACCEPT, *before, _C.TRY_LATER)


def _locked(s: State) -> Step:
    return State(Phase.BEGINNING, wanted=True), (_C.BEGIN,)


_ = _stay()
_unlock = _stay(_C.UNLOCK)
_off = _to(Phase.STANDING_BY, _C.STOP_ACCEPTING, _C.SAY_OFF)
_end = _to(Phase.ENDING)

# fmt: off
_ROWS: Mapping[Event, tuple[Handler, ...]] = {
    # PROVING, STANDING_BY, TAKING, BEGINNING, ON_DUTY, GIVING, ENDING
    Event.PROVEN: (
        _to(Phase.STANDING_BY, _C.SAY_READY, _C.SAY_OFF), _, _, _, _, _, _,
    ),
    Event.UNPROVEN: (
        _to(Phase.ENDING, _C.FAIL), _, _, _, _, _, _,
    ),
    # Who is told to while it still proves itself is needed now.
    Event.TAKE_ASKED: (
        _take(_C.SAY_READY), _take(), _stay(_C.ACCEPT), _wish(True, _C.ACCEPT),
        _stay(_C.ACCEPT, _C.SAY_ON), _wish(True, _C.ACCEPT), _,
    ),
    Event.GIVE_ASKED: (
        _, _stay(_C.SAY_OFF), _off, _wish(False, _C.STOP_ACCEPTING),
        _to(Phase.GIVING, _C.STOP_ACCEPTING, _C.LET_GO), _wish(False, _C.STOP_ACCEPTING), _,
    ),
    Event.END_ASKED: (
        _end, _end, _end, _end_then, _give_and_end, _end_then, _,
    ),
    Event.TIME_PASSED: (
        _, _, _stay(_C.TRY), _, _, _, _,
    ),
    Event.LOCKED: (
        _unlock, _unlock, _locked, _, _, _, _unlock,
    ),
    Event.TAKEN: (
        _, _, _stay(_C.TRY_LATER), _, _, _, _,
    ),
    Event.BEGUN: (
        _, _, _, _begun, _, _, _,
    ),
    Event.NOT_BEGUN: (
        _, _, _, _not_begun, _, _, _,
    ),
    Event.LET_GO: (
        _, _, _, _, _, _let_go, _,
    ),
}
# fmt: on

TABLE: Mapping[tuple[Phase, Event], Handler] = {
    (phase, event): handler
    for event, row in _ROWS.items()
    for phase, handler in zip(Phase, row, strict=True)
}
"""What every phase makes of every event."""


def step(state: State, event: Event) -> Step:
    """Return the state after *event*, and the commands to carry out in order."""
    return TABLE[state.phase, event](state)
