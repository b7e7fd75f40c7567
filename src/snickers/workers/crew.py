"""The workers: started, kept, replaced, and ended with the first process.

Each is a process of its own on the same listening sockets, which it is given as descriptors. One
that ends unasked is replaced: at once if it had started well, or else later each time; one that
does not answer any more is ended. What it had leased is given back, and what it had counted is
kept. To the service a crew is a listening port like another, and a set of connections like
another: it accepts, stands by, drains and ends with them. It must never let a worker that cannot
start keep the first process from serving.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.interfaces import IProcessProtocol
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from snickers.config.values import Settings
from snickers.interfaces.alarm import IAlarm
from snickers.interfaces.colleagues import IColleagues, Share
from snickers.interfaces.leases import ILeases
from snickers.interfaces.plane import Change, IPlane
from snickers.workers.alarms import Messages, OwnAlarm
from snickers.workers.census import Census, read
from snickers.workers.desk import Desk
from snickers.workers.tally import ROWS, Tally

STEADY = 10.0
"""Seconds after which a worker counts as one that has started well."""
PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds until one that ended is replaced, by how many in a row did not start well."""
ALARM_AFTER = 3
"""So many in a row, and a person is told: one that died once is replaced, that is all."""
FRESH_WITHIN = 1.0
"""Seconds for which `freshen` waits: one that takes longer is stuck."""
ENDS_WITHIN = 1.0
"""Seconds that a worker has to end after it has hung up."""
MORE = 5.0
"""Seconds that a worker has to end after its connections have."""
ASK_EVERY = 15.0
"""Seconds between two questions whether a worker still answers."""
SILENT = 4
"""How often one may be found not to have answered before it is ended: a minute is more than a busy
or swapping host makes it wait. Times, not seconds: when the first process itself was stopped for
long, what they have answered meanwhile is read before it asks twice."""
LONGEST_LINE = 16384
"""Bytes of a line that a worker prints: the rest is left out of the log."""
LOOK_AGAIN = 0.2
"""Seconds until it is looked again whether all have loaded what they need."""
ALARM = "worker"


def how_many(settings: Settings) -> int:
    """Return how many processes the data plane is to have, the first one among them: 0 in the
    settings is one for each core that may be used."""
    return settings.workers or len(os.sched_getaffinity(0))


class Launcher(Protocol):
    """Starts the process of a worker."""

    def __call__(
        self, protocol: IProcessProtocol, desk: Desk, row: int, fronts: Sequence[tuple[str, int]]
    ) -> Any:
        """Start it with the listening sockets *fronts*, ``https`` or ``http`` and a descriptor
        each, *row* of the tally its own; connect *desk* with it. Returns its process."""


