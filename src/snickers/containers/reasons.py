"""Why a server came from one phase into another, in words for the log.

Pure. Each phase can be come into for several reasons, and who looks for the one that befell a
server has nothing but the log. It must never name who visits, nor repeat what somebody else has
written.
"""

from __future__ import annotations

from snickers.containers import events as e
from snickers.containers.life import After, Phase, State

_PLAIN: dict[type, str] = {
    e.Arrived: "a visitor wants it",
    e.GivenBack: "nobody uses it any more",
    e.StartFailed: "it could not be started",
    e.Exited: "it has ended",
    e.HealthFailed: "it does not answer",
    e.Prepared: "another server is to take its place",
    e.EngineLost: "what runs it cannot be reached",
    e.Crowded: "its room is needed",
    e.WakeAsked: "woken by hand",
    e.SleepAsked: "put to sleep by hand",
    e.RestartAsked: "restarted by hand",
    e.UpdateAsked: "updated by hand",
    e.RollbackAsked: "rolled back by hand",
    e.Changed: "its section has changed",
    e.Removed: "the configuration has it no more",
    e.Ended: "Snickers ends",
}
_AFTER = {
    After.START: "to start again",
    After.CRASH: "after a crash",
    After.BACK: "to go back to the server before",
}


def reason(had: State, event: e.Event, state: State, now: float) -> str:
    """Return why *event* brought the life that was *had* into *state*; empty: that speaks for
    itself."""
    words = _PLAIN.get(type(event), "")
    if isinstance(event, (e.TimePassed, e.Consented)):
        words = _due(had, now)
    if state.phase in (Phase.DRAINING, Phase.SNAPSHOTTING, Phase.STOPPING):
        after = "" if state.gone else _AFTER.get(state.after, "")
        words = ", ".join(part for part in (words, after) if part)
    return words


def _due(had: State, now: float) -> str:
    """Return what time has brought about, or an answer that was waited for."""
    match had.phase:
        case _ if had.crowded:
            return "its room is needed"
        case Phase.AWAKE | Phase.PAUSED if not had.uses:
            return f"idle: nobody has used it for {max(0.0, now - had.used):.0f} s"
        case Phase.DRAINING:
            return "drain within is over"
        case Phase.STARTING | Phase.CHECKING | Phase.REPLACING:
            return "it takes too long"
        case Phase.CRASHED:
            return "it has rested"
    return ""
