"""One worker, as the first process deals with it.

Leases that the worker takes are counted here by what it said, so that all of them can be given back
when it dies. A worker is believed to be what it should be only as far as it cannot harm: it can
lease, give back what it has leased, tell alarms and counts. Nothing it says may raise anything that
ends the connection, or is felt by another worker.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.engine import Address
from snickers.interfaces.leases import ILeases, IWaiter, Refusal
from snickers.interfaces.plane import Change
from snickers.workers import wire

FORGOTTEN = Refusal("stopping", 1)
"""The answer to one who did not want it any more."""
MOST_COUNTED = 64 << 20
"""Bytes that a worker may tell at once: some 300,000 sites."""


@implementer(IWaiter)
class _Waiting:
    """A lease that a worker waits for."""

    def __init__(self, desk: Desk, site: str, ticket: int) -> None:
        self.desk = desk
        self.site = site
        self.ticket = ticket
        self.answer: Deferred[dict[str, object]] = Deferred()

    def leased(self, address: Address) -> None:
        self.desk._left(self)
        self.answer.callback(self.desk._lease(self.site, address))

    def refused(self, refusal: Refusal) -> None:
        self.desk._left(self)
        self.answer.callback(wire.refusal(refusal))


class Desk(wire.Speaker):
    """Speaks with one worker.

    *leases* are all servers'; *alarm* is the alarm as this worker sees it; *counted* is called with
    the JSON of what it has counted; *gone* once, when it is connected no more.
    """

    log = Logger()

    def __init__(
        self,
        leases: ILeases,
        alarm: IAlarm,
        counted: Callable[[bytes], None],
        gone: Callable[[], None],
    ) -> None:
        super().__init__()
        self._leases = leases
        self._alarm = alarm
        self._told = counted
        self._gone = gone
        self._held: dict[tuple[str, Address], int] = {}
        """Leases that the worker has, by site and where its server is."""
        self._at: dict[str, Address] = {}
        """What was leased and not withdrawn since."""
        self._waiting: dict[int, _Waiting] = {}
        self._parts = bytearray()
        self.connected = True

    @property
    def leased(self) -> int:
        """How many leases the worker has."""
        return sum(self._held.values())

    # What it is told

    def _call(self, command: type[amp.Command], **arguments: Any) -> Deferred[Any]:
        """Send *command*; fires when it was answered, or when the worker has gone. Never fails."""
        if not self.connected:
            return succeed(None)
        sent: Deferred[Any] | None = self.callRemote(command, **arguments)
        if sent is None:
            return succeed(None)
        sent.addErrback(self._not_answered, command.__name__)
        return sent

    def _not_answered(self, failure: Failure, name: str) -> None:
        # When it is lost, that is told of by whoever knows how the process ended.
        if self.connected:
            self.log.failure("A worker did not do {name}", failure, name=name)

    def apply(self, change: Change) -> Deferred[None]:
        """Have *change* hold there; fires when it does, or the worker has gone."""
        done: Deferred[None] = succeed(None)
        for part, last in wire.parts(wire.packed(change)):
            done = self._call(wire.Apply, part=part, last=last)
        return done

    def accept(self) -> Deferred[None]:
        """Have it accept connections; fires when it does, or has gone."""
        return self._call(wire.Accept)

    def stand_by(self) -> None:
        """Have it accept no more, until it is told to."""
        self._call(wire.StandBy)

    def drain(self, within: float) -> None:
        """Have it finish what is open within so many seconds, and end."""
        self._call(wire.Drain, within=within)

    def abort(self) -> None:
        """Have it end at once."""
        self._call(wire.Abort)

    def reopen(self) -> None:
        """Have it open the access log anew."""
        self._call(wire.Reopen)

    def count(self) -> Deferred[None]:
        """Have it tell what it has counted; fires when it has, or has gone."""
        return self._call(wire.Count).addCallback(lambda _: None)

    def changed(self, site: str) -> None:
        """The life of *site* has moved on: tell the worker what of that concerns it."""
        address = self._at.get(site)
        if address is not None and self._leases.ready(site) != address:
            del self._at[site]
            self._call(wire.Withdraw, site=site)

    # What it says

    @wire.Take.responder
    def _take(self, site: str, ticket: int) -> dict[str, object] | Deferred[dict[str, object]]:
        if ticket in self._waiting:
            return wire.refusal(FORGOTTEN)
        waiting = _Waiting(self, site, ticket)
        address = self._leases.take(site, waiting)
        if address is not None:
            return self._lease(site, address)
        self._waiting[ticket] = waiting
        return waiting.answer

    def _lease(self, site: str, address: Address) -> dict[str, object]:
        self._held[site, address] = self._held.get((site, address), 0) + 1
        self._at[site] = address
        return wire.lease(address)

    def _left(self, waiting: _Waiting) -> None:
        self._waiting.pop(waiting.ticket, None)

    @wire.Forget.responder
    def _forget(self, ticket: int) -> dict[str, object]:
        waiting = self._waiting.pop(ticket, None)
        if waiting is not None:
            self._leases.forget(waiting.site, waiting)
            waiting.answer.callback(wire.refusal(FORGOTTEN))
        return {}

    @wire.GiveBack.responder
    def _give_back(self, site: str, count: int, host: str, port: int) -> dict[str, object]:
        address = wire.read_address(host, port)
        held = self._held.get((site, address), 0)
        given = max(0, min(count, held))
        if given < held:
            self._held[site, address] = held - given
        elif held:
            del self._held[site, address]
            if self._at.get(site) == address:
                del self._at[site]
        for _ in range(given):
            self._leases.give_back(site, address)
        return {}

    @wire.Look.responder
    def _look(self, site: str) -> Deferred[dict[str, object]]:
        looked: Deferred[dict[str, object]] = Deferred()
        self._leases.look(site, lambda stage: looked.callback(wire.stage(stage)))
        return looked

    @wire.Failed.responder
    def _failed(self, site: str, host: str, port: int) -> dict[str, object]:
        self._leases.failed(site, wire.read_address(host, port))
        return {}

    @wire.Raise.responder
    def _raised(self, kind: str, site: str, message: str) -> dict[str, object]:
        self._alarm.raised(kind, site, message)
        return {}

    @wire.Clear.responder
    def _cleared(self, kind: str, site: str) -> dict[str, object]:
        self._alarm.cleared(kind, site)
        return {}

    @wire.Counted.responder
    def _counted(self, part: bytes, last: bool) -> dict[str, object]:
        self._parts += part
        if len(self._parts) > MOST_COUNTED:
            self._parts.clear()
        elif last:
            data, self._parts = bytes(self._parts), bytearray()
            self._told(data)
        return {}

    # Its end

    def hang_up(self) -> None:
        """Hear no more of it: its process has ended."""
        transport: Any = self.transport
        if self.connected and transport is not None:
            transport.abortConnection()

    def connectionLost(self, reason: Failure = wire.CLOSED) -> None:
        self.connected = False
        super().connectionLost(reason)
        self.let_go()
        self._gone()

    def let_go(self) -> None:
        """Give back all that it has leased, and forget what it waits for."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            self._leases.forget(waiter.site, waiter)
        held, self._held = self._held, {}
        for (site, address), count in held.items():
            for _ in range(count):
                self._leases.give_back(site, address)