class Worker(ProcessProtocol):
    """One process, from its start to its end."""

    log = Logger()

    def __init__(self, crew: Crew, row: int) -> None:
        self.row = row
        self.pid = 0
        """Its process id, also when it has ended; 0 when there was none."""
        self.since = crew.wall()
        self.ending = False
        """Whether it was asked to end."""
        self.serving = False
        """Whether it accepts connections."""
        self.ended: Deferred[None] = Deferred()
        self.steady: Any = None
        """The call that finds it has started well."""
        self.asking: Any = None
        """The call that asks whether it still answers."""
        self._silent = 0
        """How often it was found that it had not answered yet."""
        self._wants: object = None
        """The last wish that it accept, while that holds."""
        self._crew = crew
        self._printed: dict[int, bytes] = {}
        """By descriptor: the begin of a line."""
        self.desk = Desk(
            crew.leases,
            OwnAlarm(crew.messages, self),
            self._counted,
            self._left,
        )

    def _counted(self, data: bytes) -> None:
        try:
            news = read(data)
        except ValueError as error:
            self.log.error("Worker {pid} counted oddly: {error}", pid=self.pid, error=error)
            return
        self._crew.census.counted(self, news)

    def accept(self) -> None:
        """Have it accept connections."""
        wish = self._wants = object()

        def accepts(_: object) -> None:
            self.serving = self._wants is wish and bool(self.desk.connected)

        self.desk.accept().addCallback(accepts)

    def stand_by(self) -> None:
        """Have it accept no more."""
        self.serves_no_more()
        self.desk.stand_by()

    def serves_no_more(self) -> None:
        """It accepts nobody, whatever it has still to answer."""
        self._wants = None
        self.serving = False

    def ask(self) -> None:
        """See whether it still answers, from now on again and again; end one that is stuck: its
        visitors wait for nothing, and what it has leased would never be given back."""
        self.asking = None
        if self._silent >= SILENT:
            self.log.error(
                "Worker {pid} has not answered for {seconds:g} s: it is ended",
                pid=self.pid,
                seconds=SILENT * ASK_EVERY,
            )
            self.signal("KILL")
            return
        self._silent += 1
        if self._silent == 1:
            self.desk.count().addCallback(self._answers)
        self.asking = self._crew.clock.callLater(ASK_EVERY, self.ask)

    def _answers(self, _: object) -> None:
        self._silent = 0

    def _left(self) -> None:
        """It has hung up: it ends, or is stuck and has to be ended."""
        if not self.ending:
            self._crew.kill_after(ENDS_WITHIN, self)

    def signal(self, name: str) -> None:
        """Send its process a signal."""
        try:
            assert self.transport is not None
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            pass

    def printed(self, line: bytes) -> None:
        """Log what it printed."""
        text = line.decode("utf-8", "backslashreplace").rstrip()
        if text:
            self.log.info("worker {pid}: {text}", pid=self.pid, text=text)

    # IProcessProtocol

    def connectionMade(self) -> None:
        self.pid = int(getattr(self.transport, "pid", None) or 0)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, rest = (self._printed.get(childFD, b"") + data).split(b"\n")
        for line in lines:
            self.printed(line[:LONGEST_LINE])
        if len(rest) > LONGEST_LINE:
            self.printed(rest[:LONGEST_LINE])
            rest = b""
        self._printed[childFD] = rest

    def processEnded(self, reason: Failure) -> None:
        for rest in self._printed.values():
            self.printed(rest)
        self._crew.lost(self, reason)
        self.ended.callback(None)


