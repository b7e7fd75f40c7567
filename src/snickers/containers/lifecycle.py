"""The life of one personal server, as a pure function: `step` takes a state, an event and the
time, and returns the next state and what is to be done.

It must never do anything itself: no reactor, no clock, no Deferred, no files. The rule that
keeps it whole: every pair of phase and event has its entry in `TABLE`, and every result of the
engine or the probe carries the epoch of its command, so that one that comes too late is known.

=========  ====================================================  ==============================
phase      meaning                                               a request that arrives
=========  ====================================================  ==============================
away       the engine cannot be reached (or was not asked yet),  waits ``wake within`` for it,
           and no server is known to be awake                    then ``away``
asleep     no server runs                                        wakes it (manual: ``resting``)
starting   the engine makes and starts it                        waits, at most ``wake within``
checking   it runs, and is not known to answer                   waits
awake      it answers                                            gets a lease
draining   it is to stop when those who use it are done, or      waits, if it will be back
           after ``drain within``
stopping   the engine stops it                                   waits, if it will be back
removing   the engine forgets the site                           ``stopping``
crashed    it ended by itself, could not be started or answered  ``crashed``
           nobody; it rests 1, 2, 4, 8 s, and after the fifth
           time in a row until it is changed or woken by hand
over       Snickers ends, or the site is gone                    ``stopping``
pausing    the engine freezes it                                 waits
paused     it has its memory and no processor                    has it go on
resuming   the engine has it go on                               waits
snap-      it makes a snapshot, to be stopped when that is done  gets a lease, if it was to sleep
shotting                                                         by itself; else waits
reverting  the engine has the server before run again            waits
replacing  it answers, and the next one is started beside it     gets a lease
copying    no server runs, and its folder is copied before       waits
           another server is tried on it
=========  ====================================================  ==============================

A server is stopped while somebody uses it only when a person or the configuration wants it
stopped, or when it has failed its checks for three times ``wake within``; each time after
``drain within``. While the engine is away, a server that is awake goes on being leased. One whose
snapshot has failed is not stopped, whoever wanted it. A server whose place another one has taken
while it served is *parting*: it runs beside until nobody uses it or ``drain within`` is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from snickers.containers import events as e
from snickers.containers import parallel as p
from snickers.containers import reactions as r
from snickers.containers import resting as q
from snickers.containers import updating as u
from snickers.containers import wishes as w
from snickers.containers.life import SERVING, Phase, State, Step

Handler = Callable[[State, Any, float], Step]

_ = r.nothing

# fmt: off
_ROWS: Mapping[type[e.Event], tuple[Handler, ...]] = {
    # AWAY              ASLEEP             STARTING           CHECKING           AWAKE
    # DRAINING          STOPPING           REMOVING           CRASHED            OVER
    # PAUSING           PAUSED             RESUMING           SNAPSHOTTING       REVERTING
    # REPLACING         COPYING
    e.Arrived: (
        r.wait_away,       r.rouse,           r.wait,            r.wait,            r.lease,
        r.hold,            r.hold,            r.hold,            r.rebuff,          r.deny,
        u.wait,            q.recall,          u.wait,            q.interrupt,       u.wait,
        r.lease,           u.wait,
    ),
    e.Forgotten: (
        r.forget,          _,                 r.forget,          r.forget,          _,
        r.forget,          r.forget,          r.forget,          _,                 _,
        r.forget,          _,                 r.forget,          r.forget,          r.forget,
        _,                 r.forget,
    ),
    e.Taken: (
        _,                 _,                 _,                 _,                 r.take,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        r.take,            _,
    ),
    e.GivenBack: (
        r.give,            r.give,            r.give,            r.give_checked,    r.give_awake,
        r.give_drained,    r.give,            r.give,            r.give,            r.give,
        r.give,            r.give,            r.give,            r.give,            r.give,
        r.give,            r.give,
    ),
    e.Doubted: (
        _,                 _,                 _,                 _,                 r.doubt,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Started: (
        _,                 _,                 r.started,         _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        p.started,         _,
    ),
    e.StartFailed: (
        _,                 _,                 r.start_failed,    _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        p.not_started,     _,
    ),
    e.Stopped: (
        _,                 _,                 _,                 _,                 _,
        _,                 r.stopped,         _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.StopFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 r.stop_failed,     _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Cleared: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 r.cleared,         _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.ClearFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 r.clear_failed,    _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Listed: (
        r.adopt,           r.adopt,           _,                 r.compare,         r.compare,
        r.compare_drained, _,                 _,                 r.adopt,           _,
        _,                 q.compare_paused,  _,                 r.compare_drained, _,
        p.compare,         _,
    ),
    e.Exited: (
        _,                 _,                 r.heard,           r.ask,             r.exited_awake,
        r.exited_drained,  r.exited_stopped,  _,                 _,                 _,
        q.exited_between,  r.exited,          q.exited_between,  r.exited_drained,  r.heard,
        p.exited,          r.heard,
    ),
    e.EngineLost: (
        r.lost_away,       r.lost,            r.lost,            r.lost_alone,      r.lost_alone,
        r.lost_alone,      r.lost_tried,      r.lost_tried,      r.lost_crashed,    _,
        q.lost_quiet,      q.lost_quiet,      q.lost_quiet,      q.lost_quiet,      r.lost_alone,
        p.lost,            u.lost_copying,
    ),
    e.EngineFound: (
        r.found,           r.found,           r.found_known,     r.found,           r.found,
        r.found,           r.found_stopping,  r.found_removing,  r.found,           _,
        r.found_known,     r.found,           r.found_known,     r.found_known,     r.found_known,
        r.found_known,     r.found_known,
    ),
    e.HealthPassed: (
        _,                 _,                 _,                 r.healthy,         r.assured,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        p.take_over,       _,
    ),
    e.HealthFailed: (
        _,                 _,                 _,                 r.sick,            r.dead,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        p.not_healthy,     _,
    ),
    e.TimePassed: (
        r.tick_away,       _,                 r.tick_rising,     r.tick_rising,     r.tick_awake,
        r.tick_drained,    r.tick_drained,    r.tick_removing,   r.tick_crashed,    _,
        q.tick_between,    q.tick_paused,     q.tick_between,    q.tick_between,    q.tick_between,
        p.tick,            q.tick_between,
    ),
    e.Paused: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        q.paused,          _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.PauseFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        q.pause_failed,    _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Resumed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 q.resumed,         _,                 _,
        _,                 _,
    ),
    e.ResumeFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 q.resume_failed,   _,                 _,
        _,                 _,
    ),
    e.Snapshotted: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 q.snapshotted,     _,
        _,                 _,
    ),
    e.SnapshotFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 q.snapshot_failed, _,
        _,                 _,
    ),
    e.Consented: (
        _,                 _,                 _,                 _,                 q.consented,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Vetoed: (
        _,                 _,                 _,                 _,                 q.vetoed,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Busy: (
        _,                 _,                 _,                 _,                 q.busy,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        q.busy,            _,
    ),
    e.Crowded: (
        _,                 _,                 _,                 _,                 q.make_room,
        _,                 _,                 _,                 _,                 _,
        _,                 q.make_room,       _,                 _,                 _,
        _,                 _,
    ),
    e.WakeAsked: (
        w.want_away,       w.wake,            w.want,            w.want,            w.woken,
        w.keep,            w.come_back,       w.refuse_wake,     w.wake,            w.refuse_wake,
        q.want_between,    q.wake_paused,     q.want_between,    w.keep,            u.want,
        p.want,            u.want,
    ),
    e.SleepAsked: (
        w.sleep_away,      w.slept,           w.sleep,           w.sleep,           w.sleep,
        w.sleep_then,      w.sleep_then,      w.slept,           w.sleep_crashed,   w.refuse_sleep,
        q.sleep_between,   q.sleep_paused,    q.sleep_between,   w.sleep_then,      u.no_sleep,
        p.sleep,           u.sleep_copying,
    ),
    e.RestartAsked: (
        w.want_away,       w.wake,            w.want,            w.restart,         w.restart,
        w.come_back,       w.come_back,       w.refuse_wake,     w.wake,            w.refuse_wake,
        q.restart_between, q.restart_paused,  q.restart_between, w.come_back,       u.want,
        p.restart,         u.want,
    ),
    e.Prepared: (
        _,                 _,                 _,                 _,                 u.prepared,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.PrepareFailed: (
        _,                 _,                 _,                 _,                 u.unprepared,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Reverted: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 u.reverted,
        _,                 _,
    ),
    e.RevertFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 u.revert_failed,
        _,                 _,
    ),
    e.Settled: (
        _,                 _,                 _,                 p.settled_quietly, p.settled,
        p.settled_quietly, _,                 _,                 _,                 _,
        _,                 _,                 _,                 p.settled_quietly, _,
        _,                 _,
    ),
    e.SettleFailed: (
        _,                 _,                 _,                 p.not_settled,     p.not_settled,
        p.not_settled,     _,                 _,                 _,                 _,
        _,                 _,                 _,                 p.not_settled,     _,
        _,                 _,
    ),
    e.Copied: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 u.copied,
    ),
    e.CopyFailed: (
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 u.not_copied,
    ),
    e.UpdateAsked: (
        u.not_away,        u.update_asleep,   u.not_now,         u.not_now,         u.update,
        u.not_now,         u.not_now,         u.not_now,         u.update_asleep,   w.refuse_wake,
        u.not_now,         u.update_paused,   u.not_now,         u.not_now,         u.not_now,
        u.not_now,         u.not_now,
    ),
    e.RollbackAsked: (
        u.not_away,        u.roll_back,       u.not_now,         u.not_now,         u.roll_back,
        u.not_now,         u.not_now,         u.not_now,         u.roll_back,       w.refuse_wake,
        u.not_now,         u.not_paused,      u.not_now,         u.not_now,         u.not_now,
        u.not_now,         u.not_now,
    ),
    e.Changed: (
        w.change,          w.change_settled,  w.change_starting, w.change_awake,    w.change_awake,
        w.change_draining, w.change_stopping, w.change,          w.change_settled,  _,
        q.change_between,  q.change_paused,   q.change_between,  w.change_draining, w.change,
        p.change,          w.change,
    ),
    e.Inherited: (
        r.inherit,         _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,                 _,                 _,                 _,
        _,                 _,
    ),
    e.Removed: (
        w.remove_away,     w.remove,          w.remove_starting, w.remove_awake,    w.remove_awake,
        w.remove_later,    w.remove_later,    w.remove_later,    w.remove,          w.remove_later,
        q.remove_between,  q.remove_paused,   q.remove_between,  w.remove_later,    w.remove_later,
        p.remove,          w.remove_later,
    ),
    e.Ended: (
        w.end,             w.end,             w.end,             w.end,             w.end,
        w.end,             w.end,             w.end,             w.end,             _,
        w.end,             w.end,             w.end,             w.end,             w.end,
        w.end,             w.end,
    ),
}
# fmt: on

TABLE: Mapping[tuple[Phase, type[e.Event]], Handler] = {
    (phase, event): handler
    for event, row in _ROWS.items()
    for phase, handler in zip(Phase, row, strict=True)
}
"""What every phase makes of every event."""


def step(state: State, event: e.Event, now: float) -> Step:
    """Return the state after *event* at the time *now*, and the commands to carry out in order."""
    if getattr(event, "epoch", state.epoch) != state.epoch:
        return r.late_start(state) if isinstance(event, e.Started) else (state, ())
    after, commands = TABLE[state.phase, type(event)](state, event, now)
    if state.verdict and not after.verdict:
        # Before they could hear that something else is done.
        serves = after.phase in SERVING
        end = "serves again" if serves else "was started again, and has not answered yet"
        commands = (e.SayUnwoken(f"{state.verdict} The server before {end}."), *commands)
    return after, commands
