"""A team's turn: obeys the machine that says how duty passes (`snickers.duty.passing`).

It takes what signals ask for, tries the lock, and tells the keeper how it stands. It must never
decide anything itself, and never wait: the lock is asked for again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.duty.passing import Command, Event, Phase, State, step
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.teller import Teller

TRY_EVERY = 0.02
"""Seconds between two tries to have the lock: duty is to pass in less than a second, and a try is
one system call."""
TELL_AFTER = 10.0
"""Seconds of tries after which a person is told: to give duty up takes two."""
BEGIN_AGAIN = 1.0
"""Seconds until what belongs to duty is begun again, when it could not be."""
SAY_AGAIN = 0.05
"""Seconds until the keeper is told again what it had no room for."""
ALARM = "duty"


class Unproven(Exception):
    """A team has not proved itself; the text says in a line what is wrong."""


class Lock(Protocol):
    """See `snickers.duty.dutylock.DutyLock`."""

    path: str

    def take(self) -> bool: ...

    def let_go(self) -> None: ...


class Work(Protocol):
    """All that only the team on duty does."""

    def begin(self) -> Deferred[Any]:
        """Begin with it; what was begun is undone when it fails."""

    def let_go(self) -> Deferred[Any]:
        """Let go of all of it, within a bound; never fails."""


class Doors(Protocol):
    """Where connections are accepted."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Shift:
    """The duty of one team.

    *prove* is given for one that is to stand by first: it proves the team, and fails with
    `Unproven`. *failed* ends the process with a line. *version* is told with ``READY=1``.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        lock: Lock,
        work: Work,
        teller: Teller,
        alarm: IAlarm,
        failed: Callable[[str], None],
        prove: Callable[[], Deferred[Any]] | None,
        version: str,
    ) -> None:
        self.doors: list[Doors] = []
        """To be opened and closed; set before `start`."""
        self.stands_by = prove is not None
        """Whether it begins without duty."""
        self._clock = clock
        self._lock = lock
        self._work = work
        self._teller = teller
        self._alarm = alarm
        self._failed = failed
        self._prove = prove
        self._version = version
        self._state = State(Phase.TAKING if prove is None else Phase.PROVING)
        self._fault = ""
        self._pause = TRY_EVERY
        self._trying_since: float | None = None
        self._later: Any = None
        self._told = False
        self._started = False
        self._ended: list[Deferred[None]] = []
        self._events: list[Event] = []
        self._running = False
        self._unsaid: list[tuple[str, ...]] = []
        """What the keeper had no room for yet."""

    @property
    def phase(self) -> Phase:
        """Where it is."""
        return self._state.phase

    # What it is asked

    def start(self) -> None:
        """Begin: take duty, or prove itself. The reactor runs."""
        self._started = True
        prove = self._prove
        if prove is None:
            self._say_ready()
            self._try()
            return
        proving = maybeDeferred(prove)
        proving.addCallbacks(lambda _: self._hear(Event.PROVEN), self._unproven)
        proving.addErrback(lambda failure: self.log.failure("proving", failure))

    def take(self) -> None:
        """Accept, and be on duty."""
        self._hear(Event.TAKE_ASKED)

    def give(self) -> None:
        """Accept no more, and give duty up."""
        self._hear(Event.GIVE_ASKED)

    def end(self) -> Deferred[None]:
        """Give duty up for good; fires when that is done. Connections may be open still."""
        self._hear(Event.END_ASKED)
        if self.phase is Phase.ENDING:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    def again(self) -> tuple[str, ...]:
        """Return how it stands, in the words that it was told by: a keeper may have missed them."""
        if not self._started or self._unsaid or self.phase is Phase.PROVING:
            return ()
        if self._state.ending or self.phase is Phase.ENDING:
            return ("STOPPING=1",)
        words = ["READY=1", f"X_SNICKERS_VERSION={self._version}"]
        # In between it says so when it is done.
        if self.phase is Phase.ON_DUTY:
            words.append("X_SNICKERS_DUTY=1")
        elif self.phase is Phase.STANDING_BY:
            words.append("X_SNICKERS_DUTY=0")
        return tuple(words)

    # What happens

    def _unproven(self, failure: Failure) -> None:
        if not isinstance(failure.value, Unproven):
            self.log.failure("proving", failure)
        self._fault = failure.getErrorMessage() or repr(failure.value)
        if self.phase is not Phase.PROVING:
            self.log.warn("It was not proven: {fault}", fault=self._fault)
        self._hear(Event.UNPROVEN)

    def _hear(self, event: Event) -> None:
        self._events.append(event)
        if self._running:
            return
        self._running = True
        try:
            while self._events:
                self._step(self._events.pop(0))
        finally:
            self._running = False

    def _step(self, event: Event) -> None:
        before = self._state
        self._state, commands = step(before, event)
        if self._state.phase is not before.phase:
            self.log.info(
                "duty: {before} → {phase}",
                before=before.phase.value,
                phase=self._state.phase.value,
            )
            if self._state.phase is not Phase.TAKING:
                self._tried()
        for command in commands:
            try:
                _DO[command](self)
            except Exception:
                self.log.failure("duty: {command} was not carried out", command=command.value)
        if self._state.phase is Phase.ENDING:
            ended, self._ended = self._ended, []
            for done in ended:
                done.callback(None)

    # What is to be done

    def _accept(self) -> None:
        for doors in self.doors:
            doors.resume()
        self._say("STATUS=serving")

    def _stop_accepting(self) -> None:
        for doors in self.doors:
            doors.pause()
        self._say("STATUS=standing by")

    def _try(self) -> None:
        if self._trying_since is None:
            self._trying_since = self._clock.seconds()
        try:
            mine = self._lock.take()
            problem = ""
        except OSError as error:
            mine = False
            problem = f"{self._lock.path}: {error.strerror}."
        if not mine and self._clock.seconds() - self._trying_since >= TELL_AFTER and not self._told:
            self._told = True
            self._alarm.raised(
                ALARM,
                "",
                problem
                or f"The other team does not give duty up: it holds {self._lock.path}. Servers are"
                " neither started nor stopped here until it ends.",
            )
        self._hear(Event.LOCKED if mine else Event.TAKEN)

    def _tried(self) -> None:
        """Whether anybody else holds the lock does not matter any more."""
        self._trying_since = None
        self._pause = TRY_EVERY
        later, self._later = self._later, None
        if later is not None:
            later.cancel()
        if self._told and not self._fault:
            self._told = False
            self._alarm.cleared(ALARM, "")

    def _try_later(self) -> None:
        def passed() -> None:
            self._later = None
            self._hear(Event.TIME_PASSED)

        if self._later is None:
            self._later = self._clock.callLater(self._pause, passed)
        self._pause = TRY_EVERY

    def _begin(self) -> None:
        beginning = maybeDeferred(self._work.begin)
        beginning.addCallbacks(self._begun, self._not_begun)
        beginning.addErrback(lambda failure: self.log.failure("beginning", failure))

    def _begun(self, _: object) -> None:
        self._fault = ""
        if self._told:
            self._told = False
            self._alarm.cleared(ALARM, "")
        self._hear(Event.BEGUN)

    def _not_begun(self, failure: Failure) -> None:
        self._fault = failure.getErrorMessage() or repr(failure.value)
        self.log.failure("duty could not be begun", failure)
        self._told = True
        self._alarm.raised(ALARM, "", self._fault)
        self._pause = BEGIN_AGAIN
        self._hear(Event.NOT_BEGUN)

    def _let_go(self) -> None:
        letting = maybeDeferred(self._work.let_go)
        letting.addErrback(lambda failure: self.log.failure("giving duty up", failure))
        letting.addCallback(lambda _: self._hear(Event.LET_GO))

    def _unlock(self) -> None:
        self._lock.let_go()

    def _say_ready(self) -> None:
        status = "standing by" if self.phase is Phase.STANDING_BY else "serving"
        self._say("READY=1", f"STATUS={status}", f"X_SNICKERS_VERSION={self._version}")

    def _say_on(self) -> None:
        self._say("X_SNICKERS_DUTY=1")

    def _say_off(self) -> None:
        self._fault = ""
        if self._told:
            self._told = False
            self._alarm.cleared(ALARM, "")
        self._say("X_SNICKERS_DUTY=0")

    def _say(self, *states: str) -> None:
        """Tell the keeper, in order, and when it has room."""
        self._unsaid.append(states)
        if len(self._unsaid) == 1:
            self._send()

    def _send(self) -> None:
        while self._unsaid:
            if not self._teller.send(*self._unsaid[0]):
                # It waits for nothing else.
                self._clock.callLater(SAY_AGAIN, self._send)
                return
            del self._unsaid[0]

    def _fail(self) -> None:
        self._failed(self._fault)


_DO: dict[Command, Callable[[Shift], None]] = {
    Command.ACCEPT: Shift._accept,
    Command.STOP_ACCEPTING: Shift._stop_accepting,
    Command.TRY: Shift._try,
    Command.TRY_LATER: Shift._try_later,
    Command.BEGIN: Shift._begin,
    Command.LET_GO: Shift._let_go,
    Command.UNLOCK: Shift._unlock,
    Command.SAY_READY: Shift._say_ready,
    Command.SAY_ON: Shift._say_on,
    Command.SAY_OFF: Shift._say_off,
    Command.FAIL: Shift._fail,
}
