"""The line to the team on duty, of a team that is not: it asks for leases, and tells its counts.

It speaks with the other team's first process as a worker does with its own (`snickers.workers`).
While nobody is on duty it tries again and again, and what is known to be awake goes on being used.
It must never do what the other side tells it but one thing: use an address no more.
"""

# Twisted's AMP has no annotations.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from snickers.interfaces.engine import Address
from snickers.interfaces.leases import Refusal, Stage
from snickers.workers import wire
from snickers.workers.census import Counts, Reporter
from snickers.workers.leases import RemoteLeases

AGAIN = 0.1
"""Seconds between two tries to reach whoever is on duty: who waits for a server waits for that."""
REPORT_EVERY = 2.0
"""Seconds between two reports of what was counted: what a ``kill -9`` may cost."""
PATIENCE = 30.0
"""Seconds for which a request waits while nobody is on duty: longer than a team takes to start."""
NOBODY = Refusal("stopping", 5)
"""...and its answer then."""

_log = Logger()


class Line(wire.Speaker):
    """One connection to the team on duty."""

    def __init__(self, owner: Borrowing) -> None:
        super().__init__()
        self._owner = owner
        self._lost = False

    def connectionMade(self) -> None:
        super().connectionMade()
        self._owner.connected(self)

    def connectionLost(self, reason: Failure = wire.CLOSED) -> None:
        self._lost = True
        self._owner.disconnected(self)
        super().connectionLost(reason)

    def hang_up(self) -> None:
        """Hear no more of it."""
        transport: Any = self.transport
        if not self._lost and transport is not None:
            transport.loseConnection()

    @wire.Withdraw.responder
    def _withdrawn(self, site: str) -> dict[str, object]:
        self._owner.withdrawn(self, site)
        return {}

    # As `snickers.workers.leases.Lessor`

    def take(self, site: str, ticket: int) -> None:
        asked: Deferred[Any] = self.callRemote(wire.Take, site=site, ticket=ticket)
        asked.addCallbacks(partial(self._owner.answered, self, site, ticket), lambda _: None)
        asked.addErrback(lambda failure: _log.failure("A lease was not taken well", failure))

    def forget(self, ticket: int) -> None:
        self.callRemote(wire.Forget, ticket=ticket)

    def give_back(self, site: str, address: Address, count: int) -> None:
        host, port = wire.sent_address(address)
        self.callRemote(wire.GiveBack, site=site, count=count, host=host, port=port)

    def look(self, site: str) -> None:
        asked: Deferred[Any] = self.callRemote(wire.Look, site=site)
        asked.addCallback(wire.read_stage)
        # The line is lost: whoever looks has been told by then.
        asked.addCallbacks(partial(self._owner.looked, self, site), lambda _: None)

    def failed(self, site: str, address: Address) -> None:
        host, port = wire.sent_address(address)
        self.callRemote(wire.Failed, site=site, host=host, port=port)

    def tell(self, command: type[amp.Command], **arguments: Any) -> None:
        """Say what needs no answer."""
        self.callRemote(command, **arguments)


class Borrowing:
    """Keeps a line for *leases* while it runs.

    *dial* connects a protocol with whoever is on duty, and says whether there is somebody. *count*
    returns what there is to tell of each site. *moved* is called with a site whose address may have
    changed.
    """

    def __init__(
        self,
        clock: IReactorTime,
        dial: Callable[[Line], bool],
        leases: RemoteLeases,
        count: Callable[[], Mapping[str, Counts]],
        moved: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._dial = dial
        self._leases = leases
        self._count = count
        self._moved = moved
        self._line: Line | None = None
        self._there = False
        self._again: Any = None
        self._running = False
        self._reporter = Reporter()
        self._reporting = LoopingCall(self.report)
        self._reporting.clock = clock

    def start(self) -> None:
        """Begin to look for somebody to ask."""
        if not self._running:
            self._running = True
            self._reporting.start(REPORT_EVERY, now=False)
            self._try()

    def stop(self) -> None:
        """Ask nobody any more; who waits goes on waiting for whoever is asked next."""
        self._running = False
        if self._reporting.running:
            self._reporting.stop()
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        line = self._line
        if line is not None:
            self._forget(line)
            line.hang_up()

    def _try(self) -> None:
        self._again = None
        if not self._running or self._line is not None:
            return
        line = self._line = Line(self)
        try:
            there = self._dial(line)
        except OSError as problem:
            _log.error("The team on duty cannot be asked: {problem}", problem=problem)
            there = False
        if there:
            return
        self._line = None
        self._leases.give_up(PATIENCE, NOBODY)
        self._again = self._clock.callLater(AGAIN, self._try)

    def _forget(self, line: Line) -> None:
        self._line = None
        if self._there:
            self._there = False
            self._leases.interrupted()

    # The line

    def connected(self, line: Line) -> None:
        """There is somebody at the other end of *line*."""
        if self._line is not line:
            line.hang_up()
            return
        self._there = True
        self._reporter = Reporter()
        self._leases.lessor = line
        self._leases.resumed()
        self.report()

    def disconnected(self, line: Line) -> None:
        """There is nobody any more."""
        if self._line is line:
            self._forget(line)
            if self._running:
                self._again = self._clock.callLater(AGAIN, self._try)

    def withdrawn(self, line: Line, site: str) -> None:
        """What was leased for *site* holds no more."""
        if self._line is line:
            self._leases.withdrawn(site)
            self._moved(site)

    def answered(self, line: Line, site: str, ticket: int, answer: dict[str, object]) -> None:
        """Take the answer to a question that was asked over *line*."""
        if self._line is line:
            self._leases.answered(ticket, wire.result(answer))
            self._moved(site)

    def looked(self, line: Line, site: str, stage: Stage) -> None:
        """Take how far a server is."""
        if self._line is line:
            self._leases.looked(site, stage)

    def report(self) -> None:
        """Tell what has been counted, if anything of it has changed."""
        line = self._line
        if line is None or not self._there:
            return
        data = self._reporter.changed(self._count())
        if data:
            for part, last in wire.parts(data):
                line.tell(wire.Counted, part=part, last=last)
