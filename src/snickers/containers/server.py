"""One server that is a process, from its start to the end of what it writes: what is the same
whether it ends with Snickers (``attached``) or outlives it (``detached``).

Nobody hears of an end before the start, and of each once. What a server has begun in its session is
paused and ended with it.
"""

from __future__ import annotations

import math
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import evolve
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime

from snickers.containers.held import IWaitingReactor
from snickers.containers.launching import Place, Unlaunched
from snickers.containers.output import Output
from snickers.interfaces.engine import Instance

LAST_WORDS = 1.0
"""Seconds that the output of an ended server is waited for: a child in a session of its own may
hold it open for ever."""


class IReactor(IWaitingReactor, IReactorProcess):
    """What is needed of the reactor."""


class Server(ABC):
    """One server.

    :param stop_within: seconds that it is given to end where nobody says how many.
    :param place: where it runs, and what is run beside it.
    :param gone: called once, when the process has ended and, if it ran, its start was told.
    """

    def __init__(
        self,
        clock: IReactorTime,
        instance: Instance,
        stop_within: float,
        place: Place,
        gone: Callable[[Server], None],
    ) -> None:
        self.instance = instance
        self.stop_within = stop_within
        self.place = place
        self.launched: Deferred[None] = Deferred()
        """Fires when the program runs; fails with the launcher's report when it cannot."""
        self.beside = False
        """It is tried beside another one, which serves."""
        self.ran = False
        self.ending = False
        self.code: int | None = None
        """How it ended, as shells and Docker say it; ``None``: it has not, or that is not known."""
        self.silent: Deferred[None] = Deferred()
        """Fires when its output has ended, which is after its end."""
        self.pid = 0
        self._clock = clock
        self._gone = gone
        self._exited = False
        self._heard = False
        """Whether the program ran is known."""
        self._waiting: list[Deferred[None]] = []
        self._later: list[IDelayedCall] = []

    def end(self, within: float) -> Deferred[None]:
        """SIGTERM to all of it, SIGKILL after *within* seconds; fires when it has ended."""
        done: Deferred[None] = Deferred()
        if self._exited and self._heard:
            done.callback(None)
            return done
        self.ending = True
        self._waiting.append(done)
        self._signal(signal.SIGTERM)
        self.resume()  # What is stopped hears of nothing but its end by force.
        if math.isfinite(within):
            self._call(within, lambda: self._signal(signal.SIGKILL))
        return done

    def pause(self) -> None:
        """Stop all of it; whoever began a session of its own goes on."""
        if not self.instance.paused:
            self._tell_all(signal.SIGSTOP)
            self.instance = evolve(self.instance, paused=True)

    def resume(self) -> None:
        """Undo `pause`."""
        if self.instance.paused:
            self._tell_all(signal.SIGCONT)
            self.instance = evolve(self.instance, paused=False)

    def abandon(self) -> None:
        """Kill what has not become the program yet, and never will."""
        self.ending = True
        self._signal(signal.SIGKILL)

    # For those that know how it is held

    @abstractmethod
    def _signal(self, number: int) -> None:
        """Signal its group, or the process alone as long as it may lead none."""

    @abstractmethod
    def _tell_all(self, number: int) -> None:
        """Signal all of its session."""

    @abstractmethod
    def _hear_out(self) -> None:
        """It has ended: hear its last words, for `LAST_WORDS` at the most."""

    def _reported(self, report: bytes) -> None:
        """The launcher has said all that it says."""
        self._heard = True
        if report:
            self.launched.errback(Unlaunched(report))
        else:
            self.ran = True
            self.launched.callback(None)
        self._told()

    def _ended(self, code: int | None) -> None:
        """The process has ended."""
        self._exited = True
        self.code = code
        # Whoever it left behind in its group shall not live on beside the next one.
        self._signal(signal.SIGKILL)
        self._hush()
        self._told()
        self._hear_out()

    def _call(self, after: float, what: Callable[[], None]) -> None:
        self._later.append(self._clock.callLater(after, what))

    def _hush(self) -> None:
        for later in self._later:
            if later.active():
                later.cancel()
        self._later.clear()

    def _told(self) -> None:
        # The report always comes, as the program's beginning or the process's end closes it, but
        # may come after the end; and nobody shall hear of an end before the start.
        if self._exited and self._heard:
            self._gone(self)
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done.callback(None)


def silence(servers: Iterable[Server]) -> Deferred[None]:
    """Fire when all of *servers* are silent; whoever else waits for one of them still hears it."""
    silent: list[Deferred[None]] = []
    for server in servers:
        done: Deferred[None] = Deferred()
        server.silent.chainDeferred(done)
        silent.append(done)
    return DeferredList(silent).addCallback(lambda _: None)


class Keeping(Protocol):
    """How an engine keeps its servers. *gone* is what each `Server` is given."""

    outlive: bool
    """Whether they outlive the engine."""

    def spawn(
        self,
        instance: Instance,
        stop_within: float,
        command: Sequence[str],
        place: Place,
        gone: Callable[[Server], None],
    ) -> Server:
        """Start a server; it gets the id of *instance* here. Raises `EngineFailed`."""

    def find(self, gone: Callable[[Server], None]) -> Sequence[Server]:
        """Return the servers that run already, and are to be kept; one of each site."""

    def output(self, site: str) -> Output | None:
        """Return what *site*'s servers wrote; ``None``: there was none."""

    def forget(self, site: str) -> None:
        """Forget what there is of *site*, of which no server runs."""

    def close(self, servers: Sequence[Server]) -> Deferred[None]:
        """Let go of *servers*, which are all that run or are about to; end those that do not
        outlive the engine. Fires when no more is heard of any."""
