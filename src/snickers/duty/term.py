"""What duty is made of, begun and let go of in order: `Term` is the work of a `Shift`.

Letting go has a bound, because connections wait in the kernel's queue meanwhile: what an engine or
a copy does not end within it is broken off, or goes on by itself and is found by the other team,
which lists what there is. It must never leave the lock to another one while something here could
still decide to start or stop a server.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.duty import handover as handovers
from snickers.duty.counting import Numbers
from snickers.duty.handover import Handover
from snickers.interfaces.handed import Handed, Kept

LET_GO_WITHIN = 1.0
"""Seconds that engines have to finish what they were asked, and copies to be broken off: Docker
starts or stops a small server in less, and the keeper waits for two."""
READ_WITHIN = WRITE_WITHIN = 0.5
"""Seconds that a slow disk is waited for."""

_log = Logger()


class Lives(Protocol):
    """See `snickers.containers.service.Lives`."""

    def start(self) -> None: ...

    def hand_over(self) -> Mapping[str, Handed]: ...

    def release(self, within: float) -> Deferred[None]: ...


class Leases(Protocol):
    """See `snickers.duty.leasing.TeamLeases`."""

    def on_duty(self, lives: Mapping[str, Kept]) -> None: ...

    def off_duty(self, handed: Mapping[str, Handed]) -> None: ...


class Counting(Protocol):
    """See `snickers.duty.counting.Counting`."""

    def hand_over(self) -> Mapping[str, Numbers]: ...

    def take(self, counts: Mapping[str, Numbers], heard: Mapping[str, Numbers]) -> None: ...


class Lending(Protocol):
    """See `snickers.duty.lending.Lending`."""

    def start(self) -> None: ...

    def stop(self) -> Deferred[Any]: ...

    def heard(self) -> Mapping[int, Mapping[str, Numbers]]: ...

    def forget(self) -> None: ...


class Borrowing(Protocol):
    """See `snickers.duty.borrowing.Borrowing`."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class Alarm(Protocol):
    """See `snickers.alarm.Alarm`."""

    def speak(self, told: Sequence[tuple[str, str, str]]) -> None: ...

    def be_silent(self) -> list[tuple[str, str, str]]: ...


class Part(Protocol):
    """What is started with duty and stopped with it."""

    def start(self) -> Any: ...

    def stop(self) -> Any: ...


