"""The lives of all personal servers: leases for the data plane, commands for persons.

One life for each site, by name. `Lives.take` and `Lives.give_back` are called for every request:
with the server awake they look a life up, count, and note the coarse clock's time, and nothing
else. A site whose server sleeps costs nothing. Nothing is stored: what runs is known by the
engines. It must never let what befalls one site be felt by another, and never call a waiter
inside `Lives.take`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Protocol

from attrs import asdict, evolve
from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from snickers.config.values import Container, Lifecycle, Process, Site
from snickers.containers import events as e
from snickers.containers import room
from snickers.containers.engine import fingerprint
from snickers.containers.living import Living, Progress, Sweep
from snickers.containers.pins import Pin, Pins
from snickers.containers.probe import Prober
from snickers.containers.roster import Roster
from snickers.containers.tried import Trial, Tried
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.copies import CopyFailed
from snickers.interfaces.engine import Address, Declared, IEngine, Instance, Load, Ran
from snickers.interfaces.handed import Handed, Kept
from snickers.interfaces.leases import ILeases, IWaiter, Refusal, Stage
from snickers.interfaces.lives import ILives, LifeFailed

TICK = 1.0
"""Seconds between two looks at what is due: no deadline of a life is finer."""
LOAD_EVERY = 10.0
"""Seconds between two looks at how much idle servers work: a shorter while says too little."""
ROOM_EVERY = 5.0
"""Seconds between two that are put to sleep for want of memory: it takes a moment to come free."""
NOBODY = Refusal("stopping", 5)
"""For a site that was removed while a request for it was on its way."""
LETS_GO_WITHIN = 0.5
"""Seconds that engines are given to close where another Snickers waits for its turn."""

_log = Logger()


class Trials(Protocol):
    """What copies sites' folders: see `snickers.containers.copies.Copies`."""

    def begin_trial(self, site: str, progress: Progress, had: str = "") -> Deferred[str]:
        """See `snickers.containers.living.Surroundings.copy`."""

    def put_back(self, site: str, copy: str, progress: Progress) -> Deferred[None]:
        """See `snickers.containers.living.Surroundings.put_back`."""

    def end_trial(self, site: str) -> None:
        """See `snickers.containers.living.Surroundings.let_go`."""


