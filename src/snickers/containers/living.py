"""One life being lived: counts its uses, keeps those who wait, and obeys the machine.

What happens is queued and given to the machine one event after the other; what the machine says
is carried out here, or by ``orders`` where it concerns the engine, and nowhere else. An exception
on the way is logged with the site and ends nothing. It must never decide anything itself, and never
call a waiter while it is being asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from snickers.containers import events as e
from snickers.containers.engine import EngineAway
from snickers.containers.life import SERVING, Phase, State, due, owed, tried
from snickers.containers.lifecycle import step
from snickers.containers.orders import ORDERS
from snickers.containers.probe import Prober
from snickers.containers.reasons import reason
from snickers.containers.roster import Roster
from snickers.containers.tried import Trial
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.engine import Address, Declared, IEngine, Instance
from snickers.interfaces.handed import Handed, Kept
from snickers.interfaces.leases import IWaiter, Stage
from snickers.interfaces.lives import LifeFailed

LAST_LINES = 10
LAST_WORDS = 2000
"""Lines, and bytes, of what a failed server wrote last: where programs say why."""
HEAR_WITHIN = 2.0
"""Seconds that this may take."""

_NO_ALARM: Mapping[str, str] = {}
"""One for all: an empty set takes 200 bytes, and most sites sleep and have none."""

Progress = Callable[[str], None]

_log = Logger()


class Sweep(Protocol):
    """A coarse clock."""

    now: float
    """Seconds; it never goes back."""


class Surroundings(Protocol):
    """What a life needs of the service."""

    clock: IReactorTime
    sweep: Sweep
    prober: Prober
    alarm: IAlarm | None
    wall: Callable[[], float]
    calls: set[Deferred[None]]
    """What engines, or the disk, were asked to do and have not done; each fires when it is over."""

    def scheduled(self, life: Living) -> None:
        """`Living.due` was set."""

    def moved(self, site: str) -> None:
        """Whether and where the server of *site* answers may be another than before, or how far
        it is."""

    def parted(self, life: Living) -> None:
        """The life is over: the site is gone."""

    def copy(self, site: str, progress: Progress, had: str) -> Deferred[str]:
        """Copy the folder of *site* and keep it from others until `let_go`; fires with the name of
        the copy, with ``""`` when there is nothing to copy; fails with `CopyFailed`. *had* is one
        that was made before, if it is good still."""

    def put_back(self, site: str, copy: str, progress: Progress) -> Deferred[None]:
        """Have the folder be as in *copy* again, while nothing runs; fails with `CopyFailed`."""

    def kept(self, life: Living, instance: Instance) -> None:
        """The next start is to be of *instance*, whatever the name of its image means then."""

    def trusted(self, life: Living) -> None:
        """What was tried has proven itself."""

    def let_go(self, site: str) -> None:
        """Undo what `copy` has kept."""

    def trying(self, site: str, trial: Trial | None) -> Deferred[None]:
        """Write down that *trial* goes on at *site*, or that none does; fires when it is written,
        never fails."""


_Asker = tuple[Deferred[None], Progress, e.Event]
"""A person: what fires when it is done, where to say how far it is, and what was asked for."""


class Living:
    """The life of *site* with the servers of one roster."""

    __slots__ = (
        "_alarmed",
        "_around",
        "_begun",
        "_copying",
        "_declarations",
        "_event",
        "_events",
        "_planned",
        "_probe",
        "_retired",
        "_running",
        "_sleepers",
        "_tickets",
        "_waiting",
        "_wakers",
        "_writing",
        "address",
        "before",
        "changed",
        "declared",
        "due",
        "exact",
        "filed",
        "former",
        "last_words",
        "next",
        "roster",
        "site",
        "state",
        "trial",
        "unready",
        "used",
        "uses",
        "wakes",
        "woken",
        "words",
    )

    def __init__(
        self, around: Surroundings, declared: Declared, roster: Roster, before: Living | None
    ) -> None:
        self._around = around
        self.site = declared.site
        self.declared = declared
        self._declarations: dict[str, Declared] = {}
        """By fingerprint: what may be started."""
        self.filed = declared
        """What the file says."""
        self.exact = ""
        """See `Declared.exact`."""
        self.roster = roster
        self.before = before
        """A former life of the site with another engine; this one begins when that is over."""
        self.next: Living | None = None
        self.address: Address | None = None
        """Where the server answers: set while it is awake, and only then."""
        self.former: Address | None = None
        """Where a server answers those who still use it, when another one has taken its place."""
        self.uses = 0
        self.used = around.sweep.now
        self.state = State(
            declared.kind.life, self.know(declared), since=around.sweep.now, used=self.used
        )
        self.due = math.inf
        self.changed = around.wall()
        """When the phase began, seconds since the epoch."""
        self.words = ""
        """How far a start is."""
        self.unready = ""
        """While it is checked: what the last question to it was answered with, for the owner."""
        self.last_words = ""
        """The last lines of a server that has failed, for its owner; forgotten when one is
        awake."""
        self._copying = False
        """Its folder was copied, and is kept from others until the trial is over."""
        self.trial: Trial | None = None
        """What is written down of a trial that goes on."""
        self._writing: Deferred[None] | None = None
        """Fires when it is."""
        self._begun: float | None = None
        self.wakes = {"ready": 0, "failed": 0}
        """How many times it was started, by result."""
        self.woken = 0.0
        """Seconds that all starts together took, of those that were ready."""
        # Few at a time; a deque takes 700 bytes for each site, and most of them sleep.
        self._events: list[e.Event] = []
        self._running = False
        self._retired = False
        self._planned = False
        self._waiting: dict[int, IWaiter] = {}
        self._tickets: dict[int, int] = {}
        self._probe: tuple[int, Deferred[None]] | None = None
        self._wakers: list[_Asker] = []
        self._sleepers: list[_Asker] = []
        self._event: e.Event | None = None
        """What is being dealt with."""
        self._alarmed = _NO_ALARM
        """The words of the alarms that are raised for it, by their names."""

    def know(self, declared: Declared) -> str:
        """Remember *declared*, and what could come back; return its fingerprint."""
        engine = self.roster.engine
        fingerprint = "" if engine is None else engine.fingerprint(declared)
        state: State | None = getattr(self, "state", None)
        kept = set() if state is None else {state.fingerprint, state.declared}
        if state is not None:
            kept |= {each.fingerprint for each in (state.good, state.before) if each is not None}
        self._declarations = {f: d for f, d in self._declarations.items() if f in kept}
        self._declarations[fingerprint] = declared
        return fingerprint

    def wanted(self) -> Declared:
        """What shall run."""
        declared = self._declarations.get(self.state.fingerprint, self.declared)
        return evolve(declared, exact=self.exact) if self.exact else declared

    def unnamed(self) -> Instance | None:
        """Return the server that shall run, where nobody knows any more how it was declared: it is
        of a Snickers before this one, and came back after what is declared had failed."""
        state = self.state
        if state.updating or state.good is None or state.fingerprint in self._declarations:
            return None
        return state.good if state.good.fingerprint == state.fingerprint else None

    def known(self, fingerprint: str) -> Declared | None:
        """Return what has this fingerprint, if it could come back."""
        return self._declarations.get(fingerprint)

    def stage(self) -> Stage:
        """Return how far it is."""
        state = self.state
        rises = state.phase in (Phase.STARTING, Phase.CHECKING)
        late = rises and self._around.sweep.now >= state.began + state.life.wake_within
        # Whether the next server is being tried is nothing to those who look on.
        phase = Phase.AWAKE if state.phase in SERVING else state.phase
        address = None if state.instance is None else state.instance.address
        return Stage(phase.value, self.words, late, address if phase is Phase.AWAKE else None)

    # Who waits

    def arrive(self, ticket: int, waiter: IWaiter) -> None:
        """Let *waiter* wait for a lease; it is told in a later turn."""
        self._waiting[ticket] = waiter
        self._tickets[id(waiter)] = ticket
        self.later(e.Arrived(ticket))

    def forget(self, waiter: IWaiter) -> None:
        """Never call *waiter*."""
        ticket = self._tickets.pop(id(waiter), None)
        if ticket is not None:
            del self._waiting[ticket]
            arrived = e.Arrived(ticket)
            if arrived in self._events:
                # It came and went in one turn: nobody wakes a server by that (rapid reset).
                self._events.remove(arrived)
            else:
                self.later(e.Forgotten(ticket))

    def give_last(self, address: Address) -> None:
        """One use less of the server at *address*: perhaps the last, or of one that is no more or
        is about to go."""
        life: Living = self
        while life.before is not None and not life.uses:
            life = life.before
        if life.uses:
            life.later(e.GivenBack(address))

    def _called(self, ticket: int) -> IWaiter | None:
        waiter = self._waiting.pop(ticket, None)
        if waiter is not None:
            self._tickets.pop(id(waiter), None)
        return waiter

    # Duty

    def inherit(self, uses: int, kept: Kept | None) -> None:
        """Go on with a life that was lived elsewhere: *uses* are counted here already, *kept* is
        what was told of it."""
        self.uses += uses
        if kept is None:
            return
        self.wakes = {result: kept.wakes.get(result, 0) for result in self.wakes}
        self.woken = kept.woken
        now = self._around.sweep.now
        until = now + kept.rest if kept.rest else -math.inf
        self.post(
            e.Inherited(
                now - kept.idle,
                kept.crashes,
                until,
                kept.put,
                kept.stopping,
                kept.detail,
                kept.good,
                kept.updating,
                kept.copied,
                kept.back,
            )
        )

    def retire(self) -> Handed:
        """Do nothing any more, whatever happens; return what goes on elsewhere. Who waits for a
        lease is told nothing, persons are told that it is over."""
        self._retired = True
        state, now = self.state, self._around.sweep.now
        given = sum(isinstance(event, e.GivenBack) for event in self._events)
        self._events.clear()
        address, self.address = self.address, None
        if self._probe is not None:
            self._probe[1].cancel()
        uses = max(0, self.uses - given)
        trial = _trial(state) or Trial("")
        handed = Handed(
            uses,
            address,
            tuple(self._waiting[ticket] for ticket in sorted(self._waiting)),
            Kept(
                0.0 if uses else max(0.0, now - self.used),
                state.crashes,
                max(0.0, state.until - now) if state.phase is Phase.CRASHED else 0.0,
                state.put,
                state.phase is Phase.STOPPING,
                state.detail if state.phase is Phase.CRASHED else "",
                dict(self.wakes),
                self.woken,
                trial.good,
                trial.updating,
                trial.copied,
                trial.back,
            ),
        )
        self._waiting.clear()
        self._tickets.clear()
        # Whoever looks after it now raises what holds; nobody here would ever clear it.
        self._calm()
        words = "Another Snickers has taken over; ask it."
        self._done(self._wakers, words)
        self._done(self._sleepers, words)
        return handed

    # Persons

    def ask(self, event: e.Event, progress: Progress) -> Deferred[None]:
        """Post what a person asks for; fires when it is done, fails with `LifeFailed`."""
        asking = self._sleepers if isinstance(event, e.SleepAsked) else self._wakers

        def cancel(done: Deferred[None]) -> None:
            asking[:] = [entry for entry in asking if entry[0] is not done]

        done: Deferred[None] = Deferred(cancel)
        asking.append((done, progress, event))
        self.post(event)
        return done

    def tell(self, words: str) -> None:
        self.words = words
        self._around.moved(self.site)
        for _, progress, _ in (*self._wakers, *self._sleepers):
            try:
                progress(words)
            except Exception:
                _log.failure("{site}: progress could not be told", site=self.site)

    def _done(self, asking: list[_Asker], fault: str | None) -> None:
        told = asking[:]
        asking.clear()
        for done, *_ in told:
            if fault is None:
                done.callback(None)
            else:
                done.errback(LifeFailed(fault))

    # What happens

    def redeclare(self, declared: Declared) -> None:
        """Let *declared* hold from now on."""
        self.declared = declared
        self.post(e.Changed(declared.kind.life, self.know(declared)))

    def later(self, event: e.Event) -> None:
        """Post *event*, and do nothing about it in this turn of the reactor."""
        if self._retired:
            return
        last = self._events[-1] if self._events else None
        if isinstance(event, e.Arrived | e.Forgotten) and type(last) is type(event):
            assert isinstance(last, e.Arrived | e.Forgotten)
            self._events[-1] = evolve(last, more=(*last.more, *event.tickets))
        else:
            self._events.append(event)
        if not self._planned:
            self._planned = True
            self._around.clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._planned = False
        self._run()

    def post(self, event: e.Event) -> None:
        """Let the machine have *event*, after those that it has not had yet."""
        if self._retired:
            return
        self._events.append(event)
        self._run()

    def _run(self) -> None:
        if self._running:
            return
        self._running = True
        try:
            while self._events:
                event = self._events.pop(0)
                try:
                    self._step(event)
                except Exception:
                    _log.failure("{site}: {event} was not dealt with", site=self.site, event=event)
        finally:
            self._running = False

    def _step(self, event: e.Event) -> None:
        self._event = event
        # What was counted outside since the last step is carried in.
        address = self.address
        had = evolve(self.state, uses=self.uses, used=self.used)
        state, commands = step(had, event, self._around.sweep.now)
        self.state = state
        self.uses = state.uses
        self.used = state.used
        awake = state.phase in SERVING and state.instance is not None
        self.address = state.instance.address if awake and state.instance is not None else None
        parting = state.parting
        self.former = None
        if parting is not None and parting.instance is not None:
            self.former = parting.instance.address
        if self._probe is not None and self._probe[0] != state.epoch:
            self._probe[1].cancel()
        if state.phase is not had.phase:
            why = reason(had, event, state, self._around.sweep.now)
            self._moved(had, state, why)
        self._note_trial(state)
        for command in commands:
            try:
                _DO[type(command)](self, command)
            except Exception:
                _log.failure(
                    "{site}: {command} was not carried out", site=self.site, command=command
                )
        if had.preparing and not state.preparing and state.phase is had.phase:
            # What was on its way is not any more.
            self.words = ""
        if self._copying and not self.state.held:
            self._copying = False
            self._around.let_go(self.site)
        self.due = due(self.state)
        self._around.scheduled(self)
        if state.phase is not had.phase or self.address != address:
            self._around.moved(self.site)

    def _note_trial(self, state: State) -> None:
        # Away, nothing is known of it; and what was tried at the end of Snickers goes on after it.
        if state.phase in (Phase.AWAY, Phase.OVER):
            return
        trial = _trial(state)
        if trial != self.trial:
            self.trial = trial
            self._writing = self._around.trying(self.site, trial)

    def _moved(self, had: State, state: State, why: str) -> None:
        self.changed = self._around.wall()
        self.words = self.unready = ""
        _log.info(
            "{site}: {before} → {phase}{why}",
            site=self.site,
            before=had.phase.value,
            phase=state.phase.value,
            why=why and f" ({why})",
        )
        if state.phase is Phase.STARTING:
            self._begun = self._around.clock.seconds()
        elif state.phase is Phase.AWAKE:
            if self._begun is not None:
                self.wakes["ready"] += 1
                self.woken += self._around.clock.seconds() - self._begun
            self._begun = None
            self._over("crashed")
            if "update" not in self._alarmed:
                self.last_words = ""
        elif state.phase is Phase.CRASHED:
            if not self.last_words:
                self.hear_out()
            self.wakes["failed"] += self._begun is not None
            self._begun = None

    def hear_out(self) -> Deferred[None]:
        """Keep the last lines that the server wrote; fires when that is done, and never fails."""
        heard: list[bytes] = []

        def keep(_: object) -> None:
            text = b"".join(heard)[-LAST_WORDS:].decode("utf-8", "replace")
            self.last_words = text.strip()

        hearing = maybeDeferred(
            lambda: self.engine().logs(self.site, LAST_LINES, False, heard.append)
        )
        # What it said is worth having, and not worth waiting for.
        hearing.addTimeout(HEAR_WITHIN, self._around.clock)
        return hearing.addErrback(lambda _: None).addCallback(keep)

    def _calm(self) -> None:
        for alarm in self._alarmed:
            self._quiet(alarm)

    def _over(self, alarm: str) -> None:
        """What *alarm* was about is well again, whoever has raised it: that may have been another
        Snickers, which was on duty before."""
        if alarm in self._alarmed:
            self._quiet(alarm)
        elif self._around.alarm is not None:
            self._around.alarm.cleared(alarm, self.site)

    def _quiet(self, alarm: str) -> None:
        if alarm not in self._alarmed:
            return
        if self._around.alarm is not None:
            self._around.alarm.cleared(alarm, self.site)
        self._alarmed = {name: self._alarmed[name] for name in self._alarmed if name != alarm}

    # What the orders need

    @property
    def calls(self) -> set[Deferred[None]]:
        """See `Surroundings.calls`."""
        return self._around.calls

    def engine(self) -> IEngine:
        """Return what runs its servers; raises `EngineAway` where nothing does."""
        engine = self.roster.engine
        if engine is None:
            raise EngineAway(f"Nothing here runs a {self.roster.kind}.")
        return engine

    @property
    def clock(self) -> IReactorTime:
        """Of pauses."""
        return self._around.clock

    def written(self) -> Deferred[None]:
        """Fire when it is written down which trial goes on; never fails."""
        writing, done = self._writing, Deferred[None]()
        if writing is None:
            return succeed(None)
        # It may be called already and wait for another: who writes takes turns.
        writing.addCallback(lambda _: done.callback(None))
        return done

    def copy(self, progress: Progress, had: str) -> Deferred[str]:
        """Copy the site's folder: see `Surroundings.copy`."""
        self._copying = True
        return self._around.copy(self.site, progress, had)

    def put_back(self, copy: str, progress: Progress) -> Deferred[None]:
        """Have the site's folder be as in *copy*: see `Surroundings.put_back`."""
        return self._around.put_back(self.site, copy, progress)

    def probing(self, epoch: int, instance: Instance, brief: bool) -> Deferred[None]:
        """Return a probe of *instance*, which is cancelled when *epoch* is over."""
        probing = maybeDeferred(
            self._around.prober.probe,
            instance,
            self.state.life.health,
            self.site,
            self.engine(),
            brief,
            self._not_yet,
        )

        def over(result: Any) -> Any:
            if self._probe is not None and self._probe[1] is probing:
                self._probe = None
            return result

        self._probe = (epoch, probing)
        return probing.addBoth(over)

    # What is to be done

    def _not_yet(self, words: str) -> None:
        if self.state.phase is Phase.CHECKING:
            self.unready = words

    def _grant(self, command: e.Grant) -> None:
        for ticket in command.tickets:
            waiter = self._called(ticket)
            if waiter is None:
                # Forgotten since the machine counted its use.
                self.later(e.GivenBack(command.address))
                continue
            try:
                waiter.leased(command.address)
            except Exception:
                # Its use stays counted: whether it will be given back, nobody can say.
                _log.failure("{site}: a lease was not taken well", site=self.site)

    def _refuse(self, command: e.Refuse) -> None:
        for ticket in command.tickets:
            waiter = self._called(ticket)
            if waiter is None:
                continue
            try:
                waiter.refused(command.refusal)
            except Exception:
                _log.failure("{site}: a refusal was not taken well", site=self.site)

    def _keep(self, command: e.Keep) -> None:
        self._around.kept(self, command.instance)

    def _trust(self, command: e.Trust) -> None:
        self._around.trusted(self)

    def _warn(self, command: e.Warn) -> None:
        _log.warn("{site}: {words}", site=self.site, words=command.words)
        if command.alarm == "update":
            # What was being prepared has failed, and what serves is not that.
            self.words = ""
        if command.alarm and self._around.alarm is not None:
            if self._alarmed.get(command.alarm) == command.words:
                # Tried again and failed again: to say it is over would not be true.
                return
            self._quiet(command.alarm)
            self._alarmed = {**self._alarmed, command.alarm: command.words}
            self._around.alarm.raised(command.alarm, self.site, command.words)

    def _relieve(self, command: e.Calm) -> None:
        if command.alarm == "update":
            self.last_words = ""
        self._over(command.alarm)

    def _part(self, command: e.Part) -> None:
        self._calm()
        words = "The configuration has it no more."
        self._done(self._wakers, words)
        self._done(self._sleepers, words)
        self._around.parted(self)

    def _do_tell(self, command: e.Tell) -> None:
        self.tell(command.words)

    def _say_woken(self, command: e.SayWoken) -> None:
        self._done(self._wakers, None)

    def _say_unwoken(self, command: e.SayUnwoken) -> None:
        self._done(self._wakers, command.words)

    def _asker(self) -> Deferred[None] | None:
        """Return who waits for what is being dealt with, who waits no more; ``None``: nobody."""
        for entry in self._wakers:
            if entry[2] is self._event:
                self._wakers.remove(entry)
                return entry[0]
        return None

    def _confirm(self, command: e.Confirm) -> None:
        if done := self._asker():
            done.callback(None)

    def _decline(self, command: e.Decline) -> None:
        if done := self._asker():
            done.errback(LifeFailed(command.words))

    def _say_slept(self, command: e.SaySlept) -> None:
        self._done(self._sleepers, None)

    def _say_unslept(self, command: e.SayUnslept) -> None:
        self._done(self._sleepers, command.words)


def _trial(state: State) -> Trial | None:
    """Return what must be known to go on with the trial that *state* is in, ``None``: in none."""
    good = state.good
    if good is None or not tried(state):
        return None
    same = state.fingerprint == good.fingerprint
    return Trial(
        good.id,
        # What a person named is not known to the next one, so it is not gone on with.
        state.updating and same,
        state.copied if owed(state) else "",
        state.back is not None or (same and not state.updating),
    )


_DO: dict[type[e.Command], Callable[[Living, Any], None]] = {
    **ORDERS,
    e.Grant: Living._grant,
    e.Refuse: Living._refuse,
    e.Tell: Living._do_tell,
    e.SayWoken: Living._say_woken,
    e.SayUnwoken: Living._say_unwoken,
    e.Confirm: Living._confirm,
    e.Decline: Living._decline,
    e.SaySlept: Living._say_slept,
    e.SayUnslept: Living._say_unslept,
    e.Keep: Living._keep,
    e.Trust: Living._trust,
    e.Warn: Living._warn,
    e.Calm: Living._relieve,
    e.Part: Living._part,
}