class Term:
    """All that only the team on duty does.

    :param path: of the file by which it is handed over.
    :param pid: of this process.
    :param wall: seconds since the epoch.
    :param in_thread: runs a blocking call elsewhere.
    :param anew: makes the lives as new, with all sites of the running configuration.
    :param first: parts that are started before servers are: they may fail, which ends the attempt.
    :param last: parts that are started when servers can be.
    """

    def __init__(
        self,
        clock: IReactorTime,
        path: str,
        pid: int,
        wall: Callable[[], float],
        in_thread: Callable[..., Deferred[Any]],
        lives: Lives,
        anew: Callable[[], None],
        leases: Leases,
        counting: Counting,
        lending: Lending,
        borrowing: Borrowing,
        alarm: Alarm,
        first: Sequence[Part],
        last: Sequence[Part],
    ) -> None:
        self._clock = clock
        self._path = path
        self._pid = pid
        self._wall = wall
        self._in_thread = in_thread
        self._lives = lives
        self._anew = anew
        self._leases = leases
        self._counting = counting
        self._lending = lending
        self._borrowing = borrowing
        self._alarm = alarm
        self._first = [*first, lending]
        self._last = last

    def begin(self) -> Deferred[None]:
        """Begin; fires when all is begun. When it fails nothing is."""
        reading = self._in_thread(handovers.take, self._path, self._wall())
        reading.addTimeout(READ_WITHIN, self._clock)
        reading.addErrback(self._not_read)
        return reading.addCallback(self._begin)

    def _begin(self, told: Handover | None) -> Deferred[None] | None:
        started: list[Part] = []
        made = False
        try:
            for part in self._first:
                part.start()
                started.append(part)
            made = True
            self._anew()
        except Exception:
            reason = Failure()  # type: ignore[no-untyped-call]
            for part in reversed(started):
                self._stop(part)
            undone = [self._put_back(told)]
            if made:
                # Some of the lives may be there: a reload would have them act.
                self._lives.hand_over()
                undone.append(self._lives.release(LET_GO_WITHIN))
            return DeferredList(undone).addCallback(lambda _: reason)
        try:
            self._go_on(told)
        except Exception:
            # Half of it must not go on when the lock is another one's.
            reason = Failure()  # type: ignore[no-untyped-call]
            return self.let_go().addCallback(lambda _: reason)
        return None

    def _put_back(self, told: Handover | None) -> Deferred[None]:
        """Leave what was handed over for whoever begins next; fires when it is there, or when a
        slow disk was waited for."""
        if told is None:
            return succeed(None)
        writing = self._in_thread(handovers.write, self._path, told)
        writing.addErrback(self._not_written)
        return self._bounded(writing, WRITE_WITHIN)

    def _go_on(self, told: Handover | None) -> None:
        """Be on duty from now on, with what was *told*."""
        self._borrowing.stop()
        lives: Mapping[str, Kept] = {} if told is None else told.lives
        if told is not None and told.pid != self._pid:
            # What the other team has counted is in that.
            self._lending.forget()
            self._counting.take(told.counts, told.heard.get(self._pid, {}))
        self._alarm.speak(() if told is None else told.alarms)
        self._leases.on_duty(lives)
        for part in self._last:
            try:
                part.start()
            except Exception:
                _log.failure("A part of duty was not begun")
        self._lives.start()

    def let_go(self) -> Deferred[None]:
        """Let go of everything; fires when that is done, after `LET_GO_WITHIN` and little more at
        the latest, and never fails."""
        now = self._wall()
        alarms = tuple(self._alarm.be_silent())
        heard, counts = self._counted()
        ending = [self._stop(part) for part in reversed(self._first)]
        handed = self._lives.hand_over()
        self._leases.off_duty(handed)
        ending += [self._stop(part) for part in reversed(self._last)]
        lives = {site: found.kept for site, found in handed.items() if found.kept != Kept()}
        told = Handover(now, self._pid, lives, counts, heard, alarms)
        all_ended = self._bounded(DeferredList(ending), LET_GO_WITHIN)
        engines = self._lives.release(LET_GO_WITHIN)
        writing = self._in_thread(handovers.write, self._path, told)
        writing.addErrback(self._not_written)
        done = DeferredList([all_ended, engines, self._bounded(writing, WRITE_WITHIN)])

        def gone(_: object) -> None:
            self._borrowing.start()

        return done.addCallback(gone)

    def _counted(self) -> tuple[Mapping[int, Mapping[str, Numbers]], Mapping[str, Numbers]]:
        try:
            return self._lending.heard(), self._counting.hand_over()
        except Exception:
            # Numbers are no reason to keep duty, or to let go of it by halves.
            _log.failure("what was counted cannot be handed over")
            return {}, {}

    @staticmethod
    def _not_read(failure: Failure) -> None:
        # Who cannot be told what was goes on without.
        _log.error(
            "What was handed over cannot be read: {reason}", reason=failure.getErrorMessage()
        )

    @staticmethod
    def _not_written(failure: Failure) -> None:
        _log.error(
            "What is known of servers could not be handed over: {reason}",
            reason=failure.getErrorMessage(),
        )

    @staticmethod
    def _stop(part: Part) -> Deferred[Any]:
        stopping: Deferred[Any] = maybeDeferred(part.stop)
        return stopping.addErrback(lambda failure: _log.failure("letting go", failure))

    def _bounded(self, done: Deferred[Any], within: float) -> Deferred[None]:
        """Return a Deferred that fires when *done* does, or when *within* seconds are over."""
        either: Deferred[None] = Deferred()

        def over(_: object) -> None:
            if late.active():
                late.cancel()
                either.callback(None)

        late = self._clock.callLater(within, either.callback, None)
        done.addBoth(over)
        return either
