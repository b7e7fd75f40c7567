"""A worker, as it deals with the first process: it does what it is told, asks for leases, reports.

When the first process has gone nobody knows which server is awake, so a worker without one takes no
new connections, finishes what is open, and ends. It must never go on serving by itself.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from snickers.interfaces.engine import Address
from snickers.interfaces.leases import Stage
from snickers.interfaces.plane import IPlane
from snickers.workers import wire
from snickers.workers.census import Counts, Reporter
from snickers.workers.leases import LOST, RemoteLeases


class Doors(Protocol):
    """The worker's connections, as a whole."""

    def accept(self) -> None:
        """Accept connections."""

    def stand_by(self) -> None:
        """Accept no more until `accept`."""

    def end(self, within: float) -> None:
        """Accept no more, finish what is open within so many seconds, and end the process."""

    def abort(self) -> None:
        """End what is open, and the process."""

    def reopen(self) -> None:
        """Open the access log anew."""


class Duty(wire.Speaker):
    """Speaks with the first process.

    *count* returns what there is to tell of each site; *drain_within* how many seconds open
    exchanges have when the first process has gone.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        plane: IPlane,
        doors: Doors,
        leases: RemoteLeases,
        count: Callable[[], Mapping[str, Counts]],
        drain_within: Callable[[], float],
    ) -> None:
        super().__init__()
        self._clock = clock
        self._plane = plane
        self._doors = doors
        self._leases = leases
        self._count = count
        self._drain_within = drain_within
        self._reporter = Reporter()
        self._parts: list[bytes] = []
        self._lost = False
        self._over: Callable[[], None] = _nothing

    # What it is told

    @wire.Apply.responder
    def _apply(self, part: bytes, last: bool) -> dict[str, object]:
        self._parts.append(part)
        if last:
            data, self._parts = b"".join(self._parts), []
            self._plane.apply(wire.unpacked(data))
        return {}

    @wire.Accept.responder
    def _accept(self) -> dict[str, object]:
        self._doors.accept()
        return {}

    @wire.StandBy.responder
    def _stand_by(self) -> dict[str, object]:
        self._doors.stand_by()
        return {}

    @wire.Drain.responder
    def _drain(self, within: float) -> dict[str, object]:
        self._doors.end(within)
        return {}

    @wire.Abort.responder
    def _abort(self) -> dict[str, object]:
        self._doors.abort()
        return {}

    @wire.Reopen.responder
    def _reopen(self) -> dict[str, object]:
        self._doors.reopen()
        return {}

    @wire.Count.responder
    def _counted(self) -> dict[str, object]:
        self.report()
        return {}

    @wire.Withdraw.responder
    def _withdrawn(self, site: str) -> dict[str, object]:
        self._leases.withdrawn(site)
        return {}

    # What it says

    def report(self) -> None:
        """Tell what has been counted, if anything of it has changed."""
        data = self._reporter.changed(self._count())
        if data:
            for part, last in wire.parts(data):
                self._say(wire.Counted, part=part, last=last)

    def take(self, site: str, ticket: int) -> None:
        """Ask for a lease of *site*: see `snickers.workers.leases.Lessor`."""
        if self._lost:
            self._clock.callLater(0, self._leases.answered, ticket, LOST)
            return
        asked: Deferred[Any] = self.callRemote(wire.Take, site=site, ticket=ticket)
        asked.addCallback(self._answered, ticket)
        asked.addErrback(self._unanswered, ticket)

    def _answered(self, answer: dict[str, object], ticket: int) -> None:
        try:
            self._leases.answered(ticket, wire.result(answer))
        except Exception:
            self.log.failure("A lease was not taken well")

    def _unanswered(self, failure: Failure, ticket: int) -> None:
        # The connection is lost; nobody may go without an answer.
        self._leases.answered(ticket, LOST)

    def forget(self, ticket: int) -> None:
        self._say(wire.Forget, ticket=ticket)

    def give_back(self, site: str, address: Address, count: int) -> None:
        host, port = wire.sent_address(address)
        self._say(wire.GiveBack, site=site, count=count, host=host, port=port)

    def look(self, site: str) -> None:
        """Ask how far *site*'s server is: see `snickers.workers.leases.Lessor`."""
        if self._lost:
            self._clock.callLater(0, self._leases.looked, site, Stage())
            return
        asked: Deferred[Any] = self.callRemote(wire.Look, site=site)
        asked.addCallback(wire.read_stage)
        # The connection is lost; nobody may go without an answer.
        asked.addErrback(lambda _: Stage())
        asked.addCallback(partial(self._leases.looked, site))

    def failed(self, site: str, address: Address) -> None:
        host, port = wire.sent_address(address)
        self._say(wire.Failed, site=site, host=host, port=port)

    def raise_alarm(self, kind: str, site: str, message: str) -> None:
        self._say(wire.Raise, kind=kind, site=site, message=wire.words(message))

    def clear_alarm(self, kind: str, site: str) -> None:
        self._say(wire.Clear, kind=kind, site=site)

    def _say(self, command: type[amp.Command], **arguments: Any) -> None:
        if not self._lost:
            self.callRemote(command, **arguments)

    # The end

    def leave(self, over: Callable[[], None]) -> None:
        """Tell what was counted last, hang up, and call *over* when that has been sent."""
        transport = self.transport
        if self._lost or transport is None:
            over()
            return
        self.report()
        self._over = over
        transport.loseConnection()

    def connectionLost(self, reason: Failure = wire.CLOSED) -> None:
        self._lost = True
        super().connectionLost(reason)
        self._leases.lost()
        self._doors.end(self._drain_within())
        self._over()


def _nothing() -> None:
    """Nobody waits for the end."""
