"""What a life has its engine do: the commands of the machine that ask an engine or a server.

Each order is one call; what comes of it is told to the machine as an event, with the epoch of its
command. A failure of any kind becomes an event, too. It must never decide what comes next, and
never keep anything of a life.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    TimeoutError,
    maybeDeferred,
    succeed,
)
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from snickers.containers import events as e
from snickers.containers.engine import EngineAway, EngineFailed
from snickers.containers.life import State
from snickers.containers.probe import NotReady
from snickers.containers.roster import Roster
from snickers.interfaces.copies import CopyFailed
from snickers.interfaces.engine import Declared, IEngine, Instance, Ran

VETO_WITHIN = 10.0
"""Seconds that a server has to say whether it is in use."""

_log = Logger()


class Life(Protocol):
    """A life, as its orders know it."""

    site: str
    calls: set[Deferred[None]]
    """What is under way for all lives, and should have come to its end before another Snickers
    takes over."""
    roster: Roster
    clock: IReactorTime
    state: State

    def engine(self) -> IEngine:
        """Return what runs its servers; raises `EngineAway` where nothing does."""

    def wanted(self) -> Declared:
        """Return what shall run."""

    def unnamed(self) -> Instance | None:
        """Return the server that shall run, where how it was declared is not known any more."""

    def post(self, event: e.Event) -> None:
        """Tell the machine of *event*."""

    def tell(self, words: str) -> None:
        """Tell persons how far it is."""

    def hear_out(self) -> Deferred[None]:
        """Keep the last lines that the server wrote; never fails."""

    def written(self) -> Deferred[None]:
        """Fire when it is written down what is being tried; never fails."""

    def copy(self, progress: Callable[[str], None], had: str) -> Deferred[str]:
        """Copy the site's folder, if *had* is not a copy that is good still, and let nobody else
        have it until the trial is over; fires with the copy's name."""

    def put_back(self, copy: str, progress: Callable[[str], None]) -> Deferred[None]:
        """Have the site's folder be as it was when *copy* was made of it, while no server runs."""

    def probing(self, epoch: int, instance: Instance, brief: bool) -> Deferred[None]:
        """Return a probe of *instance*, which is cancelled when *epoch* is over."""


def _failed(
    life: Life, failure: Failure, failed: Callable[[int, str, bool], e.Event], epoch: int
) -> None:
    if not isinstance(failure.value, EngineAway | EngineFailed | CopyFailed):
        _log.failure("{site}: the engine broke", failure, site=life.site)
    away = isinstance(failure.value, EngineAway)
    life.post(failed(epoch, failure.getErrorMessage() or repr(failure.value), away))


def _hear(
    life: Life,
    asked: Deferred[Any],
    done: Callable[[Any], e.Event],
    failed: Callable[[Failure], object],
) -> None:
    """Tell the machine what was answered, and *failed* why nothing was."""
    asked.addCallbacks(lambda result: life.post(done(result)), failed)
    asked.addErrback(lambda f: _log.failure("{site}: an answer was lost", f, site=life.site))


def _call(
    life: Life,
    call: Callable[[], Deferred[Any]],
    done: Callable[[Any], e.Event],
    failed: Callable[[int, str, bool], e.Event],
    epoch: int,
    awaited: bool = True,
) -> None:
    """*awaited*: before another Snickers takes over, it should have come to its end."""
    calling = maybeDeferred(call)
    _hear(life, calling, done, lambda failure: _failed(life, failure, failed, epoch))
    calls = life.calls
    if awaited:
        # Also one that is called, and waits for another: an engine's turns are such.
        calls.add(calling)
        calling.addCallback(lambda _: calls.discard(calling))


def _plainly(
    ask: Callable[[Life, Any], Deferred[None]],
    done: Callable[[int], e.Event],
    failed: Callable[[int, str, bool], e.Event],
    awaited: bool = True,
) -> Callable[[Life, Any], None]:
    """Return the order of a command whose answer says nothing but that it was done."""

    def order(life: Life, command: Any) -> None:
        epoch = command.epoch
        _call(life, lambda: ask(life, command), lambda _: done(epoch), failed, epoch, awaited)

    return order


def _start(life: Life, command: e.Start) -> None:
    epoch = command.epoch

    def progress(words: str) -> None:
        if life.state.epoch == epoch:
            life.tell(words)

    def make() -> Deferred[Instance]:
        return life.engine().start(life.wanted(), progress, command.fresh, command.beside)

    def begin() -> Deferred[Instance]:
        # From its start on nobody can tell what is only tried from what has proven itself.
        return life.written().addCallback(start)

    def start(_: None) -> Deferred[Instance]:
        former = life.unnamed()
        if former is None or command.beside:
            return make()
        # It cannot be made again, only be started as it is.
        again = life.engine().revert(life.site, former.id, progress)
        return again.addErrback(not_there)

    def not_there(failure: Failure) -> Deferred[Instance]:
        failure.trap(EngineFailed)  # type: ignore[no-untyped-call]
        return make()

    _call(
        life,
        begin,
        done=lambda instance: e.Started(epoch, instance),
        failed=e.StartFailed,
        epoch=epoch,
    )


def _prepare(life: Life, command: e.Prepare) -> None:
    _call(
        life,
        lambda: life.engine().prepare(life.wanted(), command.fresh, life.tell),
        done=lambda changed: e.Prepared(command.epoch, changed),
        failed=e.PrepareFailed,
        epoch=command.epoch,
        awaited=False,
    )