@implementer(ILeases, ILives)
class Lives:
    """All lives.

    :param reactor: connects the probes: an ``IReactorTCP``, and an ``IReactorUNIX`` for servers
        on unix sockets.
    :param clock: of ticks and pauses.
    :param sweep: the coarse clock; *clock* at a step behind.
    :param engines: what runs containers and what runs processes; ``None`` or missing: nothing.
    :param alarm: told of a server that crashed too often and of an engine that is away.
    :param wall: seconds since the epoch, for `states`.
    :param pins: which images are used instead of the file's; ``None``: none is kept.
    :param tried: where it is written down which servers are being tried; ``None``: nowhere.
    :param free: returns the bytes of memory that are available, ``None`` where that is not known.
    """

    def __init__(
        self,
        reactor: Any,
        clock: IReactorTime,
        sweep: Sweep,
        engines: Mapping[type[Container] | type[Process], IEngine | None],
        alarm: IAlarm | None = None,
        wall: Callable[[], float] = time.time,
        free: Callable[[], int | None] = lambda: None,
        pins: Pins | None = None,
        tried: Tried | None = None,
    ) -> None:
        self.awake_limit: int | None = None
        """How many servers may be awake at once; may be changed at any time."""
        self.keep_free: int | None = None
        """Bytes of memory that shall stay available; may be changed at any time."""
        self._free = free
        self._made_room = -math.inf
        self._loads: dict[str, Load] = {}
        """Seconds of processor time each server had used at the last look."""
        self._loaded_at = 0.0
        self.clock = clock
        self.sweep = sweep
        self.prober = Prober(reactor, clock)
        self.alarm = alarm
        self.wall = wall
        self.pins = pins
        self.tried = tried
        self._told: set[str] = set()
        """Of which sites somebody who gave duty up has told all there is to know."""
        self._named: dict[str, tuple[str, str]] = {}
        """By site: the fingerprint of what a person wants to be tried, and its image."""
        self.same_image = ""
        """Why no other image than the file's can be tried; empty: it can."""
        self.copies: Trials | None = None
        """What copies sites' folders before another server is tried; set before `start`."""
        self.moved: Callable[[str], None] = _nobody_is_told
        """Called with a site's name when whether, or where, its server answers may have changed,
        or how far it is."""
        self._lives: dict[str, Living] = {}
        self._rosters: dict[type, Roster] = {
            Container: Roster("container", engines.get(Container), clock, alarm),
            Process: Roster("process", engines.get(Process), clock, alarm),
        }
        self._tickets = count(1)
        self._due: set[Living] = set()
        self._strangers: dict[int, IWaiter] = {}
        self._ticking = LoopingCall(self._tick)
        self._weighing = LoopingCall(self._weigh)
        self._ticking.clock = self._weighing.clock = clock
        self._closed = False
        self.calls: set[Deferred[None]] = set()

    def start(self) -> None:
        """Begin: hear from the engines, find what runs, wake what is always awake."""
        self._go_on_trying()
        self._ticking.start(TICK, now=False)
        self._weighing.start(LOAD_EVERY, now=False)
        for roster in self._rosters.values():
            roster.watch()

    def _go_on_trying(self) -> None:
        """Tell the lives which trials an end of Snickers has left."""
        for site, trial in ({} if self.tried is None else self.tried.left()).items():
            life = self._lives.get(site)
            if life is None:
                self.trying(site, None)
                continue
            life.trial = trial
            if site not in self._told:
                life.inherit(0, Kept(**asdict(trial)))
        self._told = set()

    def close(self) -> Deferred[None]:
        """End with Snickers: refuse who waits, let go of the engines; containers run on.

        Fires when the engines are closed, and never fails.
        """
        self._closed = True
        for loop in (self._ticking, self._weighing):
            if loop.running:
                loop.stop()
        for life in self._all():
            life.post(e.Ended())
        closing = DeferredList([roster.close() for roster in self._rosters.values()])
        return closing.addCallback(lambda _: None)

    # Duty

    def rest(self) -> None:
        """Live no lives until `begin_anew`, whatever is applied."""
        self._closed = True

    def begin_anew(self, engines: Mapping[type[Container] | type[Process], IEngine | None]) -> None:
        """Be as new, with other engines: sites are to be applied, then `start` called."""
        self._closed = False
        self._lives, self._due, self.calls = {}, set(), set()
        self._loads, self._made_room = {}, -math.inf
        self._named = {}
        if self.pins is not None:
            self.pins.forget()
        self._rosters = {
            kind: Roster(roster.kind, engines.get(kind), self.clock, self.alarm)
            for kind, roster in self._rosters.items()
        }

    def inherit(self, site: str, uses: int, kept: Kept | None) -> None:
        """Take over what was known of *site* elsewhere, before `start`: *uses* will be given back
        here, *kept* is what was told of its server."""
        life = self._lives.get(site)
        if life is not None:
            if kept is not None:
                self._told.add(site)
            life.inherit(uses, kept)

    def hand_over(self) -> Mapping[str, Handed]:
        """Live no lives any more; return, by site, what is to go on elsewhere. Nothing is asked of
        the engines from now on, and what they were asked goes on: see `release`. No alarm about
        lives or engines is left raised, since nobody would clear it here."""
        self._closed = True
        for loop in (self._ticking, self._weighing):
            if loop.running:
                loop.stop()
        handed: dict[str, Handed] = {}
        for life in self._all():
            try:
                found = life.retire()
            except Exception:
                # A fault in one must not leave the others alive beside those of another team.
                _log.failure("{site}: it was not handed over whole", site=life.site)
                continue
            newer = handed.get(life.site)
            # Uses of one before are given back to whoever has the site then.
            handed[life.site] = (
                found if newer is None else evolve(newer, uses=newer.uses + found.uses)
            )
        for roster in self._rosters.values():
            roster.retire()
        self._lives, self._due = {}, set()
        strangers, self._strangers = self._strangers, {}
        for waiter in strangers.values():
            waiter.refused(NOBODY)
        return handed

    def release(self, within: float) -> Deferred[None]:
        """After `hand_over`: let go of the engines when they have done what they were asked, or
        when *within* seconds are over; what they do then is broken off or, where it cannot be, goes
        on by itself. Fires when that is done, never fails, and takes little longer than that."""
        done = DeferredList(list(self.calls))
        ended = _bounded(self.clock, done, within)

        def close(_: object) -> Deferred[None]:
            closing = DeferredList([roster.close() for roster in self._rosters.values()])
            return _bounded(self.clock, closing, LETS_GO_WITHIN)

        return ended.addCallback(close)

    def _all(self) -> list[Living]:
        lives: list[Living] = []
        for newest in self._lives.values():
            life: Living | None = newest
            while life is not None:
                lives.append(life)
                life = life.before
        return lives

    # ILeases

    def take(self, site: str, waiter: IWaiter) -> Address | None:
        life = self._lives.get(site)
        if life is None:
            self._strangers[id(waiter)] = waiter
            self.clock.callLater(0, self._turn_away, waiter)
            return None
        address = life.address
        if address is not None:
            life.uses += 1
            life.used = self.sweep.now
            return address
        life.arrive(next(self._tickets), waiter)
        return None

    def give_back(self, site: str, address: Address) -> None:
        life = self._lives.get(site)
        if life is None:
            return
        uses = life.uses - 1
        if address != life.former and (uses > 0 or (uses == 0 and life.address is not None)):
            life.uses = uses
            life.used = self.sweep.now
        else:
            life.give_last(address)

    def forget(self, site: str, waiter: IWaiter) -> None:
        self._strangers.pop(id(waiter), None)
        life = self._lives.get(site)
        if life is not None:
            life.forget(waiter)

    def failed(self, site: str, address: Address) -> None:
        life = self._lives.get(site)
        if life is not None and life.address == address and not life.state.doubted:
            life.later(e.Doubted(address))

    def stage(self, site: str) -> str:
        """Return the name of the phase that *site*'s server is in, ``""`` when there is none."""
        life = self._lives.get(site)
        return "" if life is None else life.state.phase.value

    def look(self, site: str, told: Callable[[Stage], None]) -> None:
        life = self._lives.get(site)
        told(Stage() if life is None else life.stage())

    def ready(self, site: str) -> Address | None:
        life = self._lives.get(site)
        return None if life is None else life.address

    def _turn_away(self, waiter: IWaiter) -> None:
        if self._strangers.pop(id(waiter), None) is waiter:
            waiter.refused(NOBODY)

    # ILives

    def apply(
        self, added: Sequence[Site], changed: Sequence[Site], removed: Sequence[Site]
    ) -> None:
        if self._closed:
            return
        for site in removed:
            self._guard(self._remove, site)
        for site in (*changed, *added):
            self._guard(self._declare, site)

    def _guard(self, act: Callable[[Site], None], site: Site) -> None:
        try:
            act(site)
        except Exception:
            _log.failure("{site}: its configuration was not taken", site=site.name)

    def _remove(self, site: Site) -> None:
        life = self._lives.get(site.name)
        if life is not None:
            life.post(e.Removed())

    def _declare(self, site: Site) -> None:
        kind = site.kind
        if not isinstance(kind, Container | Process) or not site.enabled:
            self._remove(site)
            return
        declared = Declared(site.name, kind, site.data)
        roster = self._rosters[type(kind)]
        life = self._lives.get(site.name)
        pinned = self._pinned(declared)
        if life is not None and life.roster is roster:
            life.filed, life.exact = declared, pinned.exact
            life.redeclare(evolve(pinned, exact=""))
            return
        new = self._lives[site.name] = Living(self, evolve(pinned, exact=""), roster, life)
        new.filed, new.exact = declared, pinned.exact
        if life is None:
            roster.join(site.name, new)
        else:
            # Two servers must not have the same data: the new one waits for the end of the old.
            life.next = new
            life.post(e.Removed())

    def states(self) -> Mapping[str, Mapping[str, Any]]:
        states = {}
        for name, life in self._lives.items():
            state = life.state
            states[name] = {
                "state": state.phase.value,
                "since": life.changed,
                "uses": life.uses,
                "waiting": len(state.waiters),
                "detail": life.unready or life.words or state.detail,
                "id": "" if state.instance is None else state.instance.id,
                "image": "" if state.instance is None else state.instance.image,
                "last_words": life.last_words,
                "notice": self._notice(name, life),
                "pinned": "" if life.filed.kind == life.declared.kind else _image(life.declared),
                "crashes": state.crashes,
                "wakes": dict(life.wakes),
                "wake_seconds": life.woken,
            }
        return states

    def wake(self, site: str, progress: Progress) -> Deferred[None]:
        return self._ask(site, e.WakeAsked(), progress)

    def wake_alone(self, site: str, progress: Progress) -> Deferred[None]:
        """As `wake`, where no other server is being tried beside it."""
        return self._ask(site, e.WakeAsked(alone=True), progress)

    def sleep(self, site: str, progress: Progress) -> Deferred[None]:
        return self._ask(site, e.SleepAsked(), progress)

    def restart(self, site: str, progress: Progress) -> Deferred[None]:
        return self._ask(site, e.RestartAsked(), progress)

    def update(self, site: str, progress: Progress, image: str = "") -> Deferred[None]:
        life = self._lives.get(site)
        if life is None:
            return fail(_no_life(site))
        wanted = life.filed
        pin = None if self.pins is None else self.pins.of(site)
        if image:
            if not isinstance(wanted.kind, Container):
                return fail(LifeFailed(f"{site} is a {life.roster.kind}, which has no image."))
            if not wanted.kind.image:
                words = f"{site} has services: their images are what {wanted.kind.services} says."
                return fail(LifeFailed(words))
            if self.same_image:
                return fail(LifeFailed(self.same_image))
            wanted = evolve(wanted, kind=evolve(wanted.kind, image=image))
        elif pin is not None and not pin.exact and pin.holds(wanted):
            wanted = evolve(pin.applied(wanted), exact="")
        named = life.know(wanted)
        trial = self._named.get(site)
        self._named[site] = (named, _image(wanted))
        asked = life.ask(e.UpdateAsked(named), progress)
        if life.state.declared != named:
            # It was not taken: what may be being tried is what was asked for before.
            self._named.pop(site)
            if trial is not None:
                self._named[site] = trial

        def done(_: None) -> None:
            serving = life.state.instance
            if serving is not None and serving.fingerprint != named:
                raise LifeFailed(
                    f"The section of {site} was changed meanwhile: what it says now serves, and not"
                    f" {image}."
                )

        return asked.addCallback(done) if image else asked

    def roll_back(self, site: str, progress: Progress) -> Deferred[None]:
        return self._ask(site, e.RollbackAsked(), progress)

    def logs(
        self, site: str, tail: int, follow: bool, receive: Callable[[bytes], None]
    ) -> Deferred[None]:
        life = self._lives.get(site)
        if life is None:
            return fail(_no_life(site))
        if life.roster.engine is None:
            return fail(LifeFailed(f"Nothing here runs a {life.roster.kind}."))
        return life.roster.engine.logs(site, tail, follow, receive)

    def run(self, site: str, command: Sequence[str], within: float) -> Deferred[Ran]:
        """As `IEngine.run`, for a site by name."""
        life = self._lives.get(site)
        if life is None:
            return fail(_no_life(site))
        if life.roster.engine is None:
            return fail(LifeFailed(f"Nothing here runs a {life.roster.kind}."))
        return life.roster.engine.run(site, command, within)

    def owes(self, site: str) -> str:
        """Return which copy of its folder is put back should the server fail that is being tried,
        ``""`` where none is."""
        life = self._lives.get(site)
        return "" if life is None else life.state.copied

    def _ask(self, site: str, event: e.Event, progress: Progress) -> Deferred[None]:
        life = self._lives.get(site)
        return fail(_no_life(site)) if life is None else life.ask(event, progress)

    # What the lives need

    def scheduled(self, life: Living) -> None:
        if life.due == math.inf:
            self._due.discard(life)
        else:
            self._due.add(life)

    def parted(self, life: Living) -> None:
        self._due.discard(life)
        life.roster.part(life.site)
        if life.trial is not None and not self._closed:
            self.trying(life.site, None)
        if life.next is None:
            if self.pins is not None and self.pins.of(life.site) is not None:
                self._note(self.pins, life.site, None)
            del self._lives[life.site]
            self.moved(life.site)
            return
        life.next.before = None
        # Who used the old server gives it back to this one.
        life.next.uses += life.uses
        life.next.roster.join(life.site, life.next)

    def copy(self, site: str, progress: Progress, had: str) -> Deferred[str]:
        if self.copies is None:
            return fail(CopyFailed("Nothing here makes copies."))
        return self.copies.begin_trial(site, progress, had)

    def put_back(self, site: str, copy: str, progress: Progress) -> Deferred[None]:
        if self.copies is None:
            return fail(CopyFailed("Nothing here makes copies."))
        return self.copies.put_back(site, copy, progress)

    def kept(self, life: Living, instance: Instance) -> None:
        filed, known = life.filed, life.known(instance.fingerprint)
        kind = filed.kind
        if self.pins is None or known is None or not isinstance(kind, Container):
            return
        image = _image(known)
        if not (instance.image and image) or evolve(kind, image=image) != known.kind:
            return  # It has several, or more than that differs: it could not be made again.
        named, _ = self._named.pop(life.site, ("", ""))
        if named and named == life.state.refused and named != fingerprint(filed):
            return  # A person's own trial is over, and what starts are of is as before.
        refused = "" if known.kind == kind else fingerprint(filed)
        self._pin(life, Pin(image, kind.image, instance.image, refused))

    def trusted(self, life: Living) -> None:
        good = life.state.good
        if self.pins is None or good is None or not isinstance(life.filed.kind, Container):
            return
        named, image = self._named.pop(life.site, ("", ""))
        filed, pin = life.filed.kind.image, self.pins.of(life.site)
        if named == good.fingerprint and image != filed:
            self._pin(life, Pin(image, filed))
        elif pin is None or (pin.exact and pin.exact == good.image):
            return  # It was started as it is pinned.
        elif pin.exact or named == good.fingerprint:
            self._pin(life, None)

    def _pin(self, life: Living, pin: Pin | None) -> None:
        assert self.pins is not None
        self._note(self.pins, life.site, pin)
        pinned = life.filed if pin is None else pin.applied(life.filed)
        life.exact = pinned.exact
        life.declared = evolve(pinned, exact="")

    def _pinned(self, filed: Declared) -> Declared:
        pin = None if self.pins is None else self.pins.of(filed.site)
        if self.pins is None or pin is None:
            return filed
        if pin.holds(filed):
            return pin.applied(filed)
        self._note(self.pins, filed.site, None)
        return filed

    def _note(self, pins: Pins, site: str, pin: Pin | None) -> None:
        # Whoever takes over reads the file, and must not read it before it is written.
        writing, calls = pins.keep(site, pin), self.calls
        calls.add(writing)
        writing.addCallback(lambda _: calls.discard(writing))

    def _notice(self, site: str, life: Living) -> str:
        """Return what the owner should know of a server that runs."""
        pin = None if self.pins is None else self.pins.of(site)
        words = [] if pin is None else [pin.words]
        return " ".join([*words, life.roster.notices.get(site, "")]).rstrip()

    def trying(self, site: str, trial: Trial | None) -> Deferred[None]:
        if self.tried is None:
            return succeed(None)
        writing, calls = self.tried.keep(site, trial), self.calls
        calls.add(writing)
        writing.addCallback(lambda _: calls.discard(writing))
        return writing

    def let_go(self, site: str) -> None:
        if self.copies is not None:
            self.copies.end_trial(site)

    def _tick(self) -> None:
        now = self.sweep.now
        for life in [life for life in self._due if life.due <= now]:
            life.post(e.TimePassed())
        try:
            self._make_room(now)
        except Exception:
            _log.failure("Looking for room failed; it is looked again")

    def _make_room(self, now: float) -> None:
        short = False
        if self.keep_free is not None and now >= self._made_room + ROOM_EVERY:
            free = self._free()
            short = free is not None and free < self.keep_free
        if self.awake_limit is None and not short:
            return
        servers = [
            room.held(name, life.state, life.uses, life.used) for name, life in self._lives.items()
        ]
        for site in room.who_goes(servers, self.awake_limit, short):
            if short:
                self._made_room = now
            _log.info(
                "{site}: idle, and its room is needed ({why})",
                site=site,
                why="memory is short" if short else "too many are awake",
            )
            self._lives[site].post(e.Crowded())

    def _weigh(self) -> Deferred[None]:
        """See which idle servers work. Never fails."""
        idle = [
            life
            for life in self._lives.values()
            if life.address is not None and not life.uses and _weighed(life.state.life)
        ]
        if not idle:
            self._loads = {}
            return succeed(None)
        rosters = {life.roster for life in idle if life.roster.engine is not None}
        asked = [maybeDeferred(r.engine.loads) for r in rosters if r.engine is not None]
        done = DeferredList(asked, consumeErrors=True)
        return done.addCallback(self._weighed, idle).addErrback(
            lambda failure: _log.failure("Looking at the servers' load failed", failure)
        )

    def _weighed(self, answers: Any, idle: Sequence[Living]) -> None:
        now, since = self.clock.seconds(), self._loaded_at
        before = self._loads
        self._loads = {
            site: load for good, found in answers if good for site, load in found.items()
        }
        self._loaded_at = now
        for life in idle:
            was, has = before.get(life.site), self._loads.get(life.site)
            if was is None or has is None or now <= since:
                continue
            if _works(life.state.life, was, has, now - since):
                life.post(e.Busy())


