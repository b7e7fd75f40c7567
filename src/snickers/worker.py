"""A worker's wiring: a data plane, and the first process to ask.

``python -m snickers.worker`` is started by the first process and by nobody else: it inherits the
listening sockets, the memory of the connections' numbers, and one end of the pair of sockets over
which it is told everything else. This module, `snickers.tap` and `snickers.broker` are the only
ones that name the real reactor. It must never outlive the first process by more than what is still
open needs.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogBeginner
from zope.interface import implementer

from snickers.config.values import Settings
from snickers.front_door import Draining
from snickers.interfaces.plane import Change, IPlane
from snickers.plane import Part, Plane, steady
from snickers.printed import LOG, observer
from snickers.stream import Sweep
from snickers.workers.alarms import RemoteAlarm
from snickers.workers.census import ALL, Counts
from snickers.workers.duty import Duty
from snickers.workers.leases import RemoteLeases
from snickers.workers.tally import Tally
from snickers.workers.wire import CONTROL, FIRST_FRONT, TALLY, Only

REPORT_EVERY = 2.0
"""Seconds between two reports of what was counted: what a ``kill -9`` may cost."""


@implementer(IPlane)
class WorkerPlane:
    """The data plane of a worker, made of the first change that it is told, and its doors.

    *sockets*: the listening sockets with what they are, ``"https"`` or ``"http"``; *ended* is
    called when all is over.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        sockets: Sequence[tuple[str, socket.socket]],
        tally: Tally,
        alarm: RemoteAlarm,
        ended: Any,
    ) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._tally = tally
        self._alarm = alarm
        self._ended = ended
        self._sweep = Sweep(reactor)
        self.leases = RemoteLeases(self._sweep)
        self.plane: Plane | None = None
        self._started: list[Part] = []
        self._ending = False
        self._draining: Draining | None = None

    @property
    def settings(self) -> Settings:
        """What ``[snickers]`` says."""
        return Settings() if self.plane is None else self.plane.settings

    def apply(self, change: Change) -> None:
        if self.plane is None:
            assert change.settings is not None
            self.plane = self._begin(change.settings)
        self.plane.live.apply(change)

    def _begin(self, settings: Settings) -> Plane:
        plane = Plane(
            self._reactor,
            self._sweep,
            settings,
            self.leases,
            self._alarm,
            # The first process looks at what nobody has asked for.
            survey=0,
        )
        plane.limits.share(self._tally)
        for part in (*plane.parts, plane.certificates):
            part.start()
            self._started.append(part)
        https = [sock for name, sock in self._sockets if name == "https"]
        http = [sock for name, sock in self._sockets if name == "http"]
        for port in plane.listen(https, http):
            port.share()
        return plane

    def count(self) -> Mapping[str, Counts]:
        """Return what there is to tell of each site."""
        if self.plane is None:
            return {}
        uses = self.leases.uses()
        certificates = self.plane.certificates.states()
        handshakes = tuple(sorted(self.plane.measured().items()))
        counted = {ALL: Counts(handshakes=handshakes)}
        for name, live in self.plane.sites.by_name.items():
            used, leased = uses.get(name, (0, 0))
            certificate = certificates.get(name, {})
            counted[name] = Counts(
                live.requests,
                len(live.connections),
                used,
                leased,
                certificate.get("not_after", 0.0),
                certificate.get("source", ""),
                certificate.get("issuer", ""),
                certificate.get("fault", ""),
                live.traffic.total(live.connections),
            )
        return counted

    # Doors

    def accept(self) -> None:
        """Accept connections."""
        if self.plane is not None and not self._ending:
            for port in self.plane.ports:
                port.startListening()

    def stand_by(self) -> None:
        """Accept no more until `accept`."""
        if self.plane is not None:
            for port in self.plane.ports:
                port.pause()

    def end(self, within: float) -> None:
        """Accept no more, finish what is open within so many seconds, and end the process; asked
        once more, sooner than that if need be."""
        if self._ending:
            if self._draining is not None:
                self._draining.hurry(within)
            return
        self._ending = True
        plane = self.plane
        if plane is None:
            self._ended()
            return
        for port in plane.ports:
            port.stopListening()
        plane.drain()
        self._draining = Draining(self._reactor, plane, within)
        done: Deferred[Any] = self._draining.done
        for part in reversed(self._started):
            done.addCallback(self._stop, part)
            done.addErrback(lambda failure: self.log.failure("stopping", failure=failure))
        done.addCallback(lambda _: self._ended())

    @staticmethod
    def _stop(before: object, part: Part) -> Deferred[Any]:
        return maybeDeferred(part.stop)

    def abort(self) -> None:
        """End what is open, and the process."""
        self.end(0.0)
        if self.plane is not None:
            self.plane.abort()

    def reopen(self) -> None:
        """Open the access log anew."""
        if self.plane is not None:
            self.plane.access.reopen()


def connect(reactor: Any, row: int, names: Sequence[str]) -> Duty:
    """Connect everything; *row* of the tally is this worker's, *names* are its sockets'."""
    sockets = [
        (name, socket.socket(fileno=FIRST_FRONT + index)) for index, name in enumerate(names)
    ]
    for _, sock in sockets:
        sock.set_inheritable(False)
    alarm = RemoteAlarm()
    plane = WorkerPlane(
        reactor, sockets, Tally(TALLY, row), alarm, lambda: duty.leave(reactor.stop)
    )
    duty: Duty = Duty(
        reactor,
        plane,
        plane,
        plane.leases,
        plane.count,
        lambda: plane.settings.drain_within,
    )
    alarm.teller = plane.leases.lessor = duty
    reporting = LoopingCall(duty.report)
    reporting.clock = reactor
    reporting.start(REPORT_EVERY, now=False).addErrback(
        lambda failure: plane.log.failure("counting ended", failure=failure)
    )
    with socket.socket(fileno=CONTROL) as control:
        control.setblocking(False)
        reactor.adoptStreamConnection(control.fileno(), socket.AF_UNIX, Only(duty))
    # Whoever ends all processes of a terminal ends the first one, which ends this one in order.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM,
        lambda number, frame: reactor.callFromThread(
            lambda: plane.end(plane.settings.drain_within)
        ),
    )
    return duty


def main(arguments: Sequence[str]) -> None:
    """Run a worker: *arguments* are its row and the names of its sockets."""
    from twisted.internet import reactor

    globalLogBeginner.beginLoggingTo([observer(LOG)], redirectStandardIO=False)
    steady(reactor)
    connect(reactor, int(arguments[0]), arguments[1:])
    running: Any = reactor
    running.run(installSignalHandlers=False)


if __name__ == "__main__":
    main(sys.argv[1:])