def _copy(life: Life, command: e.Copy) -> None:
    def copy() -> Deferred[str]:
        copying = life.copy(life.tell, command.had).addTimeout(command.within, life.clock)
        return copying.addErrback(late)

    def late(failure: Failure) -> Failure:
        if not isinstance(failure.value, TimeoutError):
            return failure
        within = f"{command.within:g} s"
        raise EngineFailed(f"It was not done within {within} (snapshot within).")

    _call(
        life,
        copy,
        done=lambda copy: e.Copied(command.epoch, copy),
        failed=e.CopyFailed,
        epoch=command.epoch,
    )


def _revert(life: Life, command: e.Revert) -> None:
    as_it_is: list[bool] = []

    def put_back(_: object) -> Deferred[None]:
        # Nothing may work on the folder while it is exchanged.
        stopping = life.engine().stop(life.site, life.state.life.stop_within)
        putting = stopping.addCallback(lambda _: life.put_back(command.copy, life.tell))
        return putting.addErrback(not_put_back)

    def not_put_back(failure: Failure) -> Failure:
        as_it_is.append(True)
        return failure

    def failed(epoch: int, words: str, away: bool) -> e.Event:
        return e.RevertFailed(epoch, words, away, folder=bool(as_it_is))

    def revert(_: object) -> Deferred[Instance]:
        reverting: Deferred[Instance] = life.engine().revert(life.site, command.id, life.tell)
        return reverting

    def begin() -> Deferred[Instance]:
        # Its last words first: they go with it.
        heard = life.hear_out()
        if command.copy:
            heard.addCallback(put_back)
        return heard.addCallback(revert)

    _call(
        life,
        begin,
        done=lambda instance: e.Reverted(command.epoch, instance),
        failed=failed,
        epoch=command.epoch,
    )


def _settle(life: Life, command: e.Settle) -> None:
    def settle(_: object) -> Deferred[None]:
        return life.engine().settle(life.site, command.id, command.spare)

    def failed(failure: Failure) -> None:
        words = f"What was replaced is still there: {failure.getErrorMessage()}"
        away = isinstance(failure.value, EngineAway)
        life.post(e.SettleFailed(command.id, words, away, command.spare))

    # Its last words first: they go with it.
    heard = life.hear_out() if command.failed else succeed(None)
    _hear(
        life,
        heard.addCallback(settle),
        lambda _: e.Settled(command.id, command.spare),
        failed,
    )


def _snapshot(life: Life, command: e.Snapshot) -> None:
    def ran(result: Ran) -> e.Event:
        if result.code == 0:
            return e.Snapshotted(command.epoch)
        said = f": {result.output}" if result.output else "."
        words = f"Its snapshot failed with status {result.code}, so it is not stopped{said}"
        return e.SnapshotFailed(command.epoch, words)

    def failed(epoch: int, words: str, away: bool) -> e.Event:
        return e.SnapshotFailed(epoch, f"Its snapshot failed, so it is not stopped. {words}", away)

    _call(
        life,
        lambda: life.engine().run(life.site, command.command, command.within),
        done=ran,
        failed=failed,
        epoch=command.epoch,
    )


def _inquire(life: Life, command: e.Inquire) -> None:
    def ran(result: Ran) -> e.Event:
        return (e.Vetoed if result.code else e.Consented)(command.epoch)

    def failed(epoch: int, words: str, away: bool) -> e.Event:
        # Who cannot say is not put to sleep.
        _log.warn("{site}: veto: {words}", site=life.site, words=words)
        return e.Vetoed(epoch)

    _call(
        life,
        lambda: life.engine().run(life.site, command.command, VETO_WITHIN),
        done=ran,
        failed=failed,
        epoch=command.epoch,
        awaited=False,
    )


def _look(life: Life, command: e.Look) -> None:
    life.roster.look(life.site, command.epoch)


def _probe(life: Life, command: e.Probe) -> None:
    def failed(failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            return
        if not isinstance(failure.value, NotReady):
            _log.failure("{site}: the probe broke", failure, site=life.site)
        life.post(e.HealthFailed(command.epoch, failure.getErrorMessage()))

    probing = life.probing(command.epoch, command.instance, command.brief)
    _hear(life, probing, lambda _: e.HealthPassed(command.epoch), failed)


ORDERS: Mapping[type[e.Command], Callable[[Any, Any], None]] = {
    e.Start: _start,
    e.Stop: _plainly(
        lambda life, command: life.engine().stop(life.site, command.within),
        e.Stopped,
        e.StopFailed,
        # Whoever takes over is told of it (`Kept.stopping`).
        awaited=False,
    ),
    e.Clear: _plainly(lambda life, _: life.engine().remove(life.site), e.Cleared, e.ClearFailed),
    e.Prepare: _prepare,
    e.Copy: _copy,
    e.Revert: _revert,
    e.Settle: _settle,
    e.Pause: _plainly(lambda life, _: life.engine().pause(life.site), e.Paused, e.PauseFailed),
    e.Resume: _plainly(lambda life, _: life.engine().resume(life.site), e.Resumed, e.ResumeFailed),
    e.Snapshot: _snapshot,
    e.Inquire: _inquire,
    e.Look: _look,
    e.Probe: _probe,
}
"""What is done at each of these commands, with the life."""
