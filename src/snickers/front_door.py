"""The service that ``twistd`` runs: everything started in order, and ended in order.

The order matters and is written down once, here: sockets are bound while there may still be
privileges for it, nothing is accepted before there is somebody to answer, and at the end nothing
is closed while somebody is still being answered. It must never leave a half-started Snickers
behind: what cannot be started ends the start.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from snickers.notify import Notifier

LOOK_EVERY = 0.1
"""Seconds between looks whether the last connection has gone, while ending..."""
LOOK_SELDOM = 1.0
"""...and those when they have stayed for `LONG`: it may take a day."""
LONG = 30.0
LAST_WORDS = 1.0
"""Seconds for what is said last, to those who have waited in vain, to be on its way."""
CLOSE_WITHIN = 30.0
"""Seconds that the service manager is told are needed after that, on a busy machine."""


_log = Logger()


class ListeningPort(Protocol):
    """A listening port: see `snickers.listening.Port`."""

    def startListening(self) -> None: ...

    def stopListening(self) -> Any: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Part(Protocol):
    """What is started and stopped with the service."""

    def start(self) -> Any: ...

    def stop(self) -> Any: ...


class Fronts(Protocol):
    """The connections of all fronts: see `snickers.http.front.Front`."""

    @property
    def open(self) -> int: ...

    def drain(self) -> None: ...

    def break_off(self) -> None: ...

    def abort(self) -> None: ...


class Team(Protocol):
    """One of two on the same sockets: see `snickers.team.Team`."""

    stands_by: bool

    def start(self, ports: Sequence[ListeningPort]) -> None: ...

    def take(self) -> None: ...

    def give(self) -> None: ...

    def end(self) -> Any: ...


class FrontDoorService(Service):
    """Snickers as one service."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        bind: Callable[[], Sequence[ListeningPort]],
        parts: Sequence[Part],
        front: Fronts,
        watch: Callable[[], Any],
        reload: Callable[[], Any],
        every: float,
        drain_within: Callable[[], float],
        notifier: Notifier,
        ready: Callable[[], None],
        team: Team | None = None,
        finish_within: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """*bind* makes the ports, raising `SystemExit` when one cannot be; *parts* are started
        in order and stopped in reverse; *watch* looks for changes, each *every* seconds;
        *reload* reloads at once; *ready* is called when connections are accepted. *team*, where
        there are two, says when they are; *finish_within* is how many seconds it may finish what is
        open when the other one has taken over for good."""
        self._reactor = reactor
        self._bind = bind
        self._parts = parts
        self._front = front
        self._reload = reload
        self._every = every
        self._drain_within = drain_within
        self._notifier = notifier
        self._ready = ready
        self._team = team
        self._ports: Sequence[ListeningPort] = ()
        self._started: list[Part] = []
        self._watch = watch
        self._watcher = LoopingCall(watch)
        self._watcher.clock = reactor
        self._signals: dict[int, Any] = {}
        self._ending = False
        self.standing_by = False
        """Whether nothing is accepted since SIGUSR1, where there are no two teams to say so."""
        self._finishing = False
        """Whether it ends at leisure: nobody waits for that."""
        self._finish_within = finish_within
        self._draining: Draining | None = None

    def privilegedStartService(self) -> None:
        self._ports = self._bind()

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        for part in self._parts:
            try:
                part.start()
            except BaseException:
                # Threads that were started would keep the process from ending.
                self._unwind()
                raise
            self._started.append(part)
        if self._team is None or not self._team.stands_by:
            for port in self._ports:
                port.startListening()
        self._watcher.start(self._every, now=False).addErrback(
            lambda failure: self.log.failure("looking for changes ended", failure=failure)
        )
        self._reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        """The reactor runs, and has installed its own handlers of signals."""
        self._install_signals()
        # Not before: who hears it may send a signal at once.
        if self._team is not None:
            self._team.start(self._ports)
            return
        self._notifier.send("READY=1", "STATUS=serving")
        self._ready()

    def _unwind(self) -> None:
        """Stop what was started of a start that failed."""
        for port in self._ports:
            port.stopListening()
        for part in reversed(self._started):
            try:
                part.stop()
            except Exception:
                self.log.failure("stopping")
        self._started = []

    def look_every(self, seconds: float) -> None:
        """Change how often changes are looked for."""
        if seconds != self._every and self._watcher.running:
            self._every = seconds
            self._watcher.interval = seconds
            self._watcher.reset()

    def told(self, what: str) -> None:
        """Tell the service manager how a reload goes: ``"reloading"`` or ``"ready"``."""
        if self._team is not None:
            return  # that it is ready is for a team to say, when it has proven itself
        if what == "reloading":
            # systemd's Type=notify-reload wants to know when (sd_notify(3)).
            now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.send("RELOADING=1", f"MONOTONIC_USEC={now}")
        else:
            self._notifier.send("READY=1")

    # Signals

    def _install_signals(self) -> None:
        for number, act in (
            (signal.SIGHUP, self.reload_now),
            (signal.SIGUSR1, self.stand_by),
            (signal.SIGUSR2, self.accept_again),
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
            *([(signal.SIGURG, self._finish)] if self._team is not None else []),
        ):
            self._signals[number] = signal.signal(number, self._handler(act))

    def _handler(self, act: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(act)

        return handle

    def _finish(self) -> None:
        """Finish what is open, for long: the other team has taken over for good (SIGURG)."""
        if self._ending:
            return
        self.log.info("SIGURG: finishing what is open")
        self._ending = self._finishing = True
        self._reactor.stop()

    def _hurry(self) -> None:
        """What is still open has as long as at any end, from now on."""
        self._finishing = False
        if self._draining is None:
            # It has not begun yet.
            return
        self.log.info("what is open has {seconds:g}s more", seconds=self.within)
        self._say_stopping()
        for port in self._ports:
            # The crew has told its workers another time.
            port.stopListening()
        self._draining.hurry(self.within)

    def _end(self) -> None:
        """The first signal drains, the second one waits for nobody."""
        if self._finishing:
            self._hurry()
            return
        if self._ending:
            self._front.abort()
            return
        self._ending = True
        if self._front.open and sys.stderr.isatty():
            print("Finishing what is open; once more to end at once.", file=sys.stderr)
        self._reactor.stop()

    def reload_now(self) -> None:
        """Reload, as SIGHUP asks."""
        self.log.info("SIGHUP: reloading")
        done = self._reload()
        done.addErrback(lambda failure: self.log.failure("reloading", failure=failure))

    def stand_by(self) -> None:
        """Accept no more; finish what is open (SIGUSR1)."""
        self.log.info("SIGUSR1: standing by")
        if self._team is not None:
            self._team.give()
            return
        for port in self._ports:
            port.pause()
        self.standing_by = True
        self._notifier.send("STATUS=standing by")

    def accept_again(self) -> None:
        """Accept again (SIGUSR2)."""
        self.log.info("SIGUSR2: accepting")
        if self._team is not None:
            self._team.take()
            if self._watcher.running:
                # While it stood by, who asked for a reload asked the other one alone.
                looking = maybeDeferred(self._watch)
                looking.addErrback(lambda failure: self.log.failure("looking", failure=failure))
            return
        for port in self._ports:
            port.resume()
        self.standing_by = False
        self._notifier.send("STATUS=serving")

    # The end

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self._say_stopping()
        if self._watcher.running:
            self._watcher.stop()
        for port in self._ports:
            port.stopListening()
        if self._team is not None:
            # The other one shall not have to wait for the last connection here.
            self._team.end()
        self._front.drain()
        if self._front.open:
            self.log.info(
                "ending: waiting up to {seconds:g}s for {count} open; once more to end at once",
                seconds=self.within,
                count=self._front.open,
            )
        self._draining = Draining(self._reactor, self._front, self.within)
        done: Deferred[Any] = self._draining.done
        for part in reversed(self._started):
            done.addCallback(self._stop, part)
            done.addErrback(lambda failure: self.log.failure("stopping", failure=failure))
        self._started = []
        return done

    @property
    def within(self) -> float:
        """How many seconds what is open is given at an end that begins now."""
        return self._finish_within() if self._finishing else self._drain_within()

    def again(self) -> tuple[str, ...]:
        """Return what a keeper may have missed: how long the end may take from now on, and whether
        this ends at leisure."""
        if self._draining is None:
            return ()
        needs = _needs(self._draining.left)
        return (needs, "X_SNICKERS_FINISHING=1") if self._finishing else (needs,)

    def _say_stopping(self) -> None:
        self._notifier.send("STOPPING=1", _needs(self.within))

    def _stop(self, before: object, part: Part) -> Deferred[Any]:
        return maybeDeferred(part.stop)


def _needs(seconds: float) -> str:
    """Return how the service manager is told that an end may take so long."""
    return f"EXTEND_TIMEOUT_USEC={round((seconds + CLOSE_WITHIN) * 1e6)}"


class Draining:
    """Waits until the last connection has gone, by itself or because *within* seconds are over:
    then requests that have no answer yet are answered that they may come again, and what still
    remains `LAST_WORDS` later is aborted."""

    def __init__(self, clock: Any, front: Fronts, within: float) -> None:
        self.done: Deferred[None] = Deferred()
        """Fires then."""
        self._clock = clock
        self._front = front
        self._began = clock.seconds()
        self._until = self._began + within
        self._next: Any = None
        self._broken_off = False
        self._look()

    @property
    def left(self) -> float:
        """Seconds until the rest is broken off."""
        return float(max(0.0, self._until - self._clock.seconds()))

    def hurry(self, within: float) -> None:
        """Wait for *within* seconds more at the most."""
        self._until = min(self._until, self._clock.seconds() + within)
        if self._next is not None and self._next.active():
            self._next.cancel()
            self._look()

    def _look(self) -> None:
        if not self._front.open:
            self.done.callback(None)
            return
        now = self._clock.seconds()
        left = self._until - now
        if left <= -LAST_WORDS:
            self._front.abort()
            self._clock.callLater(0, self.done.callback, None)
            return
        if left <= 0 and not self._broken_off:
            self._broken_off = True
            _log.info("ending with {count} connections open", count=self._front.open)
            self._front.break_off()
        pause = LOOK_EVERY if now - self._began < LONG or left <= 0 else min(LOOK_SELDOM, left)
        self._next = self._clock.callLater(pause, self._look)


class Together:
    """Several fronts as one."""

    def __init__(self, *fronts: Fronts) -> None:
        self._fronts = fronts

    @property
    def open(self) -> int:
        """How many connections all have open."""
        return sum(front.open for front in self._fronts)

    def drain(self) -> None:
        """Let idle connections go; those with an exchange follow when it has ended."""
        for front in self._fronts:
            front.drain()

    def break_off(self) -> None:
        """Answer requests that have no answer yet: they may come again."""
        for front in self._fronts:
            front.break_off()

    def abort(self) -> None:
        """End what is still open."""
        for front in self._fronts:
            front.abort()
