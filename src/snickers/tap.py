"""The wiring of the first process: from a configuration's path to the service that twistd runs.

This module, `snickers.worker` and `snickers.broker` are the only ones that name the real reactor
and the environment.
It starts nothing: ``twistd`` forks, and sheds privileges, after `makeService` has returned.
"""

from __future__ import annotations

import atexit
import faulthandler
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProcessProtocol
from twisted.logger import Logger
from zope.interface import implementer

from snickers import __version__, children, ending
from snickers.acme.challenges import Challenges, proving_certificate
from snickers.acme.dates import date_of
from snickers.acme.dnshook import dns_hook
from snickers.acme.errands import Errands
from snickers.acme.gathering import Gathering
from snickers.acme.plan import directories
from snickers.acme.preflight import BeforeOrders
from snickers.acme.service import Acme
from snickers.acme.store import Store
from snickers.acme.tidings import RENEWAL
from snickers.acme.timekeeper import Timekeeper
from snickers.alarm import Alarm
from snickers.alarm_command import AlarmCommand
from snickers.brokerage.brokered import Line
from snickers.brokerage.guarded import unguarded
from snickers.brokerage.minder import Minder, opens
from snickers.brokerage.wire import CONTROL as BROKER_CONTROL
from snickers.certifying import Certifying
from snickers.config.parse import Loaded, load
from snickers.config.values import Container, Passthrough, Process, Site, Static
from snickers.containers import memory, restic, tried
from snickers.containers.archive import Archives
from snickers.containers.copies import TRIED as FOLDER_TRIED
from snickers.containers.copies import Copies
from snickers.containers.docker import DockerEngine
from snickers.containers.engine import owner_of
from snickers.containers.pins import Pins, in_the_folder
from snickers.containers.process import ProcessEngine
from snickers.containers.proof import OWNER, Proof
from snickers.containers.service import Lives
from snickers.containers.tried import Tried
from snickers.control.api import ControlService, ControlUnavailable
from snickers.control.metrics import MetricsService
from snickers.duty.dutylock import DutyLock
from snickers.duty.shift import ALARM as DUTY_ALARM
from snickers.front_door import FrontDoorService, ListeningPort, Together
from snickers.heartbeat import Heartbeat, every
from snickers.interfaces.certificates import Submitted, TakenIn
from snickers.interfaces.copies import CopyFailed, ICopies
from snickers.interfaces.engine import IEngine
from snickers.interfaces.leases import ILeases
from snickers.interfaces.plane import Change, IPlane
from snickers.listening import CannotListen, bind, handed_over, inherited
from snickers.notify import Notifier
from snickers.plane import Called, Part, Plane, Several, steady
from snickers.readable import unreadable
from snickers.roots import Roots
from snickers.running import Running
from snickers.stream import Sweep
from snickers.team import LOCK, Team
from snickers.tls import importing
from snickers.tls.threads import OwnThreads
from snickers.tls.transport import harden
from snickers.welcome import welcome
from snickers.workers.alarms import OwnAlarm
from snickers.workers.crew import Crew, how_many
from snickers.workers.desk import Desk
from snickers.workers.tally import Tally
from snickers.workers.wire import CONTROL, FIRST_FRONT, TALLY

SETTLE = 0.2
"""Seconds in which an editor, or a copy over a network, writes on if it writes at all."""
COPY_THREADS = 2
"""Threads for what copies ask of the disk: all that takes long is done by programs."""
ACME_THREADS = 8
"""Threads that ask certificate authorities, whose answers take their time."""
PROVING_THREADS = 4
"""Threads for what may take minutes: looking before an order, writing into the DNS."""
TRIED = ("crashed", "update", "snapshot", "snapshots", FOLDER_TRIED, RENEWAL)
"""Kinds of alarms that tell of something that was tried: they hold until it has succeeded."""


