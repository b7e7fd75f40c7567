"""The wiring of one of two teams: what a Snickers has more that may be on duty or not.

`snickers.tap` makes one where ``SNICKERS_TEAM`` says so, in two steps, since the data plane needs
the leases and duty needs the data plane. It starts nothing before it is told to. What it says to
the keeper, and by which signals it is told, is in docs/architecture.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from snickers import __version__
from snickers.alarm import Alarm
from snickers.config.values import Configuration, Container
from snickers.containers.service import Lives
from snickers.control.client import Client, ControlFailed
from snickers.duty.borrowing import Borrowing, Line
from snickers.duty.colleagues import Colleagues
from snickers.duty.counting import (
    REQUESTS,
    Counting,
    Numbers,
    flat,
    handshakes_of,
    plus,
    traffic_of,
)
from snickers.duty.dutylock import DutyLock
from snickers.duty.leasing import TeamLeases
from snickers.duty.lending import Lending, dial
from snickers.duty.rehearsal import ASK_WITHIN, Rehearsal
from snickers.duty.reporting import Reporting
from snickers.duty.shift import Doors, Shift
from snickers.duty.term import Part, Term
from snickers.interfaces.colleagues import NOTHING, IColleagues
from snickers.interfaces.engine import IEngine
from snickers.livesites import is_opened
from snickers.notify import Notifier
from snickers.plane import Called, Plane
from snickers.readable import unreadable
from snickers.sweep import Sweep
from snickers.workers.census import ALL, Counts
from snickers.workers.crew import Crew
from snickers.workers.leases import RemoteLeases

LOCK = "duty.lock"


class Team:
    """One of two teams, *name*; *state* is the state folder that both have. *stands_by*: it is to
    prove itself and then to wait."""

    def __init__(
        self, reactor: Any, name: str, stands_by: bool, state: str, sweep: Sweep, lives: Lives
    ) -> None:
        self.name = name
        self.stands_by = stands_by
        self._reactor = reactor
        self._state = state
        self._lives = lives
        lives.rest()
        self._borrowed = RemoteLeases(sweep)
        self.leases = TeamLeases(lives, self._borrowed)
        """For the data plane and the workers."""
        folder = os.path.join(state, "teams")
        self._socket = os.path.join(folder, "duty.sock")
        self._handover = os.path.join(folder, "handover.json")
        self.lending = Lending(reactor, self._socket, lives)
        self.counting = Counting(self._own, self.lending.share, self.lending.handshakes)
        self._looked = (0, -1)
        self._told: Mapping[str, Counts] = {}
        self._answered = self._lost = (0, 0)

    def connect(
        self,
        plane: Plane,
        crew: Crew,
        alarm: Alarm,
        notifier: Notifier,
        anew: Callable[[], None],
        first: Sequence[Part],
        last: Sequence[Part],
        running: Callable[[], Configuration | None],
        docker: Callable[[], IEngine],
        failed: Callable[[str], None],
    ) -> None:
        """Connect duty with the rest. *anew* makes the lives as new, with their sites; *first* and
        *last* are what duty is made of besides, see `Term`; *docker* makes an engine to be reached;
        *failed* ends the process with a line."""
        self._plane, self._crew, self._running = plane, crew, running
        self._docker = docker
        self._borrowing = Borrowing(
            self._reactor,
            lambda line: self._dial(line),
            self._borrowed,
            self._counts,
            crew.changed,
        )
        term = Term(
            self._reactor,
            self._handover,
            os.getpid(),
            crew.wall,
            plane.defer,
            self._lives,
            anew,
            self.leases,
            self.counting,
            self.lending,
            self._borrowing,
            alarm,
            first,
            last,
        )
        lock = DutyLock(os.path.join(self._state, LOCK), self.name, plane.defer)
        self.shift = Shift(
            self._reactor,
            lock,
            term,
            notifier,
            alarm,
            failed,
            self._prove if self.stands_by else None,
            __version__,
        )
        self._alarm = alarm
        alarm.be_silent()
        self._reporting = reporting = Reporting(
            self._reactor,
            notifier,
            {
                "ANSWERS": self._answers,
                "OPEN": lambda: str(self._connections()),
                "ALARMS": lambda: str(alarm.count()),
                # What SIGURG means is known here.
                "FINISHES": lambda: "1",
            },
        )
        self.parts: Sequence[Part] = (
            Called(lock.prepare, lock.close),
            reporting,
            Called(self._borrowing.start, self._borrowing.stop),
            Called(self._stand_by, self.end),
        )
        """To be started when the configuration runs, and stopped first."""

    def colleagues(self, crew: Crew) -> IColleagues:
        """Return the other processes of all teams."""
        return Colleagues(crew, self.counting)

    def moved(self, site: str) -> None:
        """The life of *site* has moved on."""
        self.lending.changed(site)

    def removed(self, sites: tuple[str, ...]) -> None:
        """The configuration has *sites* no more."""
        self.counting.removed(sites)
        self.lending.removed(sites)
        self._alarm.removed(sites)

    # As `snickers.front_door.Team`

    def start(self, ports: Sequence[Doors]) -> None:
        """Begin: the reactor runs. *ports* are opened and closed as duty passes."""
        self.shift.doors = list(ports)
        self.shift.start()

    def take(self) -> None:
        """Accept, and take duty."""
        self.shift.take()

    def give(self) -> None:
        """Accept no more, and give duty up."""
        self.shift.give()

    def end(self) -> Deferred[None]:
        """Give duty up for good; fires when that is done."""
        return self.shift.end()

    def again(self) -> Sequence[str]:
        """Return what the keeper has been told and holds: it may have missed it."""
        return (*self.shift.again(), *self._reporting.again())

    def state(self) -> Mapping[str, str]:
        """Return what there is to say of the team in a status."""
        return {"name": self.name, "duty": self.shift.phase.value}

    # Pieces

    def _stand_by(self) -> None:
        if self.stands_by:
            # They start and load, and accept when they are told to.
            self._crew.pause()
            self._crew.startListening()

    def _dial(self, line: Line) -> bool:
        return dial(self._reactor, self._socket, line)

    def _own(self) -> dict[str, Numbers]:
        share = self._crew.census.share
        handshakes = tuple(self._plane.measured().items())
        counted = {
            ALL: plus(
                flat(handshakes=handshakes),
                flat(handshakes=tuple(self._crew.handshakes().items())),
            )
        }
        for name, live in self._plane.sites.by_name.items():
            theirs = share(name)
            traffic = live.traffic.total(live.connections)
            if theirs is not NOTHING:
                traffic += theirs.traffic
            counted[name] = flat(live.requests + theirs.requests, traffic)
        return counted

    def _counts(self) -> Mapping[str, Counts]:
        """Return what there is to tell whoever is on duty."""
        connections = self._connections()
        before, self._looked = self._looked, (connections, self.counting.times)
        if self._looked == before == (0, self.counting.times):
            # Who stands by for weeks has nothing new to tell.
            return self._told
        uses = self._borrowed.uses()
        counted = {}
        for name, untold in self.counting.untold().items():
            if name == ALL:
                handshakes = tuple(sorted(handshakes_of(untold).items()))
                counted[name] = Counts(handshakes=handshakes)
                continue
            live = self._plane.sites.by_name[name]
            share = self._crew.census.share(name)
            used, leased = uses.get(name, (0, 0))
            counted[name] = Counts(
                int(untold.get(REQUESTS, 0)),
                len(live.connections) + share.connections,
                used,
                leased,
                traffic=traffic_of(untold),
            )
        self._told = counted
        return counted

    def _connections(self) -> int:
        report = self._crew.report()
        return self._plane.open + sum(int(entry["connections"]) for entry in report)

    def _answers(self) -> str:
        """Return all answers and those of them by which a server says that it has failed (5xx, RFC
        9110 §15.6): numbers that never go back, whatever sites are removed."""
        self._plane.access.flush()
        total = errors = 0
        for name, live in self._plane.sites.by_name.items():
            theirs = self._crew.census.share(name).traffic.codes
            for status, number in (*live.traffic.codes.items(), *theirs):
                total += number
                if status >= 500:
                    errors += number
        before, self._answered = self._answered, (total, errors)
        self._lost = (
            self._lost[0] + max(0, before[0] - total),
            self._lost[1] + max(0, before[1] - errors),
        )
        return f"{total + self._lost[0]} {errors + self._lost[1]}"

    # The proof

    def _prove(self) -> Deferred[None]:
        return Rehearsal(
            self._reactor,
            self._plane.defer,
            self._names,
            self._plane.certificates.prove,
            self._in_use,
            self._has_one,
            self._plane.doubles,
            self._crew.loaded,
            self._engine,
            unreadable,
        ).run()

    def _names(self) -> dict[str, tuple[str, ...]]:
        configuration = self._running()
        sites = () if configuration is None else configuration.sites.values()
        return {site.name: site.names for site in sites if is_opened(site)}

    def _in_use(self) -> set[str] | None:
        """Ask the team on duty, in a thread, which certificates it shows."""
        try:
            status = Client(os.path.join(self._state, "control.sock"), ASK_WITHIN).status()
        except ControlFailed:
            return None
        return {entry["site"] for entry in status["sites"] if entry["certificate"] is not None}

    def _has_one(self, site: str) -> bool:
        """Say, in a thread, whether *site* has a certificate that was made here or put there."""
        configuration = self._running()
        found = None if configuration is None else configuration.sites.get(site)
        if found is None:
            return False
        return found.certificates == "files" or os.path.exists(self._plane.authority.path(site))

    def _engine(self) -> IEngine | None:
        configuration = self._running()
        sites = () if configuration is None else configuration.sites.values()
        if any(isinstance(site.kind, Container) and site.enabled for site in sites):
            return self._docker()
        return None