@implementer(IPlane, IColleagues)
class Crew:
    """The workers.

    :param clock: of pauses.
    :param wall: seconds since the epoch.
    :param launch: see `Launcher`.
    :param fronts: returns the listening sockets, as `Launcher` takes them; those that are closed
        have the descriptor -1.
    :param whole: returns all that runs, as a change for one who has nothing yet.
    :param tally: makes the memory of the connections' numbers seen from row 0; called once, when
        the first worker is started.
    :param look: called when a worker has ended: it may have been woken for a connection that it
        did not come to accept, and nobody else is woken for that one.
    """

    log = Logger()

    def __init__(
        self,
        clock: Any,
        wall: Callable[[], float],
        launch: Launcher,
        fronts: Callable[[], Sequence[tuple[str, int]]],
        leases: ILeases,
        alarm: IAlarm,
        whole: Callable[[], Change],
        drain_within: Callable[[], float],
        tally: Callable[[], Tally],
        look: Callable[[], None],
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.leases = leases
        self.messages = Messages(alarm)
        self.census = Census()
        self._alarm = alarm
        self._launch = launch
        self._fronts = fronts
        self._whole = whole
        self._drain_within = drain_within
        self._make_tally = tally
        self._look = look
        self._tally: Tally | None = None
        self._wanted = 0
        self._workers: dict[int, Worker] = {}
        """By row: row 0 is the first process'."""
        self._leaving: set[Worker] = set()
        """Those that finish what is open, and end."""
        self._failures = 0
        """Workers in a row that did not start well."""
        self._starting: dict[int, Any] = {}
        """By row: the pause until one is started."""
        self._accepting = False
        self._paused = False
        self._closed = False
        self._told = False

    # How many there are

    def want(self, number: int) -> None:
        """Have so many workers from now on, the first process not counted among them."""
        self._wanted = max(0, min(number, ROWS - 1))
        if self._accepting and not self._closed:
            self._adjust()

    def _adjust(self) -> None:
        for row in [row for row in self._workers if row > self._wanted]:
            self._dismiss(self._workers.pop(row))
        for row in [row for row in self._starting if row > self._wanted]:
            self._starting.pop(row).cancel()
        if not self._wanted:
            self._failures = 0
            self._all_is_well()
        for row in range(1, self._wanted + 1):
            if row not in self._workers and row not in self._starting:
                self._start(row)

    def _dismiss(self, worker: Worker) -> None:
        worker.ending = True
        worker.serves_no_more()
        self._leaving.add(worker)
        within = self._drain_within()
        worker.desk.drain(within)
        self.kill_after(within + MORE, worker)

    def kill_after(self, seconds: float, worker: Worker) -> None:
        """End *worker* by force unless it ends within so many seconds."""
        if worker.ended.called:
            return
        late = self.clock.callLater(seconds, worker.signal, "KILL")
        worker.ended.addCallback(lambda _: late.cancel() if late.active() else None)

    def _start(self, row: int) -> None:
        self._starting.pop(row, None)
        if self._tally is None:
            self._tally = self._make_tally()
        self._tally.use(row)
        if any(worker.row == row for worker in self._leaving):
            # Its row still counts the connections that it finishes.
            self._starting[row] = self.clock.callLater(1.0, self._start, row)
            return
        fronts = [(name, number) for name, number in self._fronts() if number >= 0]
        worker = Worker(self, row)
        try:
            self._launch(worker, worker.desk, row, fronts)
        except Exception as error:
            self.log.failure("A worker could not be started")
            self._failed(row, f"it could not be started: {error}")
            return
        self._workers[row] = worker
        worker.steady = self.clock.callLater(STEADY, self._started_well, worker)
        worker.asking = self.clock.callLater(ASK_EVERY, worker.ask)
        worker.desk.apply(self._whole())
        if not self._paused:
            worker.accept()

    def _started_well(self, worker: Worker) -> None:
        worker.steady = None
        self._failures = 0
        if not self._starting and all(w.steady is None for w in self._workers.values()):
            self._all_is_well()

    def _all_is_well(self) -> None:
        if self._told:
            self._told = False
            self._alarm.cleared(ALARM, "")

    def lost(self, worker: Worker, reason: Failure) -> None:
        """*worker* has ended; called by itself."""
        steady, asking = worker.steady, worker.asking
        for call in (steady, asking):
            if call is not None:
                call.cancel()
        # What it has said last and was not read would be of nobody.
        worker.desk.hang_up()
        self.census.gone(worker)
        self.messages.gone(worker)
        if self._tally is not None:
            self._tally.clear(worker.row)
        self._leaving.discard(worker)
        self._look()
        if self._workers.get(worker.row) is not worker:
            return
        del self._workers[worker.row]
        if worker.ending or self._closed:
            return
        self._failed(worker.row, _in_words(reason), worker.pid, started_well=steady is None)

    def _failed(self, row: int, words: str, pid: int = 0, started_well: bool = False) -> None:
        pause = 0.0
        if not started_well:
            pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
            self._failures += 1
        self.log.warn(
            "Worker {pid} {words}; it is replaced in {pause:g} s", pid=pid, words=words, pause=pause
        )
        if self._failures >= ALARM_AFTER and not started_well:
            self._told = True
            self._alarm.raised(
                ALARM, "", f"workers do not stay alive: the last one {words}; the log says why"
            )
        self._starting[row] = self.clock.callLater(pause, self._start, row)

    def loaded(self) -> Deferred[None]:
        """Fire when all that are wanted have loaded what they need; never fails, and never fires
        while they do not come to it."""
        done: Deferred[None] = Deferred()

        def look() -> None:
            workers = list(self._workers.values())
            if len(workers) < self._wanted:
                again()
                return
            # They are told one thing after the other: who has counted has applied before.
            DeferredList([worker.desk.count() for worker in workers]).addCallback(counted, workers)

        def counted(_: object, workers: list[Worker]) -> None:
            if all(worker.desk.connected for worker in workers):
                if not done.called:
                    done.callback(None)
            else:
                again()

        def again() -> None:
            if not done.called:
                self.clock.callLater(LOOK_AGAIN, look)

        look()
        return done

    # A listening port among the others

    def startListening(self) -> None:
        """Start the workers."""
        self._accepting = True
        self._adjust()

    def pause(self) -> None:
        """Have all stand by."""
        self._paused = True
        for worker in self._workers.values():
            worker.stand_by()

    def resume(self) -> None:
        """Have all accept again."""
        self._paused = False
        for worker in self._workers.values():
            worker.accept()

    def stopListening(self) -> None:
        """Have all finish what is open, and end; another time, as soon as is wished then."""
        self._closed = True
        for call in self._starting.values():
            call.cancel()
        self._starting.clear()
        for worker in list(self._workers.values()):
            self._dismiss(worker)

    # Connections among the others

    @property
    def open(self) -> int:
        """How many connections they have, as far as is known; at least one each."""
        return sum(max(1, self.census.connections(worker)) for worker in self._all())

    def drain(self) -> None:
        """They drain already: `stopListening` has told them."""

    def break_off(self) -> None:
        """They do it themselves: they have the same time."""

    def abort(self) -> None:
        """Have all end at once."""
        for worker in self._all():
            worker.desk.abort()

    def _all(self) -> list[Worker]:
        return list({*self._workers.values(), *self._leaving})

    def stop(self) -> Deferred[None]:
        """End those that still run; fires when all have ended."""
        workers = self._all()
        for worker in workers:
            worker.ending = True
            worker.desk.abort()
            self.kill_after(MORE, worker)
        return DeferredList([worker.ended for worker in workers]).addCallback(lambda _: None)

    # What concerns all

    def apply(self, change: Change) -> None:
        self.census.removed(change.removed)
        for worker in self._workers.values():
            worker.desk.apply(change)

    def reopen(self) -> None:
        """Have all open the access log anew."""
        for worker in self._all():
            worker.desk.reopen()

    def changed(self, site: str) -> None:
        """The life of *site* has moved on."""
        for worker in self._all():
            worker.desk.changed(site)

    def freshen(self) -> Deferred[None]:
        workers = self._all()
        if not workers:
            return succeed(None)
        fresh: Deferred[None] = Deferred()
        answers = DeferredList([worker.desk.count() for worker in workers])
        late = self.clock.callLater(FRESH_WITHIN, fresh.callback, None)

        def counted(_: object) -> None:
            if late.active():
                late.cancel()
                fresh.callback(None)

        answers.addCallback(counted)
        return fresh

    def share(self, site: str) -> Share:
        return self.census.share(site)

    def handshakes(self) -> dict[str, int]:
        return self.census.handshakes()

    def report(self) -> list[dict[str, Any]]:
        return [
            {
                "pid": worker.pid,
                "since": worker.since,
                "requests": self.census.requests(worker),
                "connections": self.census.connections(worker),
                "serving": worker.serving,
            }
            for worker in sorted(self._all(), key=lambda worker: (worker.row, worker.since))
        ]


def _in_words(reason: Failure) -> str:
    value = reason.value
    if isinstance(value, ProcessDone):
        return "ended by itself"
    signal = getattr(value, "signal", None)
    if signal is not None:
        return f"was ended by signal {signal}"
    code = getattr(value, "exitCode", None)
    return f"ended with status {code}" if code is not None else str(value)