@implementer(IPlane)
class Wiring:
    """Everything there is, connected."""

    log = Logger()

    def __init__(self, reactor: Any, path: str, loaded: Loaded, environ: dict[str, str]) -> None:
        settings = loaded.configuration.settings
        assert settings is not None
        self.reactor = reactor
        self.environ = environ
        self.path = path
        self.loaded = loaded
        self.settings = settings
        self.sweep = Sweep(reactor)
        self.alarm = Alarm(
            AlarmCommand(reactor, settings.alarm_command),
            time.time,
            (DUTY_ALARM,),
            TRIED,
            ("configuration", "restart"),
        )
        self.team: Team | None = None
        name = environ.get("SNICKERS_TEAM", "")
        self.minder: Minder | None = None
        # Visitors may wait for what these write, which shall not wait for a copy.
        self.note_threads = OwnThreads(reactor, 1, "notes")
        self.lives = Lives(
            reactor,
            reactor,
            self.sweep,
            # A team makes them when it takes duty.
            {} if name else self.engines(),
            self.alarm,
            free=memory.free,
            pins=Pins(
                in_the_folder(settings.state),
                lambda act, *arguments: self.copy_threads.run(lambda: act(*arguments)),
            ),
            tried=Tried(
                tried.in_the_folder(settings.state),
                lambda act, *arguments: self.note_threads.run(lambda: act(*arguments)),
            ),
        )
        if settings.docker_broker:
            self.lives.same_image = (
                "With docker broker = on only the files say what is run: change image there, and "
                "reload."
            )
        leases: ILeases = self.lives
        if name:
            stands_by = bool(environ.get("SNICKERS_STAND_BY"))
            self.team = Team(reactor, name, stands_by, settings.state, self.sweep, self.lives)
            leases = self.team.leases
        self.lives.awake_limit, self.lives.keep_free = settings.awake_limit, settings.keep_free
        self._tally = -1
        self.crew = Crew(
            reactor,
            time.time,
            self.launch,
            lambda: [
                ("https" if index < self.https_count else "http", port.fileno())
                for index, port in enumerate(self.plane.ports)
            ],
            leases,
            self.alarm,
            lambda: self.running.whole(),
            lambda: self.service.within,
            self.tally,
            self.look,
        )
        self.plane = Plane(
            reactor,
            self.sweep,
            settings,
            leases,
            OwnAlarm(self.crew.messages, self),
        )
        self.acme = self._acme()
        self.running = Running(
            lambda: load(path),
            self.plane.defer,
            self.plane.sites,
            Several(self, self.plane.live, self.crew),
            self.plane.certificates,
            self.lives,
            self.alarm,
            self.told,
            time.time,
            self.about,
            lambda: time.sleep(SETTLE),
            self.crew if self.team is None else self.team.colleagues(self.crew),
            lambda: self.plane.measured(),
            self.acme,
            Roots().look,
        )
        self.timekeeper = Timekeeper(
            reactor,
            self.plane.names.run,
            self.clocks,
            lambda url: date_of(url, time.time, self.settings.acme_trust),
            self.alarm,
            time.time,
            lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        )
        self.copies = self.lives.copies = self._copies()
        self.lives.moved = self.moved
        control = ControlService(
            reactor,
            os.path.join(settings.state, "control.sock"),
            self.running,
            self.lives,
            self.copies,
            Certifying(
                lambda: self.running.configuration,
                self.plane.certificates,
                self.crew,
                Several(self.plane.live, self.crew),
                self.take_in,
                self.acme,
                time.time,
            ),
        )
        metrics = MetricsService(
            reactor, lambda: [bind(listen) for listen in settings.metrics], self.running
        )
        self.daemon = False
        """Whether twistd has gone to the background."""
        self.log_shown = False
        """Whether a person sees the log beside what is said."""
        notifier = Notifier(environ)
        heartbeat = Heartbeat(
            reactor,
            notifier,
            every(environ, os.getpid()),
            None if self.team is None else self.again,
        )
        self.lock = DutyLock(os.path.join(settings.state, LOCK))
        copies = Called(lambda: self.copies.start(self.sites()), self.copies.close)
        if self.team is None:
            on_duty: list[Part] = [
                Called(self.see_python, lambda: None),
                # First, since another Snickers may have it: nothing has been started by then.
                Called(lambda: self.open(control), control.stopService),
                Called(self.hold_duty, self.lock.close),
                Called(lambda: self.open(metrics), metrics.stopService),
            ]
            lives: list[Part] = [
                # What a restore that was broken off has left is put right before a server starts.
                copies,
                Called(self.lives.start, self.lives.close),
            ]
            authorities: list[Part] = [self.acme, self.timekeeper]
            team: Sequence[Part] = ()
        else:
            self.team.connect(
                self.plane,
                self.crew,
                self.alarm,
                notifier,
                self.anew,
                [Called(control.startService, control.stopService)],
                [
                    copies,
                    self.acme,
                    self.timekeeper,
                    Called(metrics.startService, metrics.stopService),
                ],
                lambda: self.running.configuration,
                self.docker,
                self.unproven,
            )
            on_duty, lives, authorities, team = [], [], [], self.team.parts
        self.service = FrontDoorService(
            reactor,
            self.bind,
            [
                # Until the last of the others has ended.
                heartbeat,
                *on_duty,
                *self.plane.parts,
                self.copy_threads,
                self.note_threads,
                Called(self.begin, lambda: None),
                *lives,
                self.plane.certificates,
                *authorities,
                Called(self.alarm.look, self.alarm.stop),
                Called(lambda: None, self.crew.stop),
                *team,
            ],
            Together(self.plane, self.crew),
            self.running.watch,
            self.reload,
            settings.reload_every,
            lambda: self.settings.drain_within,
            notifier,
            self.welcome,
            self.team,
            lambda: self.settings.finish_within,
        )

    def again(self) -> Sequence[str]:
        """Return what a keeper has been told of this team, and may have missed."""
        assert self.team is not None
        return (*self.team.again(), *self.service.again())

    def about(self) -> dict[str, Any]:
        """Return what is part of every status."""
        about: dict[str, Any] = {"version": __version__, "pid": os.getpid(), "config": self.path}
        if self.team is not None:
            about["team"] = dict(self.team.state())
        elif self.service.standing_by:
            about["standing_by"] = True
        return about

    # Engines

    def docker(self) -> IEngine:
        """Make the engine for containers."""
        settings = self.settings
        if settings.docker_broker:
            minder = Minder(
                self.reactor, self.launch_broker, lambda: opens(settings.docker, self.environ)
            )
            self.minder = minder
            if self.team is not None:
                minder.start()
            return minder.engine
        owner = owner_of(settings.state)
        return DockerEngine(self.reactor, owner, settings.docker, environment=self.environ)

    def engines(self) -> dict[type[Container] | type[Process], IEngine | None]:
        """Make the engines that run servers."""
        return {
            Container: self.docker(),
            # A team's servers outlive it: the other team goes on with them.
            Process: ProcessEngine(
                self.reactor, self.settings.state, self.environ, lasting=self.team is not None
            ),
        }

    def anew(self) -> None:
        """Have the lives be as new, with all sites: duty begins."""
        self.lives.begin_anew(self.engines())
        self.running.declare_lives()

    def reload(self) -> Deferred[dict[str, Any]]:
        """Reload as SIGHUP asks: the access log may have been moved away, too."""
        self.plane.access.reopen()
        self.crew.reopen()
        return self.running.reload()

    def told(self, what: str) -> None:
        """Tell how a reload goes: the service manager, and the broker when there is something new.

        The broker reads after this process has, so that it never knows less.
        """
        if what == "ready" and self.minder is not None:
            self.minder.engine.reload()
        self.service.told(what)

    def apply(self, change: Change) -> None:
        """Take what of ``[snickers]`` concerns the first process alone; see `IPlane`."""
        settings = change.settings
        self.acme.apply(
            change.added,
            change.changed,
            [Site(name=name, kind=Static(root=os.devnull)) for name in change.removed],
        )
        if settings is not None:
            self.settings = settings
            self.alarm.command = settings.alarm_command
            self.lives.awake_limit = settings.awake_limit
            self.lives.keep_free = settings.keep_free
            self.service.look_every(settings.reload_every)
            self.crew.want(how_many(settings) - 1)
        if self.team is not None:
            self.team.removed(change.removed)

    # Certificates from the network

    def _acme(self) -> Acme:
        folder = os.path.join(self.settings.state, "acme")
        return Acme(
            self.reactor,
            Errands(self.reactor, ACME_THREADS, "acme"),
            Errands(self.reactor, PROVING_THREADS, "proving"),
            Store(folder),
            Challenges(os.path.join(folder, "challenges"), dns_hook(lambda: self.settings)),
            lambda: self.settings,
            self.alarm,
            time.time,
            Gathering(self.reactor, self.reread).add,
            BeforeOrders(proving_certificate),
        )

    def clocks(self) -> Sequence[str]:
        """Return whom to ask for the time: the authorities, where sites have certificates of
        them."""
        return directories(self.settings) if self.acme.states() else ()

    def reread(self, sites: Sequence[str]) -> None:
        """Certificates of *sites* were replaced: have all processes read them again."""
        Several(self.plane.live, self.crew).apply(Change(certificates=tuple(sites)))

    # Servers and their folders

    def moved(self, site: str) -> None:
        """A server's life has moved on."""
        self.crew.changed(site)
        if self.team is not None:
            self.team.moved(site)
        self.copies.moved(site)

    def sites(self) -> list[Site]:
        """Return those of the running configuration."""
        configuration = self.running.configuration
        return [] if configuration is None else list(configuration.sites.values())

    def site(self, name: str) -> Site | None:
        """Return one of them."""
        configuration = self.running.configuration
        return None if configuration is None else configuration.sites.get(name)

    def snapshots_directory(self) -> str:
        """Return where copies are kept."""
        settings = self.settings
        return settings.snapshots_directory or os.path.join(settings.state, "snapshots")

    def _copies(self) -> Copies:
        reactor, state, docker = self.reactor, self.settings.state, self.settings.docker
        self.copy_threads = OwnThreads(reactor, COPY_THREADS, "copies")

        def in_thread(function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
            return self.copy_threads.run(lambda: function(*arguments))

        archives = Archives(reactor, in_thread, self.snapshots_directory, time.time)
        deduplicated = restic.Restic(reactor, in_thread, self.snapshots_directory, time.time)

        def stores() -> list[ICopies]:
            return [deduplicated, archives] if restic.installed() else [archives, deduplicated]

        def apart() -> DockerEngine:
            if self.settings.docker_broker:
                raise CopyFailed(
                    "With docker broker = on this process may not use Docker, and the broker runs "
                    "nothing but the sites themselves: restore the copy on another host to try it."
                )
            owner = owner_of(state) + OWNER
            return DockerEngine(reactor, owner, docker, environment=self.environ, internal=True)

        proof = Proof(apart, self.lives.prober, reactor.callLater)
        return Copies(reactor, in_thread, stores, self.site, self.lives, proof, self.alarm)

    def take_in(self, site: Site, host: str, submitted: Submitted) -> Deferred[TakenIn]:
        """Put a certificate that a person has where those of files are."""
        directory = self.settings.certificate_directory
        return self.plane.files.run(
            lambda: importing.take_in(
                directory,
                site.name,
                site.names,
                host,
                submitted,
                time.time(),
                lambda context: harden(context, self.plane.alpn),
                importing.trusted_roots,
            )
        )

    # Listening

    https_count = 0
    """How many of the ports are for https; those come first."""

    def bind(self) -> Sequence[ListeningPort]:
        """Make the ports, of sockets that were handed over where there are any."""
        try:
            given = inherited(self.environ)
            for name in given.keys() - {"https", "http"}:
                self.log.warn(
                    "a socket was handed over as {name!r} and is not used; FileDescriptorName="
                    " (LISTEN_FDNAMES) must be https or http",
                    name=name,
                )
            https = given.get("https") or [bind(listen) for listen in self.settings.https]
            http = given.get("http") or [bind(listen) for listen in self.settings.http]
        except CannotListen as problem:
            self.fail(problem)
        self.https_count = len(https)
        ports = self.plane.listen(https, http)
        self.crew.want(how_many(self.settings) - 1)
        if self.minder is not None and self.team is None:
            self.minder.start()
        return [*ports, self.crew]

    # The broker

    def launch_broker(self, protocol: IProcessProtocol, line: Line) -> None:
        """Start a broker with the privileges of this process."""
        # -P: nothing is imported from wherever this was started.
        arguments = ["-P", "-m", "snickers.broker", self.path]
        children.start(self.reactor, protocol, arguments, line, BROKER_CONTROL)

    # Workers

    def tally(self) -> Tally:
        """Make the memory in which the processes count connections; called once."""
        self._tally = Tally.create()
        seen = Tally(self._tally, 0)
        self.plane.limits.share(seen)
        for port in self.plane.ports:
            port.share()
        return seen

    def look(self) -> None:
        """Accept what nobody else was woken for."""
        for port in self.plane.ports:
            port.look()

    def launch(
        self,
        protocol: IProcessProtocol,
        desk: Desk,
        row: int,
        fronts: Sequence[tuple[str, int]],
    ) -> None:
        """Start a worker's process: see `snickers.workers.crew.Launcher`."""
        more = {FIRST_FRONT + index: number for index, (_, number) in enumerate(fronts)}
        children.start(
            self.reactor,
            protocol,
            ["-m", "snickers.worker", str(row), *(name for name, _ in fronts)],
            desk,
            CONTROL,
            {TALLY: self._tally, **more},
        )

    # Starting

    def root(self) -> Deferred[Any]:
        """Fire when there is an internal authority, with the file to trust."""
        return self.plane.files.run(lambda: self.plane.authority.root(time.time()))

    def begin(self) -> None:
        """Have the configuration run that was read at the start."""
        self.running.begin(self.loaded)
        if self.minder is not None:
            self.minder.kept()
        sites = self.loaded.configuration.sites.values()
        if any(
            site.certificates == "internal" and not isinstance(site.kind, Passthrough)
            for site in sites
        ):
            # People look for the file to trust before they make the first visit.
            self.root().addErrback(
                lambda failure: self.log.error(
                    "the internal authority cannot be made: {reason}",
                    reason=failure.getErrorMessage(),
                )
            )

    def open(self, service: ControlService | MetricsService) -> None:
        """Open the control socket, or that for metrics; without them Snickers does not start."""
        try:
            service.startService()
        except (ControlUnavailable, CannotListen) as problem:
            self.fail(problem)

    def see_python(self) -> None:
        """See that what is imported later can be; else a site would fail at its first visitor."""
        if words := unreadable():
            self.fail(RuntimeError(words))

    def hold_duty(self) -> None:
        """Be on duty; beside another Snickers that is, with the same state, none starts."""
        try:
            mine = self.lock.take()
        except OSError as problem:
            self.fail(ControlUnavailable(f"cannot open {self.lock.path}: {problem.strerror}"))
        if not mine:
            self.fail(
                ControlUnavailable(
                    f"another Snickers is on duty with this state ({self.lock.path} says which"
                    " process); stop it first, or give this one another folder ([snickers] state)"
                )
            )

    def unproven(self, words: str) -> None:
        """End a team that has not proved itself, with a line that says why and status 1."""
        ending.say(f"{self.path}: {words}", logged=not self.log_shown)
        # The reactor ends without a status, and twistd with it.
        atexit.register(ending.end_with, 1)
        self.reactor.stop()

    def fail(self, problem: Exception) -> NoReturn:
        """End the start with a line that says why."""
        if self.daemon:
            # twistd hands on a hundred bytes: the path is left out for the reason.
            raise ending.StartFailed(str(problem)) from None
        ending.fail(f"{self.path}: {problem}", logged=not self.log_shown)

    def welcome(self) -> None:
        """Print where to go, for who has started Snickers by hand for the first time."""
        if not self.environ.get("SNICKERS_WELCOME"):
            return
        self.root().addBoth(
            lambda _: print(
                welcome(
                    self.loaded.configuration,
                    self.plane.https_port,
                    self.plane.http_port,
                    self.plane.authority.trust,
                    sys.__stdout__ is not None
                    and sys.__stdout__.isatty()
                    and not self.environ.get("NO_COLOR"),
                ),
                file=sys.__stdout__,
                flush=True,
            )
        )


def wire(path: str, loaded: Loaded, daemon: bool, log_shown: bool) -> FrontDoorService:
    """Connect everything that serves what was *loaded* from *path*; start nothing.

    *daemon*: twistd goes to the background; *log_shown*: its log is on standard output.
    """
    from twisted.internet import reactor

    settings = loaded.configuration.settings
    if settings is not None and settings.docker_broker:
        words = unguarded(name for name, _ in loaded.stamp.seen)
        if words:
            ending.fail(f"{path}: {words}")
    environ = {**handed_over(), **os.environ}
    if environ.get("LISTEN_PID") == str(os.getpid()):
        # Meant for us, also when twistd goes on under another number.
        del environ["LISTEN_PID"]
    # A watchdog ends what hangs by SIGABRT: the log then says what every thread was doing.
    faulthandler.enable(2)
    steady(reactor)
    wiring = Wiring(reactor, path, loaded, environ)
    wiring.daemon = daemon
    wiring.log_shown = log_shown
    return wiring.service