def _weighed(life: Lifecycle) -> bool:
    """Whether it is looked at what the server does by itself."""
    return life.busy_above is not None or life.busy_traffic_above is not None


def _works(life: Lifecycle, was: Load, has: Load, seconds: float) -> bool:
    """Whether a server that nobody uses does more by itself than *life* takes for nothing."""
    above, traffic = life.busy_above, life.busy_traffic_above
    if above is not None and (has.processor - was.processor) / seconds * 100 > above:
        return True
    if traffic is None or has.traffic is None or was.traffic is None:
        return False
    return (has.traffic - was.traffic) / seconds > traffic


def _bounded(clock: IReactorTime, done: Deferred[Any], within: float) -> Deferred[None]:
    """Return a Deferred that fires when *done* does, and after *within* seconds at the latest."""
    either: Deferred[None] = Deferred()

    def over(_: object) -> None:
        if late.active():
            late.cancel()
            either.callback(None)

    late = clock.callLater(within, either.callback, None)
    done.addBoth(over)
    return either


def _image(declared: Declared) -> str:
    """Return the name of its image; ``""``: it has none."""
    return declared.kind.image if isinstance(declared.kind, Container) else ""


def _nobody_is_told(site: str) -> None:
    """There are no workers."""


def _no_life(site: str) -> LifeFailed:
    return LifeFailed(f"There is no site {site} with a server of its own.")
